//! A stored object or log that is open.
//!
//! Invariant: bytes that were read keep their offset. Which offsets the bytes of a log had, the worker before knew; the
//! next one does not, and answers ESTALE.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::read::objects::ObjectReader;
use crate::read::stream_file::Reader;
use crate::read::streams::{OpenStream, StreamKey, Streams};
use crate::types::errors::FsError;

/// A stored file that is open.
pub(super) enum StoredFile {
    Object(ObjectReader),
    Log(Box<JoinedLog>),
    /// A log that the worker before had open.
    Lost,
}

/// A log that is open.
pub(super) struct JoinedLog {
    streams: Arc<Streams>,
    key: StreamKey,
    /// What is read, from the first read on.
    open: OnceCell<OpenStream>,
    reader: Mutex<Reader>,
}

impl JoinedLog {
    /// A log to be read; looked for by the first read where too little is known of it.
    pub fn new(streams: Arc<Streams>, key: StreamKey) -> JoinedLog {
        let open = OnceCell::new_with(streams.open_known(&key));
        JoinedLog { streams, key, open, reader: Mutex::default() }
    }
}

impl StoredFile {
    /// Bytes that are at hand, without waiting; `None` when [`StoredFile::read`] has to be asked.
    pub fn read_kept(&self, offset: u64, size: u32) -> Option<Result<Bytes, FsError>> {
        match self {
            StoredFile::Object(object) => object.read_kept(offset, size),
            StoredFile::Log(log) => log.open.get()?.file.read_kept(&log.reader, offset, size),
            StoredFile::Lost => Some(Err(FsError::Stale)),
        }
    }

    /// Bytes; fewer than asked only at the end. Whoever reads at the end of a log is told of what has come since.
    pub async fn read(&self, offset: u64, size: u32) -> Result<Bytes, FsError> {
        let log = match self {
            StoredFile::Object(object) => return object.read(offset, size).await,
            StoredFile::Log(log) => log,
            StoredFile::Lost => return Err(FsError::Stale),
        };
        let open = log.open.get_or_try_init(|| log.streams.open(&log.key)).await?;
        if offset >= open.file.len() {
            log.streams.refresh(open).await?;
        }
        open.file.read(&log.reader, offset, size).await
    }
}
