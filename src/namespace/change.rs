//! Changes of the live view: create, link, rename, unlink. Each is made in memory and in the record of the node before
//! the reply, so that a crash of the daemon loses none; a power cut loses what no fsync covered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Namespace;
use super::keep::set_linked;
use super::tree::{Attr, Body, Charge, Directory, Node, OnDisk, SET_GROUP_ID, Tree};
use crate::format::naming::PRIVATE_FOLDER;
use crate::log_file::{LogFile, Target};
use crate::spool::crash_point::crash_point;
use crate::spool::record::{Content, Generation, Times};
use crate::types::errors::FsError;
use crate::types::ids::{NodeId, RequestId};
use crate::types::time::Utc;

/// Longest name of a directory entry, as everywhere on Linux.
pub const NAME_MAX: usize = 255;

/// Who makes a node, and when.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When, and by which request.
    pub stamp: Stamp,
}

/// When a change is made, and by which request when that may come again.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The wall clock.
    pub now: Utc,
    /// The request.
    pub request: Option<RequestId>,
}

/// What a rename has done beside.
#[derive(Debug, Default)]
pub struct Renamed {
    /// The node that had the new name.
    pub replaced: Option<NodeId>,
    /// The log file of a local file that has become a log.
    pub became: Option<Arc<LogFile>>,
    /// Nodes of stored objects and prefixes, which did not go with their directory.
    pub outdated: Vec<NodeId>,
}

impl Namespace {
    /// Makes a directory and counts the lookup.
    pub fn mkdir(&self, parent: NodeId, name: &[u8], by: Change) -> Result<Attr, FsError> {
        self.add(parent, name, by, None, Body::Directory(Directory::default()))
    }

    /// Makes a symbolic link and counts the lookup.
    pub fn symlink(&self, parent: NodeId, name: &[u8], target: &[u8], by: Change) -> Result<Attr, FsError> {
        self.add(parent, name, by, None, Body::Symlink(target.to_vec()))
    }

    /// Gives a file another name, and the stream of that if there is one; counts the lookup.
    pub fn link(
        &self,
        id: NodeId,
        parent: NodeId,
        name: &[u8],
        target: Option<Target>,
        stamp: Stamp,
    ) -> Result<(Attr, Option<Arc<LogFile>>), FsError> {
        let mut tree = self.tree.lock();
        check_free(&tree, parent, name)?;
        match tree.node(id)?.body {
            Body::Directory(_) | Body::Object(_) => return Err(FsError::NotPermitted),
            Body::Live(_) | Body::Local(_) | Body::Symlink(_) => {}
        }
        tree.check_name(parent, name, false)?;
        self.adopt(&mut tree, parent)?;
        let claim = tree.new_claim(parent, name, stamp.request);
        let node = tree.node_mut(id)?;
        node.claims.push(claim);
        node.change(stamp.now);
        let became = match self.store_rerouted(node, id, target, stamp.now) {
            Ok(became) => became,
            Err(e) => {
                node.claims.pop();
                return Err(e);
            }
        };
        tree.directory_mut(parent)?.live.insert(name.to_vec(), id);
        set_linked(tree.node(id)?, true);
        tree.weigh(id);
        touch(&mut tree, parent, stamp.now);
        Ok((tree.count_lookup(id)?, became))
    }

    /// Takes a file's or link's name away. The node stays while it is open, and a live file's bytes until S3 has them.
    pub fn unlink(&self, parent: NodeId, name: &[u8], now: Utc) -> Result<NodeId, FsError> {
        let mut tree = self.tree.lock();
        let id = live_entry(&tree, parent, name)?;
        if matches!(tree.node(id)?.body, Body::Directory(_)) {
            return Err(FsError::IsDirectory);
        }
        self.unname(&mut tree, id, parent, name, now)?;
        touch(&mut tree, parent, now);
        Ok(id)
    }

    /// Removes a directory without live entries. `hide` has what the bucket holds below it out of view from now on.
    pub fn rmdir(&self, parent: NodeId, name: &[u8], hide: bool, now: Utc) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let stored = tree.directory(parent)?.stored.get(name).copied();
        let hide = hide || stored.is_some();
        let id = stored.map_or_else(|| live_entry(&tree, parent, name), Ok)?;
        let dir = tree.directory(id)?;
        if !dir.live.is_empty() {
            return Err(FsError::NotEmpty);
        }
        if hide {
            // First, so that it never shows again.
            let below = dir.hidden.clone();
            self.adopt(&mut tree, parent)?;
            let above = tree.directory_mut(parent)?;
            above.hidden.leave(name, below);
            above.hidden.remove(name);
            self.record(&mut tree, parent)?;
        }
        tree.outdate_below(id);
        match stored {
            Some(_) => tree.outdate_stored(parent, name),
            None => self.unname(&mut tree, id, parent, name, now)?,
        }
        touch(&mut tree, parent, now);
        Ok(())
    }

    /// Renames a live entry, replacing what has the new name where `replace` says so, and gives it the stream of that
    /// if there is one.
    pub fn rename(
        &self,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
        replace: bool,
        target: Option<Target>,
        Stamp { now, request }: Stamp,
    ) -> Result<Renamed, FsError> {
        let mut tree = self.tree.lock();
        let id = live_entry(&tree, parent, name)?;
        check_name(new_parent, new_name)?;
        let replaced = tree.directory(new_parent)?.live.get(new_name).copied();
        if replaced == Some(id) {
            // Two names of one file: rename(2) does nothing then.
            return Ok(Renamed::default());
        }
        let is_directory = matches!(tree.node(id)?.body, Body::Directory(_));
        if is_directory && tree.is_inside(new_parent, id) {
            return Err(FsError::Invalid);
        }
        if let Some(other) = replaced {
            check_replaced(&tree.node(other)?.body, is_directory, replace)?;
        }
        self.adopt(&mut tree, new_parent)?;
        self.forget_former(&mut tree, new_parent, new_name)?;
        let claim = tree.new_claim(new_parent, new_name, request);
        let node = tree.node_mut(id)?;
        let before = node.claims.clone();
        node.claims.retain(|c| !(c.parent == parent && c.name == name));
        node.claims.push(claim);
        node.change(now);
        node.body.made();
        let became = match self.store_rerouted(node, id, target, now) {
            Ok(became) => became,
            Err(e) => {
                node.claims = before;
                return Err(e);
            }
        };
        // From here on the rename has happened: the new claim beats the replaced node's.
        crash_point("rename: the new claim is stored");
        tree.directory_mut(parent)?.live.remove(name);
        tree.directory_mut(new_parent)?.live.insert(new_name.to_vec(), id);
        tree.weigh(id);
        if let Some(other) = replaced {
            self.unclaim(&mut tree, other, new_parent, new_name, now)?;
        }
        touch(&mut tree, parent, now);
        touch(&mut tree, new_parent, now);
        let outdated = if is_directory {
            self.leave_stored(&mut tree, id, (parent, name), (new_parent, new_name))?
        } else {
            Vec::new()
        };
        Ok(Renamed { replaced, became, outdated })
    }

    /// Truncates a live file to nothing: a new generation begins where the spool file ends now. Gives whether there was
    /// anything to end.
    pub fn begin_generation(&self, id: NodeId, content: Content, stamp: Stamp) -> Result<bool, FsError> {
        let Stamp { now, request: made_by } = stamp;
        let mut tree = self.tree.lock();
        let birth = tree.next_number();
        let node = tree.node_mut(id)?;
        let Body::Live(log) = &node.body else { return Err(FsError::NotPermitted) };
        let log = log.clone();
        let len = log.end_between_writes()?;
        if made_by.is_some() && log.state().current().made_by == made_by {
            // The worker before got this far, and was not heard.
            return Ok(true);
        }
        let begin = Generation { at: len, since: now, birth, made_by, content, ..Generation::default() };
        let begun = log.state().begin_generation(begin);
        node.change(now);
        node.times.modified = now.into();
        if let Err(e) = self.store(node, id) {
            if begun {
                log.state().undo_generation();
            }
            return Err(e);
        }
        Ok(begun)
    }

    pub(super) fn add(
        &self,
        parent: NodeId,
        name: &[u8],
        by: Change,
        id: Option<NodeId>,
        body: Body,
    ) -> Result<Attr, FsError> {
        let mut tree = self.tree.lock();
        check_free(&tree, parent, name)?;
        tree.check_name(parent, name, true)?;
        self.adopt(&mut tree, parent)?;
        self.forget_former(&mut tree, parent, name)?;
        let id = id.map_or_else(|| tree.new_id(self.spool.session()), Ok)?;
        let now = by.stamp.now;
        let claim = tree.new_claim(parent, name, by.stamp.request);
        if let Body::Live(log) = &body {
            log.state().replace_birth(claim.number);
        }
        let (mode, gid) = inherited(tree.node(parent)?, &body, by);
        let times = Times { last_write: body.last_write(), ..Times::new(now) };
        let mut node = Node {
            body,
            claims: vec![claim],
            mode: mode & 0o7777,
            uid: by.uid,
            gid,
            times,
            attributes: BTreeMap::new(),
            lookups: 0,
            recorded: false,
            disk: OnDisk::default(),
            charge: Charge::default(),
        };
        self.store(&mut node, id)?;
        node.recorded = true;
        let mut entered = false;
        if let Body::Directory(dir) = &mut node.body
            && let Some(hidden) = tree.directory_mut(parent)?.hidden.enter(name)
        {
            (dir.hidden, entered) = (hidden, true);
            self.store(&mut node, id)?;
        }
        tree.kept += u64::from(node.has_files());
        tree.nodes.insert(id, node);
        tree.weigh(id);
        tree.directory_mut(parent)?.live.insert(name.to_vec(), id);
        tree.directory_mut(parent)?.stored.remove(name);
        if entered {
            self.record(&mut tree, parent)?;
        }
        touch(&mut tree, parent, now);
        tree.count_lookup(id)
    }

    /// Takes one name from a node and its directory.
    pub(super) fn unname(
        &self,
        tree: &mut Tree,
        id: NodeId,
        parent: NodeId,
        name: &[u8],
        now: Utc,
    ) -> Result<(), FsError> {
        self.unclaim(tree, id, parent, name, now)?;
        let dir = tree.directory_mut(parent)?;
        dir.live.remove(name);
        Ok(())
    }
}

/// Mode and group of a new node: a set-group-id directory gives its group, and the bit to directories
/// ([inode(7)](https://man7.org/linux/man-pages/man7/inode.7.html)).
fn inherited(parent: &Node, body: &Body, by: Change) -> (u32, u32) {
    match (parent.mode & SET_GROUP_ID, body) {
        (0, _) => (by.mode, by.gid),
        (bit, Body::Directory(_)) => (by.mode | bit, parent.gid),
        (_, _) => (by.mode, parent.gid),
    }
}

fn check_name(parent: NodeId, name: &[u8]) -> Result<(), FsError> {
    match name {
        // Our own records have that prefix in the bucket.
        _ if parent == NodeId::ROOT && name == PRIVATE_FOLDER.as_bytes() => Err(FsError::NotPermitted),
        _ if name.len() > NAME_MAX => Err(FsError::NameTooLong),
        _ => Ok(()),
    }
}

fn check_free(tree: &Tree, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
    check_name(parent, name)?;
    if tree.directory(parent)?.live.contains_key(name) { Err(FsError::Exists) } else { Ok(()) }
}

fn live_entry(tree: &Tree, parent: NodeId, name: &[u8]) -> Result<NodeId, FsError> {
    let dir = tree.directory(parent)?;
    match dir.live.get(name) {
        Some(id) => Ok(*id),
        None if dir.stored.contains_key(name) => Err(FsError::NotPermitted),
        None => Err(FsError::NotFound),
    }
}

/// A directory's times follow its entries; nothing is written for that, because nobody relies on them after a crash.
fn touch(tree: &mut Tree, id: NodeId, now: Utc) {
    if let Ok(node) = tree.node_mut(id) {
        (node.times.modified, node.times.changed) = (now.into(), now.into());
    }
}

/// Whether rename(2) may replace a node by a directory or by something else.
fn check_replaced(body: &Body, by_directory: bool, replace: bool) -> Result<(), FsError> {
    match (body, by_directory, replace) {
        (_, _, false) => Err(FsError::Exists),
        (Body::Directory(dir), true, _) if !dir.live.is_empty() => Err(FsError::NotEmpty),
        (Body::Directory(_), true, _) => Ok(()),
        (Body::Directory(_), false, _) => Err(FsError::IsDirectory),
        (_, true, _) => Err(FsError::NotDirectory),
        (_, false, _) => Ok(()),
    }
}
