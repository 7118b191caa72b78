//! The promises of the embedded bucket, as its clients see them: through the AWS SDK over HTTP.
//!
//! One test for each promise. No test waits for a time to pass or measures one.
#![cfg(feature = "embedded-bucket")]

use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use logsinkfs::embedded::EmbeddedBucket;

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
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(server.endpoint())
        .region(Region::new(server.region().to_owned()))
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
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(BUCKET)
            .encoding_type(aws_sdk_s3::types::EncodingType::Url)
            .into_paginator()
            .send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().map(|o| decoded(o.key().unwrap())));
        }
        keys
    }
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
