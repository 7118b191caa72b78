//! `logsinkfs verify`: checks that a bucket holds what the names of its streams and whole files say. Lists, examines
//! objects on request, and reports stream by stream, file by file.
//!
//! Invariant: of a listing, only the names of one stream or file are in memory, and of those whose folders it lies in:
//! keys below one folder follow each other.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::read::{Location, ReadError, count, files_folders, folders, shown, to_end};
use crate::flags::VerifyArgs;
use crate::format::coverage::{Coverage, Defect, Extent, Finding};
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS, segments_folder};
use crate::format::whole_name::{FILES, files_folder, folder_of};
use crate::read::examine::{Fault, ObjectName, examine, shortness};
use crate::s3::bucket::{Bucket, Depth, pages};
use crate::types::bucket_error::BucketError;
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// Objects examined at once: one is read while others are decompressed.
const AT_ONCE: usize = 4;

/// Verifies, and reports on standard output.
pub fn run(args: VerifyArgs) -> ExitCode {
    to_end(async {
        let location = Location::open(args.location).await?;
        let slash = if location.path.is_empty() { "" } else { "/" };
        let prefix = format!("{}{slash}", location.path);
        let mut reader = Reader { bucket: &*location.bucket, prefix: &prefix, deep: args.deep };
        let mut report = Report::new(args.json);
        match &args.stream {
            Some(path) => {
                for folder in [segments_folder, files_folder] {
                    let folder = folder(&prefix, path.as_encoded_bytes());
                    reader.read(Some(&folder), &mut report).await?;
                }
            }
            None => {
                reader.read(None, &mut report).await?;
                // What has no log or file below it may be one.
                reader.prefix = "";
                let itself = report.is_empty() && !location.path.is_empty();
                let itself = itself.then(|| [folders(&location.path), files_folders(&location.path)].concat());
                for folder in itself.into_iter().flatten() {
                    reader.read(Some(&folder), &mut report).await?;
                }
            }
        }
        let (found, whole) = (!report.is_empty(), report.end(args.strict)?);
        match args.stream {
            _ if found => Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            Some(path) => Err(ReadError::NoStream(path.to_string_lossy().into_owned())),
            None => Err(ReadError::Nothing(location.path.clone())),
        }
    })
}

/// What there is to be said of one stream or whole file.
struct Gathered {
    /// What all of its keys begin with.
    folder: String,
    coverage: Coverage,
    versions: VersionTotals,
    /// Bytes of the objects as they are stored.
    stored: u64,
    /// Keys in the folder that are no segments or versions.
    foreign: Vec<String>,
    /// Objects with what is wrong with each.
    damaged: Vec<(String, Vec<Fault>)>,
}

/// What there is of a whole file.
#[derive(Default)]
struct VersionTotals {
    count: u64,
    /// Bytes, uncompressed.
    bytes: u64,
    /// When the first and the last began.
    times: Option<(Utc, Utc)>,
    /// The keys of those that were half written.
    partial: Vec<String>,
}

/// An object of a listing, what its name says, and what is wrong with it.
type Examined = (StoredObject, Option<ObjectName>, Vec<Fault>);

struct Reader<'a> {
    bucket: &'a dyn Bucket,
    prefix: &'a str,
    deep: bool,
}

impl Reader<'_> {
    /// Reports all streams and files, or the one of a folder.
    async fn read(&self, only: Option<&str>, report: &mut Report) -> Result<(), ReadError> {
        let below = only.unwrap_or(self.prefix);
        // A stream's folder may lie in another stream's: `a.segments/b.segments/`.
        let mut open: Vec<Gathered> = Vec::new();
        let mut pages = pin!(pages(self.bucket, below.to_owned(), Depth::All));
        while let Some(page) = pages.try_next().await? {
            let examined = page.objects.into_iter().map(|object| self.examine(object));
            let mut examined = stream::iter(examined).buffered(AT_ONCE);
            while let Some(examined) = examined.next().await {
                let (object, name, faults) = examined?;
                while let Some(done) = open.pop_if(|s| !object.key.starts_with(&s.folder)) {
                    report.gathered(self.prefix, done)?;
                }
                let Some(folder) = self.folder(&object.key) else { continue };
                if only.is_some_and(|only| only != folder) {
                    continue;
                }
                if open.last().is_none_or(|stream| stream.folder != folder) {
                    open.push(Gathered::new(folder));
                }
                if let Some(stream) = open.last_mut() {
                    stream.add(object, name, faults);
                }
            }
        }
        while let Some(done) = open.pop() {
            report.gathered(self.prefix, done)?;
        }
        Ok(())
    }

    /// The folder of the stream or file that a key belongs to; `None` for what is no concern of ours.
    fn folder<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = key.strip_prefix(self.prefix)?;
        let private = rest.split('/').next() == Some(PRIVATE_FOLDER);
        let folder = folder_of(rest).filter(|_| !private)?;
        key.get(..self.prefix.len() + folder.len())
    }

    async fn examine(&self, object: StoredObject) -> Result<Examined, BucketError> {
        let name = ObjectName::parse(self.prefix, &object.key);
        let faults = match name.as_ref().filter(|_| self.deep) {
            Some(name) => examine(self.bucket, &object, name).await?,
            None => name.iter().filter_map(|name| shortness(&object, name)).collect(),
        };
        Ok((object, name, faults))
    }
}

impl Gathered {
    fn new(folder: &str) -> Gathered {
        let (coverage, versions, foreign, damaged) = Default::default();
        Gathered { folder: folder.to_owned(), coverage, versions, stored: 0, foreign, damaged }
    }

    fn add(&mut self, object: StoredObject, name: Option<ObjectName>, faults: Vec<Fault>) {
        match name {
            None => return self.foreign.push(object.key),
            Some(ObjectName::Segment(name)) => self.coverage.add(&name),
            Some(ObjectName::Version(name)) => {
                let VersionTotals { count, bytes, times, partial } = &mut self.versions;
                (*count, *bytes) = (*count + 1, bytes.saturating_add(name.length));
                let (first, last) = times.unwrap_or((name.start, name.start));
                *times = Some((first.min(name.start), last.max(name.start)));
                partial.extend(name.partial.then(|| object.key.clone()));
            }
        }
        self.stored = self.stored.saturating_add(object.size);
        if !faults.is_empty() {
            self.damaged.push((object.key, faults));
        }
    }
}

/// The report: for people, or a line of JSON for each stream, each whole file, each finding, and the whole.
struct Report {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    whole: bool,
    streams: u64,
    segments: u64,
    files: u64,
    versions: u64,
    bytes: u64,
    stored: u64,
    dropped: u64,
    /// How often each kind of finding was made.
    counts: BTreeMap<&'static str, u64>,
}

impl Report {
    fn new(json: bool) -> Report {
        let (streams, segments, files, versions, bytes, stored, dropped, counts) = Default::default();
        let out = BufWriter::new(io::stdout().lock());
        Report { out, json, whole: true, streams, segments, files, versions, bytes, stored, dropped, counts }
    }

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.streams + self.files == 0
    }

    fn gathered(&mut self, prefix: &str, found: Gathered) -> io::Result<()> {
        let Gathered { folder, coverage, versions, stored, foreign, damaged } = found;
        // As it stands in keys: safe to print, whatever its bytes are.
        let path = path_of(prefix, &folder);
        let kind = if folder.ends_with(FILES) { "file" } else { "stream" };
        match kind {
            // Somebody else's folder.
            "file" if versions.count == 0 => return Ok(()),
            "file" => self.file(path, &versions, stored)?,
            _ => self.stream(path, coverage, stored)?,
        }
        self.stored = self.stored.saturating_add(stored);
        for (key, faults) in &damaged {
            let why: Vec<String> = faults.iter().map(Fault::to_string).collect();
            let why = why.join("; ");
            let object = json!({ "type": "damaged", kind: path, "key": key, "why": why });
            self.found("damaged", true, &format!("{}: {why}", shown(key)), &object)?;
        }
        for (what, keys) in [("partial", &versions.partial), ("foreign", &foreign)] {
            for key in keys {
                let object = json!({ "type": what, kind: path, "key": key });
                self.found(what, false, &shown(key), &object)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, versions: &VersionTotals, stored: u64) -> io::Result<()> {
        let VersionTotals { count: number, bytes, times, .. } = versions;
        self.files += 1;
        self.versions += number;
        self.bytes = self.bytes.saturating_add(*bytes);
        let times = times.map(|(first, last)| (first.to_name(), last.to_name()));
        let line = format!(
            "{}: whole file, {}, {bytes} bytes ({stored} stored){}",
            shown(path),
            count(*number, "version"),
            times.as_ref().map_or_else(String::new, |(first, last)| format!(", {first} to {last}")),
        );
        let (first, last) = times.unzip();
        let object = json!({
            "type": "file", "file": path, "versions": number, "bytes": bytes, "stored": stored,
            "first": first, "last": last,
        });
        self.line(&line, &object)
    }

    fn stream(&mut self, stream: &str, coverage: Coverage, stored: u64) -> io::Result<()> {
        let (totals, findings) = coverage.judge();
        self.streams += 1;
        self.segments += totals.segments;
        self.bytes = self.bytes.saturating_add(totals.bytes);
        let times = totals.times.map(|(first, last)| (first.to_name(), last.to_name()));
        let line = format!(
            "{}: {}, {}, {}, {} bytes ({stored} stored){}",
            shown(stream),
            count(totals.writers, "writer"),
            count(totals.generations, "generation"),
            count(totals.segments, "segment"),
            totals.bytes,
            times.as_ref().map_or_else(String::new, |(first, last)| format!(", {first} to {last}")),
        );
        let (first, last) = times.unzip();
        let object = json!({
            "type": "stream", "stream": stream, "writers": totals.writers,
            "generations": totals.generations, "segments": totals.segments,
            "bytes": totals.bytes, "stored": stored, "first": first, "last": last,
        });
        self.line(&line, &object)?;
        for finding in &findings {
            self.finding(stream, finding)?;
        }
        Ok(())
    }

    fn finding(&mut self, stream: &str, finding: &Finding) -> io::Result<()> {
        let (writer, what) = (finding.writer.as_str(), finding.what.word());
        if let (Defect::Dropped, Extent::Bytes(_, range)) = (finding.what, &finding.extent) {
            self.dropped = self.dropped.saturating_add(range.end - range.start);
        }
        let (line, object) = match &finding.extent {
            Extent::Bytes(generation, range) => (
                format!(
                    "{writer} {} {}..{} ({})",
                    generation.0,
                    range.start,
                    range.end,
                    count(range.end - range.start, "byte")
                ),
                json!({
                    "type": what, "stream": stream, "writer": writer, "generation": generation.0,
                    "offset": range.start, "end": range.end,
                }),
            ),
            Extent::Generations(first, last) => (
                format!("{writer} generations {} to {}", first.0, last.0),
                json!({
                    "type": what, "stream": stream, "writer": writer,
                    "first_generation": first.0, "last_generation": last.0,
                }),
            ),
        };
        self.found(what, finding.what.is_wrong(), &line, &object)
    }

    fn found(&mut self, what: &'static str, wrong: bool, line: &str, object: &serde_json::Value) -> io::Result<()> {
        self.whole &= !wrong;
        *self.counts.entry(what).or_default() += 1;
        self.line(&format!("  {what} {line}"), object)
    }

    /// The last line; gives whether all is whole, `strict` also of what was dropped.
    fn end(mut self, strict: bool) -> io::Result<bool> {
        let counts: String = self.counts.iter().map(|(what, n)| format!(", {n} {what}")).collect();
        let of_files = |n, what| if self.files == 0 { String::new() } else { format!(", {}", count(n, what)) };
        let line = format!(
            "total: {}{}, {}{}, {} bytes ({} stored){counts}: {}",
            count(self.streams, "stream"),
            of_files(self.files, "whole file"),
            count(self.segments, "segment"),
            of_files(self.versions, "version"),
            self.bytes,
            self.stored,
            match (self.is_empty(), self.whole, self.dropped) {
                (true, ..) => "nothing there".to_owned(),
                (_, false, _) => "NOT WHOLE".to_owned(),
                (_, true, 0) => "whole".to_owned(),
                (_, true, lost) => format!("whole but for {} dropped", count(lost, "byte")),
            },
        );
        self.whole &= !(self.is_empty() || strict && self.dropped > 0);
        let object = json!({
            "type": "total", "whole": self.whole, "streams": self.streams,
            "segments": self.segments, "files": self.files, "versions": self.versions, "bytes": self.bytes, "stored": self.stored,
            "dropped": self.dropped,
            "findings": self.counts,
        });
        self.line(&line, &object)?;
        self.out.flush()?;
        Ok(self.whole)
    }

    fn line(&mut self, text: &str, object: &serde_json::Value) -> io::Result<()> {
        if self.json { writeln!(self.out, "{object}") } else { writeln!(self.out, "{text}") }
    }
}

/// A stream's or file's path as it stands in its folder's name.
fn path_of<'a>(prefix: &str, folder: &'a str) -> &'a str {
    let rest = folder.strip_prefix(prefix).unwrap_or(folder);
    rest.strip_suffix(SEGMENTS).or_else(|| rest.strip_suffix(FILES)).unwrap_or(rest)
}
