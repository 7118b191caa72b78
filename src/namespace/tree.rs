//! The tree: nodes, their bodies and what follows from them. Everything here runs under the lock of the namespace.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::log_file::local_file::LocalFile;
use crate::log_file::{LogFile, Target};
use crate::settings::writer::Ownership;
use crate::spool::Position;
use crate::spool::hidden::Hidden;
use crate::spool::record::{Claim, Former, Kind, LastWrite, Record, Times};
use crate::spool::session::{Session, StoredNode};
use crate::types::errors::FsError;
use crate::types::ids::{NodeId, RequestId};
use crate::types::shares::{Part, Shares};
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// The mode bit S_ISGID.
pub(super) const SET_GROUP_ID: u32 = 0o2000;

/// A name: any bytes but `/` and NUL.
pub type Name = Vec<u8>;

/// What a node is, for those who read and write it.
#[derive(Clone, Debug)]
pub enum Open {
    /// A live file.
    Live(Arc<LogFile>),
    /// A local-only file.
    Local(Arc<LocalFile>),
    /// A stored object, log or whole file.
    Stored(StoredObject),
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>),
}

/// What a node was counted with, and as whose.
#[derive(Debug, Default)]
pub(super) struct Charge(pub(super) Option<(Part, u64)>);

/// A node's record on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OnDisk {
    /// Its last change.
    pub change: Position,
    /// Whether the names of its files have reached the disk.
    pub has_files: bool,
    /// Whether it lacks what recovery found, for want of room: nothing that relies on it may be sealed.
    pub is_behind: bool,
}

/// What stat(2) shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The node.
    pub id: NodeId,
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Disk space in units of 512 bytes.
    pub blocks: u64,
    /// Permission bits.
    pub mode: u32,
    /// Number of names.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Times.
    pub times: Times,
    /// Whether it is a stored object or prefix, known only from a listing.
    pub stored: bool,
    /// Whether it is a log or whole file that the bucket has, of which more may come at any time.
    pub joined: bool,
}

/// The kinds of node that applications can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pub live: BTreeMap<Name, NodeId>,
    pub stored: BTreeMap<Name, NodeId>,
    pub hidden: Hidden,
    /// It stood for a common prefix, and does no more: the directory above it has another name.
    pub outdated: bool,
    /// Directories that were in it, by their escaped paths from here.
    pub former: BTreeMap<String, Former>,
    /// Whether it is known from a listing alone.
    pub listed: bool,
}

#[derive(Debug)]
pub(super) enum Body {
    Directory(Directory),
    Live(Arc<LogFile>),
    Local(Arc<LocalFile>),
    Symlink(Vec<u8>),
    Object(StoredObject),
}

impl Body {
    pub fn open(&self) -> Open {
        match self {
            Body::Directory(_) => Open::Directory,
            Body::Live(log) => Open::Live(log.clone()),
            Body::Local(file) => Open::Local(file.clone()),
            Body::Symlink(target) => Open::Symlink(target.clone()),
            Body::Object(object) => Open::Stored(object.clone()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub body: Body,
    pub claims: Vec<Claim>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub times: Times,
    pub attributes: BTreeMap<String, String>,
    /// How often the kernel was given the node and has not forgotten it.
    pub lookups: u64,
    /// Whether it has a record in the spool.
    pub recorded: bool,
    /// That record.
    pub disk: OnDisk,
    /// What it was counted with.
    pub charge: Charge,
}

impl Node {
    pub fn kind(&self) -> FileKind {
        match self.body {
            Body::Directory(_) => FileKind::Directory,
            Body::Symlink(_) => FileKind::Symlink,
            Body::Live(_) | Body::Local(_) | Body::Object(_) => FileKind::File,
        }
    }

    /// Whether it is a file that is gone from the spool, or an object or prefix that is replaced or gone. The kernel
    /// may still have the name cached: `ESTALE` makes it look again.
    pub fn is_removed(&self) -> bool {
        match self.body {
            Body::Live(_) | Body::Local(_) => !self.recorded,
            Body::Object(_) => self.claims.is_empty(),
            Body::Directory(Directory { outdated, .. }) => outdated,
            Body::Symlink(_) => false,
        }
    }

    /// Whether it has files in the spool beside its record.
    pub fn has_files(&self) -> bool {
        matches!(self.body, Body::Live(_) | Body::Local(_))
    }

    /// The first name.
    pub fn place(&self) -> Option<(NodeId, &[u8])> {
        self.claims.first().map(|claim| (claim.parent, claim.name.as_slice()))
    }

    /// The node as its record keeps it; stored nodes have none.
    pub fn record(&self) -> Option<Record> {
        let kind = match &self.body {
            Body::Directory(dir) => {
                let Directory { hidden, former, listed, .. } = dir;
                let (hidden, former) = (hidden.clone(), former.clone());
                Kind::Directory { hidden, former, listed: *listed }
            }
            Body::Live(log) => {
                let Target { stream, labels } = log.target();
                let bases = log.state().bases();
                Kind::Live { stream: stream.path.clone(), labels, bases }
            }
            Body::Local(_) => Kind::Local,
            Body::Symlink(target) => Kind::Symlink { target: target.clone() },
            Body::Object(_) => return None,
        };
        Some(Record {
            kind,
            claims: self.claims.clone(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            times: self.times,
            attributes: self.attributes.clone(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    pub nodes: HashMap<NodeId, Node>,
    /// How many of them have files in the spool.
    pub kept: u64,
    /// The highest number that a node has had.
    pub last_id: u64,
    /// The highest number that a claim or a generation's birth has had.
    pub last_number: u64,
    /// Memory that nodes with a record take.
    pub names: Shares,
}

impl Tree {
    /// A node by its number. The kernel asks by numbers that it was given: one that is not known any more is stale, and
    /// the kernel looks the name up again.
    pub fn node(&self, id: NodeId) -> Result<&Node, FsError> {
        self.nodes.get(&id).ok_or(FsError::Stale)
    }

    pub fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, FsError> {
        self.nodes.get_mut(&id).ok_or(FsError::Stale)
    }

    pub fn directory(&self, id: NodeId) -> Result<&Directory, FsError> {
        match &self.node(id)?.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub fn directory_mut(&mut self, id: NodeId) -> Result<&mut Directory, FsError> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub fn new_id(&mut self, session: &Session) -> Result<NodeId, FsError> {
        let id = session.new_node(self.last_id)?;
        self.last_id = id.0;
        Ok(id)
    }

    pub fn new_claim(&mut self, parent: NodeId, name: &[u8], made_by: Option<RequestId>) -> Claim {
        Claim { parent, name: name.to_vec(), number: self.next_number(), made_by }
    }

    /// A number above all that claims and generations of the spool have: the order in which they came.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub fn count_lookup(&mut self, id: NodeId) -> Result<Attr, FsError> {
        let attr = self.attr(id)?;
        self.node_mut(id)?.lookups += 1;
        Ok(attr)
    }

    pub fn is_same_stored(&self, id: NodeId, object: Option<&StoredObject>) -> bool {
        match (self.nodes.get(&id).map(|n| &n.body), object) {
            (Some(Body::Object(known)), Some(object)) if object.folder().is_some() => {
                (&known.key, &known.etag) == (&object.key, &object.etag)
            }
            (Some(Body::Object(known)), Some(object)) => known == object,
            (Some(Body::Directory(_)), None) => true,
            _ => false,
        }
    }

    /// A log is as long by now as it was found to be, if it was: one of which nothing is known has no time.
    pub fn learn(&mut self, id: NodeId, log: &StoredObject) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|_| log.modified != Utc::default())
            && let Body::Object(known) = &mut node.body
            && known.folder().is_some()
        {
            known.clone_from(log);
            node.times = Times::new(log.modified);
        }
    }

    /// Takes the name of a stored object away; gives its node when it had one. A log stays what it is.
    pub fn outdate(&mut self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let id = *self.directory(parent).ok()?.stored.get(name)?;
        let node = self.nodes.get_mut(&id)?;
        if !matches!(&node.body, Body::Object(object) if object.folder().is_none()) {
            return None;
        }
        node.claims.clear();
        self.directory_mut(parent).ok()?.stored.remove(name);
        self.drop_if_gone(id);
        Some(id)
    }

    pub fn add_stored(&mut self, stored: StoredNode, owner: &Ownership, now: Utc) -> Result<(), FsError> {
        let StoredNode { id, parent, name, object } = stored;
        let modified = object.as_ref().map_or(now, |o| o.modified);
        let Ownership { file_mode, dir_mode, uid, gid } = *owner;
        let above = self.directory(parent)?;
        let (former, below) = above.former_of(&name);
        let (body, Former { mode, uid, gid }) = match object {
            Some(object) if object.folder().is_some() => {
                // Whoever may make a file here may go on with this log, and has it read.
                let Node { mode, uid, gid, .. } = *self.node(parent)?;
                let writers = mode & 0o222;
                let former = Former { mode: file_mode | writers | writers << 1, uid, gid };
                (Body::Object(object), former)
            }
            Some(object) => (Body::Object(object), Former { mode: file_mode, uid, gid }),
            None => {
                let (hidden, listed) = (above.hidden.below(&name), former.is_none());
                let dir = Directory { hidden, former: below, listed, ..Directory::default() };
                let former = former.unwrap_or(Former { mode: dir_mode, uid, gid });
                (Body::Directory(dir), former)
            }
        };
        let times = Times::new(modified);
        let claims = vec![self.new_claim(parent, &name, None)];
        let node = Node {
            body,
            claims,
            mode,
            uid,
            gid,
            times,
            attributes: BTreeMap::new(),
            lookups: 0,
            recorded: false,
            disk: OnDisk::default(),
            charge: Charge::default(),
        };
        self.directory_mut(parent)?.stored.insert(name, id);
        self.nodes.insert(id, node);
        Ok(())
    }

    /// A stored node, as the next worker of the session needs it.
    pub fn stored_node(&self, id: NodeId) -> Option<StoredNode> {
        let node = self.nodes.get(&id).filter(|node| !node.recorded)?;
        let (parent, name) = node.place()?;
        let object = match &node.body {
            Body::Directory(_) => None,
            Body::Object(object) => Some(object.clone()),
            Body::Live(_) | Body::Local(_) | Body::Symlink(_) => return None,
        };
        Some(StoredNode { id, parent, name: name.to_vec(), object })
    }

    /// Forgets a node that nobody can reach any more. A live file stays as long as its bytes are needed: whoever
    /// discards it calls this again.
    pub fn drop_if_gone(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        if node.lookups > 0 || node.recorded || id == NodeId::ROOT {
            return;
        }
        if let Body::Directory(dir) = &node.body
            && !(dir.live.is_empty() && dir.stored.is_empty())
        {
            return;
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        for claim in node.claims {
            if let Ok(dir) = self.directory_mut(claim.parent)
                && dir.stored.get(&claim.name) == Some(&id)
            {
                dir.stored.remove(&claim.name);
            }
            // The parent may have been kept for this child alone.
            self.drop_if_gone(claim.parent);
        }
    }

    pub fn path(&self, id: NodeId) -> Result<Vec<u8>, FsError> {
        let mut parts = Vec::new();
        let mut at = id;
        while at != NodeId::ROOT {
            let (parent, name) = self.node(at)?.place().ok_or(FsError::NotFound)?;
            parts.push(name);
            at = parent;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    /// Whether `id` is `below` or inside it.
    pub fn is_inside(&self, id: NodeId, below: NodeId) -> bool {
        let mut at = id;
        loop {
            if at == below {
                return true;
            }
            match self.node(at).ok().and_then(Node::place) {
                Some((parent, _)) if at != NodeId::ROOT => at = parent,
                _ => return false,
            }
        }
    }

    pub fn attr(&self, id: NodeId) -> Result<Attr, FsError> {
        let node = self.node(id)?;
        if node.is_removed() {
            return Err(FsError::Stale);
        }
        let (mut size, mut blocks, mut times) = (0, 0, node.times);
        match &node.body {
            Body::Live(log) => {
                let base = log.state().current().at;
                let (end, spooled) = log.metadata()?;
                times = times.after(log.last_write(end, &spooled));
                size = end.since(base);
                // `du` would count a truncated generation that still waits for S3.
                blocks = spooled.blocks().min(size.div_ceil(512));
            }
            Body::Local(file) => {
                let file = file.metadata()?;
                times = times.after(LastWrite::of(&file));
                (size, blocks) = (file.len(), file.blocks());
            }
            Body::Symlink(target) => size = target.len() as u64,
            Body::Object(object) => (size, blocks) = (object.size, object.size.div_ceil(512)),
            Body::Directory(_) => {}
        }
        let links = match node.body {
            Body::Directory(_) => 2,
            _ => u32::try_from(node.claims.len()).unwrap_or(u32::MAX),
        };
        let kind = node.kind();
        let Node { mode, uid, gid, .. } = *node;
        let stored = !node.recorded;
        let joined = matches!(&node.body, Body::Object(object) if object.folder().is_some());
        Ok(Attr { id, kind, size, blocks, mode, links, uid, gid, times, stored, joined })
    }
}
