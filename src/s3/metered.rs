//! A bucket decorator that counts requests by operation, result and duration.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use crate::metrics::METRICS;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::clock::Clock;
use crate::types::ids::PartNumber;
use crate::types::time::Monotonic;

/// The decorator.
pub struct Observed {
    inner: Arc<dyn Bucket>,
    clock: Arc<dyn Clock>,
}

impl Observed {
    /// Counts what passes.
    pub fn new(inner: Arc<dyn Bucket>, clock: Arc<dyn Clock>) -> Observed {
        Observed { inner, clock }
    }

    fn count<T>(&self, operation: &'static str, began: Monotonic, result: &Result<T, BucketError>) {
        let status = result.as_ref().err().map_or("ok", |e| status(&e.kind));
        let labels = [("operation", operation), ("status", status)];
        METRICS.s3_requests.get_or_create(&labels).inc();
        let took = self.clock.monotonic().since(began);
        let of = METRICS.s3_request_seconds.get_or_create(&[("operation", operation)]);
        of.observe(took.as_secs_f64());
    }
}

/// What came of a request, in one word.
fn status(kind: &Kind) -> &'static str {
    match kind {
        Kind::NotFound => "not_found",
        Kind::Exists => "exists",
        Kind::Changed => "changed",
        Kind::Busy => "busy",
        Kind::NoBucket => "no_bucket",
        Kind::Denied => "denied",
        Kind::NoCredentials => "no_credentials",
        Kind::Expired => "expired",
        Kind::Skewed => "skewed",
        Kind::WrongRegion(_) => "wrong_region",
        Kind::Encryption => "encryption",
        Kind::Throttled => "throttled",
        Kind::Unreachable => "unreachable",
        Kind::NoHost => "no_host",
        Kind::Untrusted => "untrusted",
        Kind::Server => "server",
        Kind::Unsupported => "unsupported",
        Kind::Refused => "refused",
        Kind::Local => "local",
    }
}

#[async_trait]
impl Bucket for Observed {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        let began = self.clock.monotonic();
        let put = self.inner.put_new(object).await;
        METRICS.s3_sent_bytes.inc_by(object.payload.len());
        self.count("PutObject", began, &put);
        put
    }

    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        let began = self.clock.monotonic();
        let upload = self.inner.begin_upload(object).await;
        self.count("CreateMultipartUpload", began, &upload);
        upload
    }

    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        let began = self.clock.monotonic();
        let part = self.inner.put_part(upload, number, payload).await;
        METRICS.s3_sent_bytes.inc_by(payload.len());
        self.count("UploadPart", began, &part);
        part
    }

    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        let began = self.clock.monotonic();
        let finished = self.inner.finish_upload(upload, parts).await;
        self.count("CompleteMultipartUpload", began, &finished);
        finished
    }

    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        let began = self.clock.monotonic();
        let aborted = self.inner.abort_upload(upload).await;
        self.count("AbortMultipartUpload", began, &aborted);
        aborted
    }

    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        let began = self.clock.monotonic();
        let uploads = self.inner.unfinished_uploads(key).await;
        self.count("ListMultipartUploads", began, &uploads);
        uploads
    }

    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        let began = self.clock.monotonic();
        let got = self.inner.get_range(key, range, etag).await;
        METRICS.s3_received_bytes.inc_by(got.as_ref().map_or(0, |bytes| bytes.len() as u64));
        self.count("GetObject", began, &got);
        got
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        let began = self.clock.monotonic();
        let head = self.inner.head(key).await;
        self.count("HeadObject", began, &head);
        head
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        let began = self.clock.monotonic();
        let page = self.inner.list_page(prefix, token).await;
        self.count("ListObjectsV2", began, &page);
        page
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        let began = self.clock.monotonic();
        let page = self.inner.list_below(prefix, token).await;
        self.count("ListObjectsV2", began, &page);
        page
    }
}
