//! Stored objects as they are read: how many requests a reader costs, that two readers fetch nothing twice, that
//! nothing of a replaced object is mixed in, and how much is kept.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logsinkfs::read::objects::{BUDGET, ObjectReader, Objects};
use logsinkfs::s3::bucket::Bucket;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;

use super::daemon::run;
use super::faulty::{Fault, Faulty, Gate, Op};
use super::memory::{MemoryBucket, Object, Objects as Stock};

const MIB: usize = 1 << 20;
const STEP: u32 = 128 << 10;

struct Shelf {
    bucket: Arc<Faulty<MemoryBucket>>,
    objects: Arc<Objects>,
}

impl Shelf {
    fn new(budget: u64) -> Shelf {
        let bucket = Arc::new(Faulty::new(MemoryBucket::new(1000)));
        let runtime = tokio::runtime::Handle::current();
        let objects = Arc::new(Objects::new(bucket.clone(), runtime, budget));
        Shelf { bucket, objects }
    }

    /// Stores bytes that tell where they are.
    fn store(&self, key: &str, size: usize) {
        self.bucket.inner().plant(key, Object::foreign(&bytes(key, 0..size)));
    }

    async fn open(&self, key: &str) -> ObjectReader {
        let page = self.bucket.inner().list_page(key, None).await.unwrap();
        let object = page.objects.into_iter().next().unwrap();
        self.objects.open(object)
    }

    fn asked(&self) -> Vec<Range<u64>> {
        self.bucket.calls_of(Op::Get, "").into_iter().filter_map(|call| call.range).collect()
    }

    fn fetched(&self) -> u64 {
        self.asked().iter().map(|range| range.end - range.start).sum()
    }
}

fn bytes(key: &str, range: Range<usize>) -> Vec<u8> {
    let seed = key.bytes().fold(1u64, |sum, byte| sum * 31 + u64::from(byte));
    range.map(|at| ((at as u64 / 7).wrapping_mul(seed) >> 3) as u8).collect()
}

async fn read_all(reader: &ObjectReader) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = reader.read(all.len() as u64, STEP).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(&piece);
    }
}

#[test]
fn reading_on_costs_few_requests_and_each_byte_once() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 64 * MIB + 5);
        let read = read_all(&shelf.open("a.log").await).await;
        assert!(read == bytes("a.log", 0..64 * MIB + 5));
        assert_eq!(shelf.fetched(), 64 * MIB as u64 + 5);
        let asked = shelf.asked().len();
        assert!(asked <= 64, "{asked} requests for 64 MiB");
    });
}

#[test]
fn a_look_here_and_there_costs_one_small_request_each() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 64 * MIB);
        let reader = shelf.open("a.log").await;
        for (n, at) in [40, 3, 60, 20, 11].into_iter().enumerate() {
            let at = at * MIB + 4096;
            let read = reader.read(at as u64, 4096).await.unwrap();
            assert!(read == bytes("a.log", at..at + 4096));
            assert_eq!(shelf.asked().len(), n + 1);
        }
        assert_eq!(shelf.fetched(), 5 * (256 << 10));
    });
}

#[test]
fn two_readers_fetch_no_byte_twice() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 8 * MIB);
        let (one, other) = (shelf.open("a.log").await, shelf.open("a.log").await);
        let (first, second) = tokio::join!(read_all(&one), read_all(&other));
        assert!(first == second && first == bytes("a.log", 0..8 * MIB));
        read_all(&shelf.open("a.log").await).await;
        assert_eq!(shelf.fetched(), 8 * MIB as u64);
    });
}

#[test]
fn who_reads_on_has_many_requests_under_way_at_once() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 64 * MIB);
        let reader = shelf.open("a.log").await;
        for at in (0..20 * MIB).step_by(STEP as usize) {
            reader.read(at as u64, STEP).await.unwrap();
        }
        let (before, gate) = (shelf.asked().len(), Gate::closed());
        shelf.bucket.script(Op::Get, "", usize::MAX, Fault::HeldBefore(gate.clone()));
        let all = tokio::spawn(async move { drop(read_from(&reader, 20 * MIB).await) });
        gate.reached(8).await;
        assert_eq!(shelf.asked().len() - before, 8);
        gate.open();
        all.await.unwrap();
    });
}

async fn read_from(reader: &ObjectReader, mut at: usize) -> Bytes {
    loop {
        let piece = reader.read(at as u64, STEP).await.unwrap();
        if piece.is_empty() {
            return piece;
        }
        at += piece.len();
    }
}

#[test]
fn an_object_that_is_replaced_or_removed_while_open_is_stale_and_never_mixed() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 8 * MIB);
        let reader = shelf.open("a.log").await;
        reader.read(0, STEP).await.unwrap();
        shelf.bucket.inner().plant("a.log", Object::foreign(&vec![b'x'; 8 * MIB]));
        let far = reader.read(6 * MIB as u64, STEP).await;
        assert!(matches!(far, Err(FsError::Stale)), "{far:?}");
        let known = reader.read(0, STEP).await;
        assert!(matches!(known, Err(FsError::Stale)), "also what was read before");
        let anew = read_all(&shelf.open("a.log").await).await;
        assert!(anew == vec![b'x'; 8 * MIB]);

        let reader = shelf.open("a.log").await;
        shelf.store("b.log", MIB);
        let other = shelf.open("b.log").await;
        shelf.bucket.inner().set_back(&Stock::default());
        assert!(reader.read(0, STEP).await.is_ok(), "what is kept is of the object that was opened");
        assert!(matches!(other.read(0, STEP).await, Err(FsError::Stale)));
    });
}

#[test]
fn a_failure_is_told_and_not_kept() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", MIB);
        let reader = shelf.open("a.log").await;
        shelf.bucket.script(Op::Get, "a.log", 1, Fault::Before(Kind::Unreachable));
        assert!(matches!(reader.read(0, STEP).await, Err(FsError::Bucket(_))));
        assert!(reader.read(0, STEP).await.unwrap() == bytes("a.log", 0..STEP as usize));
    });
}

#[test]
fn many_readers_stay_within_the_budget_and_nobody_waits_for_ever() {
    run(async {
        let shelf = Shelf::new(8 * MIB as u64);
        let keys: Vec<String> = (0..24).map(|n| format!("{n:02}.log")).collect();
        let mut readers = tokio::task::JoinSet::new();
        for key in keys {
            shelf.store(&key, 3 * MIB);
            let (reader, objects) = (shelf.open(&key).await, shelf.objects.clone());
            readers.spawn(async move {
                let mut all = Vec::new();
                while all.len() < 3 * MIB {
                    all.extend_from_slice(&reader.read(all.len() as u64, STEP).await.unwrap());
                    assert!(objects.held() <= 8 * MIB as u64);
                }
                assert!(all == bytes(&key, 0..3 * MIB));
            });
        }
        while let Some(read) = readers.join_next().await {
            read.unwrap();
        }
    });
}

#[test]
fn what_nobody_reads_any_more_is_given_up() {
    run(async {
        let shelf = Shelf::new(BUDGET);
        shelf.store("a.log", 8 * MIB);
        let reader = shelf.open("a.log").await;
        assert_eq!(shelf.objects.held(), 0);
        read_all(&reader).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(shelf.objects.held() >= 8 * MIB as u64, "while it is open");
        drop(reader);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(shelf.objects.held(), 0);
    });
}
