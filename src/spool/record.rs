//! The record of a node: what applications set (names, mode, owner, times, attributes) and where its generations begin.
//! Everything else (sizes, sealed ranges) is read off spool files and markers.
//!
//! Invariant: a name belongs to the node whose claim has the highest number, so that a rename over an existing file is
//! one atomic replacement, whatever happens to the other record afterwards.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use super::hidden::Hidden;
use crate::types::escape::as_text;
use crate::types::ids::{GenerationNo, HandleId, NodeId, RequestId, SpoolOffset};
use crate::types::time::{FileTime, Utc};

/// A claim on a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The directory.
    pub parent: NodeId,
    /// The name in it.
    #[serde(with = "as_text")]
    pub name: Vec<u8>,
    /// Higher claims win.
    pub number: u64,
    /// The request that made it, when that may come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<RequestId>,
}

/// What a generation is, which says how its bytes reach S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A log: appended to, sealed piece by piece.
    #[default]
    Log,
    /// A whole file: written anywhere, sealed as one when it is closed and quiet.
    Whole,
    /// A file that would be whole, in a mount that keeps these local.
    Local,
    /// A copy of the beginning of a log of this mount: S3 has its bytes as those of the log.
    Copy,
}

impl Content {
    /// Whether it is written in place.
    pub fn is_in_place(self) -> bool {
        matches!(self, Content::Whole | Content::Local)
    }

    /// In one word, for people.
    pub fn word(self) -> &'static str {
        match self {
            Content::Log => "log",
            Content::Whole | Content::Local => "whole",
            Content::Copy => "copy",
        }
    }

    fn is_log(&self) -> bool {
        *self == Content::Log
    }
}

/// A log that a program had open for reading when another file began, and may have copied into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySource {
    /// The log.
    pub node: NodeId,
    /// Its generation, by its beginning.
    pub at: SpoolOffset,
    /// The handle by which it was read.
    pub handle: HandleId,
    /// Whether it had been closed again by then: what has its bytes is a copy only if the log is truncated after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_closed: bool,
}

/// Those that are remembered of a file. Who reads more at once copies none of them alone.
pub type CopySources = [Option<CopySource>; 4];

/// A generation of a log, as the record keeps it until it is sealed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Where it begins: the spool file's length at that moment.
    pub at: SpoolOffset,
    /// Where it ends, when that is before the next one begins: a power cut took its last bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SpoolOffset>,
    /// The wall clock when it began.
    pub since: Utc,
    /// Its place in the order of birth within the spool; 0 in records of earlier versions.
    #[serde(default)]
    pub birth: u64,
    /// Its number in the stream and the start of its first segment, fixed together when it or a younger one is sealed
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbered: Option<Numbered>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Content::is_log")]
    pub content: Content,
    /// Of a whole file: whether a program that has it open has written to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_half_written: bool,
    /// What it may be a copy of.
    #[serde(default, skip_serializing_if = "has_none")]
    pub sources: CopySources,
    /// Of a copy: its length when it was last compared.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub compared: u64,
    /// The truncation that it began with, when that may come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<RequestId>,
}

// Of references, as serde wants it.
fn has_none(sources: &CopySources) -> bool {
    sources.iter().all(Option::is_none)
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// What a generation is called for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number.
    pub number: GenerationNo,
    /// The start of its first segment.
    pub start: Utc,
}

/// Number, time and place of a birth: records of earlier versions lack the number.
pub type Birth = (u64, Utc, NodeId, SpoolOffset);

impl Generation {
    /// Sorts the generations of a stream, whatever files they are in, as they were born.
    pub fn order(&self, node: NodeId) -> Birth {
        (self.birth, self.since, node, self.at)
    }

    /// Whether the generation, of so many bytes, is not to be sealed.
    pub fn stays_local(&self, len: u64) -> bool {
        match self.content {
            Content::Log | Content::Whole => false,
            Content::Local => true,
            // One that has grown may be one no more.
            Content::Copy => len <= self.compared,
        }
    }

    /// Its number, once it has one.
    pub fn number(&self) -> Option<GenerationNo> {
        self.numbered.map(|numbered| numbered.number)
    }
}

/// What kind of node it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A live file.
    Live {
        /// The stream's path.
        #[serde(with = "as_text")]
        stream: Vec<u8>,
        /// Labels of the stream's rule.
        #[serde(default)]
        labels: BTreeMap<String, String>,
        /// Where its generations begin; those before the last only while they are unsealed.
        bases: Vec<Generation>,
    },
    /// An excluded file: local only, an ordinary POSIX file.
    Local,
    /// A directory.
    Directory {
        /// What it does not show of the bucket.
        #[serde(flatten)]
        hidden: Hidden,
        /// Directories that were in it, and in these, by their escaped paths from here, as they are to be when stored
        /// content shows them again.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        former: BTreeMap<String, Former>,
        /// Whether it is known from a listing alone: nobody made it, nor set its owner or mode.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        listed: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        #[serde(with = "as_text")]
        target: Vec<u8>,
    },
}

/// What a directory was that was removed or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A node's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Last access, as set or as created.
    pub accessed: FileTime,
    /// Last change of content, as far as the record knows.
    pub modified: FileTime,
    /// Last change of the record itself.
    pub changed: FileTime,
    /// A file's last write before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write: Option<LastWrite>,
}

impl Times {
    /// Times of a node that is made.
    pub fn new(at: impl Into<FileTime>) -> Times {
        let at = at.into();
        Times { accessed: at, modified: at, changed: at, last_write: None }
    }

    /// The times of a file whose last write is this one: one that the record does not know came after its last change,
    /// however the clock of the file system lags behind.
    #[must_use]
    pub fn after(self, last: LastWrite) -> Times {
        if self.last_write == Some(last) {
            return self;
        }
        let lags = last.at <= self.changed && self.changed < last.at.plus(TICK);
        let modified = if lags { self.changed.plus(1) } else { last.at };
        let changed = self.changed.max(modified);
        Times { modified, changed, last_write: Some(last), ..self }
    }
}

/// Nanoseconds by which the clock that dates writes is behind at most: a tick of a kernel with 100 in a second.
const TICK: u32 = 10_000_000;

/// What a spool file, which the kernel may write to, shows of its last write. By the length two writes to a log are
/// told apart also within one tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWrite {
    /// The length that it left.
    pub len: u64,
    at: FileTime,
}

impl LastWrite {
    /// To a file, as its metadata say.
    pub fn of(metadata: &Metadata) -> LastWrite {
        LastWrite::of_log(SpoolOffset(metadata.len()), metadata)
    }

    /// To a log that ends there, as the metadata of its last spool file say.
    pub fn of_log(end: SpoolOffset, metadata: &Metadata) -> LastWrite {
        // Nanoseconds within a second.
        let at = FileTime::new(metadata.mtime(), metadata.mtime_nsec() as u32);
        LastWrite { len: end.0, at }
    }
}

/// A node's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its names; none when it is unlinked and still open.
    pub claims: Vec<Claim>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Times.
    pub times: Times,
    /// Extended attributes of the application, values as escaped text.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

impl Record {
    /// The highest number in it, of claims and of generations' births.
    pub fn last_number(&self) -> u64 {
        let bases = match &self.kind {
            Kind::Live { bases, .. } => bases.as_slice(),
            Kind::Local | Kind::Directory { .. } | Kind::Symlink { .. } => &[],
        };
        let births = bases.iter().map(|generation| generation.birth);
        self.claims.iter().map(|claim| claim.number).chain(births).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_after_a_change_counts_also_within_one_tick() {
        let write = |len, secs, nanos| LastWrite { len, at: FileTime::new(secs, nanos) };
        let (set, now) = (FileTime::new(4_000, 0), FileTime::new(100, 5_000_000));
        let touched = Times { modified: set, last_write: Some(write(7, 99, 0)), ..Times::new(now) };
        assert_eq!(touched.after(write(7, 99, 0)).modified, set, "nothing was written");
        let shown = |last| (touched.after(last).modified, touched.after(last).changed);
        let later = FileTime::new(100, 7_000_000);
        assert_eq!(shown(write(8, 100, 7_000_000)), (later, later));
        // The file system's clock has not gone on since before the change.
        let next = FileTime::new(100, 5_000_001);
        assert_eq!(shown(write(8, 99, 999_000_000)), (next, next));
        // The clock was set back.
        assert_eq!(shown(write(8, 50, 0)), (FileTime::new(50, 0), now));
    }
}
