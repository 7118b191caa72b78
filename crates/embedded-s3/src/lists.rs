//! ListObjects in both versions: requests into queries, pages into responses.
//!
//! Owns: page sizes, continuation tokens, `encoding-type`. Does NOT own: the order of keys and the roll-up (`listing`).
//!
//! Invariant: a token says where its page begins and nothing else, so that every server of the same directory, also one
//! started later, goes on with it.

use aws_smithy_types::base64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{self, ETag};
use s3s::{S3Response, S3Result, s3_error};

use super::headers::timestamp;
use super::intake::disk;
use super::listing::{After, Entry, Page, Query, list};
use super::store::{Object, Store};

/// The most entries of one page, and how many there are when nobody asks
/// ([S3](https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html)).
pub const PAGE_MAX: i32 = 1000;

/// What S3 leaves as it is under `encoding-type=url`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// The owner of everything; there is but one account.
pub fn owner() -> dto::Owner {
    dto::Owner { display_name: None, id: Some("embedded-bucket".to_owned()) }
}

/// The page size for what was asked.
pub fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(asked) if asked < 0 => {
            Err(s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647"))
        }
        Some(asked) => Ok(asked.min(PAGE_MAX)),
    }
}

pub fn v2(store: &Store, input: dto::ListObjectsV2Input) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
    let written = Written::new(input.encoding_type.as_ref())?;
    let max_keys = page_size(input.max_keys)?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => from_token(token)?,
        (None, Some(key)) => After::Key(key.clone()),
        (None, None) => After::Nothing,
    };
    let page = disk(|| {
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref();
        list(store, Query { prefix, delimiter, after, limit: max_keys.unsigned_abs() as usize })
    })?;
    let owned = input.fetch_owner.unwrap_or(false);
    let truncated = page.truncated;
    let next = page.entries.last().filter(|_| truncated).map(|last| to_token(&last.after()));
    let (contents, prefixes) = written.page(page, owned);
    Ok(S3Response::new(dto::ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(written.text(&input.prefix.unwrap_or_default())),
        max_keys: Some(max_keys),
        key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token: next,
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.map(|text| written.text(&text)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|text| written.text(&text)),
        request_charged: None,
    }))
}

pub fn v1(store: &Store, input: dto::ListObjectsInput) -> S3Result<S3Response<dto::ListObjectsOutput>> {
    let written = Written::new(input.encoding_type.as_ref())?;
    let max_keys = page_size(input.max_keys)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let after = from_marker(input.marker.as_deref(), &prefix, delimiter);
    let page = disk(|| {
        let limit = max_keys.unsigned_abs() as usize;
        list(store, Query { prefix: &prefix, delimiter, after, limit })
    })?;
    let truncated = page.truncated;
    // Without a delimiter clients go on from the last key themselves, and S3 names no marker.
    let next = page.entries.last().filter(|_| truncated && delimiter.is_some());
    let next_marker = next.map(|last| match last {
        Entry::Object(text, _) | Entry::Prefix(text) => written.text(text),
    });
    let (contents, prefixes) = written.page(page, true);
    Ok(S3Response::new(dto::ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(written.text(&prefix)),
        marker: Some(written.text(&input.marker.unwrap_or_default())),
        max_keys: Some(max_keys),
        is_truncated: Some(truncated),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: input.delimiter.map(|text| written.text(&text)),
        next_marker,
        encoding_type: input.encoding_type,
        request_charged: None,
    }))
}

/// The marker of version 1 may be a common prefix of the page before, and then stands for all keys below it.
fn from_marker(marker: Option<&str>, prefix: &str, delimiter: Option<&str>) -> After {
    let Some(marker) = marker.filter(|marker| !marker.is_empty()) else { return After::Nothing };
    let is_common = delimiter.is_some_and(|delimiter| {
        let rest = marker.strip_prefix(prefix).unwrap_or_default();
        rest.find(delimiter).is_some_and(|at| at + delimiter.len() == rest.len())
    });
    if is_common { After::Prefix(marker.to_owned()) } else { After::Key(marker.to_owned()) }
}

fn to_token(after: &After) -> String {
    base64::encode(match after {
        After::Nothing => String::new(),
        After::Key(key) => format!("k{key}"),
        After::Prefix(prefix) => format!("p{prefix}"),
    })
}

fn from_token(token: &str) -> S3Result<After> {
    let text = base64::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_at_checked(1)) {
        Some(("k", key)) => Ok(After::Key(key.to_owned())),
        Some(("p", prefix)) => Ok(After::Prefix(prefix.to_owned())),
        _ => Err(s3_error!(InvalidArgument, "The continuation token provided is incorrect")),
    }
}

/// How keys are written into a response.
pub struct Written {
    url: bool,
}

impl Written {
    pub fn new(encoding: Option<&dto::EncodingType>) -> S3Result<Self> {
        match encoding.map(dto::EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(_) => Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub fn text(&self, text: &str) -> String {
        if self.url { utf8_percent_encode(text, KEPT).to_string() } else { text.to_owned() }
    }

    fn page(&self, page: Page, owned: bool) -> (Vec<dto::Object>, Vec<dto::CommonPrefix>) {
        let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
        for entry in page.entries {
            match entry {
                Entry::Object(key, object) => contents.push(self.object(&key, &object, owned)),
                Entry::Prefix(prefix) => {
                    prefixes.push(dto::CommonPrefix { prefix: Some(self.text(&prefix)) });
                }
            }
        }
        (contents, prefixes)
    }

    fn object(&self, key: &str, object: &Object, owned: bool) -> dto::Object {
        let (record, stamp) = (&object.record, object.stamp);
        let sum = record.sum.as_ref();
        dto::Object {
            checksum_algorithm: sum.map(|sum| vec![dto::ChecksumAlgorithm::from_static(sum.algorithm.name())]),
            checksum_type: super::checksum::to_dto(sum).checksum_type,
            e_tag: Some(ETag::Strong(record.etag.clone())),
            key: Some(self.text(key)),
            last_modified: Some(timestamp(stamp.seconds)),
            owner: owned.then(owner),
            restore_status: None,
            size: i64::try_from(stamp.size).ok(),
            storage_class: Some(record.headers.storage_class().into()),
        }
    }
}
