//! From a location to the bucket and to the stream in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::edges::cli::{LocationArgs, SpanArgs};
use crate::edges::reach::{self, Embedded};
use crate::edges::read::ReadError;
use crate::tasks::gather::Wanted;
use crate::tasks::streamed::{SETTLING, Source as Shared, StreamFile};
use crate::tasks::unpack::Unpacker;
use crate::values::naming::segments_folder;
use crate::values::settings::Source;
use crate::values::span::{Moment, TimePrefix};
use crate::world::bucket::Bucket;
use crate::world::clock::{Clock, SystemClock};

/// Bytes of unpacked segments on the disk at once: sixteen of the usual size.
const UNPACKED_MAX: u64 = 1 << 30;
/// The folder by which the directory of an embedded bucket is known.
const EMBEDDED_FOLDER: &str = ".embedded-bucket";

/// A bucket, and what in it is meant.
pub(super) struct Location {
    pub bucket: Arc<dyn Bucket>,
    /// The path in the bucket, without a slash at either end.
    pub path: String,
    pub clock: Arc<dyn Clock>,
    _served: Embedded,
}

impl Location {
    /// Prepares the bucket; asks nobody anything yet.
    pub async fn open(args: LocationArgs) -> Result<Location, ReadError> {
        let (source, path) = split(args.location);
        let reached = reach::to_read(&source, &args.s3.settings()).await;
        let (bucket, served) = reached.map_err(ReadError::Embedded)?;
        let clock = Arc::new(SystemClock::new());
        Ok(Location { bucket: Arc::new(bucket), path, clock, _served: served })
    }

    /// What readers of its streams share.
    fn shared(&self, settling: Duration) -> Shared {
        let runtime = tokio::runtime::Handle::current();
        let unpacker =
            Unpacker::new(self.bucket.clone(), std::env::temp_dir(), UNPACKED_MAX, runtime);
        let (bucket, clock) = (self.bucket.clone(), self.clock.clone());
        Shared { bucket, clock, unpacker: Arc::new(unpacker), strict: false, settling }
    }

    /// The stream that the path names, or a slice of one (`STREAM@2026-11-23T08`), and of what time.
    pub async fn wanted(&self, span: &SpanArgs, since: Moment) -> Result<Wanted, ReadError> {
        if let Some(folder) = self.folder(&self.path).await? {
            return Ok(self.span(folder, span, since));
        }
        // A real name wins over `@`.
        let slice = self.path.rsplit_once('@');
        let slice = slice.and_then(|(stream, time)| Some((stream, TimePrefix::parse(time)?)));
        if let Some((stream, slice)) = slice
            && let Some(folder) = self.folder(stream).await?
        {
            return Ok(Wanted { folder, span: slice.range(), writer: span.writer.clone() });
        }
        Err(ReadError::NoStream(self.path.clone()))
    }

    /// A stream's folder, of the time that was asked for.
    pub fn span(&self, folder: String, span: &SpanArgs, since: Moment) -> Wanted {
        let now = self.clock.now();
        let start = span.since.unwrap_or(since).start(now);
        let end = span.until.unwrap_or(Moment::All).end(now);
        Wanted { folder, span: start..end, writer: span.writer.clone() }
    }

    /// The folder of a stream's segments, when there is one. Its path is escaped there, but for a prefix that
    /// was mounted, which is as it is.
    async fn folder(&self, path: &str) -> Result<Option<String>, ReadError> {
        let escaped = segments_folder("", path.as_bytes());
        let raw = segments_folder(path, b"");
        let one = escaped == raw;
        for folder in [escaped, raw].into_iter().take(if one { 1 } else { 2 }) {
            let page = self.bucket.list_page(&folder, None).await?;
            if !page.objects.is_empty() || !page.prefixes.is_empty() {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// The stream as one file, for who looks once: all that is there.
    pub async fn stream(&self, wanted: Wanted) -> Result<StreamFile, ReadError> {
        Ok(StreamFile::open(self.shared(Duration::ZERO), wanted).await?)
    }

    /// The stream as one file, for who reads on.
    pub async fn growing(&self, wanted: Wanted) -> Result<StreamFile, ReadError> {
        Ok(StreamFile::open(self.shared(SETTLING), wanted).await?)
    }
}

/// The bucket of a location, and the path in it. What is mounted is not said: a bucket has one root.
fn split(location: Source) -> (Source, String) {
    match location {
        Source::S3 { bucket, prefix } => {
            let path = prefix.trim_end_matches('/').to_owned();
            (Source::S3 { bucket, prefix: String::new() }, path)
        }
        Source::Embedded { dir } => {
            let root = dir.ancestors().find(|dir| dir.join(EMBEDDED_FOLDER).is_dir());
            let root = root.map_or_else(|| dir.clone(), PathBuf::from);
            let path = dir.strip_prefix(&root).unwrap_or("".as_ref());
            let path = path.to_string_lossy().into_owned();
            (Source::Embedded { dir: root }, path)
        }
    }
}
