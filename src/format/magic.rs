//! What files begin with that are no logs, by which the program tells those that were written from their beginning to
//! their end; and which of them are compressed already.

/// Most bytes that are looked at.
pub const MAGIC_MAX: usize = 16;

/// Databases of SQLite, and their write-ahead logs, which mean nothing without them
/// (<https://www.sqlite.org/fileformat2.html>).
const DATABASES: [&[u8]; 3] = [b"SQLite format 3\0", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"];

/// Beginnings of what does not become smaller: gzip, zstd, bzip2, xz, LZ4, zip (and with it jar and docx), 7-Zip, PNG,
/// JPEG.
const MAGIC: [&[u8]; 9] = [
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x04\x22\x4d\x18",
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"\x89PNG",
    b"\xff\xd8\xff",
];

/// Whether a file that begins so is compressed, also as the MPEG-4 that it is.
pub fn is_compressed(beginning: &[u8]) -> bool {
    MAGIC.iter().any(|magic| beginning.starts_with(magic)) || beginning.get(4..8) == Some(b"ftyp")
}

/// Whether a file that begins so is no log, however it was written.
pub fn is_whole(beginning: &[u8]) -> bool {
    is_compressed(beginning) || DATABASES.iter().any(|magic| beginning.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_is_known_by_its_beginning() {
        for beginning in [&b"\x1f\x8b\x08\0"[..], b"PK\x03\x04....", b"\0\0\0\x20ftypisom", b"BZh9"] {
            assert!(is_compressed(beginning), "{beginning:?}");
        }
        for beginning in [&b""[..], b"2026-11-23 line", b"JAVA PROFILE", b"SQLite format 3\0", b"\x7fELF", b"PK"] {
            assert!(!is_compressed(beginning), "{beginning:?}");
        }
        assert!(is_whole(b"SQLite format 3\0") && is_whole(b"BZh9") && !is_whole(b"2026-11-23 line"));
    }
}
