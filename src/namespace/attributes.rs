//! Attributes set by chmod, chown, utimens and setfattr, stored in the record of the node.

use std::sync::atomic::Ordering;

use super::Namespace;
use super::tree::{Attr, Body, Node, SET_GROUP_ID};
use crate::spool::record::LastWrite;
use crate::types::errors::FsError;
use crate::types::escape::{escape_path, unescape};
use crate::types::ids::NodeId;
use crate::types::time::{FileTime, Utc};

/// Most bytes of extended attributes that one node keeps.
const ATTRIBUTES_MAX: usize = 64 * 1024;

/// The mode bit S_ISUID.
const SET_USER_ID: u32 = 0o4000;
/// Both.
const SET_ID: u32 = SET_USER_ID | SET_GROUP_ID;
/// The mode bit S_IXGRP.
const GROUP_EXECUTES: u32 = 0o0010;

/// What chmod, chown and utimens ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub accessed: Option<FileTime>,
    /// Last change of content.
    pub modified: Option<FileTime>,
    /// Whether the caller is not root, so that its truncation takes set-id bits away. (The kernel says so by
    /// FATTR_KILL_SUIDGID, which fuser does not pass on.)
    pub unprivileged: bool,
}

impl SetAttr {
    /// Whether nothing is to be set. The kernel sends such a request before a user without CAP_FSETID appends to a file
    /// with set-id bits through the backing file, and for a chown(2) that changes nothing: both take the bits away
    /// (`fuse_setattr` in
    /// [fs/fuse/dir.c](https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/fs/fuse/dir.c)).
    pub fn is_empty(&self) -> bool {
        let SetAttr { mode, uid, gid, accessed, modified, unprivileged: _ } = self;
        let nobody = mode.is_none() && uid.is_none() && gid.is_none();
        nobody && accessed.is_none() && modified.is_none()
    }
}

/// Mode of a file after a change that takes set-id bits away. Without execution by the group its bit says something
/// else and stays ([chown(2)](https://man7.org/linux/man-pages/man2/chown.2.html)).
fn without_set_id(mode: u32) -> u32 {
    match mode & GROUP_EXECUTES {
        0 => mode & !SET_USER_ID,
        _ => mode & !SET_ID,
    }
}

impl Body {
    /// Tells the file its mode, so that a write need not look for it here.
    pub fn note_mode(&self, mode: u32) {
        match self {
            Body::Live(log) => log.set_id.store(mode & SET_ID != 0, Ordering::Relaxed),
            Body::Local(file) => file.set_id.store(mode & SET_ID != 0, Ordering::Relaxed),
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => {}
        }
    }

    /// The last write to a file.
    pub fn last_write(&self) -> Option<LastWrite> {
        match self {
            Body::Live(log) => {
                let (end, metadata) = log.metadata().ok()?;
                Some(log.last_write(end, &metadata))
            }
            Body::Local(file) => Some(LastWrite::of(&file.metadata().ok()?)),
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => None,
        }
    }

    /// Somebody made the directory, or set what its owner sets: it is kept for that.
    pub fn made(&mut self) {
        if let Body::Directory(dir) = self {
            dir.listed = false;
        }
    }
}

impl Node {
    /// Dates a change of the record: what was written before is told apart from what is written afterwards.
    pub fn change(&mut self, now: Utc) {
        if let Some(last) = self.body.last_write() {
            self.times = self.times.after(last);
        }
        self.times.changed = now.into();
    }
}

impl Namespace {
    /// Sets mode, owner and times.
    pub fn set_attr(&self, id: NodeId, set: SetAttr, now: Utc) -> Result<Attr, FsError> {
        let mut tree = self.tree.lock();
        match tree.node(id)? {
            node if matches!(node.body, Body::Object(_)) => return Err(FsError::NotPermitted),
            node if node.is_removed() => return Err(FsError::Stale),
            _ => {}
        }
        self.adopt(&mut tree, id)?;
        let node = tree.node_mut(id)?;
        if let (Body::Local(file), Some(modified)) = (&node.body, set.modified) {
            // A write may leave the length as it is: it shows by the time alone, which is another one then.
            file.set_modified(modified)?;
        }
        node.mode = set.mode.map_or(node.mode, |mode| mode & 0o7777);
        node.body.made();
        let chown = set.uid.is_some() || set.gid.is_some();
        if (chown || set.is_empty()) && !matches!(node.body, Body::Directory(_)) {
            node.mode = without_set_id(node.mode);
        }
        node.uid = set.uid.unwrap_or(node.uid);
        node.gid = set.gid.unwrap_or(node.gid);
        node.change(now);
        node.times.accessed = set.accessed.unwrap_or(node.times.accessed);
        node.times.modified = set.modified.unwrap_or(node.times.modified);
        self.record(&mut tree, id)?;
        tree.attr(id)
    }

    /// Takes a file's set-id bits away, if it has any: it is changed by a user without CAP_FSETID.
    pub fn clear_set_id(&self, id: NodeId, now: Utc) -> Result<(), FsError> {
        let mode = self.tree.lock().node(id)?.mode;
        if without_set_id(mode) == mode { Ok(()) } else { self.set_attr(id, SetAttr::default(), now).map(drop) }
    }

    /// An application's extended attribute.
    pub fn attribute(&self, id: NodeId, name: &str) -> Result<Vec<u8>, FsError> {
        let tree = self.tree.lock();
        let value = tree.node(id)?.attributes.get(name).ok_or(FsError::NoAttribute)?;
        Ok(unescape(value))
    }

    /// Names of an application's extended attributes.
    pub fn attributes(&self, id: NodeId) -> Result<Vec<String>, FsError> {
        Ok(self.tree.lock().node(id)?.attributes.keys().cloned().collect())
    }

    /// Sets (`Some`) or removes (`None`) an application's extended attribute.
    pub fn set_attribute(
        &self,
        id: NodeId,
        name: &str,
        value: Option<&[u8]>,
        (create, replace): (bool, bool),
        now: Utc,
    ) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        if matches!(tree.node(id)?.body, Body::Object(_)) {
            return Err(FsError::NotPermitted);
        }
        self.adopt(&mut tree, id)?;
        let node = tree.node_mut(id)?;
        node.body.made();
        let there = node.attributes.contains_key(name);
        match value {
            Some(_) if create && there => return Err(FsError::Exists),
            Some(_) if replace && !there => return Err(FsError::NoAttribute),
            None if !there => return Err(FsError::NoAttribute),
            Some(value) => {
                let used: usize = node.attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
                if used + name.len() + value.len() > ATTRIBUTES_MAX {
                    return Err(FsError::AttributeTooLarge);
                }
                tree.check_attribute(id, name.len() + value.len())?;
                let node = tree.node_mut(id)?;
                node.attributes.insert(name.to_owned(), escape_path(value));
            }
            None => {
                node.attributes.remove(name);
            }
        }
        tree.node_mut(id)?.change(now);
        self.record(&mut tree, id)
    }
}
