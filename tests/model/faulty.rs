//! A bucket that fails by script: before the request is carried out, or after it (the reply is lost), or that keeps a
//! request waiting until the test lets it go. It also writes down what was asked of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::s3::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use logsinkfs::spool::crash_point::crash_point;
use logsinkfs::types::bucket_error::{BucketError, Kind};
use logsinkfs::types::ids::PartNumber;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::daemon::PATIENCE;
use super::memory::MemoryBucket;

/// The operations of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    /// The beginning of an upload in parts.
    Begin,
    /// A part, by its key with `#` and its number.
    Part,
    /// The end of an upload in parts.
    Finish,
    Abort,
    /// The list of uploads that are not finished.
    Uploads,
    Get,
    Head,
    List,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and nothing is carried out.
    Before(Kind),
    /// It is carried out, and fails all the same.
    After(Kind),
    /// It waits at a gate, and is carried out then.
    HeldBefore(Gate),
    /// It takes that long, and is carried out then.
    Slow(Duration),
    /// It is carried out; its reply waits at a gate.
    HeldAfter(Gate),
}

/// Where requests wait for the test.
#[derive(Clone, Debug)]
pub struct Gate {
    waiting: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Gate {
        Gate { waiting: Arc::default(), open: Arc::new(watch::Sender::new(false)) }
    }

    /// Ends when so many requests have come to the gate.
    pub async fn reached(&self, requests: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = tokio::time::timeout(PATIENCE, waiting.wait_for(|n| *n >= requests)).await;
        assert!(reached.is_ok(), "nobody came to the gate");
    }

    /// Lets all go, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// A request that was made, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub op: Op,
    pub key: String,
    /// The bytes that were asked for.
    pub range: Option<Range<u64>>,
    /// Nothing while it is under way, or when it was given up.
    pub end: Option<Result<(), Kind>>,
}

/// A line of the script.
#[derive(Debug)]
struct Rule {
    op: Op,
    /// The keys that it is for: those that have this in them.
    within: String,
    /// How often it still happens.
    left: usize,
    fault: Fault,
}

/// The bucket.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<Vec<Call>>,
    ignores_conditions: Mutex<bool>,
}

impl<B> Faulty<B> {
    /// A bucket without faults.
    pub fn new(inner: B) -> Faulty<B> {
        let (rules, calls, ignores_conditions) = Default::default();
        Faulty { inner, rules, calls, ignores_conditions }
    }

    /// The bucket behind.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Adds a line to the script: the next `times` requests of that kind, for keys with `within` in them, end so.
    /// Earlier lines go first.
    pub fn script(&self, op: Op, within: &str, times: usize, fault: Fault) {
        self.rules.lock().push(Rule { op, within: within.into(), left: times, fault });
    }

    /// Takes back what is left of the script.
    pub fn heal(&self) {
        self.rules.lock().clear();
    }

    /// From now on `If-None-Match` means nothing, as on services that do not know it.
    pub fn ignore_conditions(&self) {
        *self.ignores_conditions.lock() = true;
    }

    /// What was asked so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// The requests of a kind so far for keys that have `within` in them.
    pub fn calls_of(&self, op: Op, within: &str) -> Vec<Call> {
        let calls = self.calls.lock();
        calls.iter().filter(|c| c.op == op && c.key.contains(within)).cloned().collect()
    }

    fn begin(&self, op: Op, key: &str, range: Option<Range<u64>>) -> (usize, Option<Fault>) {
        let mut calls = self.calls.lock();
        calls.push(Call { op, key: key.to_owned(), range, end: None });
        let mut rules = self.rules.lock();
        let hit = rules.iter_mut().find(|r| r.left > 0 && r.op == op && key.contains(&r.within));
        let fault = hit.map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        (calls.len() - 1, fault)
    }

    async fn faulty<T>(
        &self,
        op: Op,
        (key, range): (&str, Option<Range<u64>>),
        carry_out: impl Future<Output = Result<T, BucketError>>,
    ) -> Result<T, BucketError> {
        let (call, fault) = self.begin(op, key, range);
        let fail = |kind: Kind| BucketError::new(kind, "scripted", key, "by script");
        let result = match fault {
            None => carry_out.await,
            Some(Fault::Before(kind)) => Err(fail(kind)),
            Some(Fault::After(kind)) => carry_out.await.and(Err(fail(kind))),
            Some(Fault::HeldBefore(gate)) => {
                gate.pass().await;
                carry_out.await
            }
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                carry_out.await
            }
            Some(Fault::HeldAfter(gate)) => {
                let result = carry_out.await;
                gate.pass().await;
                result
            }
        };
        let end = result.as_ref().map(|_| ()).map_err(|e| e.kind.clone());
        self.calls.lock()[call].end = Some(end);
        result
    }
}

/// Passes a crash point between two steps on the disk, where nothing else is under way.
async fn pass_crash_point(name: &'static str) {
    tokio::task::spawn_blocking(move || crash_point(name)).await.unwrap();
}

#[async_trait]
impl Bucket for Faulty<MemoryBucket> {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        let carry_out = async {
            pass_crash_point("PUT: on its way").await;
            let ignored = *self.ignores_conditions.lock();
            let result = if ignored { self.inner.put_over(object) } else { self.inner.put_new(object).await };
            pass_crash_point("PUT: carried out").await;
            result
        };
        self.faulty(Op::Put, (&object.key, None), carry_out).await
    }

    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        self.faulty(Op::Begin, (&object.key, None), self.inner.begin_upload(object)).await
    }

    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        let part = format!("{}#{}", upload.key, number.0);
        self.faulty(Op::Part, (&part, None), self.inner.put_part(upload, number, payload)).await
    }

    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        self.faulty(Op::Finish, (&upload.key, None), self.inner.finish_upload(upload, parts)).await
    }

    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        self.faulty(Op::Abort, (&upload.key, None), self.inner.abort_upload(upload)).await
    }

    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        self.faulty(Op::Uploads, (key, None), self.inner.unfinished_uploads(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        let asked = (key, Some(range.clone()));
        self.faulty(Op::Get, asked, self.inner.get_range(key, range, etag)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        self.faulty(Op::Head, (key, None), self.inner.head(key)).await
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.faulty(Op::List, (prefix, None), self.inner.list_page(prefix, token)).await
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.faulty(Op::List, (prefix, None), self.inner.list_below(prefix, token)).await
    }
}
