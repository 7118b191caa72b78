//! The name of an object of ours: a segment of a log, or a version of a whole file.

use super::naming::{Form, SegmentName};
use super::whole_name::WholeName;
use crate::types::ids::WriterId;

/// What the key of an object of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// A segment.
    Segment(SegmentName),
    /// A version of a whole file.
    Whole(WholeName),
}

impl ObjectName {
    /// Reads a key below `prefix`.
    pub fn parse(prefix: &str, key: &str) -> Option<ObjectName> {
        let segment = || SegmentName::parse(prefix, key).map(ObjectName::Segment);
        WholeName::parse(prefix, key).map(ObjectName::Whole).or_else(segment)
    }

    /// Its key below `prefix`.
    pub fn key(&self, prefix: &str) -> String {
        match self {
            ObjectName::Segment(name) => name.key(prefix),
            ObjectName::Whole(name) => name.key(prefix),
        }
    }

    /// Who wrote it.
    pub fn writer(&self) -> &WriterId {
        match self {
            ObjectName::Segment(name) => &name.writer,
            ObjectName::Whole(name) => &name.writer,
        }
    }

    /// The same by another writer.
    #[must_use]
    pub fn with_writer(self, writer: WriterId) -> ObjectName {
        match self {
            ObjectName::Segment(name) => ObjectName::Segment(SegmentName { writer, ..name }),
            ObjectName::Whole(name) => ObjectName::Whole(WholeName { writer, ..name }),
        }
    }

    /// Its bytes, uncompressed.
    pub fn length(&self) -> u64 {
        match self {
            ObjectName::Segment(name) => name.length,
            ObjectName::Whole(name) => name.length,
        }
    }

    /// How its bytes are stored.
    pub fn form(&self) -> Form {
        match self {
            ObjectName::Segment(name) => name.form,
            ObjectName::Whole(name) => name.form,
        }
    }

    /// Its Content-Type.
    pub fn content_type(&self) -> &'static str {
        match self {
            ObjectName::Segment(name) => name.form.content_type(),
            ObjectName::Whole(name) => name.content_type(),
        }
    }
}
