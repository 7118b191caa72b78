//! An independent reading of segment keys and of what they promise together.
//!
//! Owns: the parse of a key, and the check that the segments of one stream lie side by side without a gap or an
//! overlap. Written from docs/FORMAT.md, not from the program's own parser.

use std::collections::BTreeMap;

/// One object of a stream, as its key describes it.
#[derive(Clone, Debug)]
pub struct Segment {
    pub key: String,
    /// Without the mount's prefix, unescaped.
    pub stream: String,
    pub partition: String,
    pub start: String,
    pub writer: String,
    pub generation: u64,
    pub offset: u64,
    pub length: u64,
    /// The last byte is not a newline.
    pub partial: bool,
    /// `log`, `log.gz`, `log.zst` or `dropped`.
    pub suffix: String,
}

impl Segment {
    /// Reads a key, or answers `None` for an object that is no segment.
    pub fn parse(prefix: &str, key: &str) -> Option<Self> {
        let path = key.strip_prefix(prefix)?;
        let (stream, rest) = path.rsplit_once(".segments/")?;
        let (partition, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        let (stem, suffix) = name.split_once('.')?;
        // A fraction of a second puts the first dot inside the start.
        let (stem, suffix) = match suffix.split_once('.') {
            Some((fraction, suffix)) if fraction.contains('Z') => (format!("{stem}.{fraction}"), suffix),
            _ => (stem.to_owned(), suffix),
        };
        let [start, writer, generation, offset, length] = stem.split('_').collect::<Vec<_>>().try_into().ok()?;
        let (length, partial) = match length.strip_suffix('p') {
            Some(length) => (length, true),
            None => (length, false),
        };
        Some(Self {
            key: key.to_owned(),
            stream: unescape(stream),
            partition: partition.to_owned(),
            start: start.to_owned(),
            writer: writer.to_owned(),
            generation: generation.parse().ok()?,
            offset: offset.parse().ok()?,
            length: length.parse().ok()?,
            partial,
            suffix: suffix.to_owned(),
        })
    }

    /// Undoes the compression that the key names.
    pub fn decompress(&self, stored: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut bytes = Vec::new();
        match self.suffix.as_str() {
            "log" => bytes.extend_from_slice(stored),
            "log.gz" => {
                flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut bytes).unwrap();
            }
            "log.zst" => {
                zstd::Decoder::new(stored).unwrap().read_to_end(&mut bytes).unwrap();
            }
            other => panic!("{} has the suffix {other:?}: data was dropped", self.key),
        }
        bytes
    }

    /// What must hold between a key and the bytes that it names.
    pub fn check(&self, bytes: &[u8]) {
        assert_eq!(bytes.len() as u64, self.length, "length in the key of {}", self.key);
        let whole = bytes.last() == Some(&b'\n');
        assert_eq!(!whole, self.partial, "`p` in the key of {}", self.key);
    }
}

/// Undoes the one escaping rule: percent and two hexadecimal digits.
fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The generations of one stream, each put together from its segments in order.
///
/// Panics when a segment is missing between two others, overlaps one, or when a generation of a writer is missing.
pub fn generations(segments: Vec<(Segment, Vec<u8>)>) -> BTreeMap<(String, u64), Vec<u8>> {
    let mut ordered = BTreeMap::new();
    for (segment, bytes) in segments {
        segment.check(&bytes);
        let place = (segment.writer.clone(), segment.generation, segment.offset);
        if let Some((other, _)) = ordered.insert(place, (segment.clone(), bytes)) {
            let Segment { key, .. } = segment;
            panic!("two objects for the same bytes: {key} and {}", other.key);
        }
    }
    let mut joined: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    for ((writer, generation, offset), (segment, bytes)) in ordered {
        let whole = joined.entry((writer, generation)).or_default();
        assert_eq!(whole.len() as u64, offset, "a gap or an overlap before {}", segment.key);
        whole.extend_from_slice(&bytes);
    }
    let mut last: Option<&(String, u64)> = None;
    for place in joined.keys() {
        if let Some((writer, generation)) = last
            && *writer == place.0
        {
            assert_eq!(generation + 1, place.1, "a generation of {writer} is missing");
        }
        last = Some(place);
    }
    joined
}
