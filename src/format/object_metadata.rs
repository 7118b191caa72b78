//! User metadata of segment objects: the names of its fields, and the values that follow from a key (docs/FORMAT.md
//! says what each means).

use super::naming::SegmentName;
use crate::types::escape::escape_ascii;

/// CRC-64/NVME of the uncompressed bytes, 16 hex digits.
pub const CHECKSUM: &str = "checksum-crc64nvme";
/// Lower bound of the time of the first byte.
pub const FIRST: &str = "first";
/// Upper bound of the time of the last byte.
pub const LAST: &str = "last";
/// The stream. Left out where it does not fit: the key has it.
pub const STREAM: &str = "stream";
/// Begins the name of a label.
pub const LABEL: &str = "label-";

/// Fields whose values follow from the key.
pub fn of_key(key: &SegmentName) -> [(&'static str, String); 5] {
    [
        ("generation", key.generation.0.to_string()),
        ("offset", key.offset.to_string()),
        ("length", key.length.to_string()),
        ("writer", key.writer.to_string()),
        (STREAM, escape_ascii(&key.stream)),
    ]
}
