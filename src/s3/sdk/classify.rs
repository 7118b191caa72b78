//! Interprets answers of S3. Owns the mapping of status and error code to [`Kind`]; callers decide what to do about a
//! kind.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::body::FileBodyError;
use super::{S3Bucket, credentials};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::causes;

impl S3Bucket {
    /// Finds the meaning of an SDK error. `precondition` is what a 412 means for the operation.
    pub(super) fn meaning<E>(
        &self,
        operation: &'static str,
        key: &str,
        precondition: Kind,
        error: SdkError<E>,
    ) -> BucketError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or_default();
        let response = error.raw_response();
        let status = response.map(|r| r.status().as_u16());
        let header = |name| response.and_then(|r| r.headers().get(name)).map(str::to_owned);
        let in_body = || region_in(response?.body().bytes()?);
        let region = header("x-amz-bucket-region").or_else(in_body);
        let about_key = error.message().is_some_and(|message| message.contains("kms:"));
        let kind = match status {
            Some(403) if about_key => Kind::Encryption,
            Some(status) => kind_of(code, status, region.as_deref(), precondition),
            None if caused_by::<CredentialsError>(&error) => Kind::NoCredentials,
            None if caused_by::<FileBodyError>(&error) => Kind::Local,
            None => unanswered(&causes(&error)),
        };
        if matches!(kind, Kind::Expired | Kind::NoCredentials) {
            self.credentials.forget();
        }
        let mut message = match (error.message(), status) {
            _ if matches!(&kind, Kind::WrongRegion(Some(_))) => {
                let region = region.unwrap_or_default();
                format!("the bucket is in the region {region} ({code})")
            }
            (Some(message), _) if !message.is_empty() => format!("{code}: {message}"),
            (_, Some(status)) => format!("the service answered {status} {code}").trim_end().into(),
            _ if kind == Kind::NoCredentials => credentials::why(&error, self.settings.profile.as_deref()),
            _ => causes(&error),
        };
        if let Some(request) = header("x-amz-request-id") {
            message = format!("{message} (x-amz-request-id {request})");
        }
        BucketError::new(kind, operation, key, message).at(&self.place()).because(error)
    }

    /// A success that lacks what S3 says with each: somebody between us and S3 made it up (the login page of a proxy),
    /// or S3 failed after it had begun to answer. The write may be done or not.
    pub(super) fn unlike_s3(&self, operation: &'static str, key: &str, lacks: &str) -> BucketError {
        let message = format!("the service answered success without {lacks}, unlike S3");
        BucketError::new(Kind::Server, operation, key, message).at(&self.place())
    }
}

/// The code decides where it is known. Answers to HEAD have none, and neither have those of proxies.
fn kind_of(code: &str, status: u16, region: Option<&str>, precondition: Kind) -> Kind {
    match (code, status) {
        ("NoSuchBucket", _) => Kind::NoBucket,
        ("NoSuchKey" | "NoSuchUpload" | "NotFound", _) => Kind::NotFound,
        // The end of an upload in parts may be refused with the status 200.
        // `FileAlreadyExists` is Alibaba's word.
        ("PreconditionFailed" | "FileAlreadyExists", _) => precondition,
        ("ConditionalRequestConflict", _) => Kind::Busy,
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken", _) => Kind::NoCredentials,
        ("ExpiredToken" | "TokenRefreshRequired" | "RequestExpired", _) => Kind::Expired,
        ("RequestTimeTooSkewed", _) => Kind::Skewed,
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _)
        | (_, 301 | 307) => Kind::WrongRegion(region.map(str::to_owned)),
        (code, _) if code.starts_with("KMS.") => Kind::Encryption,
        ("SlowDown" | "Throttling" | "RequestLimitExceeded", _) => Kind::Throttled,
        ("RequestTimeout" | "BadDigest" | "IncompleteBody", _) => Kind::Server,
        ("NotImplemented", _) | (_, 501) => Kind::Unsupported,
        (_, 401 | 403) => Kind::Denied,
        (_, 404) => Kind::NotFound,
        (_, 409) => Kind::Busy,
        (_, 412) => precondition,
        (_, 429 | 503) => Kind::Throttled,
        // A proxy that waited in vain for the rest of a request, or for its answer.
        (_, 408) => Kind::Server,
        (_, 400..=499) => Kind::Refused,
        // With a success, what it said was no answer of S3.
        _ => Kind::Server,
    }
}

/// What it means that nobody answered. The libraries below the SDK tell by text alone.
fn unanswered(said: &str) -> Kind {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["dns error"]) => Kind::NoHost,
        () if says(&["invalid peer certificate", "received corrupt message"]) => Kind::Untrusted,
        () => Kind::Unreachable,
    }
}

/// The region that the XML of an error names.
fn region_in(body: &[u8]) -> Option<String> {
    let (_, behind) = std::str::from_utf8(body).ok()?.split_once("<Region>")?;
    behind.split_once("</Region>").map(|(region, _)| region.to_owned())
}

fn caused_by<C: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    error.is::<C>() || error.source().is_some_and(caused_by::<C>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_what_its_code_says_or_else_its_status() {
        let region = || Kind::WrongRegion(Some("eu-west-1".to_owned()));
        for (code, status, kind) in [
            ("NoSuchBucket", 404, Kind::NoBucket),
            ("NoSuchKey", 404, Kind::NotFound),
            ("AccessDenied", 403, Kind::Denied),
            ("", 403, Kind::Denied),
            ("ExpiredToken", 400, Kind::Expired),
            ("ExpiredToken", 403, Kind::Expired),
            ("InvalidAccessKeyId", 403, Kind::NoCredentials),
            ("RequestTimeTooSkewed", 403, Kind::Skewed),
            ("PermanentRedirect", 301, region()),
            ("", 301, region()),
            ("AuthorizationHeaderMalformed", 400, region()),
            ("SlowDown", 503, Kind::Throttled),
            ("", 503, Kind::Throttled),
            ("", 429, Kind::Throttled),
            ("InternalError", 500, Kind::Server),
            ("InternalError", 200, Kind::Server),
            ("", 200, Kind::Server),
            ("", 302, Kind::Server),
            ("", 408, Kind::Server),
            ("", 502, Kind::Server),
            ("RequestTimeout", 400, Kind::Server),
            ("NotImplemented", 501, Kind::Unsupported),
            ("ConditionalRequestConflict", 409, Kind::Busy),
            ("ConditionalRequestConflict", 200, Kind::Busy),
            ("PreconditionFailed", 200, Kind::Exists),
            ("NoSuchUpload", 404, Kind::NotFound),
            ("OperationAborted", 409, Kind::Busy),
            ("FileAlreadyExists", 409, Kind::Exists),
            ("PreconditionFailed", 412, Kind::Exists),
            ("MetadataTooLarge", 400, Kind::Refused),
            ("KMS.DisabledException", 400, Kind::Encryption),
        ] {
            let found = kind_of(code, status, Some("eu-west-1"), Kind::Exists);
            assert_eq!(found, kind, "{status} {code}");
        }
    }
}
