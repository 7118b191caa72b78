//! A bucket in memory: what S3 promises of a bucket and nothing more. Puts are atomic, listings are paged, a body whose
//! checksum does not fit is refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::s3::bucket::{Bucket, ListPage, NewObject, ObjectHead};
use logsinkfs::types::bucket_error::{BucketError, Kind};
use logsinkfs::types::stored_object::StoredObject;
use logsinkfs::types::time::Utc;
use parking_lot::Mutex;

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Bytes,
    pub metadata: BTreeMap<String, String>,
    pub content_type: String,
    /// How many objects had this key before: the identity of its content.
    version: u64,
    /// When it was stored.
    modified: Utc,
}

impl Object {
    /// An object that somebody else stored.
    pub fn foreign(bytes: &[u8]) -> Object {
        let (bytes, metadata) = (Bytes::copy_from_slice(bytes), BTreeMap::new());
        let modified = Utc::default();
        Object { bytes, metadata, content_type: "text/plain".into(), version: 0, modified }
    }

    /// The same, stored so many seconds after the first ones.
    pub fn later(self, seconds: i64) -> Object {
        Object { modified: Utc::from_micros(seconds * 1_000_000), ..self }
    }

    fn etag(&self) -> String {
        format!("\"{}-{:08x}\"", self.version, crc_fast::crc32_iso_hdlc(&self.bytes))
    }
}

/// Objects by key.
pub type Objects = BTreeMap<String, Object>;

/// The bucket.
#[derive(Debug)]
pub struct MemoryBucket {
    objects: Mutex<Objects>,
    page: usize,
}

impl MemoryBucket {
    /// An empty bucket whose listings have at most `page` entries a page.
    pub fn new(page: usize) -> MemoryBucket {
        MemoryBucket { objects: Mutex::default(), page }
    }

    /// All objects.
    pub fn objects(&self) -> Objects {
        self.objects.lock().clone()
    }

    /// Puts an object there behind everybody's back.
    pub fn plant(&self, key: &str, object: Object) {
        self.objects.lock().insert(key.to_owned(), object);
    }

    /// Makes the bucket what it was.
    pub fn set_back(&self, to: &Objects) {
        self.objects.lock().clone_from(to);
    }

    fn list(&self, prefix: &str, deep: bool, token: Option<&str>) -> ListPage {
        let objects = self.objects.lock();
        let mut page = ListPage::default();
        let mut last: Option<String> = None;
        // What is before the token was listed.
        let from = token.filter(|token| *token > prefix).unwrap_or(prefix);
        for (key, object) in objects.range(from.to_owned()..) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            // An entry is an object, or all objects that share what comes before the next `/`.
            let entry = match rest.find('/').filter(|_| !deep) {
                Some(slash) => &key[..prefix.len() + slash + 1],
                None => key.as_str(),
            };
            if token.is_some_and(|token| entry <= token) || last.as_deref() == Some(entry) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == self.page {
                page.next = last;
                break;
            }
            last = Some(entry.to_owned());
            if !deep && rest.contains('/') {
                page.prefixes.push(entry.to_owned());
                continue;
            }
            page.objects.push(StoredObject {
                key: key.clone(),
                size: object.bytes.len() as u64,
                modified: object.modified,
                etag: object.etag(),
            });
        }
        page
    }

    /// Stores an object whether there is one or not, as a service does that ignores conditions.
    pub fn put_over(&self, object: &NewObject) -> Result<(), BucketError> {
        let stored = read(object)?;
        let mut objects = self.objects.lock();
        let version = objects.get(&object.key).map_or(0, |before| before.version + 1);
        objects.insert(object.key.clone(), Object { version, ..stored });
        Ok(())
    }
}

/// Reads the body as a service receives it, and checks it.
fn read(object: &NewObject) -> Result<Object, BucketError> {
    let fail = |kind, message: String| BucketError::new(kind, "PutObject", &object.key, message);
    let mut bytes = vec![0; usize::try_from(object.payload.len()).unwrap()];
    object
        .payload
        .file
        .read_exact_at(&mut bytes, object.payload.range.start)
        .map_err(|e| fail(Kind::Local, e.to_string()))?;
    if crc_fast::crc32_iso_hdlc(&bytes) != object.payload.crc32 {
        return Err(fail(Kind::Server, "BadDigest".into()));
    }
    let metadata = object.metadata.clone();
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    let ascii = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if size > 2048 || !metadata.iter().all(|(name, value)| ascii(name) && ascii(value)) {
        return Err(fail(Kind::Refused, format!("MetadataTooLarge: {size}")));
    }
    if object.key.len() > 1024 {
        return Err(fail(Kind::Refused, "KeyTooLongError".into()));
    }
    let content_type = object.content_type.to_owned();
    Ok(Object { bytes: bytes.into(), metadata, content_type, version: 0, modified: Utc::default() })
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        let stored = read(object)?;
        let mut objects = self.objects.lock();
        if objects.contains_key(&object.key) {
            let message = "PreconditionFailed";
            return Err(BucketError::new(Kind::Exists, "PutObject", &object.key, message));
        }
        objects.insert(object.key.clone(), stored);
        Ok(())
    }

    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        let fail = |kind| BucketError::new(kind, "GetObject", key, "refused");
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let objects = self.objects.lock();
        let object = objects.get(key).ok_or_else(|| fail(Kind::NotFound))?;
        if etag.is_some_and(|etag| etag != object.etag()) {
            return Err(fail(Kind::Changed));
        }
        let size = object.bytes.len() as u64;
        if range.start >= size {
            return Err(fail(Kind::Refused));
        }
        let at = |position: u64| usize::try_from(position.min(size)).unwrap();
        Ok(object.bytes.slice(at(range.start)..at(range.end)))
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        let objects = self.objects.lock();
        let object = objects.get(key).ok_or_else(|| BucketError::new(Kind::NotFound, "HeadObject", key, "404"))?;
        Ok(ObjectHead { size: object.bytes.len() as u64, metadata: object.metadata.clone() })
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        Ok(self.list(prefix, false, token))
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        Ok(self.list(prefix, true, token))
    }
}
