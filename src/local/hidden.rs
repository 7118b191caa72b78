//! What of the bucket a directory does not show: objects that a live file once hid, and folders that were removed here,
//! with what is hidden in them. Kept in the directory's record, names as escaped text.
//!
//! Invariant: bounded. What is hidden beyond that shows again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::values::escape::escape_path;

/// Most names that one directory's record holds.
const NAMES_MAX: usize = 10_000;

/// What a directory does not show of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Objects.
    #[serde(default, rename = "hidden")]
    objects: BTreeSet<String>,
    /// Folders of which something is hidden, or all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    folders: BTreeMap<String, Folder>,
}

/// A folder that is not in the live view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    /// It was removed: it does not show at all.
    removed: bool,
    #[serde(flatten)]
    below: Hidden,
}

impl Hidden {
    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.folders.is_empty()
    }

    fn len(&self) -> usize {
        let below: usize = self.folders.values().map(|folder| 1 + folder.below.len()).sum();
        self.objects.len() + below
    }

    /// Whether a name is hidden, as a folder (a common prefix) or as an object.
    pub fn has(&self, name: &[u8], folder: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let name = escape_path(name);
        match folder {
            true => self.folders.get(&name).is_some_and(|folder| folder.removed),
            false => self.objects.contains(&name),
        }
    }

    /// Hides an object; gives whether that is new.
    pub fn hide(&mut self, name: &[u8]) -> bool {
        self.len() < NAMES_MAX && self.objects.insert(escape_path(name))
    }

    /// A folder leaves the live view: what is hidden in it stays hidden, and all of it when it was removed. Gives
    /// whether there is anything to remember.
    pub fn leave(&mut self, name: &[u8], below: Hidden, removed: bool) -> bool {
        let matters = removed || !below.is_empty();
        if !matters || self.len() + below.len() >= NAMES_MAX {
            return false;
        }
        self.folders.insert(escape_path(name), Folder { removed, below });
        true
    }

    /// A folder is in the live view (again): gives what is hidden in it.
    pub fn enter(&mut self, name: &[u8]) -> Option<Hidden> {
        if self.folders.is_empty() {
            return None;
        }
        self.folders.remove(&escape_path(name)).map(|folder| folder.below)
    }

    /// What is hidden in a folder that is not in the live view.
    pub fn below(&self, name: &[u8]) -> Hidden {
        let folder = self.folders.get(&escape_path(name));
        folder.map(|folder| folder.below.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_folder_keeps_what_was_hidden_in_it() {
        let (mut root, mut web) = (Hidden::default(), Hidden::default());
        assert!(web.hide(b"old.txt") && !web.hide(b"old.txt"));
        assert!(root.leave(b"web\xff", web.clone(), true));
        assert!(root.has(b"web\xff", true) && !root.has(b"web\xff", false));
        let text = serde_json::to_string(&root).expect("written");
        let mut root: Hidden = serde_json::from_str(&text).expect("read");
        assert_eq!(root.enter(b"web\xff"), Some(web));
        assert!(root.is_empty() && !root.leave(b"web", Hidden::default(), false));
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let hidden: Hidden = serde_json::from_str(r#"{"hidden":["a%20b"]}"#).expect("read");
        assert!(hidden.has(b"a b", false));
    }

    #[test]
    fn it_is_bounded() {
        let mut hidden = Hidden::default();
        let hid = (0..NAMES_MAX + 5).filter(|n| hidden.hide(n.to_string().as_bytes())).count();
        assert_eq!(hid, NAMES_MAX);
        assert!(!hidden.leave(b"web", Hidden::default(), true));
    }
}
