//! Attribute operations of a writer mount: stat, chmod, chown, utimens, extended attributes, statfs.

use std::sync::atomic::Ordering;

use super::Fs;
use super::handles::Handle;
use crate::format::naming::Phase;
use crate::log_file::LogFile;
use crate::namespace::local::WhyLocal;
use crate::namespace::{Attr, Open, SetAttr};
use crate::spool::disk_budget::{Capacity, Inodes};
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::{HandleId, NodeId, Origin};

/// What the mount tells about a file: `getfattr -n user.logsinkfs.unsent FILE`. Answered, but neither listed nor set:
/// programs that copy a file with its attributes (`cp --preserve=xattr`, `rsync -X`) would fail to set them elsewhere.
const OWN: &str = "user.logsinkfs.";

impl Fs {
    /// Attributes of a node.
    pub fn getattr(&self, id: NodeId) -> Result<Attr, FsError> {
        let attr = self.parts.disk.namespace.attr(id)?;
        Ok(if attr.joined { self.grown(attr) } else { attr })
    }

    /// Sets size first, then mode, owner and times.
    pub fn setattr(&self, id: NodeId, size: Option<u64>, set: SetAttr, origin: Origin) -> Result<Attr, FsError> {
        let now = self.parts.ports.clock.now();
        if let Some(size) = size {
            self.set_size(id, size, origin)?;
            if set.unprivileged {
                self.clear_set_id_at_truncation(id)?;
            }
        }
        if size.is_some() && set.is_empty() {
            self.parts.disk.namespace.attr(id)
        } else {
            let set = self.parts.disk.namespace.set_attr(id, set, now);
            self.parts.tidy();
            set
        }
    }

    /// Somebody who is not root truncates a file: takes its set-id bits away.
    pub fn clear_set_id_at_truncation(&self, id: NodeId) -> Result<(), FsError> {
        self.parts.disk.namespace.clear_set_id(id, self.parts.ports.clock.now())
    }

    /// A user without CAP_FSETID is about to write: takes the file's set-id bits away.
    pub fn clear_set_id(&self, handle: HandleId) -> Result<(), FsError> {
        let handle = self.handles.get(handle)?;
        let (id, set_id) = match &handle.what {
            Handle::Live { log, .. } => (log.id, &log.set_id),
            Handle::Local { id, local, .. } => (*id, &local.set_id),
            Handle::Stored(_) | Handle::Dir { .. } => return Ok(()),
        };
        if set_id.load(Ordering::Relaxed) {
            self.parts.disk.namespace.clear_set_id(id, self.parts.ports.clock.now())
        } else {
            Ok(())
        }
    }

    /// An extended attribute.
    pub fn getxattr(&self, id: NodeId, name: &str) -> Result<Vec<u8>, FsError> {
        match (name.strip_prefix(OWN), self.parts.disk.namespace.open(id)?) {
            (Some(own), Open::Live(log)) => own_attribute(&log, own),
            (Some("local"), Open::Local(_)) => Ok(self.why_local(id).into_bytes()),
            (Some("kind"), Open::Local(_)) => Ok(b"excluded".to_vec()),
            (Some(_), _) => Err(FsError::NoAttribute),
            // `ls -l` asks each file for its label and its ACL, until it is told that there is no such thing here.
            (None, _) if !is_users(name) => Err(FsError::NotSupported),
            (None, _) => self.parts.disk.namespace.attribute(id, name),
        }
    }

    /// Names of the extended attributes that were set.
    pub fn listxattr(&self, id: NodeId) -> Result<Vec<String>, FsError> {
        self.parts.disk.namespace.attributes(id)
    }

    /// Sets an extended attribute, as `create` and `replace` (XATTR_CREATE, XATTR_REPLACE) allow.
    pub fn setxattr(
        &self,
        id: NodeId,
        name: &str,
        value: &[u8],
        (create, replace): (bool, bool),
        origin: Origin,
    ) -> Result<(), FsError> {
        if !is_users(name) || name.starts_with(OWN) {
            return Err(FsError::NotSupported);
        }
        // One that comes again may have set it already.
        let create = create && !origin.resent;
        let (now, how) = (self.parts.ports.clock.now(), (create, replace));
        let set = self.parts.disk.namespace.set_attribute(id, name, Some(value), how, now);
        self.parts.tidy();
        set
    }

    /// Removes an extended attribute.
    pub fn removexattr(&self, id: NodeId, name: &str, origin: Origin) -> Result<(), FsError> {
        if name.starts_with(OWN) {
            return Err(FsError::NotSupported);
        }
        let now = self.parts.ports.clock.now();
        let removed = self.parts.disk.namespace.set_attribute(id, name, None, (false, false), now);
        self.parts.tidy();
        match removed {
            // One that comes again may have removed it already.
            Err(FsError::NoAttribute) if origin.resent => Ok(()),
            removed => removed,
        }
    }

    /// The spool's budget, since that is what a writer can fill.
    pub fn statfs(&self) -> Capacity {
        self.parts.disk.budget.capacity()
    }

    /// What there is for new files and directories.
    pub fn inodes(&self) -> Inodes {
        self.parts.disk.budget.inodes(self.parts.disk.namespace.kept())
    }
}

/// Attributes of programs; those of the system (ACLs, labels, capabilities) are not kept.
fn is_users(name: &str) -> bool {
    name.starts_with("user.") || name.starts_with("trusted.")
}

fn own_attribute(log: &LogFile, name: &str) -> Result<Vec<u8>, FsError> {
    let len = log.len()?;
    let mut state = log.state();
    let unsent = state.unsent(len);
    let current = state.current();
    let text = match name {
        "stream" => Some(escape_path(&log.stream().path)),
        "generation" => {
            state.tail(len);
            current.number().map(|number| number.0.to_string())
        }
        "uploaded" => {
            let lost = state.segments.bytes_in(|phase| phase == Phase::Quarantined || phase.is_dropped());
            Some(len.since(current.at).saturating_sub(unsent + lost).to_string())
        }
        "kind" => Some(current.content.word().to_owned()),
        "local" => WhyLocal::of(current.content).map(|why| why.sentence().to_owned()),
        "quarantined" => Some(state.segments.bytes_in(|phase| phase == Phase::Quarantined).to_string()),
        "dropped" => Some(state.segments.bytes_in(Phase::is_dropped).to_string()),
        "unsent" => Some(unsent.to_string()),
        "last_key" => state.last_key().map(str::to_owned),
        "last_error" => state.last_error().map(str::to_owned),
        _ => None,
    };
    text.map(String::into_bytes).ok_or(FsError::NoAttribute)
}
