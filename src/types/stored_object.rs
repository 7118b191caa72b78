//! An object of the bucket, as listings show it.

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

/// A stored object as the listing has it.
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
