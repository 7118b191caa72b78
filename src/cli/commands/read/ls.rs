//! `logsinkfs ls`: lists streams, directories and foreign objects below a path, as a reader mount shows them.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::open::Location;
use super::{ReadError, shown, to_end};
use crate::cli::flags::LsArgs;
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS_ENDING, folder_of};
use crate::s3::bucket::{Depth, pages};
use crate::types::escape::unescape;
use crate::types::span::Moment;
use crate::types::time::Utc;

/// Streams measured at once.
const AT_ONCE: usize = 8;

/// What is below a path.
enum PathKind {
    Directory,
    /// By the folder of its segments.
    Stream(String),
    Object(u64, Utc),
}

/// A line of the output.
struct Row {
    size: Option<u64>,
    time: Option<Utc>,
    name: String,
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
            let row = Row { size: Some(file.len()), time: file.latest(), name };
            return Ok(print(&args, vec![row])?);
        }
        let rows = stream::iter(found).map(|(name, found)| measure(&location, &args, name, found));
        let rows: Vec<Row> = rows.buffered(AT_ONCE).try_collect().await?;
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
            match name.strip_suffix(SEGMENTS_ENDING).filter(|name| !name.is_empty()) {
                _ if name == PRIVATE_FOLDER => {}
                Some(stream) if folder_of(&below) == Some(&*below) => {
                    let name = String::from_utf8_lossy(&unescape(stream)).into_owned();
                    found.insert(name, PathKind::Stream(below));
                }
                _ => {
                    let name = format!("{name}/");
                    found.entry(name).or_insert(PathKind::Directory);
                }
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
            let file = location.open_stream(wanted, Duration::ZERO).await?;
            (Some(file.len()), file.latest())
        }
    };
    Ok(Row { size, time, name })
}

fn print(args: &LsArgs, rows: Vec<Row>) -> io::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    for Row { size, time, name } in rows {
        let name = shown(&name);
        if args.long {
            let size = size.map_or("-".to_owned(), |size| size.to_string());
            let time = time.map_or("-".to_owned(), Utc::to_name);
            writeln!(out, "{size:>15} {time:>23} {name}")?;
        } else {
            writeln!(out, "{name}")?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
