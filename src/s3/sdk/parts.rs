//! Uploads in parts, with the rules of
//! [S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html): parts of 5 MiB to 5 GiB, of which only
//! the last may be smaller, and at most 10,000. Owns the requests; `upload::multipart` decides on sizes and order.
//!
//! The object gets a checksum over the checksums of its parts (COMPOSITE; with CRC-64/NVME one of all bytes, which the
//! service computes), so that the service checks each part when it comes, and all of them again when the upload is
//! finished.

use std::time::Duration;

use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};

use super::body::FileBody;
use super::objects::given;
use super::sums::{self, Sum};
use super::{S3Bucket, WRITE_TIMEOUT, decoded, single_try, time_to_send};
use crate::s3::bucket::{NewUpload, PartedUpload, Payload, StoredPart};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::ids::PartNumber;

/// Finishing takes [several minutes](https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html)
/// at S3. Other services copy the parts, so that each adds to it.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How much a part may add.
const FINISH_PART: Duration = Duration::from_secs(1);
/// Most unfinished uploads of a key that are asked for. Each daemon that died in one has left one.
const UNFINISHED_MAX: i32 = 100;
/// Longest ETag and upload id that are taken; S3's have 34 and some 100 characters. Thousands of them are held.
const NAME_MAX: usize = 1024;

impl S3Bucket {
    /// Begins an upload.
    pub(super) async fn begin(&self, object: &NewUpload) -> Result<PartedUpload, BucketError> {
        let key = &object.key;
        let begin = self.client().await?.create_multipart_upload();
        let begin = given!(begin, self.given, object.properties)
            .bucket(&self.bucket)
            .key(key)
            .content_type(object.content_type)
            .set_checksum_algorithm(sums::algorithm(self.given.checksum))
            .set_checksum_type(sums::type_in_parts(self.given.checksum))
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .set_expected_bucket_owner(self.owner.clone())
            .customize()
            .config_override(single_try(WRITE_TIMEOUT));
        let begun = begin.send().await.map_err(|e| self.meaning("CreateMultipartUpload", key, Kind::Exists, e))?;
        match begun.upload_id {
            Some(id) if is_name(&id) => Ok(PartedUpload { key: key.clone(), id }),
            _ => Err(self.unlike_s3("CreateMultipartUpload", key, "the id of an upload")),
        }
    }

    /// Stores a part.
    pub(super) async fn part(
        &self,
        upload: &PartedUpload,
        number: PartNumber,
        payload: &Payload,
    ) -> Result<StoredPart, BucketError> {
        let sum = self.sum("UploadPart", &upload.key, payload).await?;
        let put = self
            .client()
            .await?
            .upload_part()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(i32::from(number.0))
            .content_length(i64::try_from(payload.len()).unwrap_or(i64::MAX))
            .set_checksum_algorithm(sum.algorithm())
            .set_checksum_crc32(sum.crc32())
            .set_checksum_crc32_c(sum.crc32c())
            .set_checksum_crc64_nvme(sum.crc64nvme())
            .set_checksum_sha1(sum.sha1())
            .set_checksum_sha256(sum.sha256())
            .set_expected_bucket_owner(self.owner.clone())
            .body(ByteStream::new(SdkBody::from_body_1_x(FileBody::new(payload))))
            .customize()
            .config_override(single_try(time_to_send(payload.len())));
        let put = put.send().await.map_err(|e| self.meaning("UploadPart", &upload.key, Kind::Exists, e))?;
        match put.e_tag {
            Some(etag) if is_name(&etag) => Ok(StoredPart { number, etag, sum: sum.value }),
            _ => Err(self.unlike_s3("UploadPart", &upload.key, "an ETag")),
        }
    }

    /// Makes parts an object. S3 may begin its answer with the status 200 and fail then; the SDK looks into the body,
    /// and an error that it finds there is one as any other.
    pub(super) async fn finish(&self, upload: &PartedUpload, parts: &[StoredPart]) -> Result<(), BucketError> {
        let algorithm = self.given.checksum;
        let named = parts.iter().map(|part| {
            let sum = Sum { algorithm, value: part.sum.clone() };
            CompletedPart::builder()
                .part_number(i32::from(part.number.0))
                .e_tag(&part.etag)
                .set_checksum_crc32(sum.crc32())
                .set_checksum_crc32_c(sum.crc32c())
                .set_checksum_crc64_nvme(sum.crc64nvme())
                .set_checksum_sha1(sum.sha1())
                .set_checksum_sha256(sum.sha256())
                .build()
        });
        let within = FINISH_TIMEOUT + FINISH_PART * u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let finish = self
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build())
            .set_expected_bucket_owner(self.owner.clone())
            .customize()
            .mutate_request(self.given.no_overwrite())
            // While it works, S3 sends a space now and then.
            .config_override(single_try(within).stalled_stream_protection(StalledStreamProtectionConfig::disabled()));
        match finish.send().await {
            Ok(finished) if finished.e_tag().is_some() => Ok(()),
            Ok(_) => Err(self.unlike_s3("CompleteMultipartUpload", &upload.key, "an ETag")),
            Err(e) => Err(self.meaning("CompleteMultipartUpload", &upload.key, Kind::Exists, e)),
        }
    }

    /// Gives an upload up.
    pub(super) async fn abort(&self, upload: &PartedUpload) -> Result<(), BucketError> {
        let abort = self
            .client()
            .await?
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .set_expected_bucket_owner(self.owner.clone());
        let aborted =
            abort.send().await.map_err(|e| self.meaning("AbortMultipartUpload", &upload.key, Kind::Changed, e));
        match aborted {
            Err(e) if e.kind == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Unfinished uploads of a key. A listing goes by prefix, and a key comes before those that it begins.
    pub(super) async fn unfinished(&self, key: &str) -> Result<Vec<PartedUpload>, BucketError> {
        let page = self
            .client()
            .await?
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .prefix(key)
            .encoding_type(EncodingType::Url)
            .max_uploads(UNFINISHED_MAX)
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|e| self.meaning("ListMultipartUploads", key, Kind::Changed, e))?;
        let url = page.encoding_type() == Some(&EncodingType::Url);
        let of_key = |text: &str| decoded(text, url).is_some_and(|listed| listed == key);
        let ours = page.uploads().iter().filter(|upload| upload.key().is_some_and(of_key));
        let ids = ours.filter_map(|upload| upload.upload_id()).filter(|id| is_name(id));
        // Not every service counts.
        let ids = ids.take(usize::try_from(UNFINISHED_MAX).unwrap_or(0));
        Ok(ids.map(|id| PartedUpload { key: key.to_owned(), id: id.to_owned() }).collect())
    }
}

/// Whether a text can be a service's name for something.
fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
}
