//! `logsinkfs ls`: lists streams, whole files, directories and foreign objects below a path, as a reader mount shows
//! them.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::open::Location;
use super::{ReadError, count, shown, to_end};
use crate::cli::flags::LsArgs;
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS_ENDING};
use crate::format::whole_name::{FILES_ENDING, folder_of};
use crate::read::stream_file::StreamFile;
use crate::read::versions::Versions;
use crate::s3::bucket::{Depth, pages};
use crate::types::escape::unescape;
use crate::types::span::Moment;
use crate::types::time::Utc;

/// Streams measured at once.
const AT_ONCE: usize = 8;

/// What is below a path.
enum PathKind {
    Directory,
    /// By the folder of its versions, if it has some; otherwise that is a directory. With its name.
    Files(String, String),
    /// By the folder of its segments.
    Stream(String),
    Object(u64, Utc),
}

/// A line of the output.
struct Row {
    size: Option<u64>,
    time: Option<Utc>,
    name: String,
    /// Of a whole file.
    versions: Option<Versions>,
}

impl Row {
    /// A stream or whole file.
    fn of(file: &StreamFile, name: String) -> Row {
        let Some(versions) = file.versions() else {
            return Row { size: Some(file.len()), time: file.latest(), name, versions: None };
        };
        let newest = versions.newest.as_ref();
        let (size, time) = (newest.map(|version| version.name.length), newest.map(|version| version.object.modified));
        Row { size, time, name, versions: Some(versions.clone()) }
    }
}

/// Prints what is there; with `-l` with size and time.
pub fn run(args: LsArgs) -> ExitCode {
    to_end(async {
        let location = Location::open(args.location.clone()).await?;
        let found = list(&location).await?;
        if found.is_empty() && location.path.is_empty() {
            eprintln!("logsinkfs: warning: the bucket is empty");
            return Ok(ExitCode::SUCCESS);
        }
        if found.is_empty() {
            // A stream itself, or nothing.
            let file = location.stream(&args.span, Moment::All, Duration::ZERO).await;
            let file = file.map_err(|e| match e {
                ReadError::NoStream(path) => ReadError::Nothing(path),
                other => other,
            })?;
            let name = location.path.rsplit('/').next().unwrap_or_default().to_owned();
            return Ok(print(&args, vec![Row::of(&file, name)])?);
        }
        let rows = stream::iter(found).map(|(name, found)| measure(&location, &args, name, found));
        let mut rows: Vec<Row> = rows.buffered(AT_ONCE).try_collect().await?;
        // A whole file wins over what else has its name.
        rows.sort_by(|a, b| (&a.name, a.versions.is_none()).cmp(&(&b.name, b.versions.is_none())));
        rows.dedup_by(|later, first| later.name == first.name);
        Ok(print(&args, rows)?)
    })
}

/// All names directly below the path.
async fn list(location: &Location) -> Result<BTreeMap<String, PathKind>, ReadError> {
    let slash = if location.path.is_empty() { "" } else { "/" };
    let prefix = format!("{}{slash}", location.path);
    let mut found = BTreeMap::new();
    let mut pages = pin!(pages(location.bucket.clone(), prefix.clone(), Depth::Children));
    while let Some(page) = pages.try_next().await? {
        for object in page.objects {
            let name = object.key[prefix.len()..].to_owned();
            if !name.is_empty() {
                found.entry(name).or_insert(PathKind::Object(object.size, object.modified));
            }
        }
        for below in page.prefixes {
            let name = below[prefix.len()..].trim_end_matches('/');
            if name == PRIVATE_FOLDER {
                continue;
            }
            let of_file = |ending| {
                let ours = folder_of(&below) == Some(&*below);
                let stem = name.strip_suffix(ending).filter(|stem| ours && !stem.is_empty())?;
                Some(String::from_utf8_lossy(&unescape(stem)).into_owned())
            };
            let (stream, file, name) = (of_file(SEGMENTS_ENDING), of_file(FILES_ENDING), format!("{name}/"));
            match (stream, file) {
                (Some(stream), _) => drop(found.insert(stream, PathKind::Stream(below))),
                (None, Some(file)) => drop(found.insert(name, PathKind::Files(below, file))),
                (None, None) => drop(found.entry(name).or_insert(PathKind::Directory)),
            }
        }
    }
    Ok(found)
}

async fn measure(location: &Location, args: &LsArgs, name: String, found: PathKind) -> Result<Row, ReadError> {
    let (size, time) = match found {
        PathKind::Directory => (None, None),
        PathKind::Object(size, modified) => (Some(size), Some(modified)),
        PathKind::Stream(_) if !args.long => (None, None),
        PathKind::Stream(folder) => {
            let wanted = location.span(folder, &args.span, Moment::All);
            return Ok(Row::of(&location.open_stream(wanted, Duration::ZERO).await?, name));
        }
        PathKind::Files(folder, file) => {
            let wanted = location.span(folder, &args.span, Moment::All);
            let versions = location.open_stream(wanted, Duration::ZERO).await?;
            if versions.versions().is_some_and(|versions| versions.count > 0) {
                return Ok(Row::of(&versions, file));
            }
            (None, None)
        }
    };
    Ok(Row { size, time, name, versions: None })
}

fn print(args: &LsArgs, rows: Vec<Row>) -> io::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    for Row { size, time, name, versions } in rows {
        let name = shown(&name);
        if args.long {
            let size = size.map_or("-".to_owned(), |size| size.to_string());
            let time = time.map_or("-".to_owned(), Utc::to_name);
            let versions = versions.as_ref().map_or_else(String::new, of_versions);
            writeln!(out, "{size:>15} {time:>23} {name}{versions}")?;
        } else {
            writeln!(out, "{name}")?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of a whole file behind its name.
fn of_versions(versions: &Versions) -> String {
    let partial = versions.newest.as_ref().is_some_and(|version| version.name.partial);
    format!(" ({}{})", count(versions.count, "version"), if partial { ", partial" } else { "" })
}
