//! The operations on multipart uploads, with the [rules of
//! S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html).
//!
//! Owns: the limits on parts, ETag and checksum of the whole. Does NOT own: where parts are kept (`uploads`), the
//! commit of the object (`store`), the lists (`upload_lists`).
//!
//! Invariant: the parts of an upload are removed only when the object is there, or the client said so; a refused
//! completion can be repeated.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use aws_smithy_types::base64;
use md5::{Digest, Md5};
use s3s::dto::{self, ETag};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::checksum::{Algorithm, Hasher, Sum, to_dto};
use super::headers::headers_of;
use super::intake::{claims_of, disk, receive};
use super::objects::{accept, hex, write_condition};
use super::record::Record;
use super::staged::Staged;
use super::store::Store;
use super::uploads::{Description, Part, Upload};

/// The smallest part but the last, in bytes ([S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)).
const PART_MIN: u64 = 5 << 20;

/// The highest number of a part, from the same table.
const NUMBER_MAX: i32 = 10_000;

/// Bytes copied at a time when parts are put together.
const COPY_BYTES: usize = 1 << 20;

pub fn create(
    store: &Store,
    mut input: dto::CreateMultipartUploadInput,
) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
    let headers = headers_of!(input)?;
    let algorithm = match &input.checksum_algorithm {
        None => None,
        Some(name) => Some(
            Algorithm::from_name(name.as_str())
                .ok_or_else(|| s3_error!(InvalidRequest, "Checksum algorithm provided is unsupported."))?,
        ),
    };
    let composite = is_composite(algorithm, input.checksum_type.as_ref())?;
    let encryption = headers.encryption();
    let description = Description { key: input.key, headers, algorithm, composite };
    let id = disk(|| Upload::begin(store, &description))?;
    Ok(S3Response::new(dto::CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: algorithm.map(|_| checksum_type(composite)),
        key: Some(description.key),
        server_side_encryption: Some(encryption),
        upload_id: Some(id),
        ..Default::default()
    }))
}

/// Which kind of sum the object gets. Sums over sums are the default where there are such, and not every algorithm has
/// both kinds; see the table in
/// [S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html).
fn is_composite(algorithm: Option<Algorithm>, asked: Option<&dto::ChecksumType>) -> S3Result<bool> {
    use Algorithm::{Crc64Nvme, Sha1, Sha256};
    let asked = asked.map(dto::ChecksumType::as_str);
    match (algorithm, asked) {
        (None | Some(Crc64Nvme), None | Some("FULL_OBJECT")) => Ok(false),
        (None | Some(Crc64Nvme), Some(_)) | (Some(Sha1 | Sha256), Some("FULL_OBJECT")) => {
            Err(s3_error!(InvalidRequest, "The checksum type cannot be used with the checksum algorithm."))
        }
        (Some(_), asked) => Ok(asked != Some("FULL_OBJECT")),
    }
}

pub fn checksum_type(composite: bool) -> dto::ChecksumType {
    dto::ChecksumType::from_static(if composite {
        dto::ChecksumType::COMPOSITE
    } else {
        dto::ChecksumType::FULL_OBJECT
    })
}

pub async fn upload_part(
    store: &Arc<Store>,
    mut request: S3Request<dto::UploadPartInput>,
) -> S3Result<S3Response<dto::UploadPartOutput>> {
    let claims = claims_of!(request)?;
    let mut input = request.input;
    if !(1..=NUMBER_MAX).contains(&input.part_number) {
        return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and {NUMBER_MAX}, inclusive"));
    }
    let upload = find(store, &input.upload_id, &input.key)?;
    let claims = claims.expecting(upload.description.algorithm)?;
    let mut received = receive(store, input.body.take(), claims).await?;
    let etag = hex(&received.md5);
    let record = Record::new(etag.clone(), Some(received.sum.clone()), Default::default());
    let added = tokio::task::block_in_place(|| {
        received.staged.seal(record)?;
        upload.add(received.staged, input.part_number.unsigned_abs())
    });
    match added {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_such_upload()),
        added => disk(|| added)?,
    }
    let sum = to_dto(Some(&received.sum));
    Ok(S3Response::new(dto::UploadPartOutput {
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        e_tag: Some(ETag::Strong(etag)),
        server_side_encryption: Some(upload.description.headers.encryption()),
        ..Default::default()
    }))
}

pub fn complete(
    store: &Arc<Store>,
    mut input: dto::CompleteMultipartUploadInput,
) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
    let upload = find(store, &input.upload_id, &input.key)?;
    let named = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    let parts = check_parts(store, &upload, &named)?;
    let size: u64 = parts.iter().map(|part| part.stamp.size).sum();
    if input.mpu_object_size.is_some_and(|claimed| u64::try_from(claimed) != Ok(size)) {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match the size of the object."
        ));
    }
    let condition = write_condition(input.if_match.take(), input.if_none_match.take())?;
    let (mut staged, sum) = disk(|| assemble(store, &upload, &parts))?;
    check_claim(&input, &sum)?;
    let etag = etag_of(&parts);
    let headers = upload.description.headers.clone();
    let encryption = headers.encryption();
    let record = Record::new(etag.clone(), Some(sum.clone()), headers);
    let outcome = disk(|| {
        staged.seal(record)?;
        store.commit(staged, &input.key, &condition)
    })?;
    accept(outcome)?;
    if let Err(error) = tokio::task::block_in_place(|| upload.end(store)) {
        // The object is there; what is left of the upload goes at a later start.
        tracing::warn!(%error, "cannot remove the parts of a completed upload");
    }
    let sum = to_dto(Some(&sum));
    Ok(S3Response::new(dto::CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
        e_tag: Some(ETag::Strong(etag)),
        key: Some(input.key),
        server_side_encryption: Some(encryption),
        ..Default::default()
    }))
}

/// The parts that the client names, found to be what it takes them for.
fn check_parts(store: &Store, upload: &Upload, named: &[dto::CompletedPart]) -> S3Result<Vec<Part>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let mut parts: Vec<Part> = Vec::with_capacity(named.len());
    for name in named {
        let number = name.part_number.and_then(|number| u32::try_from(number).ok());
        let Some(number) = number else { return Err(invalid_part()) };
        if parts.last().is_some_and(|before| before.number >= number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part \
                 number."
            ));
        }
        let part = disk(|| upload.part(store, number))?.ok_or_else(invalid_part)?;
        let etag = name.e_tag.as_ref().map(ETag::value);
        if etag != Some(&part.record.etag) || !has_sum(name, part.record.sum.as_ref()) {
            return Err(invalid_part());
        }
        if upload.description.composite && claims_no_sum(name) {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created using a checksum. The complete request must include the \
                 checksum for each part. It was missing for part {number} in the request."
            ));
        }
        parts.push(part);
    }
    let all_but_last = &parts[..parts.len() - 1];
    if all_but_last.iter().any(|part| part.stamp.size < PART_MIN) {
        return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
    }
    Ok(parts)
}

fn claims_no_sum(name: &dto::CompletedPart) -> bool {
    Algorithm::ALL.into_iter().all(|algorithm| claimed_for_part(name, algorithm).is_none())
}

/// Whether every sum that the client names for the part is its sum.
fn has_sum(name: &dto::CompletedPart, sum: Option<&Sum>) -> bool {
    Algorithm::ALL.into_iter().all(|algorithm| {
        claimed_for_part(name, algorithm)
            .is_none_or(|claimed| sum.is_some_and(|sum| sum.algorithm == algorithm && sum.value == *claimed))
    })
}

fn claimed_for_part(name: &dto::CompletedPart, algorithm: Algorithm) -> Option<&String> {
    match algorithm {
        Algorithm::Crc32 => name.checksum_crc32.as_ref(),
        Algorithm::Crc32c => name.checksum_crc32c.as_ref(),
        Algorithm::Crc64Nvme => name.checksum_crc64nvme.as_ref(),
        Algorithm::Sha1 => name.checksum_sha1.as_ref(),
        Algorithm::Sha256 => name.checksum_sha256.as_ref(),
    }
}

/// Compares with the sum of the whole, if the client gives it.
fn check_claim(input: &dto::CompleteMultipartUploadInput, sum: &Sum) -> S3Result<()> {
    let claimed = match sum.algorithm {
        Algorithm::Crc32 => input.checksum_crc32.as_ref(),
        Algorithm::Crc32c => input.checksum_crc32c.as_ref(),
        Algorithm::Crc64Nvme => input.checksum_crc64nvme.as_ref(),
        Algorithm::Sha1 => input.checksum_sha1.as_ref(),
        Algorithm::Sha256 => input.checksum_sha256.as_ref(),
    };
    if claimed.is_some_and(|claimed| *claimed != sum.value) {
        return Err(s3_error!(
            BadDigest,
            "The {} you specified did not match the calculated checksum.",
            sum.algorithm.name()
        ));
    }
    Ok(())
}

/// Puts the parts together in one file, and makes the sum of the whole.
fn assemble(store: &Arc<Store>, upload: &Upload, parts: &[Part]) -> io::Result<(Staged, Sum)> {
    let algorithm = upload.description.algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let composite = upload.description.composite;
    let mut staged = Staged::create(store)?;
    let mut hasher = algorithm.hasher();
    for part in parts {
        let over_bytes = if composite { None } else { Some(&mut hasher) };
        append(&part.file, &mut staged, over_bytes)?;
        if let (true, Some(sum)) = (composite, &part.record.sum) {
            hasher.update(&base64::decode(&sum.value).map_err(io::Error::other)?);
        }
    }
    let mut value = hasher.finish();
    if composite {
        value = format!("{value}-{}", parts.len());
    }
    Ok((staged, Sum { algorithm, value, composite }))
}

fn append(mut from: &File, to: &mut Staged, mut hasher: Option<&mut Hasher>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer[..count]);
        }
        to.write(&buffer[..count])?;
    }
}

/// The MD5 of the MD5s of the parts, and their number.
fn etag_of(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.record.etag.as_bytes().chunks(2);
        let bytes: Vec<u8> =
            digits.filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect();
        md5.update(&bytes);
    }
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}

pub fn abort(
    store: &Store,
    input: &dto::AbortMultipartUploadInput,
) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
    let upload = find(store, &input.upload_id, &input.key)?;
    disk(|| upload.end(store))?;
    Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
}

/// The upload, or NoSuchUpload.
pub fn find(store: &Store, id: &str, key: &str) -> S3Result<Upload> {
    disk(|| Upload::find(store, id, key))?.ok_or_else(no_such_upload)
}

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may \
         have been aborted or completed."
    )
}

fn invalid_part() -> S3Error {
    s3_error!(
        InvalidPart,
        "One or more of the specified parts could not be found. The part may not have been \
         uploaded, or the specified entity tag may not match the part's entity tag."
    )
}
