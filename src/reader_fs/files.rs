//! Open files of a reader mount: the handle table, and reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::handles::Handle;
use super::names::Target;
use super::{Answer, ReaderFs};
use crate::fs::Mode;
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId};

impl ReaderFs {
    /// Opens a file. Every read of a stream comes here, since it grows: the kernel would go on showing the old end from
    /// its memory. An object or version stays as it is.
    pub fn open(self: &Arc<Self>, id: NodeId, write: bool) -> Answer<(HandleId, Mode)> {
        if write {
            return Answer::Now(Err(FsError::ReadOnly));
        }
        match self.target(id) {
            Err(e) => Answer::Now(Err(e)),
            Ok(Target::Directory(_)) => Answer::Now(Err(FsError::IsDirectory)),
            Ok(Target::Object(object)) => {
                let handle = self.add_handle(Handle::Object(self.objects.open(object)));
                Answer::Now(Ok((handle, Mode::Cached)))
            }
            // It was not known what it shows.
            Ok(Target::Files(..)) => Answer::Now(Err(FsError::Stale)),
            Ok(Target::Version(version)) => {
                let file = Box::new(self.streams.version(version));
                let handle = self.add_handle(Handle::Version { file, reader: Default::default() });
                Answer::Now(Ok((handle, Mode::Cached)))
            }
            Ok(Target::Stream(key)) => {
                let fs = self.clone();
                Answer::later(async move {
                    let open = fs.streams.open(&key).await?;
                    let handle = Handle::Stream { open, reader: Default::default() };
                    Ok((fs.add_handle(handle), Mode::Direct))
                })
            }
        }
    }

    /// Reads bytes; fewer than asked only at the end. Whoever reads at the end of a stream is told of what has come
    /// since.
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, size: u32) -> Answer<Bytes> {
        let handle = match self.handle(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let kept = match &*handle {
            Handle::Stream { open, reader } => open.file.read_kept(reader, offset, size),
            Handle::Version { file, reader } => file.read_kept(reader, offset, size),
            Handle::Object(_) | Handle::Dir { .. } => None,
        };
        if let Some(read) = kept {
            return Answer::Now(read);
        }
        let fs = self.clone();
        Answer::later(async move {
            match &*handle {
                Handle::Stream { open, reader } => {
                    if offset >= open.file.len() {
                        fs.streams.refresh(open).await?;
                    }
                    open.file.read(reader, offset, size).await
                }
                Handle::Version { file, reader } => file.read(reader, offset, size).await,
                Handle::Object(reader) => reader.read(offset, size).await,
                Handle::Dir { .. } => Err(FsError::IsDirectory),
            }
        })
    }

    /// Closes a file or directory.
    pub fn release(&self, handle: HandleId) {
        self.handles.write().remove(&handle);
    }

    pub(super) fn add_handle(&self, handle: Handle) -> HandleId {
        let id = HandleId(self.last_handle.fetch_add(1, Ordering::Relaxed) + 1);
        self.handles.write().insert(id, Arc::new(handle));
        id
    }

    pub(super) fn handle(&self, id: HandleId) -> Result<Arc<Handle>, FsError> {
        self.handles.read().get(&id).cloned().ok_or(FsError::BadHandle)
    }
}
