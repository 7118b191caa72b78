//! Reads reclaimed bytes back: fetches the object of a segment and decompresses it into an anonymous file. A few such
//! files are cached; concurrent callers share one fetch.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::parts::{Disk, Parts};
use super::seal::{checksum, for_each_chunk};
use crate::format::naming::{Form, MarkerName, SegmentName};
use crate::log_file::{LogFile, SpoolFile};
use crate::read::decode::Decoder;
use crate::spool::disk::unnamed_file;
use crate::spool::marker::Marker;
use crate::types::errors::{AtPath, FsError};
use crate::types::ids::{NodeId, SpoolOffset, SpoolRange};

/// Restored segments that are kept: one for each of a few readers that go through a log.
const KEPT: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
/// Bytes asked of S3 at once.
const PIECE: u64 = 8 << 20;

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
        let (parts, length) = (self.parts.clone(), name.range.len());
        let form = SegmentName::parse("", &marker.key).map_or(Form::Plain, |name| name.form);
        let failed = |e: crate::s3::bucket::BucketError| FsError::Bucket(e.to_string());
        let size = self.parts.ports.bucket.head(&marker.key).await.map_err(failed)?.size;
        if size > form.stored_at_most(length) {
            let why = format!("{} is longer than {length} bytes can be", marker.key);
            return Err(FsError::Bucket(why));
        }
        let body = unnamed_file(self.parts.disk.spool.dir())?;
        let mut at = 0;
        while at < size {
            let range = at..size.min(at + PIECE);
            let piece = self.parts.ports.bucket.get_range(&marker.key, range, None).await.map_err(failed)?;
            if piece.is_empty() {
                return Err(FsError::Bucket(format!("{} is shorter than it was", marker.key)));
            }
            body.write_all_at(&piece, at).at("write", self.parts.disk.spool.dir())?;
            at += piece.len() as u64;
        }
        let decompress = move || decompress(&parts.disk, body, form, size, length, &marker);
        let restored = tokio::task::spawn_blocking(decompress).await.map_err(|e| FsError::Bucket(e.to_string()))??;
        Ok(restored)
    }
}

fn decompress(
    disk: &Disk,
    body: File,
    form: Form,
    size: u64,
    length: u64,
    marker: &Marker,
) -> Result<Arc<File>, FsError> {
    let body = Arc::new(body);
    let whole = |len| SpoolRange { start: SpoolOffset(0), end: SpoolOffset(len) };
    let plain = match form {
        Form::Plain | Form::Dropped => Ok(body),
        Form::Gzip | Form::Zstd => {
            let sink = unnamed_file(disk.spool.dir())?;
            Decoder::new(form, sink, length).and_then(|mut decoder| {
                let body = SpoolFile::from_start(body);
                for_each_chunk(&body, whole(size), |chunk| decoder.feed(chunk))?;
                decoder.finish().map(Arc::new)
            })
        }
    };
    let plain = plain.at("decompress", disk.spool.dir())?;
    match checksum(&SpoolFile::from_start(plain.clone()), whole(length)) {
        Ok((crc64, _)) if format!("{crc64:016x}") == marker.crc64 => Ok(plain),
        Ok(_) => Err(FsError::Bucket(format!("{} holds other bytes than were stored", marker.key))),
        Err(e) => Err(FsError::Bucket(format!("{}: {e}", marker.key))),
    }
}
