//! The bucket interface. Object-safe and small: implemented by the S3 adapter, by decorators, and by
//! test doubles that refuse, delay or lose replies.
//!
//! Invariant: an object cannot be overwritten. `put_new` and `finish_upload` are the only writes, and both refuse a key
//! that has an object.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;

use crate::types::bucket_error::BucketError;
use crate::types::ids::PartNumber;
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// The bytes of a new object: a range of a file, so that nothing is held in memory and a retry sends the same again.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The file; read at explicit positions only.
    pub file: Arc<File>,
    /// The bytes of the file that are the object.
    pub range: Range<u64>,
    /// CRC-32 (ISO-HDLC) of them; the service refuses the object when it received others.
    pub crc32: u32,
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether the object has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an object is given beside bytes and metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectProperties {
    /// Its tags, which keep S3's rules.
    pub tags: Vec<(String, String)>,
    /// Nobody may delete it before.
    pub retain_until: Option<Utc>,
}

/// An object to be.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub payload: Payload,
    /// Its Content-Type.
    pub content_type: &'static str,
    /// User metadata: names without `x-amz-meta-`, values printable ASCII.
    pub metadata: BTreeMap<String, String>,
    /// What else it is given.
    pub properties: ObjectProperties,
}

/// An object to be whose bytes come in parts.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Its key.
    pub key: String,
    /// Its Content-Type.
    pub content_type: &'static str,
    /// User metadata, as that of a [`NewObject`].
    pub metadata: BTreeMap<String, String>,
    /// What else it is given.
    pub properties: ObjectProperties,
}

/// An upload in parts that was begun. There is no object until it is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartedUpload {
    /// The key that the object will have.
    pub key: String,
    /// The service's name for the upload.
    pub id: String,
}

/// A part that the service has, as finishing the upload names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its place in the object.
    pub number: PartNumber,
    /// What the service calls its content.
    pub etag: String,
    /// The checksum that was sent with it, in base64, where one was.
    pub sum: Option<String>,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Length in bytes.
    pub size: u64,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, in byte order of their keys.
    pub objects: Vec<StoredObject>,
    /// Common prefixes up to the next `/`, each ending in it.
    pub prefixes: Vec<String>,
    /// Token of the next page, when there is one.
    pub next: Option<String>,
}

/// A bucket.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// Stores an object under a key that has none, atomically (`If-None-Match: *`). One try: the caller decides on
    /// retries, because only it knows what an `Exists` after a lost reply means.
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError>;

    /// Begins an upload in parts. One try, as with each step of it: what was begun and its reply lost stays unfinished
    /// (`unfinished_uploads`).
    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError>;

    /// Stores a part, or puts another in its place. `NotFound` when the upload was finished or aborted.
    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError>;

    /// Makes the parts, in order of their numbers, the object, under a key that has none (`If-None-Match: *`).
    /// After `Busy`, the upload has to be begun anew.
    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError>;

    /// Gives an upload up, with its parts. One that is not there (any more) is no error.
    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError>;

    /// Uploads in parts of exactly this key that were begun and not ended; some of them, where there are very many.
    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError>;

    /// Bytes of an object; fewer than asked at its end. With `etag`, an error of the kind `Changed` when the object is
    /// another one by now.
    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError>;

    /// Size and metadata of an object.
    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError>;

    /// One page (at most 1,000 entries) of what is directly below `prefix`.
    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError>;

    /// One page (at most 1,000 objects) of all that is below `prefix`, however deep; it has no common prefixes.
    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError>;
}

/// How far a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is directly below the prefix.
    Children,
    /// All objects below the prefix.
    All,
}

/// The pages of a listing, one after the other.
pub fn pages<'b, B>(bucket: B, prefix: String, depth: Depth) -> impl Stream<Item = Result<ListPage, BucketError>>
where
    B: Deref<Target = dyn Bucket + 'b>,
{
    // The token of the next page; `None` when there is none.
    let first: Option<Option<String>> = Some(None);
    stream::try_unfold((bucket, prefix, first), move |(bucket, prefix, token)| async move {
        let Some(token) = token else { return Ok(None) };
        let mut page = match depth {
            Depth::Children => bucket.list_page(&prefix, token.as_deref()).await?,
            Depth::All => bucket.list_below(&prefix, token.as_deref()).await?,
        };
        let next = page.next.take().map(Some);
        Ok(Some((page, (bucket, prefix, next))))
    })
}

/// What the service does with `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conditional {
    /// It refuses the second write of a key.
    Enforced,
    /// It ignores the condition: a HEAD has to go before every PUT.
    Ignored,
}
