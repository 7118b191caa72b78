//! The operations that change single objects.
//!
//! Owns: PutObject, CopyObject, DeleteObject(s), and the conditions and errors of writes. Does NOT own: receiving a
//! body (`intake`), the files (`store`), reading (`reads`), multipart uploads.
//!
//! Invariant: what is acknowledged is on the disk, whole, with its headers and checksums.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use md5::{Digest, Md5};
use s3s::dto::{self, CopySource, ETag, ETagCondition};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::checksum::{Algorithm, Sum, to_dto};
use super::headers::{headers_of, timestamp};
use super::intake::{claims_of, disk, receive};
use super::reads::Wanted;
use super::record::Record;
use super::staged::Staged;
use super::store::{Condition, ConditionMet, Object, Store};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The most keys of one DeleteObjects request
/// ([S3](https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html)).
const DELETE_MAX: usize = 1000;

pub async fn put(
    store: &Arc<Store>,
    mut request: S3Request<dto::PutObjectInput>,
) -> S3Result<S3Response<dto::PutObjectOutput>> {
    let claims = claims_of!(request)?;
    let mut input = request.input;
    let headers = headers_of!(input)?;
    let condition = write_condition(input.if_match, input.if_none_match)?;
    let mut received = receive(store, input.body.take(), claims).await?;
    let etag = hex(&received.md5);
    let sum = received.sum;
    let record = Record::new(etag.clone(), Some(sum.clone()), headers.clone());
    let outcome = disk(|| {
        received.staged.seal(record)?;
        store.commit(received.staged, &input.key, &condition)
    })?;
    accept(outcome)?;
    let sum = to_dto(Some(&sum));
    Ok(S3Response::new(dto::PutObjectOutput {
        bucket_key_enabled: headers.get("bucket-key").map(|on| on == "true"),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
        e_tag: Some(ETag::Strong(etag)),
        server_side_encryption: Some(headers.encryption()),
        ssekms_key_id: headers.get("kms-key"),
        ..Default::default()
    }))
}

pub fn delete(store: &Store, input: dto::DeleteObjectInput) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
    check_version(input.version_id.as_deref())?;
    let condition = write_condition(input.if_match, None)?;
    accept(disk(|| store.remove(&input.key, &condition))?)?;
    Ok(S3Response::new(dto::DeleteObjectOutput::default()))
}

pub fn delete_many(store: &Store, input: dto::DeleteObjectsInput) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
    if input.delete.objects.is_empty() || input.delete.objects.len() > DELETE_MAX {
        return Err(s3_error!(MalformedXML, "Expecting 1 to {DELETE_MAX} keys."));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        let if_match = object.e_tag.map(ETagCondition::ETag);
        let removed = check_version(object.version_id.as_deref())
            .and_then(|()| write_condition(if_match, None))
            .and_then(|condition| accept(disk(|| store.remove(&object.key, &condition))?));
        let key = Some(object.key);
        match removed {
            Ok(()) => deleted.push(dto::DeletedObject { key, ..Default::default() }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key,
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    Ok(S3Response::new(dto::DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: Some(errors),
        request_charged: None,
    }))
}

/// The object that a request copies.
fn copied(store: &Store, bucket: &str, input: &dto::CopyObjectInput, replace: bool) -> S3Result<Object> {
    let CopySource::Bucket { bucket: from, key, version_id } = &input.copy_source else {
        return Err(s3_error!(NotImplemented, "Only objects of the bucket itself can be copied."));
    };
    if **from != *bucket {
        return Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"));
    }
    if **key == *input.key && !replace && input.storage_class.is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location \
             or encryption attributes."
        ));
    }
    let wanted = Wanted {
        key,
        version: version_id.as_deref(),
        part: None,
        range: None,
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    // Of a source that was not modified S3 says what it says of every failed condition of a copy.
    let found = wanted.find(store).map_err(|error| match error.code() {
        s3s::S3ErrorCode::NotModified => s3_error!(PreconditionFailed),
        _ => error,
    });
    Ok(found?.0)
}

pub fn copy(
    store: &Arc<Store>,
    bucket: &str,
    request: S3Request<dto::CopyObjectInput>,
) -> S3Result<S3Response<dto::CopyObjectOutput>> {
    let condition = copy_condition(&request.headers)?;
    let mut input = request.input;
    let replace = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == "REPLACE");
    let source = copied(store, bucket, &input, replace)?;
    let given = headers_of!(input)?;
    let headers = if replace { given } else { source.record.headers.clone() };
    let asked = input.checksum_algorithm.and_then(|name| Algorithm::from_name(name.as_str()));
    let algorithm = asked.or(source.record.sum.as_ref().map(|sum| sum.algorithm));
    let (outcome, etag, sum, seconds) = disk(|| {
        let mut staged = Staged::create(store)?;
        let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme);
        let (etag, sum) = duplicate(&source.file, &mut staged, algorithm)?;
        let encryption = headers.encryption();
        staged.seal(Record::new(etag.clone(), Some(sum.clone()), headers))?;
        let seconds = super::record::Stamp::of(staged.file())?.seconds;
        Ok((store.commit(staged, &input.key, &condition)?, etag, (sum, encryption), seconds))
    })?;
    accept(outcome)?;
    let (sum, encryption) = (to_dto(Some(&sum.0)), sum.1);
    Ok(S3Response::new(dto::CopyObjectOutput {
        copy_object_result: Some(dto::CopyObjectResult {
            checksum_crc32: sum.checksum_crc32,
            checksum_crc32c: sum.checksum_crc32c,
            checksum_crc64nvme: sum.checksum_crc64nvme,
            checksum_sha1: sum.checksum_sha1,
            checksum_sha256: sum.checksum_sha256,
            checksum_type: sum.checksum_type,
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(timestamp(seconds)),
        }),
        server_side_encryption: Some(encryption),
        ..Default::default()
    }))
}

/// The condition on the target of a copy, which s3s does not read.
fn copy_condition(headers: &HeaderMap) -> S3Result<Condition> {
    let read = |name: hyper::header::HeaderName| {
        let value = headers.get(name).map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        value.transpose().map_err(|error| s3_error!(error, InvalidArgument))
    };
    write_condition(read(IF_MATCH)?, read(IF_NONE_MATCH)?)
}

/// Copies all bytes of `source`; returns the ETag and the sum over them.
fn duplicate(source: &File, staged: &mut Staged, algorithm: Algorithm) -> io::Result<(String, Sum)> {
    let (mut source, mut md5, mut hasher) = (source, Md5::new(), algorithm.hasher());
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        md5.update(&buffer[..count]);
        hasher.update(&buffer[..count]);
        staged.write(&buffer[..count])?;
    }
    let sum = Sum { algorithm, value: hasher.finish(), composite: false };
    Ok((hex(&md5.finalize()), sum))
}

/// The condition of a write, of the kinds that [S3
/// knows](https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
pub fn write_condition(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Always),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.into_value())),
        _ => Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented")),
    }
}

/// Turns a refused write into its error.
pub fn accept(outcome: ConditionMet) -> S3Result<()> {
    match outcome {
        ConditionMet::Done => Ok(()),
        ConditionMet::Refused => Err(precondition_failed()),
        ConditionMet::Missing => Err(no_such_key()),
    }
}

/// The ETag of content with this MD5.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

pub fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

/// The bucket keeps no versions, so that of an object there is the one named `null`.
pub fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(InvalidArgument, "Invalid version id specified")),
    }
}
