//! Newtypes for the integers and short strings that cross module borders, so that an offset in a spool file is never
//! taken for an offset in a generation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node of the namespace (file, directory, symbolic link or stored object): the inode number that applications see
/// and the name of the node's folder in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The mount's root directory; the kernel fixes this number (`FUSE_ROOT_ID`).
    pub const ROOT: NodeId = NodeId(1);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An open file or directory, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandleId(pub u64);

/// A spool file that is registered with the kernel for passthrough, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackingId(pub u32);

/// A part of an upload in parts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(pub u16);

impl PartNumber {
    /// S3's highest (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
    pub const MAX: PartNumber = PartNumber(10_000);
}

/// One mount from mount(2) to its end, however many workers serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionId(pub String);

impl SessionId {
    /// The session as a number, short enough to stand beside each name that it made.
    pub fn number(&self) -> u64 {
        let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, self.0.as_bytes());
        u64::from_str_radix(&self.0, 16).unwrap_or(checksum)
    }
}

/// A request of the kernel. What it did is known by it when it comes again, because the worker died before it had
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The session, as a number.
    pub session: u64,
    /// The kernel's number, used once in a session.
    pub unique: u64,
}

/// Which request asks for something, and whether it comes again: it may have been carried out then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The kernel's number.
    pub unique: u64,
    /// Whether a worker that died had read it.
    pub resent: bool,
    /// The thread that asks, as this process sees it; 0 where it cannot.
    pub thread: u32,
}

/// The number of a generation of one stream at one writer, from 1; given at the first seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct GenerationNo(pub u64);

/// How often this spool has been started; part of the registration's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A position in a spool file, in bytes from the file's first byte ever. It only grows: truncation moves a generation's
/// base, it never takes offsets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SpoolOffset(pub u64);

impl SpoolOffset {
    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> SpoolOffset {
        SpoolOffset(self.0.saturating_add(bytes))
    }

    /// Bytes from `earlier` to here; 0 when `earlier` is not earlier.
    pub fn since(self, earlier: SpoolOffset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A half-open range of a spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpoolRange {
    /// First byte.
    pub start: SpoolOffset,
    /// One past the last byte.
    pub end: SpoolOffset,
}

impl SpoolRange {
    /// Length in bytes.
    pub fn len(self) -> u64 {
        self.end.since(self.start)
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One daemon with one spool: readable name and random suffix, `[a-z0-9-]{1,48}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WriterId(String);

/// Longest writer id in bytes: keeps the name part of a key below 128 bytes.
pub const WRITER_ID_MAX: usize = 48;
/// Random characters at the end of a writer id: 36^8 ids for one readable name.
pub const WRITER_SUFFIX_LEN: usize = 8;

impl WriterId {
    /// Forms an id from any readable name (a host or pod name) and random characters. What is not `[a-z0-9-]` in the
    /// name becomes `-`; a name that is too long loses its end.
    pub fn compose(readable: &str, mut random: impl FnMut(usize) -> usize) -> WriterId {
        const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let room = WRITER_ID_MAX - WRITER_SUFFIX_LEN - 1;
        let mut id: String = readable
            .chars()
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => c,
                _ => '-',
            })
            .take(room)
            .collect();
        if id.trim_matches('-').is_empty() {
            id = "writer".into();
        }
        id.push('-');
        for _ in 0..WRITER_SUFFIX_LEN {
            id.push(char::from(ALPHABET[random(ALPHABET.len()) % ALPHABET.len()]));
        }
        WriterId(id)
    }

    /// The readable part, for a new id of the same host.
    pub fn readable(&self) -> &str {
        match self.0.len().checked_sub(WRITER_SUFFIX_LEN + 1) {
            Some(cut) if self.0.as_bytes()[cut] == b'-' => &self.0[..cut],
            _ => &self.0,
        }
    }

    /// The id as it stands in keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no writer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a writer id: 1 to {WRITER_ID_MAX} of a-z, 0-9 and `-` are asked")]
pub struct BadWriterId(String);

impl FromStr for WriterId {
    type Err = BadWriterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=WRITER_ID_MAX).contains(&text.len()) && text.bytes().all(legal) {
            Ok(WriterId(text.to_owned()))
        } else {
            Err(BadWriterId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for WriterId {
    type Error = BadWriterId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WriterId> for String {
    fn from(id: WriterId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_gives_a_legal_writer_id() {
        for name in ["web-7f9c", "Ünïcode.host", "", "---", &"x".repeat(300)] {
            let id = WriterId::compose(name, |n| n - 1);
            assert_eq!(id.as_str().parse::<WriterId>(), Ok(id.clone()), "{name}");
        }
        assert_eq!(WriterId::compose("Web.1", |_| 0).as_str(), "web-1-aaaaaaaa");
        assert_eq!(WriterId::compose("Web.1", |_| 0).readable(), "web-1");
    }
}
