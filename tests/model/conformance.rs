//! What the program relies on of a bucket, asked of each: of the one in memory, of the same behind a script without
//! lines, and of the embedded bucket through the SDK.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use logsinkfs::s3::bucket::{Bucket, NewObject, NewUpload, ObjectProperties, PartedUpload, Payload, StoredPart};
use logsinkfs::s3::rate_limited::Capped;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::clock::Clock;
use logsinkfs::types::ids::PartNumber;

use super::clock::TestClock;
use super::faulty::{Faulty, Op};
use super::memory::MemoryBucket;

/// An object whose body is a part of a larger file, as a range of a spool file is.
pub fn object(key: &str, bytes: &[u8]) -> NewObject {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(bytes).unwrap();
    file.write_all(b"after").unwrap();
    NewObject {
        key: key.to_owned(),
        payload: Payload {
            file: Arc::new(file),
            range: 6..6 + bytes.len() as u64,
            crc32: crc_fast::crc32_iso_hdlc(bytes),
        },
        content_type: "text/plain; charset=utf-8",
        metadata: BTreeMap::from([("label-%5Bx%5D".to_owned(), "%E6%9C%8D".to_owned())]),
        properties: ObjectProperties::default(),
    }
}

fn kind<T>(result: Result<T, logsinkfs::types::bucket_error::BucketError>) -> Option<Kind> {
    result.err().map(|e| e.kind)
}

async fn conforms(bucket: &dyn Bucket, page: usize) {
    a_second_put_is_refused_and_changes_nothing(bucket).await;
    ranges_are_read_and_changes_noticed(bucket).await;
    a_damaged_body_is_not_stored(bucket).await;
    listings_are_whole_page_by_page(bucket, page).await;
    an_upload_in_parts_is_nothing_until_it_is_finished(bucket).await;
    an_upload_in_parts_does_not_overwrite(bucket).await;
    unfinished_uploads_are_those_of_exactly_one_key(bucket).await;
}

async fn a_second_put_is_refused_and_changes_nothing(bucket: &dyn Bucket) {
    bucket.put_new(&object("once", b"first")).await.unwrap();
    assert_eq!(kind(bucket.put_new(&object("once", b"second")).await), Some(Kind::Exists));
    assert_eq!(&bucket.get_range("once", 0..100, None).await.unwrap()[..], b"first");
    let head = bucket.head("once").await.unwrap();
    assert_eq!(head.size, 5);
    assert_eq!(head.metadata.get("label-%5bx%5d").or(head.metadata.get("label-%5Bx%5D")).unwrap(), "%E6%9C%8D");
    assert_eq!(kind(bucket.head("never").await), Some(Kind::NotFound));
    bucket.put_new(&object("empty", b"")).await.unwrap();
    assert_eq!(bucket.head("empty").await.unwrap().size, 0);
}

async fn ranges_are_read_and_changes_noticed(bucket: &dyn Bucket) {
    bucket.put_new(&object("ranged", b"0123456789")).await.unwrap();
    assert_eq!(&bucket.get_range("ranged", 2..5, None).await.unwrap()[..], b"234");
    assert_eq!(&bucket.get_range("ranged", 8..99, None).await.unwrap()[..], b"89");
    assert_eq!(&bucket.get_range("ranged", 4..4, None).await.unwrap()[..], b"");
    assert_eq!(kind(bucket.get_range("ranged", 10..11, None).await), Some(Kind::Refused));
    assert_eq!(kind(bucket.get_range("never", 0..1, None).await), Some(Kind::NotFound));
    let etag = &bucket.list_page("ranged", None).await.unwrap().objects[0].etag;
    assert_eq!(&bucket.get_range("ranged", 0..1, Some(etag)).await.unwrap()[..], b"0");
    let other = bucket.get_range("ranged", 0..1, Some("\"another\"")).await;
    assert_eq!(kind(other), Some(Kind::Changed));
}

async fn a_damaged_body_is_not_stored(bucket: &dyn Bucket) {
    let mut damaged = object("damaged", b"bytes");
    damaged.payload.crc32 ^= 1;
    assert_eq!(kind(bucket.put_new(&damaged).await), Some(Kind::Server));
    assert_eq!(kind(bucket.head("damaged").await), Some(Kind::NotFound));
}

async fn listings_are_whole_page_by_page(bucket: &dyn Bucket, page: usize) {
    let keys = ["list/a", "list/b/1", "list/b/2", "list/b-", "list/c", "list/日志/1", "list/d e+f%"];
    for key in keys {
        bucket.put_new(&object(key, b"x")).await.unwrap();
    }
    let (mut objects, mut prefixes, mut token) = (Vec::new(), Vec::new(), None);
    loop {
        let listed = bucket.list_page("list/", token.as_deref()).await.unwrap();
        assert!(listed.objects.len() + listed.prefixes.len() <= page);
        objects.extend(listed.objects.into_iter().map(|o| o.key));
        prefixes.extend(listed.prefixes);
        token = listed.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(objects, ["list/a", "list/b-", "list/c", "list/d e+f%"]);
    assert_eq!(prefixes, ["list/b/", "list/日志/"]);
    let (mut below, mut token) = (Vec::new(), None);
    loop {
        let listed = bucket.list_below("list/", token.as_deref()).await.unwrap();
        assert!(listed.objects.len() <= page && listed.prefixes.is_empty());
        below.extend(listed.objects.into_iter().map(|o| o.key));
        token = listed.next;
        if token.is_none() {
            break;
        }
    }
    let mut in_byte_order = keys;
    in_byte_order.sort_unstable();
    assert_eq!(below, in_byte_order);
}

/// The smallest part but the last.
const PART: usize = 5 << 20;

fn upload(key: &str) -> NewUpload {
    let NewObject { key, content_type, metadata, properties, .. } = object(key, b"");
    NewUpload { key, content_type, metadata, properties }
}

async fn part(bucket: &dyn Bucket, upload: &PartedUpload, number: u16, bytes: &[u8]) -> StoredPart {
    let payload = object("", bytes).payload;
    bucket.put_part(upload, PartNumber(number), &payload).await.unwrap()
}

async fn an_upload_in_parts_is_nothing_until_it_is_finished(bucket: &dyn Bucket) {
    let begun = bucket.begin_upload(&upload("parts")).await.unwrap();
    let last = part(bucket, &begun, 2, b"the end").await;
    let first = part(bucket, &begun, 1, &[b'1'; PART]).await;
    // A part that is sent again takes the other's place.
    let again = part(bucket, &begun, 1, &[b'2'; PART]).await;
    let mut damaged = object("", b"bytes").payload;
    damaged.crc32 ^= 1;
    assert_eq!(kind(bucket.put_part(&begun, PartNumber(3), &damaged).await), Some(Kind::Server));
    assert_eq!(kind(bucket.head("parts").await), Some(Kind::NotFound));
    let gone = bucket.finish_upload(&begun, &[first, last.clone()]).await;
    assert_eq!(kind(gone), Some(Kind::Refused), "a part that was replaced");
    bucket.finish_upload(&begun, &[again, last]).await.unwrap();
    let head = bucket.head("parts").await.unwrap();
    assert_eq!((head.size, head.metadata.len()), (PART as u64 + 7, 1));
    let (start, end) = (PART as u64 - 1, PART as u64 + 7);
    assert_eq!(&bucket.get_range("parts", start..end, None).await.unwrap()[..], b"2the end");
    assert_eq!(bucket.unfinished_uploads("parts").await.unwrap(), []);
}

async fn an_upload_in_parts_does_not_overwrite(bucket: &dyn Bucket) {
    bucket.put_new(&object("taken", b"first")).await.unwrap();
    let begun = bucket.begin_upload(&upload("taken")).await.unwrap();
    let stored = part(bucket, &begun, 1, b"second").await;
    assert_eq!(kind(bucket.finish_upload(&begun, std::slice::from_ref(&stored)).await), Some(Kind::Exists));
    assert_eq!(&bucket.get_range("taken", 0..9, None).await.unwrap()[..], b"first");
    bucket.abort_upload(&begun).await.unwrap();
    bucket.abort_upload(&begun).await.unwrap();
    let payload = object("", b"bytes").payload;
    assert_eq!(kind(bucket.put_part(&begun, PartNumber(1), &payload).await), Some(Kind::NotFound));
    assert_eq!(kind(bucket.finish_upload(&begun, &[stored]).await), Some(Kind::NotFound));
}

async fn unfinished_uploads_are_those_of_exactly_one_key(bucket: &dyn Bucket) {
    let key = "open/日志 +%/a";
    for other in ["open/日志 +%/a.gz", "open/日志 +%/", "open"] {
        bucket.begin_upload(&upload(other)).await.unwrap();
    }
    assert_eq!(bucket.unfinished_uploads(key).await.unwrap(), []);
    let one = bucket.begin_upload(&upload(key)).await.unwrap();
    let other = bucket.begin_upload(&upload(key)).await.unwrap();
    let found = bucket.unfinished_uploads(key).await.unwrap();
    assert!(found.len() == 2 && found.contains(&one) && found.contains(&other), "{found:?}");
    bucket.abort_upload(&one).await.unwrap();
    assert_eq!(bucket.unfinished_uploads(key).await.unwrap(), [other]);
}

#[tokio::test]
async fn the_bucket_in_memory_conforms() {
    conforms(&MemoryBucket::new(2), 2).await;
}

#[tokio::test]
async fn a_bucket_with_an_empty_script_conforms() {
    conforms(&Faulty::new(MemoryBucket::new(1000)), 1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_capped_bucket_conforms_and_lists_no_faster() {
    let (clock, scripted) = (Arc::new(TestClock::start()), Arc::new(Faulty::new(MemoryBucket::new(1000))));
    let bucket = Capped::new(scripted.clone(), clock.clone(), 60);
    conforms(&bucket, 1000).await;
    let begun = clock.monotonic();
    let lists = || scripted.calls_of(Op::List, "").len();
    let before = lists();
    while lists() < before + 180 {
        bucket.list_below("nothing/", None).await.unwrap();
    }
    // What was saved up is gone after the first 60, those before counted; from then on it is one a second.
    let took = clock.monotonic().since(begun).as_secs();
    assert!((120..=130).contains(&took), "{took} s");
}

/// A server with a bucket, and the program's way to it, perhaps through something else.
#[cfg(feature = "embedded-bucket")]
fn serve(
    dir: &std::path::Path,
) -> (embedded_s3::EmbeddedBucket, impl Fn(&str) -> logsinkfs::s3::sdk::S3Bucket + use<>) {
    use embedded_s3::EmbeddedBucket;
    use logsinkfs::s3::sdk::{FixedCredentials, S3Bucket};
    use logsinkfs::settings::writer::S3Settings;

    let anywhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = EmbeddedBucket::start(dir, "logs", anywhere).unwrap();
    let region = server.region().to_owned();
    let keys = FixedCredentials {
        access_key_id: server.access_key_id().to_owned(),
        secret_access_key: server.secret_access_key().to_owned(),
    };
    let client = move |endpoint: &str| {
        let (endpoint_url, region) = (Some(endpoint.to_owned()), Some(region.clone()));
        let settings = S3Settings { endpoint_url, region, force_path_style: true, ..S3Settings::default() };
        S3Bucket::new("logs", &settings, Some(keys.clone()))
    };
    (server, client)
}

#[cfg(feature = "embedded-bucket")]
#[tokio::test]
async fn the_embedded_bucket_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = serve(dir.path());
    conforms(&client(server.endpoint()), 1000).await;
    server.stop();
}

/// S3 may have said 200 when it finds that it cannot put the parts together.
#[cfg(feature = "embedded-bucket")]
#[test]
fn an_error_within_the_success_of_finishing_is_an_error() {
    use test_harness::{Answer, Gate};

    let dir = tempfile::tempdir().unwrap();
    let (server, client) = serve(dir.path());
    let gate = Gate::before(server.endpoint());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bucket = client(&gate.endpoint);
        let begun = bucket.begin_upload(&upload("late")).await.unwrap();
        let parts = [part(&bucket, &begun, 1, b"bytes").await];
        for (answer, meaning) in [
            (Answer::Refuse(200, "InternalError", None), Kind::Server),
            (Answer::Refuse(200, "PreconditionFailed", None), Kind::Exists),
            (Answer::Refuse(200, "ConditionalRequestConflict", None), Kind::Busy),
            (Answer::Refuse(409, "ConditionalRequestConflict", None), Kind::Busy),
            (Answer::Page(200, ""), Kind::Server),
            (Answer::Page(200, "<CompleteMultipartUploadResult/>"), Kind::Server),
        ] {
            gate.always(answer);
            assert_eq!(kind(bucket.finish_upload(&begun, &parts).await), Some(meaning), "{answer:?}");
        }
        gate.open();
        assert_eq!(kind(bucket.head("late").await), Some(Kind::NotFound));
        bucket.finish_upload(&begun, &parts).await.unwrap();
    });
    server.stop();
}
