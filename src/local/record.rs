//! The record of a node: one small file in the node's folder of the spool, replaced as a whole. All
//! that an application set (names, mode, owner, times, attributes) and where its generations
//! begin. Everything else (sizes, what is sealed) is read off the spool file and the markers.
//!
//! Invariant: a name belongs to the node whose claim has the highest number, so that a rename over an
//! existing file is one atomic replacement, whatever happens to the other record afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::{Durable, load_json, store_json};
use super::hidden::Hidden;
use crate::values::errors::LocalError;
use crate::values::escape::as_text;
use crate::values::ids::{GenerationNo, NodeId, RequestId, SpoolOffset};
use crate::values::time::Utc;

/// The record's file name in a node's folder.
pub const RECORD: &str = "node.json";
/// The spool file's name in a node's folder.
pub const DATA: &str = "data";

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
    /// The truncation that it began with, when that may come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<RequestId>,
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
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        #[serde(with = "as_text")]
        target: Vec<u8>,
    },
}

/// Times set by utimens. They hold until the file is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Last access, as set or as created.
    pub accessed: Utc,
    /// Last change of content, as set or as created.
    pub modified: Utc,
    /// Last change of the record itself.
    pub changed: Utc,
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
    /// Reads the record of a node's folder.
    pub fn load(folder: &Path) -> Result<Record, LocalError> {
        load_json(&folder.join(RECORD))
    }

    /// The highest number that it gives to a claim or to a generation's birth.
    pub fn last_number(&self) -> u64 {
        let bases = match &self.kind {
            Kind::Live { bases, .. } => bases.as_slice(),
            Kind::Local | Kind::Directory { .. } | Kind::Symlink { .. } => &[],
        };
        let births = bases.iter().map(|generation| generation.birth);
        self.claims.iter().map(|claim| claim.number).chain(births).max().unwrap_or(0)
    }

    /// Replaces the record of a node's folder.
    pub fn store(&self, folder: &Path, durable: Durable) -> Result<(), LocalError> {
        store_json(&folder.join(RECORD), self, durable)
    }
}
