//! The operations that read one object.
//!
//! Owns: GetObject, HeadObject, and what they share with the source of a copy: conditions and ranges. Does NOT own:
//! finding the file (`store`), the headers kept with it (`headers`).
//!
//! Invariant: an object is read from the one file that was opened for the request; what other requests do to its key
//! meanwhile does not show.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::stream;
use hyper::HeaderMap;
use hyper::header::{CONTENT_RANGE, ETAG, HeaderName, HeaderValue};
use s3s::dto::{self, ETagCondition, StreamingBlob, Timestamp};
use s3s::{S3Error, S3Response, S3Result, s3_error};

use super::checksum::to_dto;
use super::headers::{described, timestamp};
use super::intake::disk;
use super::objects::{check_version, no_such_key, precondition_failed};
use super::store::{Object, Store};

/// Bytes read from a file at once for a response: large enough that the system calls do not count, small enough for
/// many responses at a time.
const READ_BYTES: usize = 256 << 10;

const XML: HeaderValue = HeaderValue::from_static("application/xml");

/// What a GET or a HEAD asks for; their inputs are two types with the same fields.
macro_rules! wanted {
    ($input:expr) => {
        Wanted {
            key: &$input.key,
            version: $input.version_id.as_deref(),
            part: $input.part_number,
            range: $input.range,
            if_match: $input.if_match.as_ref(),
            if_none_match: $input.if_none_match.as_ref(),
            if_modified_since: $input.if_modified_since.as_ref(),
            if_unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}

/// Shows the checksums of a whole object to who asks for them.
macro_rules! show_sums {
    ($output:expr, $input:expr, $object:expr) => {
        if $input.range.is_none() && wants_sums($input.checksum_mode.as_ref()) {
            let sum = to_dto($object.record.sum.as_ref());
            $output.checksum_crc32 = sum.checksum_crc32;
            $output.checksum_crc32c = sum.checksum_crc32c;
            $output.checksum_crc64nvme = sum.checksum_crc64nvme;
            $output.checksum_sha1 = sum.checksum_sha1;
            $output.checksum_sha256 = sum.checksum_sha256;
            $output.checksum_type = sum.checksum_type;
        }
    };
}

pub fn get(store: &Store, input: &dto::GetObjectInput) -> S3Result<S3Response<dto::GetObjectOutput>> {
    let (object, range) = wanted!(input).find(store)?;
    let mut output = described!(GetObjectOutput, object);
    show_sums!(output, input, object);
    output.tag_count = object.record.headers.get("tagging").and_then(|tags| tag_count(&tags));
    output.content_length = Some(length_of(&range));
    output.content_range = input.range.map(|_| content_range(&range, object.stamp.size));
    output.body = Some(StreamingBlob::wrap(read(object.file, range)));
    Ok(S3Response::new(output))
}

pub fn head(store: &Store, input: &dto::HeadObjectInput) -> S3Result<S3Response<dto::HeadObjectOutput>> {
    let (object, range) = wanted!(input).find(store)?;
    let mut output = described!(HeadObjectOutput, object);
    show_sums!(output, input, object);
    output.content_length = Some(length_of(&range));
    output.content_range = input.range.map(|_| content_range(&range, object.stamp.size));
    let partial = input.range.map(|_| hyper::StatusCode::PARTIAL_CONTENT);
    Ok(S3Response { status: partial, ..S3Response::new(output) })
}

/// What a request wants to read, and on which conditions.
pub struct Wanted<'a> {
    pub key: &'a str,
    pub version: Option<&'a str>,
    pub part: Option<i32>,
    pub range: Option<dto::Range>,
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    pub if_modified_since: Option<&'a Timestamp>,
    pub if_unmodified_since: Option<&'a Timestamp>,
}

impl Wanted<'_> {
    /// The object and the bytes of it, or the error that S3 has for the request.
    pub fn find(&self, store: &Store) -> S3Result<(Object, Range<u64>)> {
        check_version(self.version)?;
        if self.part.is_some_and(|part| part != 1) {
            return Err(s3_error!(NotImplemented, "Parts of an object cannot be read singly."));
        }
        let object = disk(|| store.find(self.key))?.ok_or_else(no_such_key)?;
        self.check(&object)?;
        let size = object.stamp.size;
        let range = match self.range {
            None => 0..size,
            Some(range) => range.check(size).map_err(|_| out_of_range(size))?,
        };
        Ok((object, range))
    }

    /// In the order of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2).
    fn check(&self, object: &Object) -> S3Result<()> {
        let modified = timestamp(object.stamp.seconds);
        let names = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == object.record.etag,
        };
        let failed = match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => !names(condition),
            (None, Some(time)) => modified > *time,
            (None, None) => false,
        };
        if failed {
            return Err(precondition_failed());
        }
        let unchanged = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => names(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => false,
        };
        if unchanged { Err(not_modified(&object.record.etag)) } else { Ok(()) }
    }
}

fn not_modified(etag: &str) -> S3Error {
    with_header(s3_error!(NotModified), ETAG, &format!("\"{etag}\""))
}

fn out_of_range(size: u64) -> S3Error {
    let error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    with_header(error, CONTENT_RANGE, &format!("bytes */{size}"))
}

/// s3s puts the headers of an error in the place of its own, which is the type of the body.
fn with_header(mut error: S3Error, name: HeaderName, value: &str) -> S3Error {
    if let Ok(value) = value.parse() {
        let mut headers = HeaderMap::new();
        headers.insert(hyper::header::CONTENT_TYPE, XML);
        headers.insert(name, value);
        error.set_headers(headers);
    }
    error
}

fn length_of(range: &Range<u64>) -> i64 {
    i64::try_from(range.end - range.start).unwrap_or(i64::MAX)
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

fn wants_sums(mode: Option<&dto::ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == dto::ChecksumMode::ENABLED)
}

fn tag_count(tags: &str) -> Option<i32> {
    i32::try_from(tags.split('&').filter(|tag| !tag.is_empty()).count()).ok()
}

/// The bytes of `range`, read as the client takes them.
fn read(file: File, range: Range<u64>) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Sync {
    stream::try_unfold((file, range), |(file, range)| async move {
        let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; left.min(READ_BYTES)];
        tokio::task::block_in_place(|| file.read_exact_at(&mut buffer, range.start))?;
        let next = range.start + buffer.len() as u64;
        Ok(Some((Bytes::from(buffer), (file, next..range.end))))
    })
}
