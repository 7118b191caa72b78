//! The checksums S3 keeps of an object.
//!
//! Owns: the five algorithms, running one over a stream, and the written form of the result. Does NOT own: comparing
//! with what a client claimed (see `intake`), nor ETags (MD5).
//!
//! Invariant: a written sum is always Base64 of the big-endian digest, as in the [headers of
//! S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).

use aws_smithy_types::base64;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries the sum.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of the digest.
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub fn hasher(self) -> Hasher {
        match self {
            Self::Crc32 => Hasher::Crc32(Crc32::new()),
            Self::Crc32c => Hasher::Crc32c(Crc32c::new()),
            Self::Crc64Nvme => Hasher::Crc64Nvme(Crc64Nvme::new()),
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
        }
    }
}

/// A sum in the making.
pub enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// In Base64.
    pub fn finish(self) -> String {
        match self {
            Self::Crc32(hasher) => base64::encode(hasher.finalize()),
            Self::Crc32c(hasher) => base64::encode(hasher.finalize()),
            Self::Crc64Nvme(hasher) => base64::encode(hasher.finalize()),
            Self::Sha1(hasher) => base64::encode(hasher.finalize()),
            Self::Sha256(hasher) => base64::encode(hasher.finalize()),
        }
    }
}

/// The sum of an object or of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub algorithm: Algorithm,
    /// Base64; of a composite sum followed by `-` and the number of parts.
    pub value: String,
    /// A sum over the sums of the parts rather than over the bytes of the object.
    #[serde(default)]
    pub composite: bool,
}

/// The sum in the form in which s3s writes it into headers and XML.
pub fn to_dto(sum: Option<&Sum>) -> dto::Checksum {
    let mut written = dto::Checksum::default();
    let Some(sum) = sum else { return written };
    let value = Some(sum.value.clone());
    match sum.algorithm {
        Algorithm::Crc32 => written.checksum_crc32 = value,
        Algorithm::Crc32c => written.checksum_crc32c = value,
        Algorithm::Crc64Nvme => written.checksum_crc64nvme = value,
        Algorithm::Sha1 => written.checksum_sha1 = value,
        Algorithm::Sha256 => written.checksum_sha256 = value,
    }
    let kind = if sum.composite { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT };
    written.checksum_type = Some(dto::ChecksumType::from_static(kind));
    written
}
