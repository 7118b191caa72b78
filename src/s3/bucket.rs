//! The bucket interface and its errors. Object-safe and small: implemented by the S3 adapter, by decorators, and by
//! test doubles that refuse, delay or lose replies.
//!
//! Invariant: an object cannot be overwritten. `put_new` is the only write.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;

use crate::types::escape::for_terminal;
use crate::types::stored_object::StoredObject;

/// The bytes of a new object: a range of a file, so that nothing is held in memory and a retry sends the same again.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The file; read at explicit positions only.
    pub file: Arc<File>,
    /// The bytes of the file that are the object.
    pub range: Range<u64>,
    /// CRC-32 (ISO-HDLC) of them; the service refuses the object when it received others.
    pub crc32: u32,
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether the object has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An object to be.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub payload: Payload,
    /// Its Content-Type.
    pub content_type: &'static str,
    /// User metadata: names without `x-amz-meta-`, values printable ASCII.
    pub metadata: BTreeMap<String, String>,
}

/// What a HEAD tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Length in bytes.
    pub size: u64,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, in byte order of their keys.
    pub objects: Vec<StoredObject>,
    /// Common prefixes up to the next `/`, each ending in it.
    pub prefixes: Vec<String>,
    /// Token of the next page, when there is one.
    pub next: Option<String>,
}

/// A bucket.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// Stores an object under a key that has none, atomically (`If-None-Match: *`). One try: the caller decides on
    /// retries, because only it knows what an `Exists` after a lost reply means.
    async fn put_new(&self, object: &NewObject) -> Result<(), BucketError>;

    /// Bytes of an object; fewer than asked at its end. With `etag`, [`Kind::Changed`] when the object is another one
    /// by now.
    async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes, BucketError>;

    /// Size and metadata of an object.
    async fn head(&self, key: &str) -> Result<ObjectHead, BucketError>;

    /// One page (at most 1,000 entries) of what is directly below `prefix`.
    async fn list_page(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError>;

    /// One page (at most 1,000 objects) of all that is below `prefix`, however deep; it has no common prefixes.
    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError>;
}

/// How far a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is directly below the prefix.
    Children,
    /// All objects below the prefix.
    All,
}

/// The pages of a listing, one after the other.
pub fn pages<'b, B>(bucket: B, prefix: String, depth: Depth) -> impl Stream<Item = Result<ListPage, BucketError>>
where
    B: Deref<Target = dyn Bucket + 'b>,
{
    // The token of the next page; `None` when there is none.
    let first: Option<Option<String>> = Some(None);
    stream::try_unfold((bucket, prefix, first), move |(bucket, prefix, token)| async move {
        let Some(token) = token else { return Ok(None) };
        let mut page = match depth {
            Depth::Children => bucket.list_page(&prefix, token.as_deref()).await?,
            Depth::All => bucket.list_below(&prefix, token.as_deref()).await?,
        };
        let next = page.next.take().map(Some);
        Ok(Some((page, (bucket, prefix, next))))
    })
}

/// What went wrong, by meaning. The kind alone decides what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// An object has that key already (412).
    Exists,
    /// The object is no longer the one that was asked for (412 to `If-Match`).
    Changed,
    /// Another conditional write to the key was under way (409).
    Busy,
    /// There is no such bucket.
    NoBucket,
    /// The credentials are not allowed to do this (403).
    Denied,
    /// No credentials were found, or they cannot be used.
    NoCredentials,
    /// The credentials have expired.
    Expired,
    /// Our clock and the service's are too far apart for a signature (403).
    Skewed,
    /// The bucket is in another region; its name, where the service told it.
    WrongRegion(Option<String>),
    /// The key for encryption cannot be used: it is missing, disabled, or not allowed.
    Encryption,
    /// Slow down (503, 429).
    Throttled,
    /// Nobody answered.
    Unreachable,
    /// DNS does not know the host.
    NoHost,
    /// The host's certificate is of no CA that is trusted, or it speaks no TLS.
    Untrusted,
    /// The service failed (5xx).
    Server,
    /// The service does not know something that the request asks for (501).
    Unsupported,
    /// The service will never accept this request (400).
    Refused,
    /// A local file could not be read.
    Local,
}

impl Kind {
    /// Whether the failure concerns the bucket as a whole, so that other requests would fail too and should wait with
    /// this one.
    pub fn is_outage(&self) -> bool {
        match self {
            Kind::NoBucket
            | Kind::Denied
            | Kind::NoCredentials
            | Kind::Expired
            | Kind::Skewed
            | Kind::WrongRegion(_)
            | Kind::Encryption
            | Kind::Throttled
            | Kind::Unreachable
            | Kind::NoHost
            | Kind::Untrusted
            | Kind::Server
            | Kind::Unsupported => true,
            Kind::NotFound | Kind::Exists | Kind::Changed | Kind::Busy | Kind::Refused | Kind::Local => false,
        }
    }

    /// Whether a write that failed so may have been carried out all the same.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Kind::Unreachable | Kind::Server | Kind::Throttled | Kind::Busy => true,
            Kind::NotFound
            | Kind::Exists
            | Kind::Changed
            | Kind::NoBucket
            | Kind::Denied
            | Kind::NoCredentials
            | Kind::Expired
            | Kind::Skewed
            | Kind::WrongRegion(_)
            | Kind::Encryption
            | Kind::NoHost
            | Kind::Untrusted
            | Kind::Unsupported
            | Kind::Refused
            | Kind::Local => false,
        }
    }

    /// What a person can do about it who reads, without a daemon that tries again.
    pub fn hint_to_read(&self) -> &'static str {
        match self {
            Kind::Denied => {
                "the credentials need s3:ListBucket on the bucket, and s3:GetObject on the prefix to read objects"
            }
            Kind::Unreachable => "check --endpoint-url, DNS, the proxy and the network",
            Kind::Throttled | Kind::Server => "the service failed; try again",
            _ => self.hint(),
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Kind::NoBucket => {
                "check the bucket's name and --endpoint-url (most services other than Amazon's need --force-path-style), or create the bucket"
            }
            Kind::Denied => {
                "the credentials need s3:PutObject on the prefix (and s3:ListBucket, s3:GetObject for --view bucket)"
            }
            Kind::NoCredentials => {
                "give credentials by environment, --profile, a web identity or the instance's role; `aws sts get-caller-identity` shows what the chain finds"
            }
            Kind::Expired => {
                "others are fetched where they come from; renew them where that is you (for SSO: `aws sso login`)"
            }
            Kind::Skewed => "set this machine's clock (NTP); it is retried by the service's clock",
            Kind::WrongRegion(_) => "set --region to the bucket's region",
            Kind::Throttled => "the service asked to slow down; it is retried more slowly",
            Kind::Unreachable => "check --endpoint-url, DNS, the proxy and the network; it is retried until it works",
            Kind::Encryption => {
                "the key of --sse-kms-key-id, or the bucket's own, must be enabled, in the bucket's region, and let these credentials do kms:GenerateDataKey (to read: kms:Decrypt)"
            }
            Kind::NoHost => {
                "DNS does not know this host: check --endpoint-url and --region; where only the service has a name, and not each bucket, give --force-path-style"
            }
            Kind::Untrusted => {
                "name the file with the certificate of the service's CA in AWS_CA_BUNDLE or SSL_CERT_FILE; a service without TLS has an --endpoint-url that begins with http://"
            }
            Kind::Server => "the service failed; it is retried until it works",
            Kind::Unsupported => {
                "every PUT carries If-None-Match, so that nothing is ever overwritten; use a service that knows it"
            }
            Kind::Refused => "the service does not accept this request; see its message",
            Kind::Busy => "another conditional write was under way; it is retried",
            Kind::NotFound => "there is no such object (any more)",
            Kind::Exists => "an object of another writer has this key; nothing is overwritten",
            Kind::Changed => "the object was replaced meanwhile; open it again",
            Kind::Local => "look at the local file system",
        }
    }
}

/// A request to the bucket failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} {place}{separator}{key}: {message}", separator = if place.is_empty() || key.is_empty() { "" } else { ", " })]
pub struct BucketError {
    /// What it means.
    pub kind: Kind,
    /// The S3 operation.
    pub operation: &'static str,
    /// Which bucket, at which service; as `s3://logs at http://127.0.0.1:9000`.
    pub place: String,
    /// Key or prefix.
    pub key: String,
    /// What the service or the network said.
    pub message: String,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl BucketError {
    /// An error without a cause of its own.
    pub fn new(kind: Kind, operation: &'static str, key: &str, message: impl Into<String>) -> Self {
        let message = for_terminal(&message.into()).into_owned();
        let (place, key) = (String::new(), for_terminal(key).into_owned());
        BucketError { kind, operation, place, key, message, source: None }
    }

    /// Adds where it happened.
    pub fn at(self, place: &str) -> Self {
        BucketError { place: place.to_owned(), ..self }
    }

    /// Adds the cause.
    pub fn because(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        BucketError { source: Some(Arc::new(cause)), ..self }
    }
}
/// What the service does with `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conditional {
    /// It refuses the second write of a key.
    Enforced,
    /// It ignores the condition: a HEAD has to go before every PUT.
    Ignored,
}

/// The messages of an error and its causes, on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut messages = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        messages.push(cause.to_string().replace('\n', "; "));
        next = cause.source();
    }
    messages.dedup();
    messages.join(": ")
}
