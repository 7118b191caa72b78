//! Keys of whole files, which are no logs: each version of one is one object. Forms and parses them, and is the only
//! place to do so.
//!
//! Invariant: `parse(form(x)) == x`, for every path and every prefix; a key that would be formed otherwise is no whole
//! file's.

use std::fmt;

use super::naming;
use super::naming::{Form, GENERATION_DIGITS, KEY_MAX, LENGTH_DIGITS, PARTITION_MARGIN, SEGMENT_MAX, SEGMENTS, number};
use crate::types::escape::{escape_path, unescape};
use crate::types::ids::{GenerationNo, WriterId};
use crate::types::time::Utc;

/// What stands between a whole file's path and its partitions.
pub const FILES: &str = ".files/";
/// What follows a whole file's name in that of the folder of its versions.
pub const FILES_ENDING: &str = ".files";
/// Says that the file was half written when its program or its daemon died.
const PARTIAL: &str = ".partial";
/// Longest extension that is repeated at the end of a key, so that programs that go by it open the object.
const EXTENSION_MAX: usize = 16;
/// The forms that a whole file can have.
const FORMS: [Form; 3] = [Form::Plain, Form::Gzip, Form::Zstd];

/// What the key of a version of a whole file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeName {
    /// The file's path, raw bytes, `/` between parts.
    pub path: Vec<u8>,
    /// The folder made from the start's time; may be empty.
    pub partition: String,
    /// UTC of its first byte, or of the first change since the version before.
    pub start: Utc,
    /// Who wrote it.
    pub writer: WriterId,
    /// Which version of the file at this writer.
    pub number: GenerationNo,
    /// Number of bytes, uncompressed.
    pub length: u64,
    /// Whether it was half written when its program or its daemon died.
    pub partial: bool,
    /// How the object's bytes are stored.
    pub form: Form,
}

impl WholeName {
    /// The object key below `prefix` (empty, or ending in `/`).
    pub fn key(&self, prefix: &str) -> String {
        self.key_in(&files_folder(prefix, &self.path))
    }

    /// The object key in its file's folder, which ends in `/`.
    pub fn key_in(&self, folder: &str) -> String {
        let slash = if self.partition.is_empty() { "" } else { "/" };
        format!("{folder}{}{slash}{self}", self.partition)
    }

    /// Reads a key below `prefix` back; `None` for what is not a whole file's key, or claims a length that none has.
    pub fn parse(prefix: &str, key: &str) -> Option<WholeName> {
        let (path, rest) = key.strip_prefix(prefix)?.rsplit_once(FILES)?;
        let (partition, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        let mut fields = name.splitn(4, '_');
        let start = Utc::from_name(fields.next()?)?;
        let writer = fields.next()?.parse().ok()?;
        let of_writer = GenerationNo(number(fields.next()?, GENERATION_DIGITS)?);
        let last = fields.next()?;
        let (length, ending) = last.split_at(last.find('.').unwrap_or(last.len()));
        let length = number(length, LENGTH_DIGITS)?;
        let (path, partition) = (unescape(path), partition.to_owned());
        let mut endings = FORMS.into_iter().flat_map(|form| [(false, form), (true, form)]);
        let (partial, form) = endings.find(|(partial, form)| ending_of(&path, *partial, *form) == ending)?;
        let name = WholeName { path, partition, start, writer, number: of_writer, length, partial, form };
        let possible = !name.path.is_empty() && length <= SEGMENT_MAX && !rest.contains(SEGMENTS);
        (possible && name.key(prefix) == key).then_some(name)
    }

    /// Reads a key in a file's folder back, wherever that is: a prefix that was mounted need not be escaped. Its path
    /// is that below the bucket's root.
    pub fn parse_in(folder: &str, key: &str) -> Option<WholeName> {
        let parent = folder.strip_suffix('/')?.rfind('/').map_or(0, |at| at + 1);
        let name = WholeName::parse(&folder[..parent], key)?;
        let path = unescape(folder.strip_suffix(FILES)?);
        (name.key_in(folder) == key).then_some(WholeName { path, ..name })
    }

    /// The order of a file's versions: the newest is the highest.
    pub fn order(&self) -> impl Ord + '_ {
        (self.start, self.number, &self.writer)
    }

    /// The Content-Type of its object. What the bytes of a file are that is stored as it is, nobody has looked at.
    pub fn content_type(&self) -> &'static str {
        match self.form {
            Form::Plain => "application/octet-stream",
            other => other.content_type(),
        }
    }
}

impl fmt::Display for WholeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}_{}_{:0GENERATION_DIGITS$}_{:0LENGTH_DIGITS$}{}",
            self.start.to_name(),
            self.writer,
            self.number.0,
            self.length,
            ending_of(&self.path, self.partial, self.form),
        )
    }
}

/// How the key of a version ends.
fn ending_of(path: &[u8], partial: bool, form: Form) -> String {
    let partial = if partial { PARTIAL } else { "" };
    let (dot, extension) = extension_of(path).map_or(("", ""), |extension| (".", extension));
    format!("{partial}{dot}{extension}{}", form.compression())
}

/// What follows the last dot of a path's last part, if it is short and plain, and something stands before the dot.
fn extension_of(path: &[u8]) -> Option<&str> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0)?;
    let extension = str::from_utf8(&name[dot + 1..]).ok()?;
    let plain = (1..=EXTENSION_MAX).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then_some(extension)
}

/// What all keys of a whole file's versions begin with.
pub fn files_folder(prefix: &str, path: &[u8]) -> String {
    format!("{prefix}{}{FILES}", escape_path(path))
}

/// What all keys of a key's stream or whole file begin with; `None` for a key that is in no such folder.
pub fn folder_of(key: &str) -> Option<&str> {
    let of_files = key.rfind(FILES).map(|at| &key[..at + FILES.len()]);
    naming::folder_of(key).into_iter().chain(of_files).max_by_key(|folder| folder.len())
}

/// Whether every key of a whole file will fit into S3's limit, whatever its numbers will be.
pub fn fits(prefix: &str, path: &[u8], partition_len: usize, writer: &WriterId) -> bool {
    let widest = WholeName {
        path: path.to_vec(),
        partition: "x".repeat(partition_len + PARTITION_MARGIN),
        start: Utc::default(),
        writer: writer.clone(),
        number: GenerationNo(0),
        length: 0,
        partial: true,
        form: Form::Zstd,
    };
    widest.key(prefix).len() <= KEY_MAX
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::format::naming::SegmentName;

    prop_compose! {
        fn any_whole()(
            path in prop_oneof![
                vec(vec(any::<u8>(), 1..20), 1..4).prop_map(|parts| parts.join(&b'/')),
                "[a-z./]{0,12}[a-z.](\\.(files|segments|partial|gz|zst|hprof))?(\\.(partial|gz|zst))?"
                    .prop_map(String::into_bytes),
            ],
            partition in "(dt=[0-9]{4}(/hour=[0-9]{2})?)?",
            start in 0i64..253_402_300_799_999_999,
            writer in "[a-z0-9-]{1,48}",
            (number, length) in (any::<u64>(), 0..=SEGMENT_MAX),
            partial in any::<bool>(),
            form in 0..FORMS.len(),
        ) -> WholeName {
            WholeName {
                path,
                partition,
                start: Utc::from_micros(start),
                writer: writer.parse().expect("legal"),
                number: GenerationNo(number),
                length,
                partial,
                form: FORMS[form],
            }
        }
    }

    proptest! {
        #[test]
        fn every_version_comes_back_from_its_key_and_is_no_segment(
            name in any_whole(),
            prefix in "([a-z.]{1,9}/)?",
        ) {
            let key = name.key(&prefix);
            prop_assert_eq!(SegmentName::parse(&prefix, &key), None);
            prop_assert_eq!(WholeName::parse(&prefix, &key), Some(name));
        }

        #[test]
        fn what_is_read_is_formed_the_same(
            start in "(a|a b|x%2F|%41|/|)",
            partition in "(|/|dt=1/|a.segments/|b.files/)",
            end in "(0{11,13}|9{13})(\\.partial)?(\\.log|\\.gz|\\.zst|\\.|\\.PARTIAL)?",
        ) {
            let key = format!("{start}.files/{partition}20261123T081502.123456Z_w_00000001_{end}");
            if let Some(name) = WholeName::parse("", &key) {
                prop_assert_eq!(name.key(""), key);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(key in ".{0,80}", prefix in ".{0,3}") {
            let _ = WholeName::parse(&prefix, &key);
            let _ = WholeName::parse("", &format!("{key}.files/{key}"));
        }
    }

    fn key(path: &str, end: &str) -> String {
        format!("{path}.files/dt=2026-11-23/20261123T081502.123456Z_w-abcdefgh_00000003_{end}")
    }

    fn parsed(path: &str, end: &str) -> Option<WholeName> {
        WholeName::parse("", &key(path, end))
    }

    #[test]
    fn a_key_reads_as_it_is_documented() {
        let key = "logs/web/dump.hprof.files/dt=2026-11-23/hour=08/\
            20261123T081502.123456Z_web-1-abcdefgh_00000003_000000000512.partial.hprof.gz";
        let name = WholeName::parse("logs/", key).expect("a whole file");
        assert_eq!(name.path, b"web/dump.hprof");
        assert_eq!((name.number, name.length), (GenerationNo(3), 512));
        assert!(name.partial && name.form == Form::Gzip);
        assert_eq!(name.key("logs/"), key);
    }

    #[test]
    fn what_the_program_compressed_is_told_from_what_was_compressed_before() {
        let form = |path, end| parsed(path, end).map(|name| name.form);
        assert_eq!(form("x", "000000000512"), Some(Form::Plain));
        assert_eq!(form("x", "000000000512.gz"), Some(Form::Gzip));
        assert_eq!(form("x.gz", "000000000512.gz"), Some(Form::Plain));
        assert_eq!(form("x.gz", "000000000512.gz.gz"), Some(Form::Gzip));
        assert_eq!(form("x.gz", "000000000512.gz.zst"), Some(Form::Zstd));
        assert_eq!(form("x.partial", "000000000512.partial"), Some(Form::Plain));
        let partial = |path, end| parsed(path, end).map(|name| name.partial);
        assert_eq!(partial("x", "000000000512.partial"), Some(true));
        assert_eq!(partial("x.partial", "000000000512.partial"), Some(false));
        assert_eq!(partial("x.partial", "000000000512.partial.partial"), Some(true));
    }

    #[test]
    fn an_extension_is_short_plain_and_not_all_of_the_name() {
        let ending = |path: &str| ending_of(path.as_bytes(), false, Form::Plain);
        assert_eq!(ending("a.b/dump.hprof"), ".hprof");
        assert_eq!(ending("backup.tar.gz"), ".gz");
        assert_eq!(ending(&format!("a.{}", "x".repeat(16))), format!(".{}", "x".repeat(16)));
        for none in ["a.b/dump", ".bashrc", "a.", "a.b c", "a.ü", &format!("a.{}", "x".repeat(17))] {
            assert_eq!(ending(none), "", "{none}");
        }
        assert!(parsed("dump.hprof", "000000000512").is_none(), "the extension is missing");
        assert!(parsed("dump", "000000000512.hprof").is_none(), "whose extension is that?");
    }

    #[test]
    fn a_length_is_at_most_what_an_object_holds() {
        assert!(parsed("a", "000000000000").is_some() && parsed("a", &SEGMENT_MAX.to_string()).is_some());
        let too_long = [SEGMENT_MAX + 1, u64::MAX].map(|length| length.to_string());
        for impossible in too_long.iter().map(String::as_str).chain(["99999999999999999999", "-00000000001"]) {
            assert!(parsed("a", impossible).is_none(), "{impossible}");
        }
    }

    #[test]
    fn other_keys_are_no_whole_files() {
        let name = "20261123T081502.123456Z_w_00000001_000000000001";
        assert!(WholeName::parse("", &format!("a.files/{name}")).is_some());
        let inner = WholeName::parse("", &format!("a.files/b.files/{name}")).expect("a whole file");
        assert_eq!(inner.path, b"a.files/b");
        assert_eq!(folder_of("a.files/b.segments/c"), Some("a.files/b.segments/"));
        assert_eq!(folder_of("a.segments/b.files/c"), Some("a.segments/b.files/"));
        assert_eq!(folder_of("a.segments"), None);
        for foreign in [
            format!(".files/{name}"),
            format!("a.files//{name}"),
            format!("a.files/{name}/"),
            format!("a.files/b.segments/{name}"),
            format!("a b.files/{name}"),
            format!("%61.files/{name}"),
            format!("a.files/{name}_x"),
            format!("a.files/{name}.dropped"),
            format!("a.files/{name}.log"),
            format!("a.segments/{name}.log"),
            format!("a.files/{}", name.replace("_00000001_", "_1_")),
        ] {
            assert_eq!(WholeName::parse("", &foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_folder_below_a_prefix_that_is_not_escaped_has_versions_too() {
        let folder = "my logs/a%20b.x.files/";
        let name = "dt=1/20261123T081502.123456Z_w_00000001_000000000001.x";
        let version = WholeName::parse_in(folder, &format!("{folder}{name}")).expect("a version");
        assert_eq!((&*version.path, version.key_in(folder)), (&b"my logs/a b.x"[..], format!("{folder}{name}")));
        assert_eq!(WholeName::parse_in(folder, &format!("{folder}c.x.files/{name}")), None);
        assert_eq!(WholeName::parse_in("my logs/a b.x.files/", &format!("my logs/a b.x.files/{name}")), None);
        assert_eq!(WholeName::parse_in("", name), None);
    }

    #[test]
    fn the_newest_version_is_the_one_that_began_last() {
        let of = |start: i64, number, writer: &str| WholeName {
            start: Utc::from_micros(start),
            number: GenerationNo(number),
            writer: writer.parse().expect("legal"),
            ..parsed("a", "000000000001").expect("a whole file")
        };
        let versions = [of(1, 9, "z"), of(2, 1, "z"), of(2, 2, "a"), of(2, 2, "b")];
        assert!(versions.windows(2).all(|two| two[0].order() < two[1].order()));
    }

    #[test]
    fn a_path_whose_keys_could_not_fit_is_known_before() {
        let writer: WriterId = "w".repeat(48).parse().expect("legal");
        assert!(fits("logs/", &[b'a'; 800], 21, &writer));
        assert!(!fits("logs/", &[b'a'; 900], 21, &writer));
        assert!(!fits("", &[0xff; 400], 0, &writer), "escaping counts");
    }
}
