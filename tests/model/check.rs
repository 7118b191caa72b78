//! What must be true of a bucket whatever has happened: every object is what its key and its metadata say, and the
//! segments of a generation follow each other without gap or overlap.

use std::collections::BTreeMap;
use std::io::Read;

use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::format::whole_name::WholeName;
use logsinkfs::types::ids::{GenerationNo, WriterId};
use logsinkfs::types::time::Utc;

use super::daemon::{PREFIX, World};
use super::memory::Object;

/// A generation as the bucket has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    pub stream: String,
    pub writer: WriterId,
    pub number: GenerationNo,
    /// Where it begins; not 0 when another writer had begun it.
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Where its segments begin, and the start that each has in its key.
    pub starts: Vec<(u64, Utc)>,
}

/// The segments in a bucket, by key.
pub fn segments(world: &World) -> BTreeMap<String, (SegmentName, Object)> {
    let objects = world.bucket.inner().objects().into_iter();
    let named = |(key, object): (String, Object)| {
        let name = SegmentName::parse(PREFIX, &key)?;
        Some((key, (name, object)))
    };
    objects.filter_map(named).collect()
}

/// The versions of whole files in the bucket, in their order, with their bytes.
pub fn versions(world: &World) -> Vec<(WholeName, Vec<u8>)> {
    let objects = world.bucket.inner().objects().into_iter();
    let named = objects.filter_map(|(key, object)| Some((WholeName::parse(PREFIX, &key)?, object)));
    let mut versions: Vec<_> = named.map(|(name, object)| (name.clone(), unpacked(name.form, &object))).collect();
    versions.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
    versions
}

/// The uncompressed bytes of an object.
pub fn plain(name: &SegmentName, object: &Object) -> Vec<u8> {
    unpacked(name.form, object)
}

fn unpacked(form: Form, object: &Object) -> Vec<u8> {
    let mut bytes = Vec::new();
    match form {
        Form::Plain | Form::Dropped => bytes.extend_from_slice(&object.bytes),
        Form::Gzip => {
            flate2::read::GzDecoder::new(&object.bytes[..]).read_to_end(&mut bytes).unwrap();
        }
        Form::Zstd => bytes = zstd::decode_all(&object.bytes[..]).unwrap(),
    }
    bytes
}

/// Puts the generations together, checking every object and that nothing is missing between two.
pub fn generations(world: &World) -> Vec<Generation> {
    type Parts = Vec<(SegmentName, Vec<u8>)>;
    let mut parts: BTreeMap<(String, WriterId, GenerationNo), Parts> = BTreeMap::new();
    for (key, (name, object)) in segments(world) {
        let bytes = plain(&name, &object);
        check_object(&key, &name, &object, &bytes);
        let stream = String::from_utf8(name.stream.clone()).unwrap();
        let whole = (stream, name.writer.clone(), name.generation);
        parts.entry(whole).or_default().push((name, bytes));
    }
    let join = |((stream, writer, number), mut segments): (_, Parts)| {
        segments.sort_by_key(|(name, _)| name.offset);
        let offset = segments[0].0.offset;
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for (name, content) in &segments {
            let end = offset + bytes.len() as u64;
            assert_eq!(name.offset, end, "a gap or an overlap before {name} of {stream}");
            bytes.extend_from_slice(content);
            starts.push((name.offset, name.start));
        }
        let in_order = starts.is_sorted_by_key(|(_, start)| *start);
        assert!(in_order, "names of generation {number:?} of {stream} are out of order: {starts:?}");
        Generation { stream, writer, number, offset, bytes, starts }
    };
    let all: Vec<Generation> = parts.into_iter().map(join).collect();
    for pair in all.windows(2) {
        let ([a, b], of) = ([&pair[0], &pair[1]], |g: &Generation| (g.stream.clone(), g.writer.clone()));
        let in_order = of(a) != of(b) || b.offset > 0 || a.starts[0].1 <= b.starts[0].1;
        assert!(in_order, "generations begin out of order: {a:?} {b:?}");
    }
    all
}

fn check_object(key: &str, name: &SegmentName, object: &Object, bytes: &[u8]) {
    assert_eq!(bytes.len() as u64, name.length, "{key}");
    assert_eq!(bytes.last() != Some(&b'\n'), name.partial, "{key}");
    assert_eq!(object.content_type, name.form.content_type(), "{key}");
    let crc64 = format!("{:016x}", crc_fast::crc64_nvme(bytes));
    let expected = [
        ("checksum-crc64nvme", crc64),
        ("generation", name.generation.0.to_string()),
        ("offset", name.offset.to_string()),
        ("length", name.length.to_string()),
        ("first", name.start.to_name()),
        ("writer", name.writer.to_string()),
    ];
    for (field, value) in expected {
        assert_eq!(object.metadata.get(field), Some(&value), "{field} of {key}");
    }
}

/// Asserts that a stream has these generations, from number 1 on and of one writer, and each byte of them once.
pub fn assert_delivered(world: &World, stream: &str, expected: &[&str]) {
    let all = generations(world);
    let found: Vec<_> = all.iter().filter(|g| g.stream == stream).collect();
    let texts: Vec<_> = found.iter().map(|g| String::from_utf8_lossy(&g.bytes)).collect();
    assert_eq!(texts, expected, "generations of {stream}");
    for (i, generation) in found.iter().enumerate() {
        assert_eq!(generation.number, GenerationNo(i as u64 + 1), "number of {generation:?}");
        assert_eq!(generation.writer, found[0].writer, "writer of {generation:?}");
        assert_eq!(generation.offset, 0, "beginning of {generation:?}");
    }
}
