//! Creation of files, also from spare spool files; `fs::spares` decides how many are kept.

use std::fs;
use std::sync::Arc;

use super::Namespace;
use super::change::Change;
use super::tree::{Attr, Body};
use crate::log_file::local_file::LocalFile;
use crate::log_file::{Files, LogFile, SpoolFile, Target};
use crate::spool::crash_point::crash_point;
use crate::spool::record::{Content, Generation};
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::{NodeId, SpoolOffset};

/// What a new file is.
#[derive(Clone, Debug)]
pub enum NewFile {
    /// A live file, the stream that it adds to, what it is, and its spool file where that is there already.
    Live(Target, Content, Option<Spare>),
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
        // The disk may make whoever uses it wait, so it comes before the lock.
        let (spare, made) = match &file {
            NewFile::Live(.., Some(spare)) => (spare.clone(), false),
            NewFile::Live(.., None) | NewFile::Local => (self.make_spare()?, true),
        };
        let files = self.spool.node_files(spare.id);
        let created = match file {
            NewFile::Local => Ok(Body::Local(Arc::new(LocalFile::new(&files)))),
            NewFile::Live(Target { stream, labels }, content, _) => {
                let first = Generation { since: by.stamp.now, content, ..Generation::default() };
                let log = LogFile::new(files, stream, labels, &[first], Vec::new());
                log.files.adopt(&spare.file).map(|()| Body::Live(Arc::new(log))).map_err(FsError::from)
            }
        };
        // A spool file without a record is nobody's: the node was not born.
        crash_point("create: the spool file is made");
        let added = created.and_then(|body| self.add(parent, name, by, Some(spare.id), body));
        if made && added.is_err() {
            // If it stays, the next start removes it.
            let _ = self.remove_spare(&spare);
        }
        added
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
