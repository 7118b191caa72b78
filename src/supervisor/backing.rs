//! Registers spool files with the kernel as backing files, by node id. Owns the map from node to backing id for as long
//! as the mount lives, across workers.
//!
//! The kernel opens a backing file with the credentials of the registrar and checks no permission, so a registrar that
//! took any descriptor from its client would be a hole. Clients therefore send node ids, and the file has to be the
//! worker's own regular file, inside the spool, with one name.
//!
//! Invariant: only the worker that serves may register or unregister.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use tracing::warn;

use super::ioctl::{backing_close, backing_open};
use crate::spool::backing::{BackingError, Backings};
use crate::spool::{LOCK, data_path};
use crate::types::ids::{BackingId, NodeId, SpoolOffset};

/// Most numbers in one message of the protocol: a page is far below the longest message.
const PAGE: usize = 1000;

/// A worker, as the keeper counts them. The process itself, where there is no keeper, is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerId(pub u64);

/// The registered files of a mount.
pub struct Registry {
    fuse: OwnedFd,
    spool: OwnedFd,
    /// Whose files may be registered.
    owner: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who may ask.
    entitled: Option<PeerId>,
    /// Which file of each node, by where it begins, and its number.
    ids: BTreeMap<NodeId, (SpoolOffset, BackingId)>,
}

impl Registry {
    /// Registers files of `owner` in the directory `spool` with the mount behind `fuse`.
    pub fn new(fuse: OwnedFd, spool: OwnedFd, owner: u32) -> Registry {
        Registry { fuse, spool, owner, state: Mutex::default() }
    }

    /// The registry of a process that serves its mount alone.
    pub fn alone(fuse: OwnedFd, spool: OwnedFd, owner: u32) -> Registry {
        let registry = Registry::new(fuse, spool, owner);
        registry.entitle(Some(PeerId::default()));
        registry
    }

    /// From now on this worker alone is served; when this returns, nothing that another asked for is under way.
    pub fn entitle(&self, peer: Option<PeerId>) {
        self.state.lock().entitled = peer;
    }

    /// Registers the spool file of a node that begins at a position for a worker, or gives the number that it has.
    pub fn register_for(&self, peer: PeerId, node: NodeId, start: SpoolOffset) -> Result<BackingId, BackingError> {
        let mut state = self.entitled(peer)?;
        if let Some((_, id)) = state.ids.get(&node).filter(|(of, _)| *of == start) {
            return Ok(*id);
        }
        let id = self.open(&data_path(node, start)).map_err(|why| {
            warn!(%node, %why, "the keeper refuses a backing file");
            why
        })?;
        if let Some((_, before)) = state.ids.insert(node, (start, id)) {
            // Of a worker that died before it could say that nobody has it open any more.
            let _ = backing_close(self.fuse.as_fd(), before);
        }
        Ok(id)
    }

    /// Lets the spool file of a node go. A worker that is replaced may still ask, and is not heard.
    pub fn unregister_for(&self, peer: PeerId, node: NodeId) {
        let Ok(mut state) = self.entitled(peer) else { return };
        if let Some((_, id)) = state.ids.remove(&node)
            && let Err(e) = backing_close(self.fuse.as_fd(), id)
        {
            warn!(%node, "a backing file could not be unregistered: {e}");
        }
    }

    /// Tells whether spool files can be registered, by the spool's lock file.
    pub fn probe_for(&self, peer: PeerId) -> Result<(), BackingError> {
        let _state = self.entitled(peer)?;
        let id = self.open(LOCK)?;
        Ok(backing_close(self.fuse.as_fd(), id).map_err(|e| e.to_string())?)
    }

    /// A page of the registered nodes, those after `after`.
    pub fn list_for(&self, peer: PeerId, after: NodeId) -> Vec<NodeId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let Ok(state) = self.entitled(peer) else { return Vec::new() };
        let behind = state.ids.range((Excluded(after), Unbounded));
        behind.map(|(node, _)| *node).take(PAGE).collect()
    }

    fn entitled(&self, peer: PeerId) -> Result<parking_lot::MutexGuard<'_, State>, BackingError> {
        let state = self.state.lock();
        if state.entitled == Some(peer) {
            Ok(state)
        } else {
            Err("only the worker that serves may ask for this".to_owned().into())
        }
    }

    /// Opens a file below the spool and registers it. Read-only, since a lease on the file, by which the worker sees
    /// whether anybody may still write, must not see us.
    fn open(&self, name: &str) -> Result<BackingId, BackingError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let within =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(&self.spool, name, flags, Mode::empty(), within)
            .map_err(|e| format!("{name} cannot be opened: {}", opening(e)))?;
        let stat = fstat(&file).map_err(|e| format!("{name}: {e}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(format!("{name} is not a regular file").into());
        }
        if stat.st_nlink != 1 {
            return Err(format!("{name} has {} names", stat.st_nlink).into());
        }
        if stat.st_uid != self.owner {
            return Err(format!("{name} belongs to uid {}, not to {}", stat.st_uid, self.owner).into());
        }
        Ok(backing_open(self.fuse.as_fd(), file.as_fd()).map_err(|e| refusal(&e))?)
    }
}

fn opening(e: Errno) -> String {
    match e {
        Errno::LOOP => "a symbolic link is in the way".to_owned(),
        Errno::XDEV => "it is not inside the spool".to_owned(),
        e => e.to_string(),
    }
}

/// What the kernel's refusal to register a file means.
fn refusal(e: &io::Error) -> String {
    let why = match Errno::from_io_error(e) {
        Some(Errno::PERM) => "not permitted (CAP_SYS_ADMIN in the initial user namespace is needed)".to_owned(),
        Some(Errno::LOOP) => "the spool is on a stacked file system, such as overlayfs".to_owned(),
        Some(Errno::NOTTY | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
            format!("it does not know how (Linux 6.9 or later is needed): {e}")
        }
        _ => e.to_string(),
    };
    format!("the kernel refuses: {why}")
}

impl Registry {
    /// Whether spool files can be registered by this process.
    pub fn probe(&self) -> Result<(), BackingError> {
        self.probe_for(PeerId::default())
    }
}

/// Where one process does all, the registry serves it directly.
impl Backings for Registry {
    fn register(&self, node: NodeId, start: SpoolOffset) -> Result<BackingId, BackingError> {
        self.register_for(PeerId::default(), node, start)
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn unregister(&self, node: NodeId) {
        self.unregister_for(PeerId::default(), node);
    }

    fn registered(&self) -> Vec<NodeId> {
        // A process that serves alone has registered what it knows of.
        Vec::new()
    }
}
