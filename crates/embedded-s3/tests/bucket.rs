//! The promises of the embedded bucket, as its clients see them: through the AWS SDK over HTTP.
//!
//! One test for each promise. No test waits for a time to pass or measures one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows both in tests, but clippy takes no helper beside them for one"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
    ObjectIdentifier, ServerSideEncryption, StorageClass,
};
use embedded_s3::{EmbeddedBucket, EmbeddedError};
use s3s::crypto::{Checksum, Sha256};

const BUCKET: &str = "logs";

/// A server, the directory behind it, and a client of it.
struct Running {
    server: EmbeddedBucket,
    client: Client,
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn serve(dir: &Path) -> Running {
    let server = EmbeddedBucket::start(dir, BUCKET, anywhere()).unwrap();
    let client = client_of(&server, server.access_key_id(), server.secret_access_key());
    Running { server, client }
}

fn client_of(server: &EmbeddedBucket, id: &str, secret: &str) -> Client {
    client_at(server.endpoint(), id, secret)
}

fn client_at(endpoint: &str, id: &str, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

impl Running {
    fn put(&self, key: &str, body: &[u8]) -> PutObjectFluentBuilder {
        self.client.put_object().bucket(BUCKET).key(key).body(body.to_vec().into())
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(found) => Some(found.body.collect().await.unwrap().to_vec()),
            Err(error) if code_of(&error) == "NoSuchKey" => None,
            Err(error) => panic!("{key:?}: {error:?}"),
        }
    }

    /// All keys, collected page by page.
    async fn keys(&self) -> Vec<String> {
        let mut pages =
            self.client.list_objects_v2().bucket(BUCKET).encoding_type(EncodingType::Url).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().map(|o| decoded(o.key().unwrap())));
        }
        keys
    }
}

/// Another process that serves `dir`: this test program, run for the one test below.
struct OtherProcess {
    child: Child,
    endpoint: String,
}

const SERVE_DIR: &str = "EMBEDDED_BUCKET_TEST_DIR";

#[test]
fn serves_for_another_process_when_asked() {
    let Some(dir) = std::env::var_os(SERVE_DIR) else { return };
    let server = EmbeddedBucket::start(Path::new(&dir), BUCKET, anywhere()).unwrap();
    println!("\nserving {}", server.endpoint());
    // The other process keeps this open as long as it lives.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

impl OtherProcess {
    fn serve(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_for_another_process_when_asked", "--nocapture"])
            .env(SERVE_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoint = lines
            .map(|line| line.unwrap())
            .find_map(|line| line.strip_prefix("serving ").map(str::to_owned))
            .expect("the other process says where it serves");
        Self { child, endpoint }
    }

    fn client(&self, beside: &EmbeddedBucket) -> Client {
        client_at(&self.endpoint, beside.access_key_id(), beside.secret_access_key())
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Stands between a client and the server at `endpoint` and changes the one text into the other in all that the client
/// sends. Returns its own endpoint.
fn corrupting(endpoint: &str, from: &'static [u8; 8], to: &'static [u8; 8]) -> String {
    let server = endpoint.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind(anywhere()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back_from, &mut back_to);
                let _ = back_to.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                loop {
                    let count = client.read(&mut buffer).unwrap_or(0);
                    if count == 0 {
                        break;
                    }
                    if let Some(at) = buffer[..count].windows(8).position(|text| text == from) {
                        buffer[at..at + 8].copy_from_slice(to);
                    }
                    if server.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// All that is in the folder of temporary files.
fn staged(dir: &Path) -> usize {
    std::fs::read_dir(dir.join(".embedded-bucket/staging")).unwrap().count()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.code().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_object_can_be_put_read_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let key = "web/app.log.segments/dt=2026-11-23/x.log";
    let put = bucket.put(key, b"hello").send().await.unwrap();
    assert_eq!(put.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(std::fs::read(dir.path().join(key)).unwrap(), b"hello");
    assert_eq!(bucket.get(key).await.unwrap(), b"hello");
    let head = bucket.client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.e_tag(), put.e_tag());
    assert_eq!(bucket.keys().await, [key]);
    bucket.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!(bucket.get(key).await, None);
    assert!(bucket.keys().await.is_empty());
    assert!(!dir.path().join("web").exists());
    bucket.server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_racing_conditional_puts_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (serve(dir.path()), serve(dir.path()));
    let other = OtherProcess::serve(dir.path());
    let clients = [one.client.clone(), two.client.clone(), other.client(&one.server)];
    for key in ["new/a", "new/b", "new", "c"] {
        let racers: Vec<_> = (0..24)
            .map(|racer: usize| {
                let put = clients[racer % clients.len()].put_object().bucket(BUCKET).key(key);
                let body = racer.to_string().into_bytes();
                tokio::spawn(put.if_none_match("*").body(body.into()).send())
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, result) in racers.into_iter().enumerate() {
            match result.await.unwrap() {
                Ok(_) => winners.push(racer),
                Err(error) => {
                    assert_eq!(code_of(&error), "PreconditionFailed");
                    assert_eq!(error.raw_response().unwrap().status().as_u16(), 412);
                }
            }
        }
        assert_eq!(winners.len(), 1, "{key}");
        assert_eq!(one.get(key).await.unwrap(), winners[0].to_string().as_bytes());
    }
    assert_eq!(two.keys().await, ["c", "new", "new/a", "new/b"]);
    assert_eq!(staged(dir.path()), 0);
    other.kill();
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let put = || bucket.put("x", b"content");
    let refused = [
        put().content_md5("AAAAAAAAAAAAAAAAAAAAAA=="),
        put().checksum_crc32("AAAAAA=="),
        put().checksum_crc32_c("AAAAAA=="),
        put().checksum_crc64_nvme("AAAAAAAAAAA="),
        put().checksum_sha1("AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        put().checksum_sha256("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    for put in refused {
        let error = put.send().await.unwrap_err();
        assert_eq!(code_of(&error), "BadDigest");
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
    }
    let nonsense = put().checksum_crc32("nonsense").send().await.unwrap_err();
    assert_eq!(code_of(&nonsense), "InvalidRequest");
    let nonsense = put().content_md5("nonsense").send().await.unwrap_err();
    assert_eq!(code_of(&nonsense), "InvalidDigest");
    assert!(bucket.keys().await.is_empty());
    assert_eq!(staged(dir.path()), 0);
}

#[tokio::test]
async fn a_body_changed_on_its_way_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let proxy = corrupting(bucket.server.endpoint(), b"original", b"changed!");
    let (id, secret) = (bucket.server.access_key_id(), bucket.server.secret_access_key());
    // A connection whose body was refused halfway is not used again, so each takes a new one.
    let client = || client_at(&proxy, id, secret);
    let file = dir.path().join(".embedded-bucket/body");
    std::fs::write(&file, b"the original body").unwrap();

    // Framed in chunks, each with a signature; the checksum comes behind them.
    let mut codes = Vec::new();
    // An answer before the body's end can get lost with the connection that it ends: then another is asked for.
    while codes.last().is_none_or(String::is_empty) && codes.len() < 20 {
        let streamed = ByteStream::from_path(&file).await.unwrap();
        let put = client().put_object().bucket(BUCKET).key("streamed").body(streamed);
        codes.push(code_of(&put.send().await.unwrap_err()));
    }
    assert_eq!(codes.last().unwrap(), "SignatureDoesNotMatch");
    // In one piece, with all checksums before it.
    for (signed, code) in [(true, "XAmzContentSHA256Mismatch"), (false, "BadDigest")] {
        let whole = b"the original body".to_vec().into();
        let put = client().put_object().bucket(BUCKET).key("whole").body(whole).customize();
        let put = if signed { put } else { put.disable_payload_signing() };
        assert_eq!(code_of(&put.send().await.unwrap_err()), code);
    }
    assert!(bucket.keys().await.is_empty());

    // The same body unchanged is taken.
    let streamed = ByteStream::from_path(&file).await.unwrap();
    let put = bucket.client.put_object().bucket(BUCKET).key("streamed").body(streamed);
    put.send().await.unwrap();
    assert_eq!(bucket.get("streamed").await.unwrap(), b"the original body");
}

#[tokio::test]
async fn every_checksum_algorithm_is_kept_and_returned() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    // The sums of "123456789", the check values of the catalogues of these algorithms.
    let sums = [
        (ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
        (ChecksumAlgorithm::Crc32C, "4waSgw=="),
        (ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg="),
        (ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (ChecksumAlgorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];
    for (algorithm, sum) in sums {
        let put = bucket.put("x", b"123456789").checksum_algorithm(algorithm.clone());
        put.send().await.unwrap();
        let head = bucket.client.head_object().bucket(BUCKET).key("x");
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        let returned = match algorithm {
            ChecksumAlgorithm::Crc32 => head.checksum_crc32(),
            ChecksumAlgorithm::Crc32C => head.checksum_crc32_c(),
            ChecksumAlgorithm::Crc64Nvme => head.checksum_crc64_nvme(),
            ChecksumAlgorithm::Sha1 => head.checksum_sha1(),
            _ => head.checksum_sha256(),
        };
        assert_eq!(returned, Some(sum));
        // The SDK compares what it reads with the sum in the response.
        assert_eq!(bucket.get("x").await.unwrap(), b"123456789");
    }
}

/// The response to a `request` that asks to close the connection, as it came.
fn exchange(endpoint: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn hmac_sha256(key: &[u8], text: &str) -> [u8; 32] {
    let mut block = [0; 64];
    // The longest key there is, `AWS4` and the secret, is hashed first, as HMAC wants it.
    let hashed = Sha256::checksum(key);
    let key = if key.len() > block.len() { &hashed } else { key };
    block[..key.len()].copy_from_slice(key);
    let inner = [&block.map(|byte| byte ^ 0x36), text.as_bytes()].concat();
    let outer = [&block.map(|byte| byte ^ 0x5c)[..], &Sha256::checksum(&inner)].concat();
    Sha256::checksum(&outer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A signed PUT of `key` whose `body` is framed by aws-chunked without signatures and announces the trailer
/// x-amz-checksum-crc32: what SDKs send over TLS, and nobody makes them send here.
fn put_in_chunks(server: &EmbeddedBucket, key: &str, length: usize, body: &str) -> String {
    let endpoint = server.endpoint();
    let host = endpoint.strip_prefix("http://").unwrap();
    let refused = exchange(endpoint, &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    let date = refused.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let now = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    let (day, now) = (now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ"));
    let payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let headers = format!(
        "host:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\n\
         x-amz-decoded-content-length:{length}\nx-amz-trailer:x-amz-checksum-crc32\n"
    );
    let names: Vec<_> = headers.lines().map(|line| line.split(':').next().unwrap()).collect();
    let names = names.join(";");
    let canonical = format!("PUT\n/{BUCKET}/{key}\n\n{headers}\n{names}\n{payload}");
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let digest = hex(&Sha256::checksum(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}");
    let mut secret = hmac_sha256(format!("AWS4{}", server.secret_access_key()).as_bytes(), &day.to_string());
    for step in ["us-east-1", "s3", "aws4_request"] {
        secret = hmac_sha256(&secret, step);
    }
    let signature = hex(&hmac_sha256(&secret, &text));
    let id = server.access_key_id();
    let headers = headers.replace('\n', "\r\n");
    let request = format!(
        "PUT /{BUCKET}/{key} HTTP/1.1\r\n{headers}authorization: AWS4-HMAC-SHA256 \
         Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\
         content-encoding: aws-chunked\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(endpoint, &request)
}

#[tokio::test]
async fn a_checksum_behind_the_body_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let server = &bucket.server;
    for (length, body, code) in [
        (9, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
        (9, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AA\r\n\r\n", "InvalidRequest"),
        (9, "9\r\n123456789\r\n0\r\n\r\n", "MalformedTrailerError"),
        (9, "9\r\n12345", "IncompleteBody"),
        (8, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n", "IncompleteBody"),
    ] {
        let response = put_in_chunks(server, "x", length, body);
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
        assert!(response.contains(&format!("<Code>{code}</Code>")), "{response}");
    }
    assert!(bucket.keys().await.is_empty());
    assert_eq!(staged(dir.path()), 0);
    let right = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    let response = put_in_chunks(server, "x", 9, right);
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(bucket.get("x").await.unwrap(), b"123456789");
    let head = bucket.client.head_object().bucket(BUCKET).key("x").send().await.unwrap();
    assert_eq!(head.content_encoding(), None);
}

/// Keys that are hard to keep in a directory, in byte order.
fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "\u{1}control",
        "\t\n.",
        " x",
        "!",
        "%",
        "%2F",
        "%41",
        "%self",
        "+",
        "-",
        ".",
        "..",
        "../..",
        "../etc/passwd",
        "./x",
        ".embedded-bucket",
        ".embedded-bucket/credentials.json",
        "/",
        "//",
        "/lead",
        "a",
        "a!",
        "a%+",
        "a%+/x",
        "a-b",
        "a/",
        "a//",
        "a//b",
        "a/b",
        "a/b/",
        "a/b/c",
        "a0",
        "x=1&y=2",
        "ü/é",
        "🪵/🪵",
        "\\",
        "a?b#c",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.extend(["n".repeat(255), "n".repeat(256), "n".repeat(1024), "é".repeat(512)]);
    keys.extend([format!("{}/x", "n".repeat(255)), format!("{}m", "n".repeat(253))]);
    keys.extend(["\u{2}".repeat(1024), "d/".repeat(512), "/".repeat(1024), "%".repeat(600)]);
    keys.sort();
    keys
}

#[tokio::test]
async fn odd_keys_are_kept_apart_listed_in_byte_order_and_deleted() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("store");
    let bucket = serve(&dir);
    let keys = odd_keys();
    // From both ends, so that `a` comes before `a/b` as well as behind it.
    for key in keys.iter().rev().step_by(2).chain(keys.iter().rev().skip(1).step_by(2)) {
        bucket.put(key, key.as_bytes()).if_none_match("*").send().await.unwrap_or_else(|e| panic!("{key:?} {e:?}"));
    }
    for key in &keys {
        assert_eq!(bucket.get(key).await.as_deref(), Some(key.as_bytes()), "{key:?}");
        let again = bucket.put(key, b"again").if_none_match("*").send().await.unwrap_err();
        assert_eq!(code_of(&again), "PreconditionFailed", "{key:?}");
    }
    assert_eq!(bucket.keys().await, keys);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    for key in &keys {
        bucket.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(bucket.get(key).await, None, "{key:?}");
    }
    assert!(bucket.keys().await.is_empty());
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".embedded-bucket"]);
}

#[tokio::test]
async fn a_key_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let error = bucket.put(&"k".repeat(1025), b"").send().await.unwrap_err();
    assert_eq!(code_of(&error), "KeyTooLongError");
}

#[tokio::test]
async fn listing_pages_ten_thousand_keys_in_byte_order() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let mut keys: Vec<String> = (0..10_000).map(|n| format!("flat/{n}-{}.log", n % 7)).collect();
    std::fs::create_dir(dir.path().join("flat")).unwrap();
    for key in &keys {
        std::fs::write(dir.path().join(key), b"").unwrap();
    }
    keys.sort();
    let mut pages = bucket.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
    let mut listed = Vec::new();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        sizes.push(page.key_count().unwrap());
        listed.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
    }
    assert_eq!(sizes, [1000; 10]);
    assert_eq!(listed, keys);
}

/// What S3 lists of `keys` (sorted), with the rules written down as plainly as possible: entries in order, those of a
/// common prefix once.
fn model<'a>(keys: &'a [String], prefix: &str, delimiter: &str, after: &str) -> Vec<&'a str> {
    let mut entries = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
        let at = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
        let entry = at.map_or(key.as_str(), |at| &key[..prefix.len() + at + delimiter.len()]);
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

#[tokio::test]
async fn listing_follows_the_rules_of_s3_for_any_prefix_delimiter_start_and_page_size() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = |longest| -> String {
        let length = random.usize(0..=longest);
        (0..length).map(|_| ["a", "b", "/", "/", "-", ".", "é"][random.usize(..7)]).collect()
    };
    let mut keys: Vec<String> = (0..120).map(|_| text(8)).filter(|key| !key.is_empty()).collect();
    keys.sort();
    keys.dedup();
    for key in &keys {
        bucket.put(key, b"").send().await.unwrap();
    }
    for round in 0..150 {
        let (prefix, after) = (text(3), text(4));
        let delimiter = ["/", "", "-", "a/", "/"][round % 5];
        let expected = model(&keys, &prefix, delimiter, &after);
        let size = [1, 2, 3, 10, 1000][round / 5 % 5];
        let (mut listed, mut token) = (Vec::new(), None);
        loop {
            let page = bucket.client.list_objects_v2().bucket(BUCKET).prefix(&prefix);
            let page = page.delimiter(delimiter).start_after(&after).max_keys(size);
            let page = page.set_continuation_token(token).send().await.unwrap();
            let mut entries: Vec<String> =
                page.contents().iter().map(|o| o.key().unwrap()).map(str::to_owned).collect();
            entries.extend(page.common_prefixes().iter().map(|p| p.prefix().unwrap().to_owned()));
            entries.sort();
            assert_eq!(page.key_count(), i32::try_from(entries.len()).ok());
            listed.extend(entries);
            token = page.next_continuation_token().map(str::to_owned);
            assert_eq!(page.is_truncated(), Some(token.is_some()));
            if token.is_none() {
                break;
            }
            assert_eq!(page.key_count(), Some(size));
        }
        assert_eq!(listed, expected, "{prefix:?} {delimiter:?} {after:?} {size}");
    }
}

#[tokio::test]
async fn the_older_listing_goes_on_behind_a_common_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    for key in ["a/1", "a/2", "b", "c/1", "d"] {
        bucket.put(key, b"").send().await.unwrap();
    }
    let (mut entries, mut marker) = (Vec::new(), None);
    // One round more than there are entries, should the pages not come to an end.
    for _ in 0..5 {
        let page = bucket.client.list_objects().bucket(BUCKET).delimiter("/").max_keys(1);
        let page = page.set_marker(marker).send().await.unwrap();
        entries.extend(page.common_prefixes().iter().map(|p| p.prefix().unwrap().to_owned()));
        entries.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
        marker = page.next_marker().map(str::to_owned);
        if !page.is_truncated().unwrap() {
            break;
        }
    }
    assert_eq!(entries, ["a/", "b", "c/", "d"]);
}

#[tokio::test]
async fn a_directory_without_objects_is_no_common_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("full/x/y", b"").send().await.unwrap();
    std::fs::create_dir_all(dir.path().join("empty/below")).unwrap();
    let page = bucket.client.list_objects_v2().bucket(BUCKET).delimiter("/").send().await.unwrap();
    let prefixes: Vec<_> = page.common_prefixes().iter().map(|p| p.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["full/"]);
}

#[tokio::test]
async fn ranges_are_served_as_s3_does() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("x", b"0123456789").send().await.unwrap();
    let get = |range: &str| bucket.client.get_object().bucket(BUCKET).key("x").range(range);
    for (range, content, header) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
    ] {
        let part = get(range).send().await.unwrap();
        assert_eq!(part.content_range(), Some(header));
        assert_eq!(part.content_length(), i64::try_from(content.len()).ok());
        assert_eq!(part.body.collect().await.unwrap().to_vec(), content.as_bytes());
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let error = get(range).send().await.unwrap_err();
        assert_eq!(code_of(&error), "InvalidRange");
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 416);
    }
}

#[tokio::test]
async fn conditions_on_reads_and_writes_are_those_of_s3() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let etag = bucket.put("x", b"1").send().await.unwrap().e_tag().unwrap().to_owned();
    let get = || bucket.client.get_object().bucket(BUCKET).key("x");
    assert!(get().if_match(&etag).send().await.is_ok());
    let other = get().if_match("\"00\"").send().await.unwrap_err();
    assert_eq!(other.raw_response().unwrap().status().as_u16(), 412);
    let same = get().if_none_match(&etag).send().await.unwrap_err();
    assert_eq!(same.raw_response().unwrap().status().as_u16(), 304);

    let missing = bucket.put("y", b"2").if_match(&etag).send().await.unwrap_err();
    assert_eq!(code_of(&missing), "NoSuchKey");
    bucket.put("x", b"2").if_match(&etag).send().await.unwrap();
    let stale = bucket.put("x", b"3").if_match(&etag).send().await.unwrap_err();
    assert_eq!(code_of(&stale), "PreconditionFailed");
    assert_eq!(bucket.get("x").await.unwrap(), b"2");
}

#[tokio::test]
async fn metadata_and_headers_come_back_as_they_were_given() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let put = bucket
        .put("x", b"1")
        .metadata("one", "1")
        .metadata("long", "v".repeat(2000))
        .content_type("text/plain")
        .cache_control("no-cache")
        .content_encoding("gzip")
        .content_disposition("attachment")
        .content_language("de")
        .server_side_encryption(ServerSideEncryption::AwsKms)
        .ssekms_key_id("key")
        .storage_class(StorageClass::StandardIa);
    put.send().await.unwrap();
    for bucket in [&bucket, &serve(dir.path())] {
        let head = bucket.client.head_object().bucket(BUCKET).key("x").send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["one"], "1");
        assert_eq!(head.metadata().unwrap()["long"].len(), 2000);
        assert_eq!(head.content_type(), Some("text/plain"));
        assert_eq!(head.cache_control(), Some("no-cache"));
        assert_eq!(head.content_encoding(), Some("gzip"));
        assert_eq!(head.content_disposition(), Some("attachment"));
        assert_eq!(head.content_language(), Some("de"));
        assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
        assert_eq!(head.ssekms_key_id(), Some("key"));
        assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
        assert!(head.last_modified().is_some());
    }
}

#[tokio::test]
async fn headers_too_long_for_an_attribute_of_the_file_come_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let sidecars = || std::fs::read_dir(dir.path().join(".embedded-bucket/sidecars")).unwrap().count();
    let long = "l".repeat(5000);
    bucket.put("x", b"1").content_disposition(&long).send().await.unwrap();
    bucket.put("x/below", b"2").send().await.unwrap();
    let head = bucket.client.head_object().bucket(BUCKET).key("x").send().await.unwrap();
    assert_eq!(head.content_disposition(), Some(long.as_str()));
    assert_eq!(sidecars(), 1);
    bucket.put("x", b"3").send().await.unwrap();
    assert_eq!(sidecars(), 0);
}

#[tokio::test]
async fn too_much_metadata_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let fits = bucket.put("x", b"1").metadata("k", "v".repeat(2047)).send().await;
    assert!(fits.is_ok());
    let error = bucket.put("y", b"1").metadata("k", "v".repeat(2048)).send().await.unwrap_err();
    assert_eq!(code_of(&error), "MetadataTooLarge");
}

#[tokio::test]
async fn a_file_placed_by_hand_is_an_object() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("old/logs")).unwrap();
    std::fs::write(dir.path().join("old/logs/a.log"), b"by hand").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("links")).unwrap();
    let bucket = serve(dir.path());
    assert_eq!(bucket.keys().await, ["old/logs/a.log"]);
    assert_eq!(bucket.get("old/logs/a.log").await.unwrap(), b"by hand");
    assert_eq!(bucket.get("link").await, None);
    assert_eq!(bucket.get("links/passwd").await, None);
    let put = bucket.put("old/logs/a.log", b"").if_none_match("*").send().await.unwrap_err();
    assert_eq!(code_of(&put), "PreconditionFailed");

    // Also an object of the server that somebody wrote to: its ETag is not that of before.
    let etag = bucket.put("x", b"1").send().await.unwrap().e_tag().unwrap().to_owned();
    std::fs::write(dir.path().join("x"), b"12").unwrap();
    let head = bucket.client.head_object().bucket(BUCKET).key("x").send().await.unwrap();
    assert_ne!(head.e_tag(), Some(etag.as_str()));
    assert_eq!(bucket.get("x").await.unwrap(), b"12");
}

#[tokio::test]
async fn many_objects_are_deleted_in_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    for key in ["a", "a/b", "c"] {
        bucket.put(key, b"").send().await.unwrap();
    }
    let named = ["a", "a/b", "never"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(named.to_vec())).build().unwrap();
    let deleted = bucket.client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(deleted.deleted().len(), 3);
    assert_eq!(bucket.keys().await, ["c"]);
}

#[tokio::test]
async fn a_copy_is_an_object_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("from +%", b"1").metadata("k", "v").send().await.unwrap();
    let copy = |to: &str| {
        let copy = bucket.client.copy_object().bucket(BUCKET).key(to);
        copy.copy_source(format!("{BUCKET}/from%20%2B%25"))
    };
    copy("to").send().await.unwrap();
    let replaced = copy("bare").metadata_directive(MetadataDirective::Replace);
    replaced.send().await.unwrap();
    bucket.client.delete_object().bucket(BUCKET).key("from +%").send().await.unwrap();
    assert_eq!(bucket.get("to").await.unwrap(), b"1");
    let head = bucket.client.head_object().bucket(BUCKET).key("to").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["k"], "v");
    let head = bucket.client.head_object().bucket(BUCKET).key("bare").send().await.unwrap();
    assert!(head.metadata().unwrap().is_empty());
    assert_eq!(code_of(&copy("x").send().await.unwrap_err()), "NoSuchKey");
}

const PART: usize = 5 << 20;

impl Running {
    async fn begin(&self, key: &str, algorithm: Option<ChecksumAlgorithm>) -> String {
        let create = self.client.create_multipart_upload().bucket(BUCKET).key(key);
        let create = create.metadata("k", "v").set_checksum_algorithm(algorithm);
        create.send().await.unwrap().upload_id().unwrap().to_owned()
    }

    async fn part(&self, key: &str, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
        let part = self.client.upload_part().bucket(BUCKET).key(key).upload_id(id);
        let part = part.part_number(number).body(body.into()).send().await.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag().map(str::to_owned))
            .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
            .build()
    }

    fn complete(
        &self,
        key: &str,
        id: &str,
        parts: &[&CompletedPart],
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder {
        let parts = parts.iter().map(|part| (*part).clone()).collect();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.client.complete_multipart_upload().bucket(BUCKET).key(key);
        complete.upload_id(id).multipart_upload(parts)
    }
}

#[tokio::test]
async fn a_multipart_upload_becomes_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    for algorithm in [None, Some(ChecksumAlgorithm::Crc32)] {
        let id = bucket.begin("big", algorithm.clone()).await;
        let one = bucket.part("big", &id, 1, vec![b'1'; PART]).await;
        let two = bucket.part("big", &id, 7, vec![b'2'; 10]).await;
        assert_eq!(bucket.get("big").await.is_some(), algorithm.is_some());
        let done = bucket.complete("big", &id, &[&one, &two]).send().await.unwrap();
        // md5(md5(part one) + md5(part two)), then the number of parts.
        assert_eq!(done.e_tag(), Some("\"c59b44593a7631c44314ba46918b0866-2\""));
        let content = bucket.get("big").await.unwrap();
        assert_eq!(content, [vec![b'1'; PART], vec![b'2'; 10]].concat());
        let head = bucket.client.head_object().bucket(BUCKET).key("big").send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["k"], "v");
    }
    assert_eq!(staged(dir.path()), 0);
    assert_eq!(std::fs::read_dir(dir.path().join(".embedded-bucket/uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn completing_a_multipart_upload_honours_its_condition_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("x", b"first").send().await.unwrap();
    let id = bucket.begin("x", None).await;
    let part = bucket.part("x", &id, 1, b"second".to_vec()).await;
    let complete = || bucket.complete("x", &id, &[&part]);
    let refused = complete().if_none_match("*").send().await.unwrap_err();
    assert_eq!(code_of(&refused), "PreconditionFailed");
    assert_eq!(bucket.get("x").await.unwrap(), b"first");
    complete().send().await.unwrap();
    assert_eq!(bucket.get("x").await.unwrap(), b"second");
    assert_eq!(code_of(&complete().send().await.unwrap_err()), "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_racing_conditional_completions_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..16 {
        let id = bucket.begin("x", Some(ChecksumAlgorithm::Crc32)).await;
        let part = bucket.part("x", &id, 1, format!("{n:02}").into_bytes()).await;
        let complete = bucket.complete("x", &id, &[&part]).if_none_match("*");
        racing.spawn(async move { (n, complete.send().await) });
    }
    let mut winners = Vec::new();
    while let Some(ended) = racing.join_next().await {
        match ended.unwrap() {
            (n, Ok(_)) => winners.push(n),
            (_, Err(error)) => assert_eq!(code_of(&error), "PreconditionFailed"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bucket.get("x").await.unwrap(), format!("{:02}", winners[0]).into_bytes());
}

#[tokio::test]
async fn a_part_with_another_checksum_than_it_claims_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let id = bucket.begin("x", Some(ChecksumAlgorithm::Crc32)).await;
    let part = |sum: &str| {
        let part = bucket.client.upload_part().bucket(BUCKET).key("x").upload_id(&id).part_number(1);
        part.checksum_crc32(sum).body(b"123456789".to_vec().into())
    };
    assert_eq!(code_of(&part("AAAAAA==").send().await.unwrap_err()), "BadDigest");
    assert_eq!(staged(dir.path()), 0);
    let parts = bucket.client.list_parts().bucket(BUCKET).key("x").upload_id(&id);
    assert!(parts.send().await.unwrap().parts().is_empty());
    // The check value of CRC-32 (ISO-HDLC), 0xcbf43926.
    let sound = part("y/Q5Jg==").send().await.unwrap();
    let claims = |sum: &str| {
        let part = CompletedPart::builder().part_number(1).set_e_tag(sound.e_tag.clone());
        part.checksum_crc32(sum).build()
    };
    let refused = bucket.complete("x", &id, &[&claims("AAAAAA==")]).send().await.unwrap_err();
    assert_eq!(code_of(&refused), "InvalidPart");
    bucket.complete("x", &id, &[&claims("y/Q5Jg==")]).send().await.unwrap();
    assert_eq!(bucket.get("x").await.unwrap(), b"123456789");
}

#[tokio::test]
async fn uploads_are_listed_by_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    for key in ["a/b", "a/b.gz", "a/b +%日", "a/", "b"] {
        bucket.begin(key, None).await;
    }
    let list = async |prefix: &str| {
        let list = bucket.client.list_multipart_uploads().bucket(BUCKET).prefix(prefix);
        let page = list.encoding_type(EncodingType::Url).send().await.unwrap();
        page.uploads().iter().map(|upload| decoded(upload.key().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(list("a/b").await, ["a/b", "a/b +%日", "a/b.gz"]);
    assert_eq!(list("a/b +%日").await, ["a/b +%日"]);
    assert!(list("c").await.is_empty());
}

#[tokio::test]
async fn parts_that_are_small_missing_or_out_of_order_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let id = bucket.begin("x", None).await;
    let one = bucket.part("x", &id, 1, b"small".to_vec()).await;
    let two = bucket.part("x", &id, 2, b"small too".to_vec()).await;
    let never = CompletedPart::builder().part_number(3).set_e_tag(one.e_tag.clone()).build();
    let other = CompletedPart::builder().part_number(1).set_e_tag(two.e_tag.clone()).build();
    for (parts, code) in [
        (vec![&one, &two], "EntityTooSmall"),
        (vec![&two, &one], "InvalidPartOrder"),
        (vec![&one, &never], "InvalidPart"),
        (vec![&other], "InvalidPart"),
        (vec![], "MalformedXML"),
    ] {
        let error = bucket.complete("x", &id, &parts).send().await.unwrap_err();
        assert_eq!(code_of(&error), code);
    }
    assert!(bucket.keys().await.is_empty());
}

#[tokio::test]
async fn uploads_and_parts_are_listed_until_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let id = bucket.begin("x", None).await;
    let other = bucket.begin("y", None).await;
    for number in [3, 1, 2] {
        bucket.part("x", &id, number, vec![0; 10]).await;
    }
    let list = || bucket.client.list_parts().bucket(BUCKET).key("x").upload_id(&id);
    let page = list().max_parts(2).send().await.unwrap();
    let numbers: Vec<_> = page.parts().iter().map(|part| part.part_number().unwrap()).collect();
    assert_eq!((numbers, page.is_truncated()), (vec![1, 2], Some(true)));
    let page = list().part_number_marker(page.next_part_number_marker().unwrap());
    assert_eq!(page.send().await.unwrap().parts()[0].part_number(), Some(3));

    let uploads = || bucket.client.list_multipart_uploads().bucket(BUCKET);
    let page = uploads().max_uploads(1).send().await.unwrap();
    assert_eq!(page.uploads()[0].upload_id(), Some(id.as_str()));
    let next = uploads().key_marker(page.next_key_marker().unwrap());
    let next = next.upload_id_marker(page.next_upload_id_marker().unwrap());
    assert_eq!(next.send().await.unwrap().uploads()[0].upload_id(), Some(other.as_str()));

    let abort = || bucket.client.abort_multipart_upload().bucket(BUCKET).key("x").upload_id(&id);
    abort().send().await.unwrap();
    assert_eq!(code_of(&abort().send().await.unwrap_err()), "NoSuchUpload");
    assert_eq!(uploads().send().await.unwrap().uploads().len(), 1);
}

#[tokio::test]
async fn a_restart_keeps_objects_uploads_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("x", b"1").send().await.unwrap();
    let id = bucket.begin("y", None).await;
    let part = bucket.part("y", &id, 1, b"2".to_vec()).await;
    let secret = bucket.server.secret_access_key().to_owned();
    bucket.server.stop();
    let bucket = serve(dir.path());
    assert_eq!(bucket.server.secret_access_key(), secret);
    bucket.complete("y", &id, &[&part]).send().await.unwrap();
    assert_eq!(bucket.keys().await, ["x", "y"]);
    use std::os::unix::fs::PermissionsExt;
    let file = dir.path().join(".embedded-bucket/credentials.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// Whoever opens connections and sends nothing, or not all, or does not read, keeps nobody out.
#[tokio::test]
async fn connections_that_stand_still_give_way_to_those_that_ask() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = serve(dir.path());
    running.put("a", &[b'x'; 8 << 20]).send().await.unwrap();
    let address = running.server.endpoint().trim_start_matches("http://").to_owned();
    let mut strangers = Vec::new();
    for words in ["", "GET /logs/a HT", "PUT /logs/b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"] {
        for _ in 0..200 {
            let mut stranger = TcpStream::connect(&address).unwrap();
            stranger.write_all(words.as_bytes()).unwrap();
            strangers.push(stranger);
        }
        // A client of its own: the connection of the one before stands still as well.
        let (id, secret) = (running.server.access_key_id(), running.server.secret_access_key());
        let client = client_of(&running.server, id, secret);
        let asking = Running { client, ..running };
        let got = tokio::time::timeout(Duration::from_secs(30), asking.get("a")).await;
        running = asking;
        assert_eq!(got.expect("an answer").unwrap().len(), 8 << 20);
    }
}

/// Logs are nobody else's business: the mode of the directory says whose they are.
#[tokio::test]
async fn objects_are_for_those_whom_the_directory_is_for() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let mode_of = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let made = parent.path().join("made");
    let running = serve(&made);
    running.put("web/a", b"a").send().await.unwrap();
    assert_eq!([made.clone(), made.join("web")].map(mode_of), [0o700; 2]);
    assert_eq!(mode_of(made.join("web/a")), 0o600);
    for (mode, dirs, files) in [(0o750, 0o750, 0o640), (0o755, 0o755, 0o644)] {
        std::fs::set_permissions(&made, PermissionsExt::from_mode(mode)).unwrap();
        let running = serve(&made);
        let key = format!("{mode:o}/a");
        running.put(&key, b"a").send().await.unwrap();
        assert_eq!(mode_of(made.join(format!("{mode:o}"))), dirs);
        assert_eq!(mode_of(made.join(&key)), files);
        // A key that becomes a prefix as well.
        running.put(&format!("{key}/b"), b"b").send().await.unwrap();
        assert_eq!(mode_of(made.join(&key)), dirs);
    }
}

#[tokio::test]
async fn requests_without_the_right_signature_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    bucket.put("x", b"1").send().await.unwrap();
    let get = |client: Client| client.get_object().bucket(BUCKET).key("x").send();
    let id = bucket.server.access_key_id();
    let error = get(client_of(&bucket.server, id, "guessed")).await.unwrap_err();
    assert_eq!(code_of(&error), "SignatureDoesNotMatch");
    let request = format!("GET /{BUCKET}/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let response = exchange(bucket.server.endpoint(), &request);
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    assert!(response.contains("<Code>AccessDenied</Code>"), "{response}");
}

#[tokio::test]
async fn the_bucket_answers_for_itself_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let Running { client, .. } = &serve(dir.path());
    client.head_bucket().bucket(BUCKET).send().await.unwrap();
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    client.get_bucket_location().bucket(BUCKET).send().await.unwrap();
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets()[0].name(), Some(BUCKET));
    let error = client.list_objects_v2().bucket("other").send().await.unwrap_err();
    assert_eq!(code_of(&error), "NoSuchBucket");
    let error = client.put_object().bucket("other").key("x").send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_midway_leaves_whole_objects_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = serve(dir.path());
    let other = OtherProcess::serve(dir.path());
    let client = other.client(&bucket.server);
    let (done, mut progress) = tokio::sync::mpsc::unbounded_channel();
    for writer in 0..4 {
        let (client, done) = (client.clone(), done.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let key = format!("{}/{writer}/{n}", n % 3);
                let put = client.put_object().bucket(BUCKET).key(&key).metadata("key", &key);
                if put.body(key.clone().into_bytes().into()).send().await.is_err() {
                    break;
                }
                let _ = done.send(key);
            }
        });
    }
    drop(done);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 40 {
        acknowledged.push(progress.recv().await.unwrap());
    }
    other.kill();
    while let Some(key) = progress.recv().await {
        acknowledged.push(key);
    }
    let keys = bucket.keys().await;
    for key in &keys {
        assert_eq!(bucket.get(key).await.unwrap(), key.as_bytes());
        let head = bucket.client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(head.metadata().unwrap()["key"], *key);
    }
    assert!(acknowledged.iter().all(|key| keys.contains(key)));
    // The lock of the dead is no lock.
    bucket.put("after", b"").if_none_match("*").send().await.unwrap();
}

#[tokio::test]
async fn leftovers_of_a_killed_server_are_removed_at_a_later_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(serve(dir.path()));
    let staging = dir.path().join(".embedded-bucket/staging");
    let (old, fresh) = (staging.join("0".repeat(32)), staging.join("1".repeat(32)));
    for path in [&old, &fresh] {
        std::fs::write(path, b"half").unwrap();
    }
    let time = std::fs::metadata(&old).unwrap().modified().unwrap() - Duration::from_hours(25);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(time).unwrap();
    let bucket = serve(dir.path());
    assert!(!old.exists());
    assert!(fresh.exists(), "it may belong to a server that lives");
    assert!(bucket.keys().await.is_empty());
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = EmbeddedBucket::start(dir.path(), BUCKET, everywhere).err().unwrap();
    assert!(matches!(refused, EmbeddedError::NotLoopback(_)));
    assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
    let refused = EmbeddedBucket::start(dir.path(), "Not a bucket", anywhere()).err().unwrap();
    assert!(matches!(refused, EmbeddedError::BucketName(_)));
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = EmbeddedBucket::start(&file, BUCKET, anywhere()).err().unwrap();
    assert!(matches!(refused, EmbeddedError::Directory { .. }));
}
