//! Creation of files, also from spare spool files; `fs::spares` decides how many are kept.

use std::fs;
use std::sync::Arc;

use super::Namespace;
use super::change::Change;
use super::tree::{Attr, Body};
use crate::log_file::local_file::LocalFile;
use crate::log_file::{Files, LogFile, SpoolFile, Target};
use crate::spool::record::Generation;
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::{NodeId, SpoolOffset};

/// What a new file is.
#[derive(Clone, Debug)]
pub enum NewFile {
    /// A live file, the stream that it adds to, and its spool file where that is there already.
    Live(Target, Option<Spare>),
    /// A local-only file.
    Local,
}

/// The empty spool file of a node that is not born yet. The next start removes it when it never is.
#[derive(Clone, Debug)]
pub struct Spare {
    /// The node's number.
    pub id: NodeId,
    pub(super) file: SpoolFile,
}

impl Namespace {
    /// Makes a file, which must not be there, and counts the lookup.
    pub fn create(&self, parent: NodeId, name: &[u8], file: NewFile, by: Change) -> Result<Attr, FsError> {
        let spare = match &file {
            NewFile::Live(_, spare) => spare.clone(),
            NewFile::Local => None,
        };
        self.add(parent, name, by, spare.as_ref().map(|spare| spare.id), |files, birth| {
            let body = match file {
                NewFile::Local => {
                    let local = LocalFile::new(&files);
                    local.file()?;
                    Body::Local(Arc::new(local))
                }
                NewFile::Live(Target { stream, labels }, _) => {
                    let first = Generation { since: by.stamp.now, birth, ..Generation::default() };
                    let log = LogFile::new(files, stream, labels, &[first], Vec::new());
                    match &spare {
                        Some(spare) => log.files.adopt(&spare.file)?,
                        None => drop(log.files.make()?),
                    }
                    Body::Live(Arc::new(log))
                }
            };
            Ok(body)
        })
    }

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
