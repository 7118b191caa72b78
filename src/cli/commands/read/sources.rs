//! The streams and whole files that a command line names: by their paths, by globs, or by the directory that they are
//! in.

use std::time::Duration;

use super::directory::{PathKind, Wanted, entries};
use super::{Location, ReadError};
use crate::flags::SpanArgs;
use crate::read::stream_file::StreamFile;
use crate::types::path_pattern::PathPattern;
use crate::types::span::Moment;

/// A stream or whole file to be read.
pub struct Target {
    /// Where it is; the path is as people write it.
    pub location: Location,
    /// How it was found, if it was.
    found: Option<PathKind>,
}

impl Target {
    /// Its path in the bucket.
    pub fn name(&self) -> &str {
        &self.location.path
    }

    /// Opens it, from a time on unless another one was asked for.
    pub async fn open(&self, span: &SpanArgs, since: Moment, settling: Duration) -> Result<StreamFile, ReadError> {
        let (folder, since) = match &self.found {
            Some(PathKind::Whole(folder)) => (folder, Moment::All),
            Some(PathKind::Stream(folder)) => (folder, since),
            Some(PathKind::Directory | PathKind::Object(..)) | None => {
                return self.location.stream(span, since, settling).await;
            }
        };
        self.location.open_stream(self.location.span(folder.clone(), span, since), settling).await
    }
}

/// All that is named, in its order; what is in a directory, by name.
pub async fn targets(locations: Vec<Location>, recursive: bool) -> Result<Vec<Target>, ReadError> {
    let mut targets = Vec::new();
    for location in locations {
        let (base, found) = if PathPattern::is_pattern(&location.path) {
            let pattern = pattern(&location.path)?;
            let found = entries(&location, &pattern.base, Wanted::Matching(&pattern, recursive)).await?;
            (pattern.base, found)
        } else if recursive {
            (location.path.clone(), entries(&location, &location.path, Wanted::All).await?)
        } else {
            (String::new(), Vec::new())
        };
        let before = targets.len();
        for entry in found {
            if matches!(entry.kind, PathKind::Whole(_) | PathKind::Stream(_)) {
                let location = location.at(joined(&base, &entry.path));
                targets.push(Target { location, found: Some(entry.kind) });
            }
        }
        if targets.len() == before {
            // What matches nothing may be a name; who opens it says that it is not there.
            targets.push(Target { location, found: None });
        }
    }
    Ok(targets)
}

/// Reads a path with globs.
pub fn pattern(path: &str) -> Result<PathPattern, ReadError> {
    PathPattern::parse(path).map_err(|e| ReadError::Pattern(e.to_string()))
}

/// A path below another one.
pub fn joined(base: &str, path: &str) -> String {
    if base.is_empty() { path.to_owned() } else { format!("{base}/{path}") }
}
