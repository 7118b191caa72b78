//! The lists of multipart uploads and of their parts.
//!
//! Owns: paging and the form of the responses. Does NOT own: the uploads (`uploads`).
//!
//! Invariant: pages go by key and time, or by part number, and say where the next one begins.

use std::io;

use s3s::dto::{self, ETag};
use s3s::{S3Response, S3Result, s3_error};

use super::checksum::{Algorithm, to_dto};
use super::headers::timestamp;
use super::intake::disk;
use super::lists::{Written, owner, page_size};
use super::multipart::{checksum_type, find};
use super::store::Store;
use super::uploads::{Description, Part, Upload};

pub fn list_parts(store: &Store, input: dto::ListPartsInput) -> S3Result<S3Response<dto::ListPartsOutput>> {
    let upload = find(store, &input.upload_id, &input.key)?;
    let max = page_size(input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0).max(0).unsigned_abs();
    let mut numbers = disk(|| upload.numbers())?;
    numbers.retain(|number| *number > marker);
    let truncated = numbers.len() > max.unsigned_abs() as usize;
    numbers.truncate(max.unsigned_abs() as usize);
    let parts: io::Result<Vec<_>> = tokio::task::block_in_place(|| {
        numbers.iter().filter_map(|number| upload.part(store, *number).transpose()).collect()
    });
    let parts: Vec<_> = disk(|| parts)?.iter().map(part_to_dto).collect();
    Ok(S3Response::new(dto::ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload.description.algorithm.map(algorithm_to_dto),
        checksum_type: upload.description.algorithm.map(|_| checksum_type(upload.description.composite)),
        initiator: Some(initiator()),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(max),
        next_part_number_marker: parts.last().and_then(|last| last.part_number),
        owner: Some(owner()),
        part_number_marker: input.part_number_marker,
        parts: Some(parts),
        storage_class: Some(upload.description.headers.storage_class().into()),
        upload_id: Some(input.upload_id),
        ..Default::default()
    }))
}

fn part_to_dto(part: &Part) -> dto::Part {
    let sum = to_dto(part.record.sum.as_ref());
    dto::Part {
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        e_tag: Some(ETag::Strong(part.record.etag.clone())),
        last_modified: Some(timestamp(part.stamp.seconds)),
        part_number: i32::try_from(part.number).ok(),
        size: i64::try_from(part.stamp.size).ok(),
    }
}

pub fn list_uploads(
    store: &Store,
    input: dto::ListMultipartUploadsInput,
) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(s3_error!(NotImplemented, "Uploads cannot be listed by a delimiter."));
    }
    let written = Written::new(input.encoding_type.as_ref())?;
    let max = page_size(input.max_uploads)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let mut uploads = disk(|| Upload::all(store))?;
    uploads.retain(|upload| upload.description.key.starts_with(&prefix));
    if let Some(key) = input.key_marker.as_deref().filter(|key| !key.is_empty()) {
        // Behind the one upload that is named, or behind all of the key.
        let id = input.upload_id_marker.as_deref();
        let at = uploads.iter().position(|upload| upload.description.key == key && Some(upload.id.as_str()) == id);
        match at {
            Some(at) => drop(uploads.drain(..=at)),
            None => uploads.retain(|upload| upload.description.key.as_str() > key),
        }
    }
    let truncated = uploads.len() > max.unsigned_abs() as usize;
    uploads.truncate(max.unsigned_abs() as usize);
    let last = uploads.last().filter(|_| truncated);
    Ok(S3Response::new(dto::ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: input.key_marker.map(|key| written.text(&key)),
        max_uploads: Some(max),
        next_key_marker: last.map(|last| written.text(&last.description.key)),
        next_upload_id_marker: last.map(|last| last.id.clone()),
        prefix: Some(written.text(&prefix)),
        upload_id_marker: input.upload_id_marker,
        uploads: Some(uploads.iter().map(|upload| upload_to_dto(upload, &written)).collect()),
        ..Default::default()
    }))
}

fn upload_to_dto(upload: &Upload, written: &Written) -> dto::MultipartUpload {
    let Description { key, headers, algorithm, composite } = &upload.description;
    dto::MultipartUpload {
        checksum_algorithm: algorithm.map(algorithm_to_dto),
        checksum_type: algorithm.map(|_| checksum_type(*composite)),
        initiated: Some(timestamp(upload.initiated)),
        initiator: Some(initiator()),
        key: Some(written.text(key)),
        owner: Some(owner()),
        storage_class: Some(headers.storage_class().into()),
        upload_id: Some(upload.id.clone()),
    }
}

fn algorithm_to_dto(algorithm: Algorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(algorithm.name())
}

fn initiator() -> dto::Initiator {
    let dto::Owner { display_name, id } = owner();
    dto::Initiator { display_name, id }
}
