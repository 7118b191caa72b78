//! A bucket in memory: what S3 promises of a bucket and nothing more. Puts are atomic, and so are the ends of uploads
//! in parts; listings are paged, a body whose checksum does not fit is refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::s3::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use logsinkfs::types::bucket_error::{BucketError, Kind};
use logsinkfs::types::ids::PartNumber;
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
    /// The lengths of its parts, when it came in parts.
    parts: Vec<usize>,
}

impl Object {
    /// An object that somebody else stored.
    pub fn foreign(bytes: &[u8]) -> Object {
        let (bytes, metadata) = (Bytes::copy_from_slice(bytes), BTreeMap::new());
        let (modified, parts) = (Utc::default(), Vec::new());
        Object { bytes, metadata, content_type: "text/plain".into(), version: 0, modified, parts }
    }

    /// The same, stored so many seconds after the first ones.
    pub fn later(self, seconds: i64) -> Object {
        Object { modified: Utc::from_micros(seconds * 1_000_000), ..self }
    }

    /// The lengths of its parts.
    pub fn part_sizes(&self) -> &[usize] {
        &self.parts
    }

    fn etag(&self) -> String {
        format!("\"{}-{:08x}\"", self.version, crc_fast::crc32_iso_hdlc(&self.bytes))
    }
}

/// An upload in parts.
#[derive(Debug)]
struct Unfinished {
    object: NewUpload,
    parts: BTreeMap<PartNumber, Bytes>,
}

/// Objects by key.
pub type Objects = BTreeMap<String, Object>;

/// The bucket.
#[derive(Debug)]
pub struct MemoryBucket {
    objects: Mutex<Objects>,
    /// Uploads in parts that are not finished, by their ids.
    uploads: Mutex<BTreeMap<String, Unfinished>>,
    /// How many were begun.
    begun: AtomicUsize,
    page: usize,
}

impl MemoryBucket {
    /// An empty bucket whose listings have at most `page` entries a page.
    pub fn new(page: usize) -> MemoryBucket {
        MemoryBucket { objects: Mutex::default(), uploads: Mutex::default(), begun: AtomicUsize::new(0), page }
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

    /// How many uploads in parts are not finished.
    pub fn unfinished(&self) -> usize {
        self.uploads.lock().len()
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

/// Reads a body as a service receives it, and checks it.
fn body(operation: &'static str, key: &str, payload: &Payload) -> Result<Bytes, BucketError> {
    let fail = |kind, message: String| BucketError::new(kind, operation, key, message);
    let mut bytes = vec![0; usize::try_from(payload.len()).unwrap()];
    let read = payload.file.read_exact_at(&mut bytes, payload.range.start);
    read.map_err(|e| fail(Kind::Local, e.to_string()))?;
    if crc_fast::crc32_iso_hdlc(&bytes) != payload.crc32 {
        return Err(fail(Kind::Server, "BadDigest".into()));
    }
    Ok(bytes.into())
}

/// Checks what is said of an object.
fn check(key: &str, metadata: &BTreeMap<String, String>) -> Result<(), BucketError> {
    let fail = |message: String| BucketError::new(Kind::Refused, "PutObject", key, message);
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    let ascii = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if size > 2048 || !metadata.iter().all(|(name, value)| ascii(name) && ascii(value)) {
        return Err(fail(format!("MetadataTooLarge: {size}")));
    }
    if key.len() > 1024 {
        return Err(fail("KeyTooLongError".into()));
    }
    Ok(())
}

fn read(object: &NewObject) -> Result<Object, BucketError> {
    let bytes = body("PutObject", &object.key, &object.payload)?;
    check(&object.key, &object.metadata)?;
    let (metadata, content_type) = (object.metadata.clone(), object.content_type.to_owned());
    Ok(Object { bytes, metadata, content_type, version: 0, modified: Utc::default(), parts: Vec::new() })
}

fn no_upload(operation: &'static str, upload: &PartedUpload) -> BucketError {
    BucketError::new(Kind::NotFound, operation, &upload.key, "NoSuchUpload")
}

fn etag_of(crc32: u32) -> String {
    format!("\"part-{crc32:08x}\"")
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

    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        check(&object.key, &object.metadata)?;
        let mut uploads = self.uploads.lock();
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let id = format!("upload-{begun}");
        uploads.insert(id.clone(), Unfinished { object: object.clone(), parts: BTreeMap::new() });
        Ok(PartedUpload { key: object.key.clone(), id })
    }

    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        let bytes = body("UploadPart", &upload.key, payload)?;
        let mut uploads = self.uploads.lock();
        let unfinished = uploads.get_mut(&upload.id).ok_or_else(|| no_upload("UploadPart", upload))?;
        unfinished.parts.insert(number, bytes);
        Ok(StoredPart { number, etag: etag_of(payload.crc32), sum: None })
    }

    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        let fail = |kind, what| BucketError::new(kind, "CompleteMultipartUpload", &upload.key, what);
        let (mut uploads, mut objects) = (self.uploads.lock(), self.objects.lock());
        let unfinished = uploads.get(&upload.id).ok_or_else(|| no_upload("CompleteMultipartUpload", upload))?;
        let (mut bytes, mut sizes) = (Vec::new(), Vec::new());
        for part in parts {
            let stored = unfinished.parts.get(&part.number).ok_or_else(|| fail(Kind::Refused, "InvalidPart"))?;
            if etag_of(crc_fast::crc32_iso_hdlc(stored)) != part.etag {
                return Err(fail(Kind::Refused, "InvalidPart"));
            }
            bytes.extend_from_slice(stored);
            sizes.push(stored.len());
        }
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(fail(Kind::Refused, "InvalidPartOrder"));
        }
        if objects.contains_key(&upload.key) {
            return Err(fail(Kind::Exists, "PreconditionFailed"));
        }
        let NewUpload { content_type, metadata, .. } = unfinished.object.clone();
        let (bytes, content_type, modified) = (bytes.into(), content_type.to_owned(), Utc::default());
        let object = Object { bytes, metadata, content_type, version: 0, modified, parts: sizes };
        objects.insert(upload.key.clone(), object);
        uploads.remove(&upload.id);
        Ok(())
    }

    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        self.uploads.lock().remove(&upload.id);
        Ok(())
    }

    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        let uploads = self.uploads.lock();
        let of_key = uploads.iter().filter(|(_, unfinished)| unfinished.object.key == key);
        Ok(of_key.map(|(id, _)| PartedUpload { key: key.to_owned(), id: id.clone() }).collect())
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
