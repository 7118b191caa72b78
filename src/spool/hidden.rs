//! Names of the bucket that a directory does not show: objects that a live file once hid, logs and folders removed
//! here. Stored in the record of the directory, together with those below folders without a record. Paths are relative
//! to the directory, as escaped text.
//!
//! Invariant: bounded. What exceeds the bound is shown again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::format::naming::KEY_MAX;
use crate::types::escape::escape_path;

/// Most paths that one directory's record holds.
const PATHS_MAX: usize = 10_000;

/// What a directory does not show of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden {
    /// Objects, and logs.
    #[serde(default, rename = "hidden")]
    objects: BTreeSet<String>,
    /// Folders (common prefixes).
    #[serde(default, rename = "removed", skip_serializing_if = "BTreeSet::is_empty")]
    folders: BTreeSet<String>,
}

impl Hidden {
    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.folders.is_empty()
    }

    /// How many paths are hidden.
    pub fn len(&self) -> usize {
        self.objects.len() + self.folders.len()
    }

    /// Whether a name is hidden, as a folder or as an object.
    pub fn has(&self, name: &[u8], folder: bool) -> bool {
        let paths = if folder { &self.folders } else { &self.objects };
        !paths.is_empty() && paths.contains(&escape_path(name))
    }

    /// Hides an object; gives whether that is new.
    pub fn hide(&mut self, name: &[u8]) -> bool {
        self.has_room() && self.objects.insert(escape_path(name))
    }

    /// Shows an object again; gives whether it was hidden.
    pub fn show(&mut self, name: &[u8]) -> bool {
        !self.objects.is_empty() && self.objects.remove(&escape_path(name))
    }

    /// Hides an object that a record names, escaped.
    pub fn add(&mut self, name: String) {
        self.objects.insert(name);
    }

    /// Hides a folder.
    pub fn remove(&mut self, name: &[u8]) {
        if self.has_room() {
            self.folders.insert(escape_path(name));
        }
    }

    /// Takes over what is hidden in a folder that leaves the live view.
    pub fn leave(&mut self, folder: &[u8], below: Hidden) {
        let folder = escape_path(folder);
        for (mine, theirs) in [(&mut self.objects, below.objects), (&mut self.folders, below.folders)] {
            // S3 has nothing under a longer path.
            let paths = theirs.into_iter().map(|path| format!("{folder}/{path}"));
            let paths = paths.filter(|path| path.len() <= 3 * KEY_MAX);
            mine.extend(paths.take(PATHS_MAX.saturating_sub(mine.len())));
        }
    }

    /// A folder is in the live view (again): gives what is hidden in it, when anything was remembered of it.
    pub fn enter(&mut self, folder: &[u8]) -> Option<Hidden> {
        let below = self.below(folder);
        let folder = escape_path(folder);
        for (paths, gone) in [(&mut self.objects, &below.objects), (&mut self.folders, &below.folders)] {
            for path in gone {
                paths.remove(&format!("{folder}/{path}"));
            }
        }
        let was_removed = self.folders.remove(&folder);
        (was_removed || !below.is_empty()).then_some(below)
    }

    /// What is hidden in a folder that is not in the live view.
    pub fn below(&self, folder: &[u8]) -> Hidden {
        if self.is_empty() {
            return Hidden::default();
        }
        let folder = escape_path(folder) + "/";
        let below = |paths: &BTreeSet<String>| {
            let within = paths.range(folder.clone()..).map_while(|p| p.strip_prefix(&*folder));
            within.map(str::to_owned).collect()
        };
        Hidden { objects: below(&self.objects), folders: below(&self.folders) }
    }

    fn has_room(&self) -> bool {
        self.objects.len() + self.folders.len() < PATHS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_leaves_the_view_keeps_what_was_hidden_in_it() {
        let (mut root, mut web) = (Hidden::default(), Hidden::default());
        assert!(web.hide(b"old.txt") && !web.hide(b"old.txt"));
        web.remove(b"deep");
        root.remove(b"web\xff");
        root.remove(b"web");
        root.leave(b"web\xff", web.clone());
        assert!(root.has(b"web\xff", true) && !root.has(b"web\xff", false));
        let text = serde_json::to_string(&root).expect("written");
        let mut root: Hidden = serde_json::from_str(&text).expect("read");
        assert_eq!(root.enter(b"web"), Some(Hidden::default()));
        assert_eq!((root.below(b"web\xff"), root.enter(b"web\xff")), (web.clone(), Some(web)));
        assert_eq!(root.enter(b"web"), None);
        assert!(root.is_empty());
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let hidden: Hidden = serde_json::from_str(r#"{"hidden":["a%20b"]}"#).expect("read");
        assert!(hidden.has(b"a b", false));
    }

    #[test]
    fn it_is_bounded_however_much_is_removed_and_however_deep() {
        let mut hidden = Hidden::default();
        for depth in 0..4_000 {
            let mut above = Hidden::default();
            above.remove(b"x");
            above.hide(depth.to_string().as_bytes());
            above.leave(b"x", hidden);
            hidden = above;
        }
        let text = serde_json::to_string(&hidden).expect("written");
        assert!(text.len() < 10 << 20, "{}", text.len());
        assert_eq!(serde_json::from_str::<Hidden>(&text).expect("read"), hidden);
        let hid = (0..PATHS_MAX + 5).filter(|n| hidden.hide(format!("{n}.").as_bytes())).count();
        assert!(hid < PATHS_MAX);
    }
}
