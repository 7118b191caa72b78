//! Walking the keys in their order, straight off the directories.
//!
//! Owns: the order, where a page begins and ends, rolling keys up into common prefixes. Does NOT own: the form of
//! requests and responses (`lists`), finding single objects (`store`).
//!
//! The order of keys is that of their bytes. Within one directory the entries are sorted with a `/` behind the names of
//! directories, which is what all keys below them go on with; so `a`, `a-b`, `a/b` come out in this order although the
//! walk goes into `a` only once.
//!
//! Invariants:
//! - A page reads the directories that may hold its keys and opens the files it returns (one more at most), nothing
//!   else; a directory is held open only while its names are read.
//! - A directory without an object anywhere below is no common prefix.

use std::io;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::names::{self, OWN};
use super::store::{Object, Store, is_missing};

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    /// Behind this key, which need not exist.
    Key(String),
    /// Behind all keys that begin so.
    Prefix(String),
}

impl After {
    fn passed(&self, key: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Key(last) => key <= last.as_str(),
            Self::Prefix(last) => key <= last.as_str() || key.starts_with(last.as_str()),
        }
    }

    /// Whether every key that begins with `prefix` is passed.
    fn passed_below(&self, prefix: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Key(last) => prefix <= last.as_str() && !last.starts_with(prefix),
            Self::Prefix(last) => {
                prefix.starts_with(last.as_str()) || (prefix < last.as_str() && !last.starts_with(prefix))
            }
        }
    }
}

pub struct Query<'a> {
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    pub after: After,
    pub limit: usize,
}

pub enum Entry {
    Object(String, Object),
    Prefix(String),
}

impl Entry {
    /// Where a page behind this entry begins.
    pub fn after(&self) -> After {
        match self {
            Self::Object(key, _) => After::Key(key.clone()),
            Self::Prefix(prefix) => After::Prefix(prefix.clone()),
        }
    }
}

pub struct Page {
    pub entries: Vec<Entry>,
    pub truncated: bool,
}

/// The next `limit` keys and common prefixes.
pub fn list(store: &Store, query: Query<'_>) -> io::Result<Page> {
    let Query { prefix, delimiter, after, limit } = query;
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let mut page = Page { entries: Vec::new(), truncated: false };
    if limit == 0 {
        return Ok(page);
    }
    let mut walk = Walk::new(store, prefix, after)?;
    while let Some(node) = walk.next()? {
        let common = delimiter.and_then(|delimiter| {
            let at = node.key.get(prefix.len()..)?.find(delimiter)?;
            Some(&node.key[..prefix.len() + at + delimiter.len()])
        });
        let entry = match common {
            Some(common) if walk.has_object(&node)? => Entry::Prefix(common.to_owned()),
            Some(_) => continue,
            None if node.is_dir => {
                walk.enter(&node)?;
                continue;
            }
            None => match object_of(store, &node)? {
                Some(object) => Entry::Object(node.key, object),
                None => continue,
            },
        };
        if page.entries.len() == limit {
            page.truncated = true;
            break;
        }
        walk.after = entry.after();
        page.entries.push(entry);
    }
    Ok(page)
}

/// The object of a file, if it is still there; where its name has become a directory since the names were read, it is
/// to be found again.
fn object_of(store: &Store, node: &Node) -> io::Result<Option<Object>> {
    match store.object_at(node.path.clone())? {
        None => store.find(&node.key),
        found => Ok(found),
    }
}

/// A file, or a directory with all that is below it.
struct Node {
    /// The key, or what the keys below begin with, which ends in `/`.
    key: String,
    path: String,
    is_dir: bool,
}

/// The nodes that can hold keys which begin with `prefix` and come `after`, in order.
struct Walk<'a> {
    store: &'a Store,
    prefix: &'a str,
    after: After,
    /// The levels entered and not left yet, each with what is left of it in reverse order.
    levels: Vec<Vec<Node>>,
}

impl<'a> Walk<'a> {
    /// Begins in the innermost directory that holds all keys of `prefix`.
    fn new(store: &'a Store, prefix: &'a str, after: After) -> io::Result<Self> {
        let mut walk = Self { store, prefix, after, levels: Vec::new() };
        let (key, path) = match prefix.rsplit_once('/') {
            Some((parent, _)) => (format!("{parent}/"), names::path_of(parent)),
            None => (String::new(), String::new()),
        };
        walk.enter(&Node { key, path, is_dir: true })?;
        Ok(walk)
    }

    fn next(&mut self) -> io::Result<Option<Node>> {
        while let Some(level) = self.levels.last_mut() {
            match level.pop() {
                Some(node) if wanted(&node.key, node.is_dir, self.prefix, &self.after) => {
                    return Ok(Some(node));
                }
                Some(_) => {}
                None => {
                    self.levels.pop();
                }
            }
        }
        Ok(None)
    }

    /// Goes on with what is in the directory `node`.
    fn enter(&mut self, node: &Node) -> io::Result<()> {
        let mut level = Vec::new();
        self.read(node, "", &mut level)?;
        level.sort_unstable_by(|one, other| other.key.cmp(&one.key));
        self.levels.push(level);
        Ok(())
    }

    /// Whether there is a key at or below `node` that the walk would come to.
    fn has_object(&self, node: &Node) -> io::Result<bool> {
        if !node.is_dir {
            return Ok(true);
        }
        let after = self.after.clone();
        let mut below = Walk { store: self.store, prefix: self.prefix, after, levels: Vec::new() };
        below.enter(node)?;
        while let Some(node) = below.next()? {
            if !node.is_dir {
                return Ok(true);
            }
            below.enter(&node)?;
        }
        Ok(false)
    }

    /// Adds the wanted nodes of the directory `node`, or of the directory below it that `chain`, the beginning of a
    /// component too long for one name, leads to.
    fn read(&self, node: &Node, chain: &str, level: &mut Vec<Node>) -> io::Result<()> {
        let path = join(&node.path, chain.trim_end_matches('/'));
        let dir = match self.store.open_dir(&path) {
            Ok(dir) => dir,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // `lost+found`, most likely; one foreign folder must not hide all objects.
                tracing::warn!(path, "the embedded bucket may not read a directory");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let kind = match entry.file_type() {
                FileType::Unknown => match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                kind => kind,
            };
            match kind {
                FileType::Directory if names::is_continued(name) => {
                    self.read(node, &format!("{chain}{name}/"), level)?;
                }
                FileType::Directory | FileType::RegularFile => {
                    let chain = format!("{chain}{name}");
                    let Some(component) = names::component_of(&chain) else { continue };
                    let key = format!("{}{component}", node.key);
                    self.add(key, join(&node.path, &chain), kind, level)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&self, mut key: String, path: String, kind: FileType, level: &mut Vec<Node>) -> io::Result<()> {
        if wanted(&key, false, self.prefix, &self.after) {
            if kind == FileType::RegularFile {
                level.push(Node { key, path, is_dir: false });
                return Ok(());
            }
            let own = format!("{path}/{OWN}");
            if self.store.is_object(&own)? {
                level.push(Node { key: key.clone(), path: own, is_dir: false });
            }
        }
        key.push('/');
        if kind == FileType::Directory && wanted(&key, true, self.prefix, &self.after) {
            level.push(Node { key, path, is_dir: true });
        }
        Ok(())
    }
}

/// Whether the walk has to look at the key, or at what is below the directory `key`.
fn wanted(key: &str, is_dir: bool, prefix: &str, after: &After) -> bool {
    if is_dir {
        (key.starts_with(prefix) || prefix.starts_with(key)) && !after.passed_below(key)
    } else {
        key.starts_with(prefix) && !after.passed(key)
    }
}

fn join(dir: &str, name: &str) -> String {
    match (dir, name) {
        ("", path) | (path, "") => path.to_owned(),
        _ => format!("{dir}/{name}"),
    }
}
