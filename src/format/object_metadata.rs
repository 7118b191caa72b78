//! User metadata of segments and whole files: the names of its fields, and the values that follow from a key
//! (docs/FORMAT.md says what each means).

use super::naming::SegmentName;
use super::whole_name::WholeName;
use crate::types::escape::escape_ascii;

/// CRC-64/NVME of the uncompressed bytes, 16 hex digits.
pub const CHECKSUM: &str = "checksum-crc64nvme";
/// Lower bound of the time of the first byte.
pub const FIRST: &str = "first";
/// Upper bound of the time of the last byte.
pub const LAST: &str = "last";
/// The stream. Left out where it does not fit: the key has it.
pub const STREAM: &str = "stream";
/// The path of a whole file. Left out where it does not fit: the key has it.
pub const PATH: &str = "path";
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

/// Fields of a whole file whose values follow from the key.
pub fn of_whole_key(key: &WholeName) -> [(&'static str, String); 4] {
    [
        ("number", key.number.0.to_string()),
        ("length", key.length.to_string()),
        ("writer", key.writer.to_string()),
        (PATH, escape_ascii(&key.path)),
    ]
}
