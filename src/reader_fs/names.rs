//! What a name in a reader mount stands for: a stream, a whole file, the folder of its objects, a directory or a
//! foreign object. Pure; works on listings that others have fetched.
//!
//! Streams and directories are shown unescaped; a key that does not escape as ours do is foreign and shown as it is. Of
//! one name a directory wins over a whole file, that over a stream, and a stream over an object, so that everything
//! below a directory can be reached; a stream that one hides is still reachable by its slices.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::folders::{shown_part, spellings};
use crate::format::naming::SEGMENTS_ENDING;
use crate::format::whole_name::FILES_ENDING;
use crate::namespace::listing::{Listing, Stored};
use crate::read::streams::StreamKey;
use crate::read::versions::Version;
use crate::types::span::TimePrefix;
use crate::types::stored_object::StoredObject;

/// What stands between the name of a stream and the time of a slice.
const AT: u8 = b'@';

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that is below these prefixes, each ending in `/`, or being the mount's own. There is more than one where
    /// somebody else's keys have the name unescaped.
    Directory(Vec<String>),
    /// A stream as one file.
    Stream(StreamKey),
    /// The newest version of a whole file, if it has one; otherwise what else has the name.
    Files(StreamKey, Option<Box<Target>>),
    /// A version of a whole file.
    Version(Arc<Version>),
    /// An object as it is stored.
    Object(StoredObject),
}

/// A prefix, and what is directly below it.
pub type Folder = (String, Arc<Listing>);

/// All names of a directory, but slices of streams, which there are without end.
pub fn all(folders: &[Folder]) -> BTreeMap<Vec<u8>, Target> {
    let mut names = BTreeMap::new();
    for row in folders.iter().flat_map(|(_, listing)| listing.rows()) {
        let parts = if row.is_prefix() {
            let part = String::from_utf8_lossy(&row.name);
            let of_file = |ending| part.strip_suffix(ending).map(shown_part);
            [Some(shown_part(&part)), of_file(SEGMENTS_ENDING), of_file(FILES_ENDING)]
        } else {
            [Some(row.name.to_vec()), None, None]
        };
        for name in parts.into_iter().flatten() {
            if !names.contains_key(&name)
                && let Some(target) = listed(folders, &name)
            {
                names.insert(name, target);
            }
        }
    }
    names
}

/// What a name stands for, slices included.
pub fn find(folders: &[Folder], name: &[u8]) -> Option<Target> {
    listed(folders, name).or_else(|| slice(folders, name))
}

fn listed(folders: &[Folder], name: &[u8]) -> Option<Target> {
    let directory: Vec<String> = prefixes(folders, name, "").collect();
    if !directory.is_empty() {
        return Some(Target::Directory(directory));
    }
    if let Some(folder) = prefixes(folders, name, FILES_ENDING).next() {
        let otherwise = stream_or_object(folders, name).map(Box::new);
        return Some(Target::Files(StreamKey { folder, slice: None }, otherwise));
    }
    stream_or_object(folders, name)
}

fn stream_or_object(folders: &[Folder], name: &[u8]) -> Option<Target> {
    if let Some(folder) = prefixes(folders, name, SEGMENTS_ENDING).next() {
        return Some(Target::Stream(StreamKey { folder, slice: None }));
    }
    folders.iter().find_map(|(_, listing)| match listing.object(name) {
        Some(Stored::Object(object)) => Some(Target::Object(object)),
        _ => None,
    })
}

fn slice(folders: &[Folder], name: &[u8]) -> Option<Target> {
    let at = name.iter().rposition(|byte| *byte == AT)?;
    let slice = TimePrefix::parse(str::from_utf8(&name[at + 1..]).ok()?)?;
    let folder = prefixes(folders, &name[..at], SEGMENTS_ENDING).next()?;
    Some(Target::Stream(StreamKey { folder, slice: Some(slice) }))
}

/// The prefixes that show under a name, ours first. A folder `..segments/` makes no log of the name `.`.
fn prefixes(folders: &[Folder], name: &[u8], end: &str) -> impl Iterator<Item = String> {
    let folders = if matches!(name, b"" | b"." | b"..") { &[] } else { folders };
    spellings(name).flat_map(move |spelling| {
        let part = format!("{spelling}{end}");
        let there = folders.iter().filter(|(_, listing)| listing.seen(part.as_bytes()) == Some(Stored::Prefix));
        there.map(|(prefix, _)| format!("{prefix}{part}/")).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::s3::bucket::ListPage;
    use crate::types::stored_object::StoredObject;
    use crate::types::time::Utc;

    fn folder(prefix: &str, prefixes: &[&str], objects: &[&str]) -> Folder {
        let object = |name: &&str| StoredObject {
            key: format!("{prefix}{name}"),
            size: 1,
            modified: Utc::default(),
            etag: String::new(),
        };
        let page = ListPage {
            objects: objects.iter().map(object).collect(),
            prefixes: prefixes.iter().map(|name| format!("{prefix}{name}/")).collect(),
            next: None,
        };
        let mut listing = Listing::of(prefix);
        listing.add_page("p/", page);
        (prefix.to_owned(), Arc::new(listing))
    }

    fn stream(folder: &str, slice: Option<&str>) -> Option<Target> {
        let slice = slice.map(|time| TimePrefix::parse(time).expect("a time"));
        Some(Target::Stream(StreamKey { folder: folder.to_owned(), slice }))
    }

    fn directory(prefixes: &[&str]) -> Option<Target> {
        Some(Target::Directory(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect()))
    }

    #[test]
    fn a_folder_of_segments_shows_as_a_file_and_as_a_directory() {
        let folders = [folder("p/", &["app.log.segments", "web"], &["app.log", "notes.txt"])];
        let names: Vec<_> = all(&folders).into_keys().collect();
        assert_eq!(names, [&b"app.log"[..], b"app.log.segments", b"notes.txt", b"web"]);
        assert_eq!(find(&folders, b"app.log"), stream("p/app.log.segments/", None));
        assert_eq!(find(&folders, b"app.log.segments"), directory(&["p/app.log.segments/"]));
        assert!(matches!(find(&folders, b"notes.txt"), Some(Target::Object(_))));
        assert_eq!(find(&folders, b"web"), directory(&["p/web/"]));
        assert_eq!(find(&folders, b"other"), None);
    }

    #[test]
    fn of_one_name_a_directory_wins_then_a_stream_then_an_object() {
        let folders = [folder("p/", &["x", "x.segments", "y.segments"], &["y"])];
        assert_eq!(find(&folders, b"x"), directory(&["p/x/"]));
        assert_eq!(find(&folders, b"y"), stream("p/y.segments/", None));
        assert_eq!(find(&folders, b"x@2026"), stream("p/x.segments/", Some("2026")));
    }

    #[test]
    fn a_whole_file_wins_over_what_else_has_its_name_if_it_has_a_version() {
        let folders = [folder("p/", &["x.files", "x.segments", "y.files", "z", "z.files"], &["y"])];
        let files = |folder: &str, otherwise: Option<Target>| {
            Some(Target::Files(StreamKey { folder: folder.to_owned(), slice: None }, otherwise.map(Box::new)))
        };
        assert_eq!(find(&folders, b"x"), files("p/x.files/", stream("p/x.segments/", None)));
        assert!(
            matches!(find(&folders, b"y"), Some(Target::Files(_, Some(object))) if matches!(*object, Target::Object(_)))
        );
        assert_eq!(find(&folders, b"z"), directory(&["p/z/"]));
        assert_eq!(find(&folders, b"x.files"), directory(&["p/x.files/"]));
        assert_eq!(find(&folders, b"x@2026"), stream("p/x.segments/", Some("2026")));
        let names: Vec<_> = all(&folders).into_keys().collect();
        assert_eq!(names, [&b"x"[..], b"x.files", b"x.segments", b"y", b"y.files", b"z", b"z.files"]);
    }

    #[test]
    fn slices_are_found_and_not_listed_and_a_real_name_wins() {
        let folders = [folder(
            "p/",
            &["a.log.segments", "b@2026-11-23.segments", "..segments", ".segments"],
            &["a.log@2026-11-22"],
        )];
        let day = stream("p/a.log.segments/", Some("2026-11-23"));
        assert_eq!(find(&folders, b"a.log@2026-11-23"), day);
        let minute = stream("p/a.log.segments/", Some("2026-11-23T08:15"));
        assert_eq!(find(&folders, b"a.log@2026-11-23T08:15"), minute);
        assert!(matches!(find(&folders, b"a.log@2026-11-22"), Some(Target::Object(_))));
        assert_eq!(find(&folders, b"b@2026-11-23"), stream("p/b@2026-11-23.segments/", None));
        for nothing in [".@2026", "a.log@", "a.log@noon", "@2026", "z@2026", "a.log@2026-13-01"] {
            assert_eq!(find(&folders, nothing.as_bytes()), None, "{nothing}");
        }
        let names: Vec<_> = all(&folders).into_keys().collect();
        assert_eq!(names.len(), 7, "{names:?}");
    }

    #[test]
    fn escaped_parts_show_as_what_they_stand_for_and_others_as_they_are() {
        let ours = ["a%20b", "%FF.segments", "nul%00", "100%25.segments"];
        let others = ["a b", "x%2Fy", "50%.segments", "%2E%2E"];
        let folders = [folder("p/", &[&ours[..], &others[..]].concat(), &["c%20d"])];
        let both = directory(&["p/a%20b/", "p/a b/"]);
        assert_eq!(find(&folders, b"a b"), both, "both are in one directory");
        assert_eq!(find(&folders, b"\xff"), stream("p/%FF.segments/", None));
        assert_eq!(find(&folders, b"100%"), stream("p/100%25.segments/", None));
        assert_eq!(find(&folders, b"50%"), stream("p/50%.segments/", None));
        assert_eq!(find(&folders, b"x%2Fy"), directory(&["p/x%2Fy/"]));
        assert!(matches!(find(&folders, b"c%20d"), Some(Target::Object(_))));
        assert_eq!(find(&folders, b"a%20b"), None);
        let names = all(&folders);
        for name in names.keys() {
            assert_eq!(find(&folders, name).as_ref(), names.get(name), "{name:?}");
            assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
        }
        assert_eq!(names.len(), 11, "{:?}", names.keys());
    }
}
