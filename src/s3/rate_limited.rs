//! A bucket decorator that limits listings a minute, for all callers together, so that a scanner that walks a mount
//! costs no more than that. Callers beyond the limit wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use crate::types::bucket_error::BucketError;
use crate::types::clock::Clock;
use crate::types::ids::PartNumber;
use crate::types::token_bucket::TokenBucket;

/// The decorator.
pub struct Capped {
    inner: Arc<dyn Bucket>,
    clock: Arc<dyn Clock>,
    lists: Mutex<TokenBucket>,
}

impl Capped {
    /// At most `lists` a minute, and as many at once after a quiet minute.
    pub fn new(inner: Arc<dyn Bucket>, clock: Arc<dyn Clock>, lists: u32) -> Capped {
        let lists = lists.max(1);
        let lists = Mutex::new(TokenBucket::new(lists, Duration::from_secs(60) / lists));
        Capped { inner, clock, lists }
    }

    /// Waits for its turn.
    async fn take(&self) {
        let wait = self.lists.lock().borrow(self.clock.monotonic());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[async_trait]
impl Bucket for Capped {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        self.inner.put_new(object).await
    }

    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        self.inner.begin_upload(object).await
    }

    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        self.inner.put_part(upload, number, payload).await
    }

    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        self.inner.finish_upload(upload, parts).await
    }

    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        self.inner.abort_upload(upload).await
    }

    // One for each large file, by the program itself: no scanner has a part in it.
    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        self.inner.unfinished_uploads(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        self.inner.get_range(key, range, etag).await
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.take().await;
        self.inner.list_page(prefix, token).await
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.take().await;
        self.inner.list_below(prefix, token).await
    }
}
