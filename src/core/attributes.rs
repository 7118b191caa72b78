//! Operations on attributes: stat, chmod, chown, utimens, extended attributes, statfs.

use super::Fs;
use crate::local::life::Life;
use crate::local::namespace::{Attr, Open, SetAttr};
use crate::local::room::Capacity;
use crate::values::errors::FsError;
use crate::values::escape::escape_path;
use crate::values::ids::{NodeId, Origin};

/// What the mount tells about a file: `getfattr -n user.logsinkfs.unsent FILE`. Answered, but neither listed nor set:
/// programs that copy a file with its attributes (`cp --preserve=xattr`, `rsync -X`) would fail to set them elsewhere.
const OWN: &str = "user.logsinkfs.";

impl Fs {
    /// Attributes of a node.
    pub fn getattr(&self, id: NodeId) -> Result<Attr, FsError> {
        self.parts.namespace.attr(id)
    }

    /// Sets size first, then mode, owner and times.
    pub fn setattr(
        &self,
        id: NodeId,
        size: Option<u64>,
        set: SetAttr,
        origin: Origin,
    ) -> Result<Attr, FsError> {
        if let Some(size) = size {
            self.set_size(id, size, origin)?;
        }
        let SetAttr { mode, uid, gid, accessed, modified } = set;
        let nothing = mode.is_none() && uid.is_none() && gid.is_none();
        match nothing && accessed.is_none() && modified.is_none() {
            true => self.parts.namespace.attr(id),
            false => self.parts.namespace.set_attr(id, set, self.parts.clock.now()),
        }
    }

    /// An extended attribute.
    pub fn getxattr(&self, id: NodeId, name: &str) -> Result<Vec<u8>, FsError> {
        match (name.strip_prefix(OWN), self.parts.namespace.open(id)?) {
            (Some(own), Open::Live(life)) => own_attribute(&life, own),
            (Some("local"), Open::Local(_)) => Ok(self.why_local(id).into_bytes()),
            (Some(_), _) => Err(FsError::NoAttribute),
            // `ls -l` asks each file for its label and its ACL, until it is told that there is no such
            // thing here.
            (None, _) if !is_users(name) => Err(FsError::NotSupported),
            (None, _) => self.parts.namespace.attribute(id, name),
        }
    }

    /// Names of the extended attributes that were set.
    pub fn listxattr(&self, id: NodeId) -> Result<Vec<String>, FsError> {
        self.parts.namespace.attributes(id)
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
        self.parts.namespace.set_attribute(id, name, Some(value), (create, replace))
    }

    /// Removes an extended attribute.
    pub fn removexattr(&self, id: NodeId, name: &str, origin: Origin) -> Result<(), FsError> {
        if name.starts_with(OWN) {
            return Err(FsError::NotSupported);
        }
        match self.parts.namespace.set_attribute(id, name, None, (false, false)) {
            // One that comes again may have removed it already.
            Err(FsError::NoAttribute) if origin.resent => Ok(()),
            removed => removed,
        }
    }

    /// The spool's budget, since that is what a writer can fill.
    pub fn statfs(&self) -> Capacity {
        self.parts.room.capacity()
    }
}

/// Attributes of programs; those of the system (ACLs, labels, capabilities) are not kept.
fn is_users(name: &str) -> bool {
    name.starts_with("user.") || name.starts_with("trusted.")
}

fn own_attribute(life: &Life, name: &str) -> Result<Vec<u8>, FsError> {
    let len = life.len()?;
    let mut state = life.state();
    let unsent = state.unsent(len);
    let current = state.current();
    let text = match name {
        "stream" => Some(escape_path(&life.stream().path)),
        "generation" => {
            state.tail(len);
            current.number().map(|number| number.0.to_string())
        }
        "uploaded" => Some(len.since(current.at).saturating_sub(unsent).to_string()),
        "unsent" => Some(unsent.to_string()),
        "last_key" => state.last_key.clone(),
        "last_error" => state.last_error.clone(),
        _ => None,
    };
    text.map(String::into_bytes).ok_or(FsError::NoAttribute)
}
