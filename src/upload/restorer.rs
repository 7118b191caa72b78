//! Reads reclaimed bytes back: fetches the object of a segment and decompresses it into an anonymous file. A few such
//! files are cached; concurrent callers share one fetch.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::parts::Parts;
use super::seal::checksum;
use super::send::form_of;
use crate::format::naming::MarkerName;
use crate::log_file::{LogFile, SpoolFile};
use crate::read::decode::decode;
use crate::read::range_fetcher::in_turn;
use crate::spool::disk::unnamed_file;
use crate::spool::marker::Marker;
use crate::types::errors::{FsError, LocalError};
use crate::types::ids::{NodeId, SpoolOffset, SpoolRange};

/// Restored segments that are kept: one for each of a few readers that go through a log.
const KEPT: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
type Slot = Arc<OnceCell<Arc<File>>>;

/// Reads reclaimed segments back.
pub struct Restorer {
    parts: Arc<Parts>,
    kept: Mutex<LruCache<(NodeId, SpoolOffset), Slot>>,
}

impl Restorer {
    /// A restorer that keeps nothing yet.
    pub fn new(parts: Arc<Parts>) -> Restorer {
        Restorer { parts, kept: Mutex::new(LruCache::new(KEPT)) }
    }

    /// A file whose byte 0 is the segment's first byte.
    pub async fn restore(&self, log: &Arc<LogFile>, name: &MarkerName) -> Result<Arc<File>, FsError> {
        let key = (log.id, name.range.start);
        let slot = self.kept.lock().get_or_insert(key, Slot::default).clone();
        let file = slot.get_or_try_init(|| self.fetch(log, name)).await?;
        Ok(file.clone())
    }

    async fn fetch(&self, log: &Arc<LogFile>, name: &MarkerName) -> Result<Arc<File>, FsError> {
        let marker = Marker::load(log.names(), name)?;
        let length = name.range.len();
        let form = form_of(&marker);
        let (bucket, dir) = (&*self.parts.ports.bucket, self.parts.disk.spool.dir());
        let size = bucket.head(&marker.key).await?.size;
        if size > form.stored_at_most(length) {
            let why = format!("{} is longer than {length} bytes can be", marker.key);
            return Err(FsError::Damaged(why));
        }
        let chunks = in_turn(bucket, &marker.key, size, None);
        let decoded = decode(chunks, form, length, unnamed_file(dir)?).await?;
        let (file, _) = decoded.map_err(|e| match e.raw_os_error() {
            Some(_) => LocalError { action: "restore into", path: dir.to_owned(), source: e }.into(),
            // Decompressors are no system calls.
            None => FsError::Damaged(format!("{}: {e}", marker.key)),
        })?;
        let file = Arc::new(file);
        let checked = tokio::task::spawn_blocking(move || check(file, length, &marker));
        checked.await.map_err(|e| FsError::Unfinished(e.to_string()))?
    }
}

/// Gives the file if it has the bytes that were sealed.
fn check(file: Arc<File>, length: u64, marker: &Marker) -> Result<Arc<File>, FsError> {
    let whole = SpoolRange { start: SpoolOffset(0), end: SpoolOffset(length) };
    match checksum(&SpoolFile::from_start(file.clone()), whole) {
        Ok((crc64, _)) if format!("{crc64:016x}") == marker.crc64 => Ok(file),
        Ok(_) => Err(FsError::Damaged(format!("{} holds other bytes than were stored", marker.key))),
        Err(e) => Err(FsError::Damaged(format!("{}: {e}", marker.key))),
    }
}
