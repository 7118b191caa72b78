//! `logsinkfs ls`: lists streams, whole files, directories and foreign objects below a path, as a reader mount shows
//! them.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::directory::{DirEntry, PathKind, Wanted, entries};
use super::explain::explain;
use super::sources::{joined, pattern};
use super::waiting::Waiting;
use super::{Location, ReadError, count, shown, to_end};
use crate::flags::LsArgs;
use crate::read::stream_file::StreamFile;
use crate::types::path_pattern::PathPattern;
use crate::types::span::Moment;
use crate::types::time::Utc;

/// Streams measured at once.
const AT_ONCE: usize = 8;

/// A line of the output; as JSON, what is not known is left out.
#[derive(Serialize)]
struct Row {
    /// Its path in the bucket.
    path: String,
    /// The part of it that is shown to people.
    #[serde(skip)]
    name: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_rfc3339")]
    time: Option<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<u64>,
    /// Whether the newest version was half written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

fn as_rfc3339<S: serde::Serializer>(time: &Option<Utc>, to: S) -> Result<S::Ok, S::Error> {
    time.map(Utc::to_rfc3339).serialize(to)
}

impl Row {
    fn new(path: String, name: String, kind: &'static str) -> Row {
        let (size, time, segments, writers, versions) = Default::default();
        Row { path, name, kind, size, time, segments, writers, versions, partial: false }
    }

    /// What is known of a stream or whole file.
    fn measured(self, file: &StreamFile) -> Row {
        let Some(versions) = file.versions() else {
            let (segments, writers) = file.counts();
            let (segments, writers) = (Some(segments), Some(writers));
            return Row { size: Some(file.len()), time: file.latest(), segments, writers, kind: "log", ..self };
        };
        let newest = versions.newest.as_ref();
        Row {
            kind: "file",
            size: newest.map(|version| version.name.length),
            time: newest.map(|version| version.object.modified),
            versions: Some(versions.count),
            partial: newest.is_some_and(|version| version.name.partial),
            ..self
        }
    }

    fn write(&self, args: &LsArgs, out: &mut impl Write) -> io::Result<()> {
        if args.json {
            serde_json::to_writer(&mut *out, self)?;
            return writeln!(out);
        }
        let name = shown(&self.name);
        if !args.long {
            return writeln!(out, "{name}");
        }
        let size = match self.size {
            Some(size) if args.human => ByteSize::b(size).display().iec_short().to_string(),
            size => size.map_or("-".to_owned(), |size| size.to_string()),
        };
        let time = self.time.map_or("-".to_owned(), Utc::to_name);
        let counts = [(self.segments, "segment"), (self.writers, "writer"), (self.versions, "version")];
        let counts = counts.into_iter().filter_map(|(n, what)| Some(count(n?, what)));
        let counts: Vec<_> = counts.chain(self.partial.then(|| "partial".to_owned())).collect();
        let counts = if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
        writeln!(out, "{size:>15} {time:>23} {name}{counts}")
    }
}

/// Prints what is there; with `-l` with size and time.
pub fn run(args: LsArgs) -> ExitCode {
    to_end(async {
        let locations = Location::open_all(args.locations.clone(), &args.span).await?;
        let several = locations.len() > 1;
        let (mut code, mut out) = (ExitCode::SUCCESS, BufWriter::new(io::stdout().lock()));
        for location in locations {
            let rows = {
                let _waiting = Waiting::new("listing");
                rows(&location, &args, several).await
            };
            match rows {
                Ok(rows) => rows.iter().try_for_each(|row| row.write(&args, &mut out))?,
                Err(e) if several && e.is_of_one() => {
                    super::tell(&e);
                    code = ExitCode::FAILURE;
                }
                Err(e) => return Err(e),
            }
        }
        out.flush()?;
        Ok(code)
    })
}

/// What there is at a location.
async fn rows(location: &Location, args: &LsArgs, several: bool) -> Result<Vec<Row>, ReadError> {
    let wanted = |recursive| if recursive { Wanted::All } else { Wanted::Children };
    let (base, found) = if PathPattern::is_pattern(&location.path) {
        let pattern = pattern(&location.path)?;
        let found = entries(location, &pattern.base, Wanted::Matching(&pattern, args.recursive)).await?;
        (pattern.base, found)
    } else {
        (location.path.clone(), entries(location, &location.path, wanted(args.recursive)).await?)
    };
    if found.is_empty() && location.path.is_empty() {
        eprintln!("logsinkfs: warning: the bucket is empty");
        return Ok(Vec::new());
    }
    let of_pattern = base != location.path;
    if found.is_empty() {
        // A stream itself, or nothing.
        let file = match location.stream(&args.span, Moment::All, Duration::ZERO).await {
            Ok(file) => file,
            Err(e) => {
                return Err(match explain(location, e).await {
                    ReadError::NoStream(path) => ReadError::Nothing(path),
                    other => other,
                });
            }
        };
        let name = location.path.rsplit('/').next().unwrap_or_default().to_owned();
        let name = if several { location.path.clone() } else { name };
        return Ok(vec![Row::new(location.path.clone(), name, "log").measured(&file)]);
    }
    let rows = found.into_iter().map(|entry| {
        let path = joined(&base, &entry.path);
        let name = if several || of_pattern { path.clone() } else { entry.path.clone() };
        measure(location, args, (path, name), entry)
    });
    stream::iter(rows).buffered(AT_ONCE).try_collect().await
}

async fn measure(
    location: &Location,
    args: &LsArgs,
    (path, name): (String, String),
    entry: DirEntry,
) -> Result<Row, ReadError> {
    let (folder, kind) = match entry.kind {
        PathKind::Directory => return Ok(Row::new(path, name, "directory")),
        PathKind::Object(size, time) => {
            return Ok(Row { size: Some(size), time: Some(time), ..Row::new(path, name, "object") });
        }
        PathKind::Stream(folder) => (folder, "log"),
        PathKind::Whole(folder) => (folder, "file"),
    };
    let row = Row::new(path, name, kind);
    if !args.long && !args.json {
        return Ok(row);
    }
    let wanted = location.span(folder, &args.span, Moment::All);
    Ok(row.measured(&location.open_stream(wanted, Duration::ZERO).await?))
}
