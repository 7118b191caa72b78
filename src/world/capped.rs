//! A bucket decorator that limits listings a minute, for all callers together, so that a scanner
//! that walks a mount costs no more than that. Callers beyond the limit wait.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::bucket::{Bucket, BucketError, ListPage, NewObject, ObjectHead};
use super::clock::Clock;

/// The decorator.
pub struct Capped {
    inner: Arc<dyn Bucket>,
    clock: Arc<dyn Clock>,
    a_minute: f64,
    saved: Mutex<Saved>,
}

/// Listings that may be asked at once; below zero, so many wait already.
struct Saved {
    lists: f64,
    counted: Duration,
}

impl Capped {
    /// At most `lists` a minute, and as many at once after a quiet minute.
    pub fn new(inner: Arc<dyn Bucket>, clock: Arc<dyn Clock>, lists: u32) -> Capped {
        let a_minute = f64::from(lists.max(1));
        let saved = Mutex::new(Saved { lists: a_minute, counted: clock.monotonic() });
        Capped { inner, clock, a_minute, saved }
    }

    /// Waits for its turn.
    async fn take(&self) {
        let wait = {
            let (mut saved, now) = (self.saved.lock(), self.clock.monotonic());
            let minutes = now.saturating_sub(saved.counted).as_secs_f64() / 60.0;
            saved.lists = (saved.lists + minutes * self.a_minute).min(self.a_minute) - 1.0;
            saved.counted = now;
            Duration::from_secs_f64((-saved.lists).max(0.0) * 60.0 / self.a_minute)
        };
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

    async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, BucketError> {
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
