//! Spool files that are there before a log needs them. Owns how they come and go; how many there are is decided by others.

use std::fs;

use super::Namespace;
use crate::local::life::{Files, SpoolFile};
use crate::values::errors::{AtPath, FsError, LocalError};
use crate::values::ids::{NodeId, SpoolOffset};

/// The empty spool file of a node that is not born yet. The next start removes it when it never is.
#[derive(Clone, Debug)]
pub struct Spare {
    /// The node's number.
    pub id: NodeId,
    pub(super) file: SpoolFile,
}

impl Namespace {
    /// Makes one.
    pub fn make_spare(&self) -> Result<Spare, FsError> {
        let id = self.tree.lock().new_id(self.spool.session())?;
        let file = Files::new(self.spool.node_files(id), Vec::new()).make()?;
        Ok(Spare { id, file })
    }

    /// Removes one that no log has taken.
    pub fn remove_spare(&self, spare: &Spare) -> Result<(), LocalError> {
        let path = self.spool.node_files(spare.id).data(SpoolOffset(0));
        fs::remove_file(&path).at("remove", &path)
    }
}
