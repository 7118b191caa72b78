//! The bucket as s3s wants it: one method for each operation of S3 that the bucket knows.
//!
//! Owns: which operations there are, and the operations on the bucket itself. Does NOT own: how they work (`objects`,
//! `reads`, `lists`, `multipart`); what is not here answers NotImplemented.
//!
//! Invariant: every operation refuses another bucket than the one there is.

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::lists::owner;
use super::store::Store;
use super::{REGION, lists, multipart, objects, reads, upload_lists};

pub struct Service {
    store: Arc<Store>,
    bucket: String,
}

impl Service {
    pub fn new(store: Arc<Store>, bucket: String) -> Self {
        Self { store, bucket }
    }

    fn check(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.bucket {
            return Ok(());
        }
        Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }
}

/// An answer that was ready, in the form the trait asks for.
type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Service {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.check(&request.input.bucket)?;
        objects::put(&self.store, request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.check(&request.input.bucket)?;
        reads::get(&self.store, &request.input)
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.check(&request.input.bucket)?;
        reads::head(&self.store, &request.input)
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        self.check(&request.input.bucket)?;
        objects::copy(&self.store, &self.bucket, request)
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.check(&request.input.bucket)?;
        objects::delete(&self.store, request.input)
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        self.check(&request.input.bucket)?;
        objects::delete_many(&self.store, request.input)
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        self.check(&request.input.bucket)?;
        lists::v2(&self.store, request.input)
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        self.check(&request.input.bucket)?;
        lists::v1(&self.store, request.input)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        self.check(&request.input.bucket)?;
        multipart::create(&self.store, request.input)
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.check(&request.input.bucket)?;
        multipart::upload_part(&self.store, request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        self.check(&request.input.bucket)?;
        multipart::complete(&self.store, request.input)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.check(&request.input.bucket)?;
        multipart::abort(&self.store, &request.input)
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        self.check(&request.input.bucket)?;
        upload_lists::list_parts(&self.store, request.input)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        self.check(&request.input.bucket)?;
        upload_lists::list_uploads(&self.store, request.input)
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.check(&request.input.bucket)?;
        let bucket_region = Some(REGION.to_owned());
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..Default::default() }))
    }

    /// The region us-east-1 is written as none, see
    /// [S3](https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html).
    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
        let bucket =
            Bucket { bucket_region: Some(REGION.to_owned()), creation_date: None, name: Some(self.bucket.clone()) };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(vec![bucket]),
            owner: Some(owner()),
            ..Default::default()
        }))
    }

    /// The bucket is there already; in us-east-1, S3 takes that for success.
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        if request.input.bucket != self.bucket {
            return Err(s3_error!(AccessDenied, "This server has the one bucket {:?}", self.bucket));
        }
        let location = Some(format!("/{}", self.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }
}
