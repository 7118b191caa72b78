//! The spool: the one directory that must survive a crash. Owns its layout, its lock and its identity (which bucket it
//! belongs to, which writer it is, how often it was started).
//!
//! ```text
//! lock  spool.json          identity
//! records                   files, directories and symbolic links of the live view
//! nodes/<id>.data           a file's bytes, in a file that grows
//! nodes/<id>.data.<start>   ... from a position of the log on, where a generation began alone
//! nodes/<id>.*.sealed       seal markers (also .confirmed, .reclaimed)
//! numbers                   the streams' highest generation numbers
//! quarantine/               what recovery could not use
//! session/                  what a worker leaves to the next one of the same mount
//! ballast                   room for markers when others have filled the disk
//! ```
//!
//! - `identity`: spool.json; `lock` its lock; `pinned` its source where the owner cannot write; `files` its file names;
//!   `earlier` migration.
//! - `record`: what applications set of a node; `records` and `record_lines` the file of all records; `hidden` names
//!   that a directory does not show.
//! - `marker`: seal markers; `numbers` the highest numbers of streams; `quarantine` what could not be used, and the
//!   account of it.
//! - `session`: what a worker leaves to the next; `mapped` words of a file that survive a kill.
//! - `backing`: what registers a spool file with the kernel (passthrough).
//! - `disk`: durable steps on a disk; `ballast` room for markers on a full one; `disk_budget` how much may be used;
//!   `shared_budget` by whom; `crash_point` where tests kill.

pub mod backing;
pub(super) mod ballast;
pub mod crash_point;
pub mod disk;
pub mod disk_budget;
mod earlier;
mod files;
pub mod hidden;
mod identity;
mod lock;
pub mod mapped;
pub mod marker;
pub mod numbers;
pub mod pinned;
mod quarantine;
pub mod record;
mod record_lines;
mod records;
pub mod session;
pub mod shared_budget;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::Access;
use rustix::io::Errno;
use tracing::warn;

pub use self::files::{NODES, NodeFile, NodeFiles, data_path};
pub use self::identity::Identity;
pub use self::quarantine::{Account, DroppedRange, Note, QUARANTINE, Quarantine, QuarantinedFile};
pub use self::record_lines::Loaded;
pub use self::records::{Position, Records};

use self::disk::by_descriptor;
use self::numbers::Numbers;
use self::session::Session;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{Epoch, NodeId, SessionId, WriterId};

/// The file that says who a spool is.
pub const IDENTITY: &str = "spool.json";
/// The file that its daemon has locked.
pub const LOCK: &str = "lock";
/// The layout that this program writes. Those of 1 and 2, where each node had a folder, are taken over.
const FORMAT: u32 = 3;

/// A spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another daemon has it.
    #[error("the spool {0} is in use by another logsinkfs{1}")]
    Locked(PathBuf, String),
    /// It holds bytes for another bucket.
    #[error("the spool {dir} belongs to {owner}, not to {asked}")]
    OtherSource {
        /// The spool.
        dir: PathBuf,
        /// Whose bytes are in it.
        owner: String,
        /// What the mount was to be of.
        asked: String,
    },
    /// A later version of the program wrote it.
    #[error("the spool {0} has format {1}; this program knows {FORMAT}")]
    TooNew(PathBuf, u32),
    /// It cannot be written.
    #[error("the spool cannot be used: {0}")]
    Local(#[from] LocalError),
}

impl SpoolError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SpoolError::Locked(..) => "give each mount a spool of its own with --spool-dir, or stop the other daemon",
            SpoolError::OtherSource { .. } => {
                "give this mount another --spool-dir; the old spool is emptied by mounting its own bucket"
            }
            SpoolError::TooNew(..) => "use the newer program for this spool",
            SpoolError::Local(_) => {
                "the spool needs a directory that this user can write, on a disk with room: --spool-dir"
            }
        }
    }
}

/// An open spool; locked as long as this value lives.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    nodes: Arc<Path>,
    identity: Mutex<Identity>,
    /// Whether the machine was booted since the spool was last recovered.
    pub rebooted: bool,
    boot: String,
    session: Session,
    records: Records,
    loaded: Mutex<Loaded>,
    _lock: File,
}

impl Spool {
    /// Opens a spool, making it when there is none. `new_writer` forms the id of a new one, or of a copied one, from
    /// the readable part.
    pub fn open(
        dir: &Path,
        source: &str,
        readable: &str,
        new_writer: fn(&str) -> WriterId,
    ) -> Result<Spool, SpoolError> {
        for folder in [NODES, QUARANTINE] {
            // The owner's alone: logs are nobody else's business.
            let path = dir.join(folder);
            DirBuilder::new().recursive(true).mode(0o700).create(&path).at("create", &path)?;
            // What a link leads to is not the spool's.
            if !fs::symlink_metadata(&path).at("stat", &path)?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory)).at("use", &path)?;
            }
        }
        let lock = lock::take(dir)?;
        Quarantine::of(dir).tidy();
        let inode = lock.metadata().at("stat", dir)?.ino();
        let boot = identity::boot_id();
        let identity = match Identity::load(dir) {
            Ok(found) => found,
            Err(e) => {
                identity::lose(dir, source, e)?;
                // Before the spool has an identity: one with an identity and without its numbers has lost them.
                Numbers::create(dir)?;
                Identity::new(new_writer(readable), source, inode)
            }
        };
        identity.fits(dir, source)?;
        let rebooted = identity.boot != boot;
        // A copy that a tool made shows here; one that a disk's snapshot made shows only when both register the same
        // start.
        let (writer, epoch) = if identity.inode == inode {
            (identity.writer, identity.epoch)
        } else {
            let new = new_writer(identity.writer.readable());
            warn!(old = %identity.writer, %new, "this spool was copied or moved: what is not sealed yet gets a new writer id");
            (new, Epoch(0))
        };
        let epoch = Epoch(epoch.0 + 1);
        let identity = Identity { format: FORMAT, writer, epoch, inode, ..identity };
        // First: a program of an earlier version would not know what is taken over below.
        identity.keep(dir)?;
        earlier::take_over(dir)?;
        let (records, loaded) = Records::open(dir, rebooted)?;
        Ok(Spool {
            dir: dir.to_owned(),
            nodes: dir.join(NODES).into(),
            identity: Mutex::new(identity),
            rebooted,
            boot,
            session: Session::default(),
            records,
            loaded: Mutex::new(loaded),
            _lock: lock,
        })
    }

    /// Whether [`Spool::open`] would find that a spool is not to be used, in whose hands it ever is; changes nothing.
    pub fn check(dir: &Path, source: &str) -> Result<(), SpoolError> {
        let own = [(dir.to_owned(), Access::WRITE_OK | Access::EXEC_OK)];
        let files = [LOCK, IDENTITY].map(|name| (dir.join(name), Access::READ_OK | Access::WRITE_OK));
        for (path, needed) in own.into_iter().chain(files) {
            match rustix::fs::access(&path, needed) {
                // It is made.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(io::Error::from(e)).at("use", &path)?,
            }
        }
        identity::belongs_to(dir, source)
    }

    /// Writes a small file at a start, with the ballast's room where there is no other. Gives `false` when the disk is
    /// full all the same, which must not keep a daemon from starting that would send, and make room.
    pub fn has_room_for(&self, write: impl Fn() -> Result<(), LocalError>) -> Result<bool, LocalError> {
        match ballast::with(&self.dir, write) {
            Err(e) if e.is_no_space() => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Gives a little room on a full disk to markers and records.
    pub fn drop_ballast(&self) {
        ballast::drop(&self.dir);
    }

    /// Has what was just freed on a full disk be free at once.
    pub fn free_now(&self) {
        ballast::free_now(&self.dir);
    }

    /// Sets that room apart again, when there is some.
    pub fn refill_ballast(&self) {
        ballast::refill(&self.dir);
    }

    /// Begins the session of a mount, or goes on with it after another worker.
    pub fn begin_session(&mut self, id: &SessionId, resumed: bool) -> Result<(), LocalError> {
        self.session = Session::begin(&self.dir, id, resumed)?;
        Ok(())
    }

    /// What the worker before left open; empty when there was none.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Bucket and prefix that the spool in `dir`, which is open as `spool`, says it belongs to, as a mount is told of
    /// them.
    pub fn source_of(spool: impl AsFd, dir: &Path) -> Result<String, LocalError> {
        let identity = Identity::load(&by_descriptor(spool));
        let named = |e| LocalError { path: dir.join(IDENTITY), ..e };
        identity.map(|identity| identity.source).map_err(named)
    }

    /// Whether no daemon has the spool in a directory.
    pub fn is_free(dir: &Path) -> bool {
        lock::is_free(dir)
    }

    /// Has it given back to a daemon that comes for it: see [`Spool::is_wanted`].
    pub fn lend(&self) -> Result<(), LocalError> {
        lock::lend(&self.dir)
    }

    /// Whether a daemon came for a spool that was lent.
    pub fn is_wanted(&self) -> bool {
        lock::is_wanted(&self.dir)
    }

    /// The spool's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files of a node.
    pub fn node_files(&self, id: NodeId) -> NodeFiles {
        NodeFiles::new(self.nodes.clone(), id)
    }

    /// The folder of all nodes' files.
    pub fn nodes(&self) -> &Path {
        &self.nodes
    }

    /// The records of all nodes.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The records as they were at the start; given once.
    pub fn take_loaded(&self) -> Loaded {
        std::mem::take(&mut self.loaded.lock())
    }

    /// The folder for what cannot be used, or not be sent.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::of(&self.dir)
    }

    /// Who the spool is at the moment.
    pub fn identity(&self) -> Identity {
        self.identity.lock().clone()
    }

    /// Counts a start, durably before anybody is told of it, so that no two starts register the same.
    pub fn next_epoch(&self) -> Result<Epoch, LocalError> {
        let mut identity = self.identity.lock();
        let next = Identity { epoch: Epoch(identity.epoch.0 + 1), ..identity.clone() };
        next.keep(&self.dir)?;
        *identity = next;
        Ok(identity.epoch)
    }

    /// Notes that what this boot means for the spool has been seen to. Not before: a start that fails on its way must
    /// not keep the next one from knowing that power was lost.
    pub fn recovered(&self) -> Result<(), LocalError> {
        let mut identity = self.identity.lock();
        if identity.boot == self.boot {
            return Ok(());
        }
        let next = Identity { boot: self.boot.clone(), ..identity.clone() };
        next.keep(&self.dir)?;
        *identity = next;
        Ok(())
    }

    /// Takes another writer id: the spool turned out to be a copy. What is sealed keeps its keys.
    pub fn become_writer(&self, writer: WriterId) -> Result<(), LocalError> {
        let mut identity = self.identity.lock();
        let next = Identity { writer, epoch: Epoch(1), ..identity.clone() };
        next.keep(&self.dir)?;
        *identity = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Identity {
        let writer = |name: &str| WriterId::compose(name, crate::types::random::below);
        Spool::open(dir, "s3://b/", "host", writer).expect("a spool").identity()
    }

    #[test]
    fn what_is_not_to_be_used_is_found_without_a_change() {
        let dir = tempfile::tempdir().expect("a dir");
        let dir = dir.path();
        let check = |source| Spool::check(dir, source);
        assert!(check("s3://b/").is_ok() && !dir.join(LOCK).exists(), "one that is not there yet");
        open(dir);
        assert!(check("s3://b/").is_ok());
        assert!(matches!(check("s3://c/"), Err(SpoolError::OtherSource { .. })));
        for (text, is_right) in [("{\"format\":99}", false), ("damaged", true)] {
            fs::write(dir.join(IDENTITY), text).expect("written");
            assert_eq!(check("s3://b/").is_ok(), is_right, "{text}");
            assert_eq!(fs::read_to_string(dir.join(IDENTITY)).expect("still there"), text);
        }
    }

    #[test]
    fn a_spool_keeps_its_writer_and_a_copy_of_it_gets_another() {
        let (dir, copy) = (tempfile::tempdir().expect("a dir"), tempfile::tempdir().expect("a dir"));
        let (first, second) = (open(dir.path()), open(dir.path()));
        assert_eq!(first.writer, second.writer);
        assert_eq!((first.epoch, second.epoch), (Epoch(1), Epoch(2)));
        for name in [IDENTITY, LOCK] {
            fs::copy(dir.path().join(name), copy.path().join(name)).expect("copied");
        }
        let copied = open(copy.path());
        assert_ne!(copied.writer, first.writer);
        assert_eq!(copied.writer.readable(), "host");
    }
}
