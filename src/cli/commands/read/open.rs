//! Resolves a location to its bucket and stream.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{ReadError, shown};
use crate::flags::{LocationArgs, LocationsArgs, SpanArgs};
use crate::format::naming::segments_folder;
use crate::format::whole_name::files_folder;
use crate::read::discover::DiscoveryScope;
use crate::read::objects::{BUDGET, Objects};
use crate::read::selection::Selection;
use crate::read::stream_file::{Source as Shared, StreamFile};
use crate::read::unpack_cache::UnpackCache;
use crate::s3::bucket::Bucket;
use crate::settings::writer::Source;
use crate::types::clock::{Clock, SystemClock};
use crate::types::span::{Moment, TimePrefix};
use crate::types::time::Utc;
use crate::worker::connect;
use crate::worker::connect::Embedded;

/// Bytes of unpacked segments on the disk at once: sixteen of the usual size.
const UNPACKED_MAX: u64 = 1 << 30;
/// The folder by which the directory of an embedded bucket is known.
const EMBEDDED_FOLDER: &str = ".embedded-bucket";

/// A bucket, and what in it is meant.
#[derive(Clone)]
pub struct Location {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// The path in the bucket, without a slash at either end.
    pub path: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The zone of times that name none.
    zone: TimeZone,
    selection: Option<Arc<Selection>>,
    _served: Arc<Embedded>,
}

impl Location {
    /// Prepares the bucket; asks nobody anything yet.
    pub async fn open(args: LocationArgs) -> Result<Location, ReadError> {
        let (source, path) = split(args.location);
        let reached = connect::to_read(&source, &args.s3.settings());
        let (bucket, served) = reached.map_err(ReadError::Embedded)?;
        let (clock, served) = (Arc::new(SystemClock::new()), Arc::new(served));
        Ok(Location { bucket: Arc::new(bucket), path, clock, zone: TimeZone::UTC, selection: None, _served: served })
    }

    /// Prepares several; those in one bucket share what they have of it. Refuses a span that ends before it begins.
    pub async fn open_all(args: LocationsArgs, span: &SpanArgs) -> Result<Vec<Location>, ReadError> {
        let zone = if span.local { TimeZone::try_system() } else { Ok(TimeZone::UTC) };
        let zone = zone.map_err(|e| ReadError::Zone(e.to_string()))?;
        let selects = span.pod.is_some() || !span.label.is_empty();
        let mut opened: Vec<(Source, Location)> = Vec::new();
        for location in args.locations {
            let (source, path) = split(location.clone());
            if let Some((_, there)) = opened.iter().find(|(other, _)| *other == source) {
                let there = there.at(path);
                opened.push((source, there));
                continue;
            }
            let made =
                Location::open(LocationArgs { location, s3: args.s3.clone(), files: args.files.clone() }).await?;
            let selection = selects.then(|| Arc::new(Selection::new(span.pod.clone(), span.label.clone())));
            opened.push((source, Location { zone: zone.clone(), selection, ..made }));
        }
        let locations: Vec<Location> = opened.into_iter().map(|(_, location)| location).collect();
        if let (Some(first), Some(since), Some(until)) = (locations.first(), span.since, span.until) {
            let now = first.clock.now();
            if since.range_in(now, &zone).start >= until.range_in(now, &zone).end {
                return Err(ReadError::Backwards);
            }
        }
        Ok(locations)
    }

    /// Another path in the same bucket.
    pub fn at(&self, path: String) -> Location {
        Location { path, ..self.clone() }
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

    /// Whether nothing was found.
    pub fn is_nothing(&self, file: &StreamFile) -> bool {
        let found = file.versions().is_some_and(|versions| versions.newest.is_some());
        file.is_empty() && !found
    }

    /// Says that nothing was found: a program that reads the output cannot know.
    pub fn say_empty(&self) {
        let path = shown(&self.path);
        eprintln!(
            "logsinkfs: warning: there is nothing of {path} by the writer and of the time that --writer, --pod, \
             --label, --since, --until or @ say"
        );
    }

    /// The stream that the path names, or a slice of one (`STREAM@2026-11-23T08`), of the time that was asked for; or
    /// the newest version of the whole file. What lies behind a gap waits for what fills it as long as `settling` says.
    pub async fn stream(&self, span: &SpanArgs, since: Moment, settling: Duration) -> Result<StreamFile, ReadError> {
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
            let of_folder = move |folder| {
                let (writer, selection) = (span.writer.clone(), self.selection.clone());
                DiscoveryScope { folder, span: slice.range(), writer, selection }
            };
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
        let (now, zone) = (self.clock.now(), &self.zone);
        let start = span.since.unwrap_or(since).range_in(now, zone).start;
        let (writer, selection) = (span.writer.clone(), self.selection.clone());
        DiscoveryScope { folder, span: start..self.until(span), writer, selection }
    }

    /// The end of the time that was asked for.
    pub fn until(&self, span: &SpanArgs) -> Utc {
        span.until.unwrap_or(Moment::All).range_in(self.clock.now(), &self.zone).end
    }

    /// The time of the lines that were asked for, if it was said.
    pub fn cut(&self, span: &SpanArgs) -> Option<Range<Utc>> {
        let said = |moment: Option<Moment>| moment.filter(|moment| *moment != Moment::All);
        if said(span.since).is_none() && said(span.until).is_none() {
            return None;
        }
        let start = said(span.since).map(|since| since.range_in(self.clock.now(), &self.zone).start);
        Some(start.unwrap_or_default()..self.until(span))
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
