//! A file that the bucket shows: an object, or a log, which is many.

use serde::{Deserialize, Serialize};

use super::time::Utc;

/// Which object is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// The whole key.
    pub key: String,
    /// Identity of its content; `None` for what is put once and never replaced.
    pub etag: Option<String>,
}

/// A stored object as the listing has it; or a log, whose key is that of the folder of its segments, which no object
/// that shows has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// The whole key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: Utc,
    /// Identity of its content.
    pub etag: String,
}

impl StoredObject {
    /// A log of that folder, as long as it is known to be.
    pub fn log(folder: &str, size: u64, modified: Utc) -> StoredObject {
        StoredObject { key: folder.to_owned(), size, modified, etag: String::new() }
    }

    /// The folder of the segments of a log; nothing for an object.
    pub fn as_log(&self) -> Option<&str> {
        self.key.ends_with('/').then_some(&*self.key)
    }
}
