//! How new objects are stored, beside encryption and storage class; and which of Amazon's endpoints is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tags::TagTemplate;
use crate::types::duration::BadSetting;

/// How new objects are stored.
#[derive(Clone, Debug, Default)]
pub struct ObjectOptions {
    /// A canned ACL.
    pub acl: Option<String>,
    /// Their tags.
    pub tags: Vec<TagTemplate>,
    /// How long nobody may delete them.
    pub retention: Option<Retention>,
    /// Nobody may delete them until somebody lifts the hold.
    pub legal_hold: bool,
    /// What KMS is told beside the key, and logs.
    pub kms_context: BTreeMap<String, String>,
    /// The checksum that is sent.
    pub checksum: Checksum,
    /// The header that keeps them from overwriting; `If-None-Match: *` without.
    pub no_overwrite: Option<NoOverwrite>,
}

/// Object Lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Who may lift it.
    pub mode: LockMode,
    /// How long from the upload on.
    pub time: Duration,
}

/// Who may lift a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Who has a permission for that.
    Governance,
    /// Nobody.
    Compliance,
}

/// The checksum that is sent with the bytes of objects and parts, and that the service compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-64/NVME.
    Crc64Nvme,
    /// CRC-32, which is computed while the bytes are compressed.
    #[default]
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// Nothing.
    None,
}

/// How a service spells that a write must not overwrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOverwrite {
    /// The header's name, in small letters.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Which of Amazon's endpoints is asked, and who pays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Requests are paid by who sends them.
    pub requester_pays: bool,
    /// Over IPv6 too.
    pub dual_stack: bool,
    /// With validated cryptography.
    pub fips: bool,
    /// Through the nearest edge.
    pub accelerate: bool,
}

impl EndpointOptions {
    /// The flag of the first that only Amazon's own endpoints have.
    pub fn amazon_only(&self) -> Option<&'static str> {
        let given =
            [(self.dual_stack, "--dual-stack"), (self.fips, "--fips"), (self.accelerate, "--transfer-acceleration")];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }
}

/// Headers that the requests have already, or that say where they end.
const OWN_HEADERS: [&str; 12] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-match",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
];

impl NoOverwrite {
    /// Reads `NAME[=VALUE]`; without a value it is `*`.
    pub fn parse(text: &str) -> Result<NoOverwrite, BadSetting> {
        let bad = |why| BadSetting { what: "header", given: text.into(), why };
        let (name, value) = text.split_once('=').unwrap_or((text, "*"));
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(bad("it is NAME or NAME=VALUE; a name has letters, digits and `-`"));
        }
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("a value has printable ASCII characters and no spaces"));
        }
        if OWN_HEADERS.contains(&&*name) || name.starts_with("x-amz-") {
            return Err(bad("this header has another meaning"));
        }
        Ok(NoOverwrite { name, value: value.to_owned() })
    }
}

/// The ACLs of [S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl) for objects.
pub const ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// Shortest retention: one that is over when the object arrives is an error for S3.
const RETENTION_MIN: Duration = Duration::from_secs(60);

/// Reads `--object-lock-retain`. `1y` is 365 days, as for S3.
pub fn parse_retention(text: &str) -> Result<Duration, BadSetting> {
    let bad = |why| BadSetting { what: "retention", given: text.into(), why };
    let years = text.strip_suffix('y').and_then(|years| years.parse::<u64>().ok());
    let day = Duration::from_secs(24 * 3600);
    let time = match years {
        // S3 takes a century.
        Some(years @ 1..=100) => day * 365 * u32::try_from(years).unwrap_or(u32::MAX),
        Some(_) => return Err(bad("it is at most 100y")),
        None => crate::types::duration::parse_duration(text)
            .map_err(|_| bad("it is a number with a unit: 24h, 30d, 7y (of 365 days); in days at most ten years"))?,
    };
    if time < RETENTION_MIN { Err(bad("it is at least one minute")) } else { Ok(time) }
}

/// Reads `KEY=VALUE` of an encryption context.
pub fn parse_context(text: &str) -> Result<(String, String), BadSetting> {
    let why = "an entry of an encryption context is KEY=VALUE";
    let entry = text.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
    let entry = entry.map(|(key, value)| (key.to_owned(), value.to_owned()));
    entry.ok_or_else(|| BadSetting { what: "encryption context", given: text.into(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_are_read_or_refused() {
        let days = |days: u64| Ok(Duration::from_secs(days * 24 * 3600));
        assert_eq!(parse_retention("30d"), days(30));
        assert_eq!(parse_retention("24h"), days(1));
        assert_eq!(parse_retention("7y"), days(7 * 365));
        for bad in ["", "0s", "0y", "1s", "-1d", "101y", "4000d", "y", "30"] {
            assert!(parse_retention(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_read_or_refused() {
        let read = |text| NoOverwrite::parse(text).map(|header| format!("{}: {}", header.name, header.value));
        assert_eq!(read("x-goog-if-generation-match=0"), Ok("x-goog-if-generation-match: 0".to_owned()));
        assert_eq!(read("X-OSS-Forbid-Overwrite=true"), Ok("x-oss-forbid-overwrite: true".to_owned()));
        assert_eq!(read("If-None-Match"), Ok("if-none-match: *".to_owned()));
        for bad in ["", "=x", "a=", "a b=c", "a=b c", "a=b\n", "Host=x", "x-amz-date=0", "Content-Length=0"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
