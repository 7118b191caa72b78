//! A file that the bucket shows: an object, a log, which is many, or a whole file, which is its newest version.

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

/// A stored object as the listing has it; or a log or a version of a whole file, whose key is that of the folder of its
/// objects, which no object that shows has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// The whole key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: Utc,
    /// Identity of its content: the ETag of an object, the key of a version, nothing of a log.
    pub etag: String,
}

impl StoredObject {
    /// A version of the whole file of that folder, by the version's key. Which one it is, is not known where that is
    /// empty.
    pub fn version(folder: &str, key: &str, size: u64, modified: Utc) -> StoredObject {
        StoredObject { key: folder.to_owned(), size, modified, etag: key.to_owned() }
    }

    /// A log of that folder, as long as it is known to be.
    pub fn log(folder: &str, size: u64, modified: Utc) -> StoredObject {
        StoredObject { key: folder.to_owned(), size, modified, etag: String::new() }
    }

    /// The folder of the objects of a log or whole file; nothing for an object.
    pub fn folder(&self) -> Option<&str> {
        self.key.ends_with('/').then_some(&*self.key)
    }
}
