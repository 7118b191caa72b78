//! What the kernel has open: a table of handles.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::local::life::Life;
use crate::local::local_file::LocalFile;
use crate::local::namespace::{FileKind, StoredObject};
use crate::values::errors::FsError;
use crate::values::ids::{HandleId, NodeId};

/// What an open(2) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// O_WRONLY or O_RDWR.
    pub write: bool,
    /// O_SYNC or O_DSYNC: each write is durable when it returns.
    pub sync: bool,
    /// O_EXCL with O_CREAT.
    pub exclusive: bool,
}

/// How the kernel is to treat an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every read and write comes here.
    Direct,
    /// Through the page cache, as any local file.
    Cached,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its node, where it has one already.
    pub id: Option<NodeId>,
    /// What it is.
    pub kind: FileKind,
}

/// Something open.
pub(super) enum Handle {
    Live { life: Arc<Life>, file: Arc<File>, access: Access },
    Local { id: NodeId, local: Arc<LocalFile>, file: Arc<File> },
    Stored { object: StoredObject, ahead: tokio::sync::Mutex<Ahead> },
    Dir { id: NodeId, entries: Mutex<Arc<Vec<DirEntry>>> },
}

/// Bytes of an object that were read ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub at: u64,
    pub bytes: Bytes,
}

#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    pub fn add(&self, handle: Handle) -> HandleId {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(id, Arc::new(handle));
        HandleId(id)
    }

    pub fn get(&self, id: HandleId) -> Result<Arc<Handle>, FsError> {
        self.open.read().get(&id.0).cloned().ok_or(FsError::BadHandle)
    }

    pub fn remove(&self, id: HandleId) -> Option<Arc<Handle>> {
        self.open.write().remove(&id.0)
    }
}
