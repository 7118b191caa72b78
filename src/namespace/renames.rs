//! What two names say of a rename: whether the old one was temporary, as programs use for a file that they put into
//! place when it is complete, and whether a log is rotated away.

/// Endings of names under which programs fill files: browsers, rsync's `--partial`, Hadoop and the like.
const ENDINGS: [&str; 11] = [
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".inprogress",
    ".in_progress",
    ".incomplete",
    ".crdownload",
    ".new",
    "._COPYING_",
];
/// Fewest characters that mktemp(1) and mkstemp(3) make up.
const MADE_UP: usize = 6;

/// Whether a path looks like that of a file which gets its name later.
pub fn is_temporary(path: &[u8]) -> bool {
    let name = String::from_utf8_lossy(path.rsplit(|b| *b == b'/').next().unwrap_or_default());
    let made_up = |text: &str| text.len() >= MADE_UP && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // A number may follow: `app.log.tmp.4711`.
    let counted = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let ended = |name: &str| {
        let name = name.trim_end_matches('.');
        ENDINGS.iter().any(|end| name.len() > end.len() && name.ends_with(end))
    };
    // `.app.log.a1B2c3` of rsync and of many libraries.
    let hidden = name.starts_with('.')
        && name[1..]
            .rsplit_once('.')
            .is_some_and(|(stem, end)| !stem.is_empty() && end.len() == MADE_UP && made_up(end));
    // `seda1B2c3` of `sed -i`, `tmp.a1B2c3d4E5` of mktemp, `tmpa1b2c3d4` of Python.
    let sed = name.strip_prefix("sed").is_some_and(|end| end.len() == MADE_UP && made_up(end));
    let mktemp = name.strip_prefix("tmp").is_some_and(|end| made_up(end.trim_start_matches('.')));
    ended(&name) || ended(counted) || hidden || sed || mktemp
}

/// Whether a file's new path is its old one with something put in or counted up, as rotation does: `app.log` becomes
/// `app.log.1`, `app.1.log` or `app-20261123.log`, and `app.log.1` becomes `app.log.2`.
pub fn is_rotation(old: &[u8], new: &[u8]) -> bool {
    let name = |path: &'_ [u8]| path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    let (old, new) = (name(old), name(new));
    let shared = old.len().min(new.len());
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let behind = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let behind = behind.min(shared - before);
    let gone = &old[before..old.len() - behind];
    let put_in = &new[before..new.len() - behind];
    let numbers = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let (Some(first), Some(last)) = (put_in.first(), put_in.last()) else { return false };
    let apart = !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric();
    before > 0 && numbers(gone) && (numbers(put_in) || apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_known() {
        for name in [
            "sedAb3xYz",
            "web/.app.log.Xy12ab",
            "tmp.kVtW5cQz9D",
            "tmpab_3k2x9",
            "app.log.tmp",
            "app.log.tmp4711",
            "app.log.tmp.4711",
            "x.inprogress",
            "x.part",
            "app.log.new",
            "data.csv._COPYING_",
        ] {
            assert!(is_temporary(name.as_bytes()), "{name}");
        }
        for name in [
            "app.log",
            "app.log.1",
            ".app.log",
            ".hidden.log",
            "sediment.log",
            "sed.log",
            "tmp.log",
            "tmp",
            ".tmp",
            "web.tmp/app.log",
            "template",
            "app-20261123.log",
        ] {
            assert!(!is_temporary(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn rotation_is_told_from_a_file_that_is_put_in_its_place() {
        for (old, new) in [
            ("app.log", "app.log.1"),
            ("app.log", "old/app.log-20261123"),
            ("app.log", "app.1.log"),
            ("app.log", "app1.log"),
            ("app.log", "app-2026-11-23.log"),
            ("app.log.1", "app.log.2"),
            ("app.log.9", "app.log.10"),
            ("app.log", "app.log.old"),
        ] {
            assert!(is_rotation(old.as_bytes(), new.as_bytes()), "{old} {new}");
        }
        for (old, new) in [
            ("new.log", "app.log"),
            ("a.log", "b.log"),
            ("incoming/app.log", "app.log"),
            ("app.log.1", "app.log"),
            ("a", "app.log"),
            ("app.log", "app.log"),
        ] {
            assert!(!is_rotation(old.as_bytes(), new.as_bytes()), "{old} {new}");
        }
    }
}
