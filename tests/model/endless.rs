//! A bucket with one stream of any number of segments, which are made up as they are asked for: a segment every half
//! minute up to half past eight, of 100 GiB in a million parts. It counts what it is asked.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::s3::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use logsinkfs::types::bucket_error::{BucketError, Kind};
use logsinkfs::types::ids::{GenerationNo, PartNumber};
use logsinkfs::types::stored_object::StoredObject;
use logsinkfs::types::time::Utc;

/// Names in a page.
const PAGE: usize = 1000;
/// Microseconds between the starts of two segments.
const EVERY: i64 = 30_000_000;
/// Bytes of all together.
const ALL: u64 = 100 << 30;

/// The bucket.
pub struct Endless {
    count: usize,
    partition: PartitionTemplate,
    lists: AtomicUsize,
    fetched: AtomicU64,
}

impl Endless {
    pub fn new(count: usize) -> Endless {
        let partition = PartitionTemplate::parse("dt=%Y-%m-%d/hour=%H").unwrap();
        Endless { count, partition, lists: Default::default(), fetched: Default::default() }
    }

    pub fn folder(&self) -> &'static str {
        "big.log.segments/"
    }

    /// LISTs so far.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::Relaxed)
    }

    /// Bytes given away so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Pages of all days, each listed for itself.
    pub fn days_pages(&self) -> usize {
        let days = (0..self.count).map(|n| self.start(n).micros() / 86_400_000_000);
        let mut sizes = std::collections::BTreeMap::new();
        days.for_each(|day| *sizes.entry(day).or_insert(0) += 1);
        sizes.values().map(|size: &usize| size.div_ceil(PAGE)).sum()
    }

    fn start(&self, n: usize) -> Utc {
        let last = Utc::from_name("20261123T082900.000000Z").unwrap().micros();
        Utc::from_micros(last - (self.count - 1 - n) as i64 * EVERY)
    }

    fn range(&self, n: usize) -> Range<u64> {
        let at = |n: usize| (u128::from(ALL) * n as u128 / self.count as u128) as u64;
        at(n)..at(n + 1)
    }

    fn key(&self, n: usize) -> String {
        let (start, Range { start: offset, end }) = (self.start(n), self.range(n));
        let name = SegmentName {
            stream: b"big.log".to_vec(),
            partition: self.partition.of(start),
            start,
            writer: "a".parse().unwrap(),
            generation: GenerationNo(1),
            offset,
            length: end - offset,
            partial: false,
            form: Form::Plain,
        };
        name.key("")
    }

    /// The first whose key is not below.
    fn first(&self, bound: &str) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if *self.key(middle) < *bound { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn object(&self, n: usize) -> StoredObject {
        let Range { start, end } = self.range(n);
        StoredObject { key: self.key(n), size: end - start, modified: self.start(n), etag: n.to_string() }
    }
}

#[async_trait]
impl Bucket for Endless {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        Err(BucketError::new(Kind::Denied, "PutObject", &object.key, "read only"))
    }

    async fn begin_upload(&self, _: &NewUpload) -> Result<PartedUpload, BucketError> {
        unreachable!("read only")
    }

    async fn put_part(&self, _: &PartedUpload, _: PartNumber, _: &Payload) -> Result<StoredPart, BucketError> {
        unreachable!("read only")
    }

    async fn finish_upload(&self, _: &PartedUpload, _: &[StoredPart]) -> Result<(), BucketError> {
        unreachable!("read only")
    }

    async fn abort_upload(&self, _: &PartedUpload) -> Result<(), BucketError> {
        unreachable!("read only")
    }

    async fn unfinished_uploads(&self, _: &str) -> Result<Vec<PartedUpload>, BucketError> {
        unreachable!("read only")
    }

    async fn get_range(&self, key: &str, range: Range<u64>, _: Option<&str>) -> Result<Bytes, BucketError> {
        let n = self.first(key);
        let len = self.range(n).end - self.range(n).start;
        let line = format!("a line of segment {n:08}\n");
        let mut text = line.repeat(len as usize / line.len());
        text.insert_str(0, &" ".repeat(len as usize - text.len()));
        let range = range.start as usize..range.end.min(len) as usize;
        self.fetched.fetch_add(range.len() as u64, Ordering::Relaxed);
        Ok(Bytes::from(text).slice(range))
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        Err(BucketError::new(Kind::NotFound, "HeadObject", key, "nobody asks"))
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        assert_eq!(prefix, self.folder(), "nobody asks for more");
        let mut n = token.map_or(0, |token| token.parse().unwrap());
        let mut page = ListPage::default();
        while n < self.count && page.prefixes.len() < PAGE {
            let key = self.key(n);
            let day = key[prefix.len()..].split('/').next().unwrap();
            let day = format!("{prefix}{day}/");
            n = self.first(&format!("{day}~"));
            page.prefixes.push(day);
        }
        page.next = (n < self.count).then(|| n.to_string());
        Ok(page)
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let first = token.map_or_else(|| self.first(prefix), |token| token.parse().unwrap());
        let end = self.first(&format!("{prefix}~"));
        let last = end.min(first + PAGE);
        Ok(ListPage {
            objects: (first..last).map(|n| self.object(n)).collect(),
            prefixes: Vec::new(),
            next: (last < end).then(|| last.to_string()),
        })
    }
}
