//! The headers which S3 keeps with an object and gives back with it.
//!
//! Owns: which there are, what S3 makes of them when stored, and the way back into a response. Does NOT own: where they
//! are kept (`record`), the ETag and the checksums.
//!
//! Invariant: a header given with the object comes back with it as it was, except where S3 itself changes it
//! (`aws-chunked`, the default content type and encryption).

use std::collections::BTreeMap;

use s3s::dto::{Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use super::record::Headers;

/// The most user metadata, in bytes of names and values
/// ([S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html)).
const USER_MAX: usize = 2048;

pub const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// Reads the headers out of an input that has the fields of PutObject.
macro_rules! headers_of {
    ($input:expr) => {{
        let mut headers = $crate::headers::Collected::new($input.metadata.take());
        headers.put("cache-control", $input.cache_control.take());
        headers.put("content-disposition", $input.content_disposition.take());
        headers.put_encoding($input.content_encoding.take());
        headers.put("content-language", $input.content_language.take());
        headers.put("content-type", $input.content_type.take());
        headers.put_expires($input.expires.take());
        headers.put("redirect", $input.website_redirect_location.take());
        headers.put("sse", $input.server_side_encryption.take().map(|sse| sse.as_str().to_owned()));
        headers.put("kms-key", $input.ssekms_key_id.take());
        headers.put("bucket-key", $input.bucket_key_enabled.map(|on| on.to_string()));
        headers.put("storage-class", $input.storage_class.take().map(|class| class.as_str().to_owned()));
        headers.put("tagging", $input.tagging.take());
        if $input.object_lock_mode.is_some() || $input.object_lock_legal_hold_status.is_some() {
            Err(s3s::s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration"))
        } else if $input.sse_customer_algorithm.is_some() {
            Err(s3s::s3_error!(
                InvalidRequest,
                "Requests specifying Server Side Encryption with Customer provided keys must be \
                 made over a secure connection."
            ))
        } else {
            headers.checked()
        }
    }};
}
pub(super) use headers_of;

/// Writes an object into an output that has the fields of HeadObject.
macro_rules! described {
    ($output:ident, $object:expr) => {{
        let (record, stamp) = (&$object.record, $object.stamp);
        let headers = &record.headers;
        s3s::dto::$output {
            accept_ranges: Some("bytes".to_owned()),
            bucket_key_enabled: headers.get("bucket-key").map(|on| on == "true"),
            cache_control: headers.get("cache-control"),
            content_disposition: headers.get("content-disposition"),
            content_encoding: headers.get("content-encoding"),
            content_language: headers.get("content-language"),
            content_type: Some(headers.content_type()),
            e_tag: Some(s3s::dto::ETag::Strong(record.etag.clone())),
            expires: headers.expires(),
            last_modified: Some($crate::headers::timestamp(stamp.seconds)),
            metadata: Some(headers.user.clone().into_iter().collect()),
            server_side_encryption: Some(headers.encryption()),
            ssekms_key_id: headers.get("kms-key"),
            storage_class: headers.storage_class_if_special(),
            website_redirect_location: headers.get("redirect"),
            ..Default::default()
        }
    }};
}
pub(super) use described;

/// Headers while they are collected from a request.
#[derive(Default)]
pub struct Collected(Headers);

impl Collected {
    pub fn new(user: Option<s3s::dto::Metadata>) -> Self {
        let user: BTreeMap<_, _> = user.into_iter().flatten().collect();
        Self(Headers { user, ..Headers::default() })
    }

    pub fn put(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.fixed.insert(name.to_owned(), value);
        }
    }

    /// `aws-chunked` names the framing of the request and is no property of the object.
    pub fn put_encoding(&mut self, value: Option<String>) {
        let kept = value.map(|value| {
            let codings = value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked");
            codings.collect::<Vec<_>>().join(",")
        });
        self.put("content-encoding", kept.filter(|value| !value.is_empty()));
    }

    pub fn put_expires(&mut self, value: Option<Timestamp>) {
        let mut text = Vec::new();
        let written = value.map(|time| time.format(TimestampFormat::HttpDate, &mut text));
        if let Some(Ok(())) = written {
            self.put("expires", String::from_utf8(text).ok());
        }
    }

    /// Refuses what S3 refuses.
    pub fn checked(self) -> S3Result<Headers> {
        let size: usize = self.0.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > USER_MAX {
            return Err(s3_error!(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size"));
        }
        Ok(self.0)
    }
}

impl Headers {
    pub fn get(&self, name: &str) -> Option<String> {
        self.fixed.get(name).cloned()
    }

    pub fn content_type(&self) -> String {
        self.get("content-type").unwrap_or_else(|| CONTENT_TYPE_DEFAULT.to_owned())
    }

    pub fn expires(&self) -> Option<Timestamp> {
        Timestamp::parse(TimestampFormat::HttpDate, self.fixed.get("expires")?).ok()
    }

    /// S3 encrypts everything; with keys of its own where none is named.
    pub fn encryption(&self) -> s3s::dto::ServerSideEncryption {
        self.get("sse").unwrap_or_else(|| "AES256".to_owned()).into()
    }

    pub fn storage_class(&self) -> String {
        self.get("storage-class").unwrap_or_else(|| "STANDARD".to_owned())
    }

    /// S3 does not name the standard class where it describes one object.
    pub fn storage_class_if_special(&self) -> Option<s3s::dto::StorageClass> {
        self.get("storage-class").filter(|class| class != "STANDARD").map(Into::into)
    }
}

/// Whole seconds, as S3 has them.
pub fn timestamp(seconds: i64) -> Timestamp {
    let since = std::time::Duration::from_secs(seconds.unsigned_abs());
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    time.unwrap_or(epoch).into()
}
