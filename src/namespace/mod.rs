//! The live view: directories, live files, local files and symbolic links, and beside them the stored objects and
//! prefixes that the kernel knows by a node id. Owns names, node ids, lookup counts and records; knows nothing of file
//! content, and asks S3 nothing.
//!
//! Invariants: a name in a directory is live or stored, never both. A node with a record has its files in the spool. A
//! directory with a live entry has a record. Under the tree's lock no file is made, copied, synced or removed: what is
//! written there are lines of the records and the session, whose order is that of the changes.
//!
//! - `tree`: the tree, under one lock; `change` and `attributes` change it; `stored` and `listing` what the bucket
//!   adds; `renames` and `reroute` what a rename means.
//! - `keep`: records on disk; `durable` makes them durable; `load` builds the view from what `recover` found.
//! - `spare`: files from spare spool files; `weight` memory by who uses it; `whole` versions of whole files;
//!   `local` what stays local, and why.

mod attributes;
mod change;
mod durable;
mod keep;
pub mod listing;
mod load;
pub mod local;
pub mod recover;
pub mod renames;
mod reroute;
mod spare;
mod stored;
mod tree;
mod weight;
mod whole;

use std::sync::Arc;

use parking_lot::Mutex;

use self::tree::{Body, Node, Tree};
use crate::format::naming::MarkerName;
use crate::log_file::LogFile;
use crate::log_file::local_file::LocalFile;
use crate::settings::writer::Ownership;
use crate::spool::session::StoredNode;
use crate::spool::{NodeFiles, Spool};
use crate::types::errors::FsError;
use crate::types::ids::{NodeId, RequestId, SpoolOffset};
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

pub use self::attributes::SetAttr;
pub use self::change::{Change, NAME_MAX, Renamed, Stamp};
pub use self::keep::EMPTY_MAX;
pub use self::spare::{NewFile, Spare};
pub use self::tree::{Attr, FileKind, Name, Open};

/// The live view of a mount.
#[derive(Debug)]
pub struct Namespace {
    spool: Arc<Spool>,
    ownership: Ownership,
    tree: Mutex<Tree>,
    /// Nodes that are no more, whose files are to be removed.
    doomed: Mutex<Vec<Doomed>>,
    doing_chores: Mutex<()>,
}

/// The files of a node that is no more.
#[derive(Clone, Debug)]
pub(super) struct Doomed {
    pub files: NodeFiles,
    starts: Vec<SpoolOffset>,
    markers: Vec<MarkerName>,
}

/// An entry of a directory's live part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEntry {
    /// Its name.
    pub name: Name,
    /// Its node.
    pub id: NodeId,
    /// What it is.
    pub kind: FileKind,
}

impl Namespace {
    /// Looks a name up in the live view and counts the lookup.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Attr, FsError> {
        let mut tree = self.tree.lock();
        let id = *tree.directory(parent)?.live.get(name).ok_or(FsError::NotFound)?;
        tree.count_lookup(id)
    }

    /// Finds a node by its number and counts the lookup.
    pub fn lookup_node(&self, id: NodeId) -> Result<Attr, FsError> {
        let mut tree = self.tree.lock();
        if tree.node(id)?.claims.is_empty() && id != NodeId::ROOT { Err(FsError::Stale) } else { tree.count_lookup(id) }
    }

    /// Whether a live file once hid the stored object of that name; whether the stored folder (`true`) was removed.
    pub fn is_hidden(&self, parent: NodeId, name: &[u8], folder: bool) -> bool {
        let tree = self.tree.lock();
        tree.directory(parent).is_ok_and(|dir| dir.hidden.has(name, folder))
    }

    /// The node of a directory's entry, live or stored.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let tree = self.tree.lock();
        let dir = tree.directory(parent).ok()?;
        dir.live.get(name).or_else(|| dir.stored.get(name)).copied()
    }

    /// Gives a stored object or prefix (`None`) a node, or finds the one it has, and counts the lookup.
    pub fn lookup_stored(
        &self,
        parent: NodeId,
        name: &[u8],
        object: Option<StoredObject>,
        now: Utc,
    ) -> Result<Attr, FsError> {
        let mut tree = self.tree.lock();
        if let Some(id) = tree.directory(parent)?.live.get(name).copied() {
            return tree.count_lookup(id);
        }
        let known = tree.directory(parent)?.stored.get(name).copied();
        let id = match known {
            Some(id) if tree.is_same_stored(id, object.as_ref()) => {
                object.iter().for_each(|object| tree.learn(id, object));
                id
            }
            _ => {
                let id = tree.new_id(self.spool.session())?;
                let stored = StoredNode { id, parent, name: name.to_vec(), object };
                // A process may stay in a directory; an object is kept when it is opened.
                if stored.object.is_none() {
                    self.keep_stored(&tree, &stored)?;
                }
                tree.add_stored(stored, &self.ownership, now)?;
                id
            }
        };
        tree.count_lookup(id)
    }

    /// The nodes of stored objects and prefixes.
    pub fn stored_nodes(&self) -> Vec<NodeId> {
        let tree = self.tree.lock();
        let stored = tree.nodes.iter().filter(|(id, n)| !n.recorded && **id != NodeId::ROOT);
        stored.map(|(id, _)| *id).collect()
    }

    /// The kernel forgets lookups of a node.
    pub fn forget(&self, id: NodeId, lookups: u64) {
        let mut tree = self.tree.lock();
        if let Some(node) = tree.nodes.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        tree.drop_if_gone(id);
    }

    /// Takes the names away from the nodes of objects below a path that are replaced or gone, as far as the kernel
    /// knows any: they are stale from now on. Gives the nodes.
    pub fn outdate(&self, path: &[u8], names: &[Box<[u8]>]) -> Vec<NodeId> {
        let mut tree = self.tree.lock();
        let mut id = NodeId::ROOT;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            let Ok(dir) = tree.directory(id) else { return Vec::new() };
            match dir.live.get(part).or_else(|| dir.stored.get(part)) {
                Some(next) => id = *next,
                None => return Vec::new(),
            }
        }
        let outdated = names.iter().filter_map(|name| tree.outdate(id, name));
        outdated.collect()
    }

    /// Does so for all objects that the kernel knows.
    pub fn outdate_all(&self) -> Vec<NodeId> {
        let mut tree = self.tree.lock();
        let directories = tree.nodes.iter().filter_map(|(id, node)| match &node.body {
            Body::Directory(dir) => Some((*id, dir.stored.keys().cloned().collect::<Vec<_>>())),
            _ => None,
        });
        let directories: Vec<_> = directories.collect();
        let mut outdated = Vec::new();
        for (dir, names) in directories {
            outdated.extend(names.iter().filter_map(|name| tree.outdate(dir, name)));
        }
        outdated
    }

    /// Attributes of a node.
    pub fn attr(&self, id: NodeId) -> Result<Attr, FsError> {
        self.tree.lock().attr(id)
    }

    /// What a node is.
    pub fn open(&self, id: NodeId) -> Result<Open, FsError> {
        Ok(self.tree.lock().node(id)?.body.open())
    }

    /// What a node is, counted as one more handle on it: from here on it cannot be removed behind its user's back.
    /// Whoever holds it lets go with [`LogFile::let_go`] or [`LocalFile::let_go`].
    pub fn hold(&self, id: NodeId, write: bool) -> Result<Open, FsError> {
        let tree = self.tree.lock();
        let node = tree.node(id)?;
        if node.is_removed() {
            return Err(FsError::Stale);
        }
        let open = node.body.open();
        match &open {
            Open::Live(log) => {
                log.state().handles.add(write);
            }
            Open::Local(local) => {
                local.hold();
            }
            Open::Stored(_) => {
                if let Some(stored) = tree.stored_node(id) {
                    self.keep_stored(&tree, &stored)?;
                }
            }
            Open::Directory | Open::Symlink(_) => {}
        }
        Ok(open)
    }

    /// Whether a live entry was made, or got its name, by that request.
    pub fn was_made_by(&self, parent: NodeId, name: &[u8], request: RequestId) -> bool {
        let tree = self.tree.lock();
        let id = tree.directory(parent).ok().and_then(|dir| dir.live.get(name));
        let node = id.and_then(|id| tree.node(*id).ok());
        node.is_some_and(|node| {
            let named = node.claims.iter().find(|c| c.parent == parent && c.name == name);
            named.is_some_and(|claim| claim.made_by == Some(request))
        })
    }

    /// How many nodes have files in the spool.
    pub fn kept(&self) -> u64 {
        self.tree.lock().kept
    }

    /// What a live entry is.
    pub fn live(&self, parent: NodeId, name: &[u8]) -> Option<Open> {
        let tree = self.tree.lock();
        let id = tree.directory(parent).ok()?.live.get(name)?;
        tree.node(*id).ok().map(|node| node.body.open())
    }

    /// Whether a live entry has that name.
    pub fn has_live(&self, parent: NodeId, name: &[u8]) -> bool {
        let tree = self.tree.lock();
        tree.directory(parent).is_ok_and(|dir| dir.live.contains_key(name))
    }

    fn keep_stored(&self, tree: &Tree, stored: &StoredNode) -> Result<(), FsError> {
        if self.spool.session().keep_stored(stored)? {
            self.rewrite_stored(tree)?;
        }
        Ok(())
    }

    /// Writes the stored nodes that are known now for the next worker, parents first: a node's number is higher than
    /// that of the directory that it was found in.
    fn rewrite_stored(&self, tree: &Tree) -> Result<(), FsError> {
        let mut stored: Vec<_> = tree.nodes.keys().filter_map(|id| tree.stored_node(*id)).collect();
        stored.sort_by_key(|node| node.id);
        Ok(self.spool.session().rewrite_stored(&stored)?)
    }

    /// Path of a node below the mount, without a leading `/`; by its first name when it has several.
    pub fn path(&self, id: NodeId) -> Result<Vec<u8>, FsError> {
        self.tree.lock().path(id)
    }

    /// Whether a directory has live entries.
    pub fn has_entries(&self, id: NodeId) -> bool {
        self.tree.lock().directory(id).is_ok_and(|dir| !dir.live.is_empty())
    }

    /// The live entries of a directory, in byte order of their names.
    pub fn live_entries(&self, id: NodeId) -> Result<Vec<LiveEntry>, FsError> {
        let tree = self.tree.lock();
        let entries = tree.directory(id)?.live.iter().map(|(name, id)| {
            let kind = tree.node(*id).map_or(FileKind::File, Node::kind);
            LiveEntry { name: name.clone(), id: *id, kind }
        });
        Ok(entries.collect())
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent(&self, id: NodeId) -> NodeId {
        let tree = self.tree.lock();
        tree.node(id).ok().and_then(Node::place).map_or(NodeId::ROOT, |(parent, _)| parent)
    }

    /// The excluded files, and the bytes of each.
    pub fn each_excluded_file(&self) -> Vec<(NodeId, u64)> {
        let locals: Vec<_> = {
            let tree = self.tree.lock();
            let kept = tree.nodes.iter().filter(|(_, node)| node.recorded);
            let local = kept.filter_map(|(id, node)| match &node.body {
                Body::Local(file) => Some((*id, file.clone())),
                _ => None,
            });
            local.collect()
        };
        let bytes = |file: Arc<LocalFile>| file.metadata().map_or(0, |found| found.len());
        locals.into_iter().map(|(id, file)| (id, bytes(file))).collect()
    }

    /// Takes the locks that requests take, each alone, and so returns only if none of them is held for good.
    pub fn touch_locks(&self) {
        for log in self.logs() {
            drop(log.state());
        }
    }

    /// All live files, for tasks that look at each. Those whose files are gone need nobody, however long the kernel
    /// remembers them.
    pub fn logs(&self) -> Vec<Arc<LogFile>> {
        let tree = self.tree.lock();
        let kept = tree.nodes.values().filter(|node| !node.is_removed());
        let logs = kept.filter_map(|node| match &node.body {
            Body::Live(log) => Some(log.clone()),
            _ => None,
        });
        logs.collect()
    }
}
