//! `logsinkfs verify`: checks that a bucket holds what the names of its streams say. Lists, examines objects on
//! request, and reports stream by stream.
//!
//! Invariant: of a listing, only the names of one stream are in memory, and of the streams whose folders it lies in:
//! keys below one folder follow each other.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::read::{Location, ReadError, folders, shown, to_end};
use crate::cli::flags::VerifyArgs;
use crate::format::coverage::{Coverage, Defect, Extent, Finding};
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS, SegmentName, folder_of, segments_folder};
use crate::read::examine::{Fault, examine, shortness};
use crate::s3::bucket::{Bucket, Depth, pages};
use crate::types::bucket_error::BucketError;
use crate::types::stored_object::StoredObject;

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
                let folder = segments_folder(&prefix, path.as_encoded_bytes());
                reader.read(Some(&folder), &mut report).await?;
            }
            None => {
                reader.read(None, &mut report).await?;
                // What has no log below it may be one.
                reader.prefix = "";
                for folder in folders(&location.path) {
                    if report.streams == 0 && !location.path.is_empty() {
                        reader.read(Some(&folder), &mut report).await?;
                    }
                }
            }
        }
        let (found, whole) = (report.streams > 0, report.end(args.strict)?);
        match args.stream {
            _ if found => Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            Some(path) => Err(ReadError::NoStream(path.to_string_lossy().into_owned())),
            None => Err(ReadError::Nothing(location.path.clone())),
        }
    })
}

/// What there is to be said of one stream.
struct Gathered {
    /// What all of its keys begin with.
    folder: String,
    coverage: Coverage,
    /// Bytes of the objects as they are stored.
    stored: u64,
    /// Keys in the folder that are no segments.
    foreign: Vec<String>,
    /// Objects with what is wrong with each.
    damaged: Vec<(String, Vec<Fault>)>,
}

/// An object of a listing, what its name says, and what is wrong with it.
type Examined = (StoredObject, Option<SegmentName>, Vec<Fault>);

struct Reader<'a> {
    bucket: &'a dyn Bucket,
    prefix: &'a str,
    deep: bool,
}

impl Reader<'_> {
    /// Reports all streams, or the one of a folder.
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
                    report.stream(self.prefix, done)?;
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
            report.stream(self.prefix, done)?;
        }
        Ok(())
    }

    /// The folder of the stream that a key belongs to; `None` for what is no concern of ours.
    fn folder<'k>(&self, key: &'k str) -> Option<&'k str> {
        let rest = key.strip_prefix(self.prefix)?;
        let private = rest.split('/').next() == Some(PRIVATE_FOLDER);
        let folder = folder_of(rest).filter(|_| !private)?;
        key.get(..self.prefix.len() + folder.len())
    }

    async fn examine(&self, object: StoredObject) -> Result<Examined, BucketError> {
        let name = SegmentName::parse(self.prefix, &object.key);
        let faults = match name.as_ref().filter(|_| self.deep) {
            Some(name) => examine(self.bucket, &object, name).await?,
            None => name.iter().filter_map(|name| shortness(&object, name)).collect(),
        };
        Ok((object, name, faults))
    }
}

impl Gathered {
    fn new(folder: &str) -> Gathered {
        let (coverage, foreign, damaged) = Default::default();
        Gathered { folder: folder.to_owned(), coverage, stored: 0, foreign, damaged }
    }

    fn add(&mut self, object: StoredObject, name: Option<SegmentName>, faults: Vec<Fault>) {
        let Some(name) = name else { return self.foreign.push(object.key) };
        self.coverage.add(&name);
        self.stored = self.stored.saturating_add(object.size);
        if !faults.is_empty() {
            self.damaged.push((object.key, faults));
        }
    }
}

/// The report: for people, or a line of JSON for each stream, each finding, and the whole.
struct Report {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    whole: bool,
    streams: u64,
    segments: u64,
    bytes: u64,
    stored: u64,
    dropped: u64,
    /// How often each kind of finding was made.
    counts: BTreeMap<&'static str, u64>,
}

impl Report {
    fn new(json: bool) -> Report {
        let (streams, segments, bytes, stored, dropped, counts) = Default::default();
        let out = BufWriter::new(io::stdout().lock());
        Report { out, json, whole: true, streams, segments, bytes, stored, dropped, counts }
    }

    fn stream(&mut self, prefix: &str, found: Gathered) -> io::Result<()> {
        let Gathered { folder, coverage, stored, foreign, damaged } = found;
        let (totals, findings) = coverage.judge();
        // As it stands in keys: safe to print, whatever its bytes are.
        let stream = stream_of(prefix, &folder);
        self.streams += 1;
        self.segments += totals.segments;
        self.bytes = self.bytes.saturating_add(totals.bytes);
        self.stored = self.stored.saturating_add(stored);
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
        for (key, faults) in &damaged {
            let why: Vec<String> = faults.iter().map(Fault::to_string).collect();
            let why = why.join("; ");
            let object = json!({ "type": "damaged", "stream": stream, "key": key, "why": why });
            self.found("damaged", true, &format!("{}: {why}", shown(key)), &object)?;
        }
        for key in &foreign {
            let object = json!({ "type": "foreign", "stream": stream, "key": key });
            self.found("foreign", false, &shown(key), &object)?;
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
        let line = format!(
            "total: {}, {}, {} bytes ({} stored){counts}: {}",
            count(self.streams, "stream"),
            count(self.segments, "segment"),
            self.bytes,
            self.stored,
            match (self.streams, self.whole, self.dropped) {
                (0, ..) => "nothing there".to_owned(),
                (_, false, _) => "NOT WHOLE".to_owned(),
                (_, true, 0) => "whole".to_owned(),
                (_, true, lost) => format!("whole but for {} dropped", count(lost, "byte")),
            },
        );
        self.whole &= self.streams > 0 && !(strict && self.dropped > 0);
        let object = json!({
            "type": "total", "whole": self.whole, "streams": self.streams,
            "segments": self.segments, "bytes": self.bytes, "stored": self.stored,
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

/// A stream's name as it stands in its folder's.
fn stream_of<'a>(prefix: &str, folder: &'a str) -> &'a str {
    let rest = folder.strip_prefix(prefix).unwrap_or(folder);
    rest.rsplit_once(SEGMENTS).map_or(rest, |(stream, _)| stream)
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
