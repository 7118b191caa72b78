//! The bucket as another client sees it.
//!
//! Owns: an S3 client of its own (the AWS SDK, no code of the program) and the answers to "which objects, which bytes,
//! which lines are there".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;

use super::s3::Access;
use super::segments::{Segment, generations};

/// One stored object with all that its key says about it.
#[derive(Debug)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub metadata: HashMap<String, String>,
}

/// A client of one bucket, looking below the mount's prefix.
pub struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    prefix: String,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    pub fn new(access: &Access, prefix: &str) -> Self {
        let credentials = Credentials::new(&access.key_id, &access.secret, None, None, "the test itself");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(access.region.clone()))
            .endpoint_url(&access.endpoint)
            .force_path_style(true)
            .credentials_provider(credentials)
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { client: Client::from_conf(config), name: access.bucket.clone(), prefix: prefix.to_owned(), runtime }
    }

    pub(super) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Every key in the bucket, in the order of the listing.
    pub fn keys(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let mut pages = self.client.list_objects_v2().bucket(&self.name).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.expect("the bucket can be listed");
                keys.extend(page.contents().iter().map(|o| o.key().unwrap().to_owned()));
            }
            keys
        })
    }

    /// Stores an object as some other program would.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let body = ByteStream::from(bytes.to_vec());
        let put = self.client.put_object().bucket(&self.name).key(key).body(body);
        self.runtime.block_on(put.send()).unwrap_or_else(|e| panic!("PUT {key}: {e:?}"));
    }

    /// Puts an object over the one that is there, as nothing but another program can.
    pub fn put_over(&self, key: &str, object: Object) {
        let put = self.client.put_object().bucket(&self.name).key(key);
        let put = put.set_metadata(Some(object.metadata)).body(ByteStream::from(object.bytes));
        self.runtime.block_on(put.send()).unwrap_or_else(|e| panic!("PUT {key}: {e:?}"));
    }

    /// Deletes an object, as nothing but another program can.
    pub fn delete(&self, key: &str) {
        let delete = self.client.delete_object().bucket(&self.name).key(key);
        self.runtime.block_on(delete.send()).unwrap_or_else(|e| panic!("DELETE {key}: {e:?}"));
    }

    /// Fetches an object whole.
    pub fn get(&self, key: &str) -> Object {
        self.runtime.block_on(async {
            let got = self.client.get_object().bucket(&self.name).key(key).send().await;
            let got = got.unwrap_or_else(|e| panic!("GET {key}: {e:?}"));
            Object {
                content_type: got.content_type().map(str::to_owned),
                content_encoding: got.content_encoding().map(str::to_owned),
                metadata: got.metadata().cloned().unwrap_or_default(),
                bytes: got.body.collect().await.unwrap().to_vec(),
            }
        })
    }

    /// The segments of every stream, in the order of their keys.
    pub fn all_segments(&self) -> Vec<Segment> {
        self.keys().iter().filter_map(|key| Segment::parse(&self.prefix, key)).collect()
    }

    /// The segments of one stream.
    pub fn segments(&self, stream: &str) -> Vec<Segment> {
        let all = self.all_segments();
        all.into_iter().filter(|segment| segment.stream == stream).collect()
    }

    /// The names of all streams.
    pub fn streams(&self) -> BTreeSet<String> {
        self.all_segments().into_iter().map(|segment| segment.stream).collect()
    }

    /// The bytes of a segment, decompressed.
    pub fn bytes(&self, segment: &Segment) -> Vec<u8> {
        segment.decompress(&self.get(&segment.key).bytes)
    }

    /// The content of each generation of a stream by writer and number, checked for gaps.
    pub fn generations(&self, stream: &str) -> BTreeMap<(String, u64), Vec<u8>> {
        let segments = self.segments(stream).into_iter();
        generations(segments.map(|segment| (segment.clone(), self.bytes(&segment))).collect())
    }

    /// All generations of a stream, one after the other.
    pub fn content(&self, stream: &str) -> Vec<u8> {
        self.generations(stream).into_values().flatten().collect()
    }

    /// The lines of a stream; the last of a generation may lack its newline.
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for bytes in self.generations(stream).into_values() {
            let text = String::from_utf8(bytes).expect("log lines are UTF-8 in these tests");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    /// The versions of a whole file in the order of their keys: the last part of the key, and the bytes. What is
    /// compressed by its name is as it is stored.
    pub fn versions(&self, path: &str) -> Vec<(String, Vec<u8>)> {
        let folder = format!("{}{path}.files/", self.prefix);
        let keys = self.keys().into_iter().filter(|key| key.starts_with(&folder));
        let version = |key: String| {
            let (mut bytes, stored) = (Vec::new(), self.get(&key).bytes);
            if key.ends_with(".gz") && !path.ends_with(".gz") {
                flate2::read::MultiGzDecoder::new(&*stored).read_to_end(&mut bytes).unwrap();
            } else {
                bytes = stored;
            }
            (key.rsplit('/').next().unwrap().to_owned(), bytes)
        };
        keys.map(version).collect()
    }

    /// The lines of all streams.
    pub fn all_lines(&self) -> Vec<String> {
        self.streams().iter().flat_map(|stream| self.lines(stream)).collect()
    }
}
