//! What an object that cannot be read means to who examines it: an object that is gone is damage, a bucket that does
//! not answer is none.

use logsinkfs::read::examine::{Fault, ObjectName, examine};
use logsinkfs::s3::bucket::Bucket;
use logsinkfs::types::bucket_error::Kind;

use super::faulty::{Fault as Scripted, Faulty, Op};
use super::memory::{MemoryBucket, Object};

const KEY: &str = "app.log.segments/20261123T081502.123456Z_w_00000001_000000000000000_000000000005.log";

/// A bucket with one sound segment.
fn bucket() -> Faulty<MemoryBucket> {
    let bucket = MemoryBucket::new(1000);
    let mut object = Object::foreign(b"line\n");
    let metadata = [
        ("checksum-crc64nvme", format!("{:016x}", crc_fast::crc64_nvme(b"line\n"))),
        ("writer", "w".to_owned()),
        ("generation", "1".to_owned()),
        ("offset", "0".to_owned()),
        ("length", "5".to_owned()),
        ("first", "20261123T081502.123456Z".to_owned()),
    ];
    object.metadata = metadata.map(|(field, value)| (field.to_owned(), value)).into();
    bucket.plant(KEY, object);
    Faulty::new(bucket)
}

async fn examined(bucket: &Faulty<MemoryBucket>) -> Result<Vec<Fault>, Kind> {
    let listed = bucket.list_below("", None).await.unwrap().objects.remove(0);
    let name = ObjectName::parse("", KEY).unwrap();
    examine(bucket, &listed, &name).await.map_err(|e| e.kind)
}

#[tokio::test]
async fn an_object_without_a_stream_in_its_metadata_is_sound() {
    let faults = examined(&bucket()).await.unwrap();
    assert!(faults.is_empty(), "{faults:?}");
}

#[tokio::test]
async fn an_object_that_went_or_was_replaced_meanwhile_is_damage() {
    for (op, kind) in [(Op::Head, Kind::NotFound), (Op::Get, Kind::Changed)] {
        let bucket = bucket();
        bucket.script(op, KEY, 1, Scripted::Before(kind));
        let faults = examined(&bucket).await.unwrap();
        assert!(matches!(&faults[..], [Fault::Gone(_)]), "{faults:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_says_nothing_of_the_object() {
    for (op, kind) in [(Op::Head, Kind::Denied), (Op::Get, Kind::Unreachable)] {
        let bucket = bucket();
        bucket.script(op, KEY, 1, Scripted::Before(kind.clone()));
        assert_eq!(examined(&bucket).await.err(), Some(kind));
    }
}
