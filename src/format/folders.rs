//! Folders in the bucket that mounts show as files, and the names under which parts of keys show. The one place that
//! decides which folders are not listed.

use std::borrow::Cow;

use super::naming::SEGMENTS_ENDING;
use super::whole_name::FILES_ENDING;
use crate::types::escape::{escape_path, unescape};

/// Whether a folder with this name holds the objects of what mounts show as one file. It is found by its name, and not
/// listed, so that programs that go through a directory meet the file alone.
pub fn is_objects_folder(folder: &[u8]) -> bool {
    [SEGMENTS_ENDING, FILES_ENDING].iter().any(|ending| folder.ends_with(ending.as_bytes()))
}

/// Whether a folder with this name holds versions of a whole file, if it is one of ours.
pub fn is_files_folder(folder: &[u8]) -> bool {
    folder.ends_with(FILES_ENDING.as_bytes())
}

/// The name of the log or whole file whose objects are in a folder with this name. `..segments` makes no log of the
/// name `.`.
pub fn file_of_folder(folder: &[u8]) -> Option<Cow<'_, [u8]>> {
    let endings = [SEGMENTS_ENDING, FILES_ENDING];
    let part = endings.iter().find_map(|ending| folder.strip_suffix(ending.as_bytes()))?;
    let name = match str::from_utf8(part) {
        Ok(text) if part.contains(&b'%') => Cow::Owned(shown_part(text)),
        _ => Cow::Borrowed(part),
    };
    (!is_no_name(&name)).then_some(name)
}

/// What the folder of a log's segments may be called, ours first.
pub fn folders_of_log(name: &[u8]) -> impl Iterator<Item = String> {
    folders_with(name, SEGMENTS_ENDING)
}

/// What the folder of a whole file's versions may be called, ours first.
pub fn folders_of_whole(name: &[u8]) -> impl Iterator<Item = String> {
    folders_with(name, FILES_ENDING)
}

/// The folders of what may have a name, in the order in which one hides the other: a whole file's, then a log's.
pub fn folders_of_file(name: &[u8]) -> impl Iterator<Item = String> {
    folders_of_whole(name).chain(folders_of_log(name))
}

fn folders_with(name: &[u8], ending: &'static str) -> impl Iterator<Item = String> {
    let spellings = (!is_no_name(name)).then(|| spellings(name));
    spellings.into_iter().flatten().map(move |spelling| spelling + ending)
}

fn is_no_name(name: &[u8]) -> bool {
    matches!(name, b"" | b"." | b"..")
}

/// The name under which a part of a key shows: unescaped, unless it is not escaped as ours are.
pub fn shown_part(part: &str) -> Vec<u8> {
    let plain = unescape(part);
    if escape_path(&plain) == part && !plain.contains(&0) { plain } else { part.as_bytes().to_vec() }
}

/// How a name may be spelled in a key: as we do, and as somebody else may, without escapes.
pub fn spellings(name: &[u8]) -> impl Iterator<Item = String> {
    let ours = escape_path(name);
    let foreign = str::from_utf8(name).ok().filter(|raw| *raw != ours && shown_part(raw) == name);
    let foreign = foreign.map(str::to_owned);
    [Some(ours), foreign].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_segments_and_its_log_name_each_other() {
        let log = |folder: &str| file_of_folder(folder.as_bytes()).map(Cow::into_owned);
        for (name, ours) in [("app.log", "app.log.segments"), ("a b%", "a%20b%25.segments"), ("日", "日.segments")] {
            assert_eq!(folders_of_log(name.as_bytes()).next().as_deref(), Some(ours));
            assert_eq!(log(ours).as_deref(), Some(name.as_bytes()));
        }
        assert_eq!(log("%FF.segments").as_deref(), Some(&b"\xff"[..]));
        // Somebody else's, who does not escape.
        assert_eq!(log("a b.segments").as_deref(), Some(&b"a b"[..]));
        assert_eq!(folders_of_log(b"a b").collect::<Vec<_>>(), ["a%20b.segments", "a b.segments"]);
        assert_eq!(log("50%.segments").as_deref(), Some(&b"50%"[..]));
        for no_log in [".segments", "..segments", "...segments", "app.log", "..files", "nul%00"] {
            let name = log(no_log);
            assert!(name.is_none(), "{no_log}: {name:?}");
        }
        assert_eq!(folders_of_file(b"..").count(), 0);
        assert_eq!(log("a%20b.db.files").as_deref(), Some(&b"a b.db"[..]));
        let folders = ["a%20b.files", "a b.files", "a%20b.segments", "a b.segments"];
        assert_eq!(folders_of_file(b"a b").collect::<Vec<_>>(), folders);
        assert!(
            is_objects_folder(b"app.log.segments") && is_objects_folder(b"core.files") && !is_objects_folder(b"files")
        );
    }
}
