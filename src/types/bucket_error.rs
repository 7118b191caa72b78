//! Why a request to the bucket failed, by meaning, and what a person can do about it.

use std::sync::Arc;

use super::escape::for_terminal;

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
                "the key of --sse-kms-key-id, or the bucket's own, must be enabled, in the bucket's region, and let these credentials do kms:GenerateDataKey (to read, and for files above 64 MiB: kms:Decrypt)"
            }
            Kind::NoHost => {
                "DNS does not know this host: check --endpoint-url and --region; where only the service has a name, and not each bucket, give --force-path-style"
            }
            Kind::Untrusted => {
                "name the file with the certificate of the service's CA in AWS_CA_BUNDLE or SSL_CERT_FILE; a service without TLS has an --endpoint-url that begins with http://"
            }
            Kind::Server => "the service failed; it is retried until it works",
            Kind::Unsupported => {
                "every PUT carries If-None-Match, so that nothing is ever overwritten; use a service that knows it, or name its own header (--no-overwrite-header)"
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
