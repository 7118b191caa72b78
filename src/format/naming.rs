//! Forms and parses names, and is the only place to do so: keys of segments and registrations, names of seal markers.
//! (Keys of whole files: `whole_name`.) The name is the record: what a key or marker says is stored nowhere else.
//!
//! Invariant: `parse(form(x)) == x`, for every stream and every prefix.

use std::fmt;

pub use super::form::Form;
use crate::types::escape::{escape_path, unescape};
use crate::types::ids::{Epoch, GenerationNo, SpoolOffset, SpoolRange, WriterId};
use crate::types::time::Utc;

/// S3's limit on a key, in bytes of UTF-8 ("Object key naming guidelines").
pub const KEY_MAX: usize = 1024;
/// What stands between a stream's name and its partitions.
pub const SEGMENTS: &str = ".segments/";
/// What follows a stream's name in that of the folder of its segments.
pub const SEGMENTS_ENDING: &str = ".segments";
/// Where registrations and other records of ours are kept below the prefix; hidden in mounts.
pub const PRIVATE_FOLDER: &str = ".logsinkfs";
/// Digits of a generation's number in a key.
pub(super) const GENERATION_DIGITS: usize = 8;
/// Digits of an offset in a key: a generation of 1 PB still sorts.
const OFFSET_DIGITS: usize = 15;
/// Digits of a length in a key.
pub(super) const LENGTH_DIGITS: usize = 12;
/// Longest segment: what S3 stores as one object at most ("Uploading objects").
pub(super) const SEGMENT_MAX: u64 = 5 << 40;
/// Where a generation ends at the latest: files have no further positions (off_t).
const GENERATION_MAX: u64 = i64::MAX.cast_unsigned();
/// Longest partition in bytes that a key keeps room for at create, when the time of the first byte is not known yet.
pub(super) const PARTITION_MARGIN: usize = 8;

/// What the key of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The stream's path, raw bytes, `/` between parts.
    pub stream: Vec<u8>,
    /// The folder made from the start's time; may be empty.
    pub partition: String,
    /// UTC of the first byte.
    pub start: Utc,
    /// Who wrote it.
    pub writer: WriterId,
    /// Which life of the log.
    pub generation: GenerationNo,
    /// First byte's position in the generation, uncompressed.
    pub offset: u64,
    /// Number of bytes, uncompressed.
    pub length: u64,
    /// Whether the last byte is not a newline.
    pub partial: bool,
    /// How the object's bytes are stored.
    pub form: Form,
}

impl SegmentName {
    /// The object key below `prefix` (empty, or ending in `/`).
    pub fn key(&self, prefix: &str) -> String {
        self.key_in(&segments_folder(prefix, &self.stream))
    }

    /// The object key in its stream's folder, which ends in `/`.
    pub fn key_in(&self, folder: &str) -> String {
        let slash = if self.partition.is_empty() { "" } else { "/" };
        format!("{folder}{}{slash}{self}", self.partition)
    }

    /// Reads a key below `prefix` back; `None` for what is not a segment's key, or claims a range that no segment has.
    pub fn parse(prefix: &str, key: &str) -> Option<SegmentName> {
        let (stream, rest) = key.strip_prefix(prefix)?.rsplit_once(SEGMENTS)?;
        let (partition, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        if stream.is_empty() || partition.is_empty() && rest.starts_with('/') {
            return None;
        }
        let (stem, form) =
            Form::ALL.into_iter().filter_map(|form| Some((name.strip_suffix(form.suffix())?, form))).next_back()?;
        let (stem, partial) = match stem.strip_suffix('p') {
            Some(stem) => (stem, true),
            None => (stem, false),
        };
        let mut fields = stem.split('_');
        let start = Utc::from_name(fields.next()?)?;
        let writer = fields.next()?.parse().ok()?;
        let generation = GenerationNo(number(fields.next()?, GENERATION_DIGITS)?);
        let offset = number(fields.next()?, OFFSET_DIGITS)?;
        let length = number(fields.next()?, LENGTH_DIGITS)?;
        let possible =
            (1..=SEGMENT_MAX).contains(&length) && offset.checked_add(length).is_some_and(|end| end <= GENERATION_MAX);
        if !possible || fields.next().is_some() {
            return None;
        }
        let (stream, partition) = (unescape(stream), partition.to_owned());
        Some(SegmentName { stream, partition, start, writer, generation, offset, length, partial, form })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}_{}_{:0GENERATION_DIGITS$}_{:0OFFSET_DIGITS$}_{:0LENGTH_DIGITS$}{}{}",
            self.start.to_name(),
            self.writer,
            self.generation.0,
            self.offset,
            self.length,
            if self.partial { "p" } else { "" },
            self.form.suffix(),
        )
    }
}

/// A zero-padded number; more digits than the field's width are legal, fewer are not.
pub(super) fn number(text: &str, digits: usize) -> Option<u64> {
    let canonical = text.len() == digits || text.len() > digits && !text.starts_with('0');
    (canonical && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// What all keys of a stream begin with.
pub fn segments_folder(prefix: &str, stream: &[u8]) -> String {
    format!("{prefix}{}{SEGMENTS}", escape_path(stream))
}

/// What all keys of a key's stream begin with; `None` for a key that is in no stream's folder.
pub fn folder_of(key: &str) -> Option<&str> {
    key.rfind(SEGMENTS).map(|at| &key[..at + SEGMENTS.len()])
}

/// Whether every key of a stream will fit into S3's limit, whatever its numbers will be.
pub fn keys_fit(prefix: &str, stream: &[u8], partition_len: usize, writer: &WriterId) -> bool {
    let widest = SegmentName {
        stream: stream.to_vec(),
        partition: "x".repeat(partition_len + PARTITION_MARGIN),
        start: Utc::default(),
        writer: writer.clone(),
        generation: GenerationNo(0),
        offset: 0,
        length: 0,
        partial: true,
        form: Form::Zstd,
    };
    widest.key(prefix).len() <= KEY_MAX
}

/// The key under which a start of a writer is registered.
pub fn registration_key(prefix: &str, writer: &WriterId, epoch: Epoch) -> String {
    format!("{}{:08}.json", registrations_of(prefix, writer), epoch.0)
}

/// What the keys of all registrations of a writer begin with.
pub fn registrations_of(prefix: &str, writer: &WriterId) -> String {
    format!("{prefix}{PRIVATE_FOLDER}/writers/{writer}/")
}

/// How far a sealed range has come. The suffix of its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// End and key are fixed; nothing was sent.
    Sealed,
    /// A PUT has begun: S3 may have it, and has not confirmed it.
    Sending,
    /// S3 has it; the local bytes are still there.
    Confirmed,
    /// S3 has it and the local bytes may be gone.
    Reclaimed,
    /// It cannot be uploaded as what was sealed; a copy is in the quarantine.
    Quarantined,
    /// Its bytes were dropped; the bucket does not say so yet.
    Dropped,
    /// Its bytes were dropped, and an empty object in the bucket says so.
    Marked,
}

impl Phase {
    const ALL: [Phase; 7] = [
        Phase::Sealed,
        Phase::Sending,
        Phase::Confirmed,
        Phase::Reclaimed,
        Phase::Quarantined,
        Phase::Dropped,
        Phase::Marked,
    ];

    /// Whether S3 may lack its bytes, which are here.
    pub fn is_unsent(self) -> bool {
        matches!(self, Phase::Sealed | Phase::Sending)
    }

    /// Whether an object has to be put for it.
    pub fn owes_object(self) -> bool {
        self.is_unsent() || self == Phase::Dropped
    }

    /// Whether its bytes were dropped.
    pub fn is_dropped(self) -> bool {
        matches!(self, Phase::Dropped | Phase::Marked)
    }

    /// Whether its bytes are on the disk.
    pub fn is_here(self) -> bool {
        !(self.is_dropped() || self == Phase::Reclaimed)
    }

    fn suffix(self) -> &'static str {
        match self {
            Phase::Sealed => "sealed",
            Phase::Sending => "sending",
            Phase::Confirmed => "confirmed",
            Phase::Reclaimed => "reclaimed",
            Phase::Quarantined => "quarantined",
            Phase::Dropped => "dropped",
            Phase::Marked => "marked",
        }
    }
}

/// The name of a seal marker in a node's spool folder: the range in the spool file, the generation's number and the
/// phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerName {
    /// The range of the spool file.
    pub range: SpoolRange,
    /// The generation that it belongs to.
    pub generation: GenerationNo,
    /// How far it has come.
    pub phase: Phase,
}

impl fmt::Display for MarkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpoolRange { start, end } = self.range;
        let (generation, suffix) = (self.generation.0, self.phase.suffix());
        write!(f, "{:016x}_{:016x}_{generation:08}.{suffix}", start.0, end.0)
    }
}

impl MarkerName {
    /// Reads a marker's name back; `None` for any other file.
    pub fn parse(name: &str) -> Option<MarkerName> {
        let (stem, suffix) = name.rsplit_once('.')?;
        let phase = Phase::ALL.into_iter().find(|p| p.suffix() == suffix)?;
        let mut fields = stem.split('_');
        let mut hex = || u64::from_str_radix(fields.next()?, 16).ok();
        let range = SpoolRange { start: SpoolOffset(hex()?), end: SpoolOffset(hex()?) };
        let generation = GenerationNo(number(fields.next()?, 8)?);
        let marker = MarkerName { range, generation, phase };
        (!range.is_empty() && marker.to_string() == name).then_some(marker)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_segment()(
            stream in vec(vec(any::<u8>(), 1..20), 1..4),
            partition in "(dt=[0-9]{4}(/hour=[0-9]{2})?)?",
            start in 0i64..253_402_300_799_999_999,
            writer in "[a-z0-9-]{1,48}",
            (generation, offset, length) in
                (any::<u64>(), 0..=GENERATION_MAX - SEGMENT_MAX, 1..=SEGMENT_MAX),
            partial in any::<bool>(),
            form in 0..4usize,
        ) -> SegmentName {
            SegmentName {
                stream: stream.join(&b'/'),
                partition,
                start: Utc::from_micros(start),
                writer: writer.parse().expect("legal"),
                generation: GenerationNo(generation),
                offset,
                length,
                partial,
                form: Form::ALL[form],
            }
        }
    }

    proptest! {
        #[test]
        fn every_segment_comes_back_from_its_key(name in any_segment(), prefix in "([a-z.]{1,9}/)?") {
            let key = name.key(&prefix);
            prop_assert_eq!(SegmentName::parse(&prefix, &key), Some(name));
        }

        #[test]
        fn no_text_makes_the_parser_panic(key in ".{0,80}") {
            let _ = SegmentName::parse("", &key);
            let _ = MarkerName::parse(&key);
        }

        #[test]
        fn every_marker_comes_back_from_its_name(
            (start, len) in (0..u64::MAX / 2, 1..u64::MAX / 2),
            generation in 0..99_999_999u64,
            phase in 0..4usize,
        ) {
            let start = SpoolOffset(start);
            let range = SpoolRange { start, end: start.plus(len) };
            let phase = Phase::ALL[phase];
            let marker = MarkerName { range, generation: GenerationNo(generation), phase };
            prop_assert_eq!(MarkerName::parse(&marker.to_string()), Some(marker));
        }
    }

    #[test]
    fn a_key_reads_as_it_is_documented() {
        let key = "logs/web/app.log.segments/dt=2026-11-23/hour=08/\
            20261123T081502.123456Z_web-1-abcdefgh_00000003_000000000001024_000000000512p.log.gz";
        let name = SegmentName::parse("logs/", key).expect("a segment");
        assert_eq!(name.stream, b"web/app.log");
        assert_eq!((name.generation, name.offset, name.length), (GenerationNo(3), 1024, 512));
        assert!(name.partial && name.form == Form::Gzip);
        assert_eq!(name.key("logs/"), key);
    }

    #[test]
    fn a_range_that_no_segment_can_have_makes_no_segment() {
        let parsed = |offset: u64, length: u64| {
            let numbers = format!("00000001_{offset:015}_{length:012}");
            let key = format!("a.segments/20261123T081502.123456Z_w_{numbers}.log");
            SegmentName::parse("", &key).is_some()
        };
        assert!(parsed(0, SEGMENT_MAX) && parsed(GENERATION_MAX - 1, 1));
        assert!(!parsed(0, SEGMENT_MAX + 1) && !parsed(GENERATION_MAX, 1));
        assert!(!parsed(0, 0) && !parsed(u64::MAX, u64::MAX) && !parsed(1, u64::MAX));
    }

    #[test]
    fn keys_are_read_by_the_last_segments_folder() {
        let name = "a.segments/b.segments/20261123T081502.123456Z_w_00000001_000000000000000_000000000001.log";
        let parsed = SegmentName::parse("", name).expect("a segment");
        assert_eq!(parsed.stream, b"a.segments/b");
        assert_eq!(folder_of(name), Some(&*segments_folder("", &parsed.stream)));
    }

    #[test]
    fn a_path_whose_keys_could_not_fit_is_known_at_create() {
        let writer: WriterId = "w".repeat(48).parse().expect("legal");
        assert!(keys_fit("logs/", &[b'a'; 800], 21, &writer));
        assert!(!keys_fit("logs/", &[b'a'; 900], 21, &writer));
        assert!(!keys_fit("", &[0xff; 400], 0, &writer), "escaping counts");
    }
}
