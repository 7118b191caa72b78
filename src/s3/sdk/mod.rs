//! The S3 adapter, the only importer of the AWS SDK. Translates requests and errors. Writes are single attempts:
//! callers decide on retries.
//!
//! - `connect`: the client; `credentials` what is wrong with credentials; `host` which host was asked.
//! - `parts`: uploads in parts.
//! - `objects`: what new objects are given; `sums` their checksums; `request_payer` who pays.
//! - `classify`: what an answer means; `attempts` how often was tried; `clock_skew` our clock against S3's; `body` a
//!   file as a body.

mod attempts;
mod body;
mod classify;
mod clock_skew;
mod connect;
pub mod credentials;
mod host;
mod objects;
mod parts;
mod request_payer;
mod sums;

use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, DateTime, SdkBody};
use aws_sdk_s3::types::EncodingType;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::sync::OnceCell;

use self::body::FileBody;
use self::credentials::SharedCredentials;
use self::host::Host;
use self::objects::{Given, given};
use super::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use crate::settings::writer::S3Settings;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::causes;
use crate::types::ids::PartNumber;
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// Tries of a read inside the SDK; the caller's own deadline bounds them together.
const READ_TRIES: u32 = 3;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a read's whole answer (at most a page of a listing, or a few MiB).
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// A PUT may take this long, and a second more for each [`SLOWEST_UPLOAD`] bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes a second below which an upload is given up and tried again.
const SLOWEST_UPLOAD: u64 = 64 * 1024;

/// Credentials fixed by the caller, for the embedded bucket.
#[derive(Clone, Debug)]
pub struct FixedCredentials {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
}

/// A bucket of an S3 service.
#[derive(Debug)]
pub struct S3Bucket {
    settings: S3Settings,
    fixed: Option<FixedCredentials>,
    client: OnceCell<Client>,
    /// The client for the region that S3 has named, where that is another one.
    moved: Mutex<Option<Client>>,
    host: Host,
    credentials: SharedCredentials,
    bucket: String,
    owner: Option<String>,
    /// What every new object is given.
    given: Given,
}

impl S3Bucket {
    /// A bucket as these settings reach it. Nobody is asked anything yet, not even the instance for its region: a mount
    /// serves before anybody has answered.
    pub fn new(bucket: &str, settings: &S3Settings, fixed: Option<FixedCredentials>) -> S3Bucket {
        S3Bucket {
            settings: settings.clone(),
            fixed,
            client: OnceCell::new(),
            moved: Mutex::default(),
            host: Host::default(),
            credentials: SharedCredentials::new(),
            bucket: bucket.to_owned(),
            owner: settings.expected_bucket_owner.clone(),
            given: Given::new(settings),
        }
    }

    /// How errors name it: with the host that was asked, or will be as far as that is known.
    fn place(&self) -> String {
        let host = Some(self.host.last()).filter(|host| !host.is_empty());
        let host = host.or_else(|| connect::endpoint(&self.settings));
        let at = host.map_or_else(String::new, |host| format!(" at {host}"));
        format!("s3://{}{at}", self.bucket)
    }

    /// A read is sent once more where the credentials had expired: with others, which are fetched then; and where S3
    /// names the region to ask in.
    async fn read<T, F>(&self, request: impl Fn() -> F) -> Result<T, BucketError>
    where
        F: Future<Output = Result<T, BucketError>>,
    {
        match request().await {
            Err(e) if e.kind == Kind::Expired || self.is_elsewhere(&e) => request().await,
            done => done,
        }
    }

    /// Whether the next request goes to another region than the one that failed so.
    fn is_elsewhere(&self, e: &BucketError) -> bool {
        matches!(&e.kind, Kind::WrongRegion(Some(region)) if self.follow(region))
    }

    /// One page of a listing.
    async fn list(&self, prefix: &str, delimiter: Option<&str>, token: Option<&str>) -> Result<ListPage, BucketError> {
        let page = self
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_delimiter(delimiter.map(str::to_owned))
            // Keys may hold characters that XML 1.0 cannot carry.
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token.map(str::to_owned))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|e| self.meaning("ListObjectsV2", prefix, Kind::Changed, e))?;
        let url = page.encoding_type() == Some(&EncodingType::Url);
        let objects = page
            .contents()
            .iter()
            .filter_map(|object| {
                Some(StoredObject {
                    key: decoded(object.key()?, url)?,
                    size: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
                    modified: object.last_modified().map(utc).unwrap_or_default(),
                    etag: object.e_tag().unwrap_or_default().to_owned(),
                })
            })
            .collect();
        let prefixes = page.common_prefixes().iter().filter_map(|common| decoded(common.prefix()?, url)).collect();
        let next = page.next_continuation_token().filter(|_| page.is_truncated() == Some(true));
        Ok(ListPage { objects, prefixes, next: next.map(str::to_owned) })
    }

    /// Bytes of an object.
    async fn get(&self, key: &str, range: &Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        let got = self
            .client()
            .await?
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .set_if_match(etag.map(str::to_owned))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|e| self.meaning("GetObject", key, Kind::Changed, e))?;
        let told = got.content_range().unwrap_or_default();
        if !told.starts_with(&format!("bytes {}-", range.start)) {
            return Err(self.unlike_s3("GetObject", key, "the range that was asked for"));
        }
        let most = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let body = tokio::time::timeout(READ_TIMEOUT, collect(got.body, most)).await;
        let broken = |why: String| BucketError::new(Kind::Unreachable, "GetObject", key, why).at(&self.place());
        let bytes = body
            .map_err(|_| broken("the body did not arrive in time".into()))?
            .map_err(|e| broken(format!("the body broke off: {}", causes(&e))))?;
        bytes.ok_or_else(|| self.unlike_s3("GetObject", key, "no more than was asked for"))
    }

    /// Size and metadata of an object.
    async fn look(&self, key: &str) -> Result<ObjectHead, BucketError> {
        let head = self
            .client()
            .await?
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|e| self.meaning("HeadObject", key, Kind::Changed, e))?;
        if head.e_tag().is_none() {
            return Err(self.unlike_s3("HeadObject", key, "an ETag"));
        }
        Ok(ObjectHead {
            size: u64::try_from(head.content_length().unwrap_or(0)).unwrap_or(0),
            metadata: head.metadata.unwrap_or_default().into_iter().collect(),
        })
    }

    /// One PUT.
    async fn put(&self, object: &NewObject) -> Result<(), BucketError> {
        let length = object.payload.len();
        let sum = self.sum("PutObject", &object.key, &object.payload).await?;
        let put = self.client().await?.put_object();
        let put = given!(put, self.given, object.properties)
            .bucket(&self.bucket)
            .key(&object.key)
            .set_checksum_algorithm(sum.algorithm())
            .set_checksum_crc32(sum.crc32())
            .set_checksum_crc32_c(sum.crc32c())
            .set_checksum_crc64_nvme(sum.crc64nvme())
            .set_checksum_sha1(sum.sha1())
            .set_checksum_sha256(sum.sha256())
            .content_type(object.content_type)
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .set_expected_bucket_owner(self.owner.clone())
            .body(ByteStream::new(SdkBody::from_body_1_x(FileBody::new(&object.payload))))
            .customize()
            .mutate_request(self.given.no_overwrite())
            .config_override(single_try(time_to_send(length)));
        match put.send().await {
            Ok(put) if put.e_tag().is_some() => Ok(()),
            Ok(_) => Err(self.unlike_s3("PutObject", &object.key, "an ETag")),
            Err(e) => Err(self.meaning("PutObject", &object.key, Kind::Exists, e)),
        }
    }
}

/// Overrides of the client for a write: one try within this time.
fn single_try(within: Duration) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(within);
    aws_sdk_s3::config::Config::builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts.build())
}

/// How long a write of so many bytes may take.
fn time_to_send(bytes: u64) -> Duration {
    WRITE_TIMEOUT + Duration::from_secs(bytes / SLOWEST_UPLOAD)
}

/// Reads a body of at most so many bytes; `None` when there are more, of which a server in S3's place could send any
/// number.
async fn collect(mut body: ByteStream, most: usize) -> Result<Option<Bytes>, ByteStreamError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        if all.len() + chunk.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(all.freeze()))
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError> {
        match self.put(object).await {
            // Nothing was done there.
            Err(e) if self.is_elsewhere(&e) => self.put(object).await,
            done => done,
        }
    }

    async fn begin_upload(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        match self.begin(object).await {
            // Nothing was done there.
            Err(e) if self.is_elsewhere(&e) => self.begin(object).await,
            done => done,
        }
    }

    async fn put_part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        self.part(upload, number, payload).await
    }

    async fn finish_upload(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        self.finish(upload, parts).await
    }

    async fn abort_upload(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        self.read(|| self.abort(upload)).await
    }

    async fn unfinished_uploads(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        self.read(|| self.unfinished(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError> {
        if range.is_empty() { Ok(Bytes::new()) } else { self.read(|| self.get(key, &range, etag)).await }
    }

    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError> {
        self.read(|| self.look(key)).await
    }

    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.read(|| self.list(prefix, Some("/"), token)).await
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.read(|| self.list(prefix, None, token)).await
    }
}

/// A key as the listing's `encoding-type=url` sends it: form encoding, where `+` is a space.
fn decoded(text: &str, url: bool) -> Option<String> {
    if url {
        percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(Into::into)
    } else {
        Some(text.to_owned())
    }
}

fn utc(time: &DateTime) -> Utc {
    SystemTime::try_from(*time).map(Utc::from).unwrap_or_default()
}
