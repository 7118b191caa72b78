//! What is below a path, as a reader mount shows it: one directory, those that a glob names, or all.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Location, ReadError};
use crate::format::folders::shown_part;
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS_ENDING};
use crate::format::whole_name::{FILES_ENDING, WholeName, folder_of};
use crate::s3::bucket::{Depth, pages};
use crate::types::bucket_error::BucketError;
use crate::types::escape::{escape_path, unescape};
use crate::types::path_pattern::PathPattern;
use crate::types::time::Utc;

/// Directories listed at once.
const AT_ONCE: usize = 8;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A whole file; its keys begin with this.
    Whole(String),
    /// A stream; its keys begin with this.
    Stream(String),
    /// An object that no mount of ours has written: its size and time.
    Object(u64, Utc),
}

/// Something that was found.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Its path below the one that was looked into.
    pub path: String,
    /// What it is.
    pub kind: PathKind,
}

/// What is looked for below a path.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// What is directly there.
    Children,
    /// Everything.
    All,
    /// What matches, and with `true` everything below the directories that do.
    Matching(&'a PathPattern, bool),
}

/// A directory on the way.
struct Directory {
    /// What its keys begin with: nothing, or with a slash at the end.
    prefix: String,
    /// Its path below the one that is looked into, in the same form.
    path: String,
    /// Whether all that is in it is wanted.
    inside: bool,
}

/// What is below a path, by path; nothing where there is no such directory.
pub async fn entries(location: &Location, path: &str, wanted: Wanted<'_>) -> Result<Vec<DirEntry>, ReadError> {
    for prefix in prefixes(path) {
        let inside = !matches!(wanted, Wanted::Matching(..));
        let mut level = vec![Directory { prefix, path: String::new(), inside }];
        let mut found = BTreeMap::new();
        while !level.is_empty() {
            let listed = stream::iter(level).map(|directory| async {
                let children = children(location, &directory.prefix).await;
                children.map(|children| (directory, children))
            });
            let listed: Vec<_> = listed.buffered(AT_ONCE).try_collect().await?;
            level = Vec::new();
            for (directory, children) in listed {
                for (name, prefix, kind) in children {
                    add(&mut found, &mut level, &directory, wanted, (name, prefix, kind));
                }
            }
        }
        if !found.is_empty() {
            return Ok(found.into_iter().map(|(path, kind)| DirEntry { path, kind }).collect());
        }
    }
    Ok(Vec::new())
}

/// Notes what is in a directory, if it is wanted, and what is to be looked into next.
fn add(
    found: &mut BTreeMap<String, PathKind>,
    level: &mut Vec<Directory>,
    directory: &Directory,
    wanted: Wanted<'_>,
    (name, prefix, kind): (String, String, PathKind),
) {
    let path = format!("{}{name}", directory.path);
    let (matches, deeper) = match wanted {
        Wanted::Children => (true, false),
        Wanted::All => (true, true),
        Wanted::Matching(pattern, recursive) => {
            let inside = directory.inside || (recursive && pattern.matches(&path));
            (inside || pattern.matches(&path), inside || pattern.may_match_below(&path))
        }
    };
    if kind == PathKind::Directory && deeper {
        let inside = directory.inside || (matches && !matches!(wanted, Wanted::Matching(_, false)));
        level.push(Directory { prefix, path: format!("{path}/"), inside });
    }
    if matches {
        // Whole files hide logs, and both hide objects.
        let rank = |kind: &PathKind| match kind {
            PathKind::Directory => 0,
            PathKind::Whole(_) => 1,
            PathKind::Stream(_) => 2,
            PathKind::Object(..) => 3,
        };
        let name = if kind == PathKind::Directory { format!("{path}/") } else { path };
        let there = found.entry(name).or_insert_with(|| kind.clone());
        if rank(&kind) < rank(there) {
            *there = kind;
        }
    }
}

/// What the keys below a path may begin with: as it is, as a prefix that was mounted, and as our own paths are escaped.
fn prefixes(path: &str) -> Vec<String> {
    if path.is_empty() {
        return vec![String::new()];
    }
    let mut prefixes = vec![format!("{path}/"), format!("{}/", escape_path(path.as_bytes()))];
    prefixes.dedup();
    prefixes
}

/// The names directly below a prefix, with what the keys below each begin with.
async fn children(location: &Location, prefix: &str) -> Result<Vec<(String, String, PathKind)>, BucketError> {
    let mut found = Vec::new();
    let mut pages = pin!(pages(location.bucket.clone(), prefix.to_owned(), Depth::Children));
    while let Some(page) = pages.try_next().await? {
        for object in page.objects {
            let name = object.key[prefix.len()..].to_owned();
            if !name.is_empty() {
                found.push((name, object.key, PathKind::Object(object.size, object.modified)));
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
            let file = of_file(FILES_ENDING);
            if let Some(stream) = of_file(SEGMENTS_ENDING) {
                found.push((stream, below.clone(), PathKind::Stream(below)));
            } else if let Some(file) = file
                && has_versions(location, &below).await?
            {
                found.push((file, below.clone(), PathKind::Whole(below)));
            } else {
                let name = String::from_utf8_lossy(&shown_part(name)).into_owned();
                found.push((name, below, PathKind::Directory));
            }
        }
    }
    Ok(found)
}

/// Whether a folder that is called like that of a whole file is one.
async fn has_versions(location: &Location, folder: &str) -> Result<bool, BucketError> {
    let page = location.bucket.list_below(folder, None).await?;
    Ok(page.objects.iter().any(|object| WholeName::parse_in(folder, &object.key).is_some()))
}
