//! What was meant by a path at which there is nothing: a directory, or a name that is nearly the same.

use std::time::Duration;

use super::directory::{PathKind, Wanted, entries};
use super::sources::{Target, joined};
use super::{Location, ReadError};
use crate::flags::SpanArgs;
use crate::read::stream_file::StreamFile;
use crate::types::path_pattern::PathPattern;
use crate::types::span::Moment;

/// Names that are told.
const MOST: usize = 3;

/// Opens what is to be printed; says more of what is not there.
pub async fn open(target: &Target, span: &SpanArgs) -> Result<StreamFile, ReadError> {
    match target.open(span, Moment::All, Duration::ZERO).await {
        Ok(file) => Ok(file),
        Err(e) => Err(explain(&target.location, e).await),
    }
}

/// Says more of a path at which there is nothing. Costs two LISTs.
pub async fn explain(location: &Location, error: ReadError) -> ReadError {
    let ReadError::NoStream(path) = error else { return error };
    if PathPattern::is_pattern(&path) {
        return ReadError::NoMatch(path);
    }
    let below = entries(location, &path, Wanted::Children).await;
    if below.is_ok_and(|below| !below.is_empty()) {
        return ReadError::IsDirectory(path);
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let Ok(beside) = entries(location, parent, Wanted::Children).await else { return ReadError::NoStream(path) };
    if beside.iter().any(|entry| entry.path == name && matches!(entry.kind, PathKind::Object(..))) {
        return ReadError::IsObject(path);
    }
    let names = beside.iter().map(|entry| entry.path.as_str());
    let near: Vec<String> = nearest(name, names).into_iter().map(|near| joined(parent, near)).collect();
    if near.is_empty() { ReadError::NoStream(path) } else { ReadError::Misspelt(path, near.join(", ")) }
}

/// The names that one may have been meant to be, the nearest first: a third of it may be wrong, or it is a part.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let distance = |other: &str| {
        let plain = other.trim_end_matches('/').to_lowercase();
        let edits = strsim::damerau_levenshtein(&name.to_lowercase(), &plain);
        let is_part = name.len() >= 3 && plain.contains(&name.to_lowercase());
        (edits <= (name.chars().count() / 3).max(1) || is_part).then_some((edits, other.len()))
    };
    let mut near: Vec<_> = names.filter_map(|other| Some((distance(other)?, other))).collect();
    near.sort_unstable();
    near.into_iter().take(MOST).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_the_same_was_meant() {
        let names = ["app.log", "access.log", "error.log", "web/", "App2.log"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("ap.log"), ["app.log", "App2.log"]);
        assert_eq!(near("app"), ["app.log", "App2.log"]);
        assert_eq!(near("wbe"), ["web/"]);
        assert_eq!(near("nothing.txt"), Vec::<&str>::new());
    }
}
