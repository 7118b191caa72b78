//! A stored object, log or whole file that is open.
//!
//! Invariant: bytes that were read keep their offset. Which offsets the bytes of a log had, and which version of a
//! whole file was open, the worker before knew; the next one does not, and answers ESTALE.

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
    Joined(Box<JoinedFile>),
    /// A log or whole file that the worker before had open.
    Lost,
}

/// A log or whole file that is open.
pub(super) struct JoinedFile {
    streams: Arc<Streams>,
    key: StreamKey,
    /// Which version of a whole file it is; empty where that is not known.
    version: String,
    /// What is read, from the first read on.
    open: OnceCell<OpenStream>,
    reader: Mutex<Reader>,
}

impl JoinedFile {
    /// A log or whole file to be read; looked for by the first read where too little is known of it. Stale where
    /// another version is the newest by now.
    pub fn open(streams: Arc<Streams>, key: StreamKey, version: String) -> Result<JoinedFile, FsError> {
        let known = streams.open_known(&key);
        let file = JoinedFile { streams, key, version, open: OnceCell::new(), reader: Mutex::default() };
        let open = OnceCell::new_with(known.map(|open| file.checked(open)).transpose()?);
        Ok(JoinedFile { open, ..file })
    }

    /// What is to be read, if it is that.
    fn checked(&self, open: OpenStream) -> Result<OpenStream, FsError> {
        let newest = open.file.versions().and_then(|versions| versions.newest.as_ref());
        let is_same = |key: &str| self.version.is_empty() || self.version == key;
        if self.key.is_whole() && !newest.is_some_and(|newest| is_same(&newest.object.key)) {
            return Err(FsError::Stale);
        }
        Ok(open)
    }

    async fn find(&self) -> Result<OpenStream, FsError> {
        self.checked(self.streams.open(&self.key).await?)
    }
}

impl StoredFile {
    /// Bytes that are at hand, without waiting; `None` when [`StoredFile::read`] has to be asked.
    pub fn read_kept(&self, offset: u64, size: u32) -> Option<Result<Bytes, FsError>> {
        match self {
            StoredFile::Object(object) => object.read_kept(offset, size),
            StoredFile::Joined(file) => file.open.get()?.file.read_kept(&file.reader, offset, size),
            StoredFile::Lost => Some(Err(FsError::Stale)),
        }
    }

    /// Bytes; fewer than asked only at the end. Whoever reads at the end of a log is told of what has come since.
    pub async fn read(&self, offset: u64, size: u32) -> Result<Bytes, FsError> {
        let joined = match self {
            StoredFile::Object(object) => return object.read(offset, size).await,
            StoredFile::Joined(joined) => joined,
            StoredFile::Lost => return Err(FsError::Stale),
        };
        let open = joined.open.get_or_try_init(|| joined.find()).await?;
        if offset >= open.file.len() && !joined.key.is_whole() {
            joined.streams.refresh(open).await?;
        }
        open.file.read(&joined.reader, offset, size).await
    }
}
