//! Checksums of what is sent. That of a payload (CRC-32) was made with its bytes; others are computed when it is sent,
//! from a file that is still in memory, and only if its bytes have the CRC-32 that they should.

use std::io;
use std::os::unix::fs::FileExt;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use crc_fast::CrcAlgorithm;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::S3Bucket;
use crate::s3::bucket::Payload;
use crate::settings::objects::Checksum;
use crate::types::bucket_error::{BucketError, Kind};

/// Bytes read at once.
const CHUNK: u64 = 128 * 1024;

/// A checksum as it is sent: in base64, under the name of its algorithm.
#[derive(Debug)]
pub(super) struct Sum {
    pub algorithm: Checksum,
    pub value: Option<String>,
}

impl Sum {
    /// The name that goes beside it. The SDK sends it with sums of its own; moto, and services made like it, look for
    /// it where a bucket has a default retention.
    pub(super) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        algorithm(self.algorithm)
    }

    pub(super) fn crc32(&self) -> Option<String> {
        self.of(Checksum::Crc32)
    }

    pub(super) fn crc32c(&self) -> Option<String> {
        self.of(Checksum::Crc32c)
    }

    pub(super) fn crc64nvme(&self) -> Option<String> {
        self.of(Checksum::Crc64Nvme)
    }

    pub(super) fn sha1(&self) -> Option<String> {
        self.of(Checksum::Sha1)
    }

    pub(super) fn sha256(&self) -> Option<String> {
        self.of(Checksum::Sha256)
    }

    fn of(&self, algorithm: Checksum) -> Option<String> {
        self.value.clone().filter(|_| self.algorithm == algorithm)
    }
}

/// S3's name for an algorithm.
pub(super) fn algorithm(checksum: Checksum) -> Option<ChecksumAlgorithm> {
    Some(match checksum {
        Checksum::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Checksum::Crc32 => ChecksumAlgorithm::Crc32,
        Checksum::Crc32c => ChecksumAlgorithm::Crc32C,
        Checksum::Sha1 => ChecksumAlgorithm::Sha1,
        Checksum::Sha256 => ChecksumAlgorithm::Sha256,
        Checksum::None => return None,
    })
}

/// Of what an object in parts has a checksum: of the parts' sums, which is each algorithm's default but one's.
pub(super) fn type_in_parts(checksum: Checksum) -> Option<ChecksumType> {
    (checksum == Checksum::Crc64Nvme).then_some(ChecksumType::FullObject)
}

impl S3Bucket {
    /// The checksum that goes with a payload.
    pub(super) async fn sum(&self, operation: &'static str, key: &str, payload: &Payload) -> Result<Sum, BucketError> {
        let algorithm = self.given.checksum;
        let value = match algorithm {
            Checksum::None => None,
            Checksum::Crc32 => Some(base64(payload.crc32.to_be_bytes())),
            _ => {
                let payload = payload.clone();
                let summed = tokio::task::spawn_blocking(move || compute(algorithm, &payload)).await;
                let summed = summed.unwrap_or_else(|e| Err(io::Error::other(e)));
                let failed = |e: io::Error| BucketError::new(Kind::Local, operation, key, e.to_string());
                Some(summed.map_err(failed)?)
            }
        };
        Ok(Sum { algorithm, value })
    }
}

/// Computes a checksum of the bytes that a payload should have. Blocking.
fn compute(algorithm: Checksum, payload: &Payload) -> io::Result<String> {
    match algorithm {
        Checksum::Crc64Nvme => {
            let mut crc = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
            read(payload, |bytes| crc.update(bytes))?;
            Ok(base64(crc.finalize().to_be_bytes()))
        }
        Checksum::Crc32c => {
            let mut crc = crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi);
            read(payload, |bytes| crc.update(bytes))?;
            Ok(base64((crc.finalize() as u32).to_be_bytes()))
        }
        Checksum::Sha1 => hash::<Sha1>(payload),
        Checksum::Sha256 => hash::<Sha256>(payload),
        Checksum::Crc32 | Checksum::None => Ok(base64(payload.crc32.to_be_bytes())),
    }
}

fn hash<D: Digest>(payload: &Payload) -> io::Result<String> {
    let mut hash = D::new();
    read(payload, |bytes| hash.update(bytes))?;
    Ok(base64(hash.finalize()))
}

/// Reads a payload, and insists that its bytes are those that were made.
fn read(payload: &Payload, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut crc32 = crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc);
    let mut chunk = vec![0; usize::try_from(CHUNK.min(payload.len())).unwrap_or(0)];
    let mut at = payload.range.start;
    while at < payload.range.end {
        let length = usize::try_from((payload.range.end - at).min(CHUNK)).unwrap_or(0);
        payload.file.read_exact_at(&mut chunk[..length], at)?;
        crc32.update(&chunk[..length]);
        each(&chunk[..length]);
        at += length as u64;
    }
    if crc32.finalize() as u32 == payload.crc32 {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the file has other bytes by now than those that were made"))
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    aws_smithy_types::base64::encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_algorithm_gives_what_its_standard_says_and_no_sum_of_changed_bytes() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"..123456789..").expect("written");
        let payload = Payload { file: Arc::new(file), range: 2..11, crc32: 0xcbf4_3926 };
        for (algorithm, sum) in [
            (Checksum::Crc32, "y/Q5Jg=="),
            (Checksum::Crc32c, "4waSgw=="),
            (Checksum::Crc64Nvme, "rosUhgp5mIg="),
            (Checksum::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (Checksum::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ] {
            assert_eq!(compute(algorithm, &payload).expect("a sum"), sum, "{algorithm:?}");
        }
        let changed = Payload { crc32: 1, ..payload };
        assert!(compute(Checksum::Sha256, &changed).is_err());
    }
}
