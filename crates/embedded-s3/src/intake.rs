//! Receiving a body: from the connection into a temporary file, checked against every claim that the client made about
//! it.
//!
//! Owns: the size limit, the digests, the trailers, the error for each kind of mismatch. Does NOT own: what becomes of
//! the file (`objects`, `multipart`).
//!
//! Invariant: a body that is not what the client said it was never leaves this module.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::base64;
use futures_util::StreamExt;
use hyper::HeaderMap;
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};

use super::checksum::{Algorithm, Hasher, Sum};
use super::staged::Staged;
use super::store::Store;

/// The most that S3 takes in [one request](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html), in
/// bytes.
const BODY_MAX: u64 = 5 << 30;

/// How long a client may send nothing before its request ends, as S3 ends it (RequestTimeout).
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What a client says about the body it sends.
pub struct Claims {
    /// Without the framing of aws-chunked.
    length: Option<u64>,
    content_md5: Option<String>,
    /// In the order of [`Algorithm::ALL`].
    sums: [Option<String>; 5],
    /// The sum that comes behind the body.
    trailer: Option<Algorithm>,
    trailers: Option<TrailingHeaders>,
    /// `x-amz-sdk-checksum-algorithm`.
    named: Option<Algorithm>,
}

/// Reads the claims out of the request of an operation that has the fields of PutObject.
macro_rules! claims_of {
    ($request:expr) => {
        $crate::intake::Claims::new(
            &$request.headers,
            $request.trailing_headers.clone(),
            $request.input.content_length,
            $request.input.content_md5.take(),
            [
                $request.input.checksum_crc32.take(),
                $request.input.checksum_crc32c.take(),
                $request.input.checksum_crc64nvme.take(),
                $request.input.checksum_sha1.take(),
                $request.input.checksum_sha256.take(),
            ],
        )
    };
}
pub(super) use claims_of;

/// A body in its file, found to be what the client said.
pub struct Received {
    pub staged: Staged,
    pub md5: [u8; 16],
    pub sum: Sum,
}

impl Claims {
    pub fn new(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
        length: Option<i64>,
        content_md5: Option<String>,
        sums: [Option<String>; 5],
    ) -> S3Result<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let announced = text("x-amz-trailer").unwrap_or_default();
        let trailer = Algorithm::ALL
            .into_iter()
            .find(|algorithm| announced.split(',').any(|name| name.trim().eq_ignore_ascii_case(&algorithm.header())));
        if sums.iter().flatten().count() + usize::from(trailer.is_some()) > 1 {
            return Err(s3_error!(
                InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
            ));
        }
        let length = length.and_then(|length| u64::try_from(length).ok());
        if length.is_some_and(|length| length > BODY_MAX) {
            return Err(too_large());
        }
        if content_md5.as_deref().is_some_and(|md5| !is_digest(md5, 16)) {
            return Err(s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."));
        }
        for (algorithm, sum) in Algorithm::ALL.into_iter().zip(&sums) {
            if sum.as_deref().is_some_and(|sum| !is_digest(sum, algorithm.length())) {
                return Err(invalid_sum(algorithm));
            }
        }
        let named = text("x-amz-sdk-checksum-algorithm").and_then(Algorithm::from_name);
        Ok(Self { length, content_md5, sums, trailer, trailers, named })
    }

    /// Insists on the algorithm that a multipart upload was begun with, if it was with one.
    pub fn expecting(mut self, expected: Option<Algorithm>) -> S3Result<Self> {
        let Some(expected) = expected else { return Ok(self) };
        let claimed = self.claimed();
        if let Some(claimed) = claimed.filter(|claimed| *claimed != expected) {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum \
                 Type: {}",
                expected.name(),
                claimed.name()
            ));
        }
        self.named = Some(expected);
        Ok(self)
    }

    fn claimed(&self) -> Option<Algorithm> {
        let given = Algorithm::ALL.into_iter().zip(&self.sums).find(|(_, sum)| sum.is_some());
        given.map(|(algorithm, _)| algorithm).or(self.trailer)
    }

    /// The algorithm to run: the claimed one; the one S3 runs of itself where none is.
    fn algorithm(&self) -> Algorithm {
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
        self.claimed().or(self.named).unwrap_or(Algorithm::Crc64Nvme)
    }

    fn check(self, length: u64, md5: &[u8; 16], sum: &Sum) -> S3Result<()> {
        if self.length.is_some_and(|claimed| claimed != length) {
            return Err(incomplete());
        }
        if self.content_md5.is_some_and(|claimed| claimed != base64::encode(md5)) {
            return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match."));
        }
        let claimed = match self.trailer {
            None => self.sums.into_iter().flatten().next(),
            Some(algorithm) => Some(trailing_sum(self.trailers.as_ref(), algorithm)?),
        };
        if claimed.is_some_and(|claimed| claimed != sum.value) {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                sum.algorithm.name()
            ));
        }
        Ok(())
    }
}

fn trailing_sum(trailers: Option<&TrailingHeaders>, algorithm: Algorithm) -> S3Result<String> {
    let read =
        |headers: &HeaderMap| headers.get(algorithm.header()).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let sum = trailers
        .and_then(|trailers| trailers.read(read))
        .flatten()
        .ok_or_else(|| bad_request("MalformedTrailerError", "The announced trailer did not arrive."))?;
    if is_digest(&sum, algorithm.length()) { Ok(sum) } else { Err(invalid_sum(algorithm)) }
}

/// Receives `body` into a temporary file of `store`.
///
/// Errors as S3: IncompleteBody, BadDigest, XAmzContentSHA256Mismatch, SignatureDoesNotMatch, EntityTooLarge,
/// RequestTimeout.
pub async fn receive(store: &Arc<Store>, body: Option<StreamingBlob>, claims: Claims) -> S3Result<Received> {
    let mut staged = disk(|| Staged::create(store))?;
    let algorithm = claims.algorithm();
    let (mut length, mut md5, mut hasher) = (0, Md5::new(), algorithm.hasher());
    if let Some(mut body) = body {
        while let Some(bytes) = next(&mut body).await? {
            length += bytes.len() as u64;
            if length > BODY_MAX {
                return Err(too_large());
            }
            disk(|| take_in(&bytes, &mut staged, &mut md5, &mut hasher))?;
        }
    }
    let md5 = md5.finalize().into();
    let sum = Sum { algorithm, value: hasher.finish(), composite: false };
    claims.check(length, &md5, &sum)?;
    Ok(Received { staged, md5, sum })
}

fn take_in(bytes: &[u8], staged: &mut Staged, md5: &mut Md5, hasher: &mut Hasher) -> io::Result<()> {
    md5.update(bytes);
    hasher.update(bytes);
    staged.write(bytes)
}

async fn next(body: &mut StreamingBlob) -> S3Result<Option<bytes::Bytes>> {
    match tokio::time::timeout(IDLE_MAX, body.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(error))) => Err(broken_body(&error.to_string())),
        Err(_) => Err(s3_error!(
            RequestTimeout,
            "Your socket connection to the server was not read from or written to within the \
             timeout period."
        )),
    }
}

/// s3s keeps the types of its stream errors to itself; their texts are what can be told apart.
fn broken_body(error: &str) -> S3Error {
    if error.contains("Sha256Mismatch") {
        bad_request(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if error.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The signature of a chunk does not match.")
    } else {
        incomplete()
    }
}

/// An error of S3 whose code s3s does not know.
fn bad_request(code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(hyper::StatusCode::BAD_REQUEST);
    error
}

fn incomplete() -> S3Error {
    s3_error!(IncompleteBody, "You did not provide the number of bytes specified by the Content-Length HTTP header.")
}

fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
}

fn invalid_sum(algorithm: Algorithm) -> S3Error {
    s3_error!(InvalidRequest, "Value for {} header is invalid.", algorithm.header())
}

fn is_digest(text: &str, length: usize) -> bool {
    base64::decode(text).is_ok_and(|digest| digest.len() == length)
}

/// Runs what waits for the disk or computes at length, and lets other requests go on meanwhile.
pub fn disk<T>(work: impl FnOnce() -> io::Result<T>) -> S3Result<T> {
    tokio::task::block_in_place(work).map_err(|error| {
        tracing::error!(%error, "the embedded bucket cannot use its directory");
        S3Error::internal_error(error)
    })
}
