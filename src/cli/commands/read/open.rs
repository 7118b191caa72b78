//! Resolves a location to its bucket and stream.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ReadError, shown};
use crate::cli::flags::{LocationArgs, SpanArgs};
use crate::format::naming::segments_folder;
use crate::format::whole_name::files_folder;
use crate::read::discover::DiscoveryScope;
use crate::read::objects::{BUDGET, Objects};
use crate::read::stream_file::{Source as Shared, StreamFile};
use crate::read::unpack_cache::UnpackCache;
use crate::s3::bucket::Bucket;
use crate::settings::writer::Source;
use crate::types::clock::{Clock, SystemClock};
use crate::types::span::{Moment, TimePrefix};
use crate::worker::connect;
use crate::worker::connect::Embedded;

/// Bytes of unpacked segments on the disk at once: sixteen of the usual size.
const UNPACKED_MAX: u64 = 1 << 30;
/// The folder by which the directory of an embedded bucket is known.
const EMBEDDED_FOLDER: &str = ".embedded-bucket";

/// A bucket, and what in it is meant.
pub struct Location {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// The path in the bucket, without a slash at either end.
    pub path: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    _served: Embedded,
}

impl Location {
    /// Prepares the bucket; asks nobody anything yet.
    pub async fn open(args: LocationArgs) -> Result<Location, ReadError> {
        let (source, path) = split(args.location);
        let reached = connect::to_read(&source, &args.s3.settings());
        let (bucket, served) = reached.map_err(ReadError::Embedded)?;
        let clock = Arc::new(SystemClock::new());
        Ok(Location { bucket: Arc::new(bucket), path, clock, _served: served })
    }

    /// What readers of its streams share.
    fn shared(&self, settling: Duration) -> Shared {
        let runtime = tokio::runtime::Handle::current();
        let (bucket, clock) = (self.bucket.clone(), self.clock.clone());
        let objects = Objects::new(bucket.clone(), runtime.clone(), BUDGET);
        let unpack_cache = UnpackCache::new(bucket.clone(), std::env::temp_dir(), UNPACKED_MAX, runtime);
        let (objects, unpack_cache) = (Arc::new(objects), Arc::new(unpack_cache));
        Shared { bucket, clock, unpack_cache, objects, strict: false, settling }
    }

    /// Says so when nothing was found: a program that reads the output cannot know.
    pub fn say_if_empty(&self, file: &StreamFile) {
        let found = file.versions().is_some_and(|versions| versions.newest.is_some());
        if file.is_empty() && !found {
            let path = shown(&self.path);
            eprintln!(
                "logsinkfs: warning: there is nothing of {path} by the writer and of the time that --writer, --since, --until or @ say"
            );
        }
    }

    /// The stream that the path names, or a slice of one (`STREAM@2026-11-23T08`), of the time that was asked for; or
    /// the newest version of the whole file. What lies behind a gap waits for what fills it as long as `settling` says.
    pub async fn stream(&self, span: &SpanArgs, since: Moment, settling: Duration) -> Result<StreamFile, ReadError> {
        let now = self.clock.now();
        if let (Some(since), Some(until)) = (span.since, span.until)
            && since.start(now) >= until.end(now)
        {
            return Err(ReadError::Backwards);
        }
        for folder in files_folders(&self.path) {
            let file = self.open_stream(self.span(folder, span, Moment::All), settling).await?;
            if file.versions().is_some_and(|versions| versions.count > 0) {
                return Ok(file);
            }
        }
        let whole = folders(&self.path).into_iter().map(|folder| self.span(folder, span, since));
        // A real name wins over `@`.
        let slice = self.path.rsplit_once('@');
        let slice = slice.and_then(|(stream, time)| Some((stream, TimePrefix::parse(time)?)));
        let sliced = slice.into_iter().flat_map(|(stream, slice)| {
            let writer = &span.writer;
            let of_folder = move |folder| DiscoveryScope { folder, span: slice.range(), writer: writer.clone() };
            folders(stream).into_iter().map(of_folder)
        });
        for wanted in whole.chain(sliced) {
            let folder = wanted.folder.clone();
            let file = self.open_stream(wanted, settling).await?;
            if !file.is_empty() || self.is_there(&folder).await? {
                return Ok(file);
            }
        }
        Err(ReadError::NoStream(self.path.clone()))
    }

    /// A stream as one file.
    pub async fn open_stream(&self, wanted: DiscoveryScope, settling: Duration) -> Result<StreamFile, ReadError> {
        Ok(StreamFile::open(self.shared(settling), wanted).await?)
    }

    /// A stream's folder, of the time that was asked for.
    pub fn span(&self, folder: String, span: &SpanArgs, since: Moment) -> DiscoveryScope {
        let now = self.clock.now();
        let start = span.since.unwrap_or(since).start(now);
        let end = span.until.unwrap_or(Moment::All).end(now);
        DiscoveryScope { folder, span: start..end, writer: span.writer.clone() }
    }

    /// Whether there is anything below a prefix.
    async fn is_there(&self, prefix: &str) -> Result<bool, ReadError> {
        let page = self.bucket.list_page(prefix, None).await?;
        Ok(!page.objects.is_empty() || !page.prefixes.is_empty())
    }
}

/// The folders that a stream's segments can be in. Its path is escaped there, but for a prefix that was mounted, which
/// is as it is.
pub fn folders(path: &str) -> Vec<String> {
    spelt(path, segments_folder)
}

/// The folders that a whole file's versions can be in.
pub fn files_folders(path: &str) -> Vec<String> {
    spelt(path, files_folder)
}

fn spelt(path: &str, folder: impl Fn(&str, &[u8]) -> String) -> Vec<String> {
    let mut folders = vec![folder("", path.as_bytes()), folder(path, b"")];
    folders.dedup();
    folders
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
