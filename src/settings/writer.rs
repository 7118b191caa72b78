//! Settings of a writer mount, validated. Owns meaning and limits of each setting; reads no flags, environment or files
//! (see `flags`).

use core::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::objects::{EndpointOptions, ObjectOptions};
use crate::format::naming::Form;
use crate::format::partition::PartitionTemplate;
use crate::format::stream_map::{Labels, StreamRule};
use crate::types::duration::BadSetting;
use crate::types::escape::{escape_ascii, unescape};
use crate::types::freshness::Freshness;
use crate::types::globs::Globs;
use crate::types::processes::Processes;
use crate::types::rotation::Rules;

/// Where the objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A bucket of an S3 service.
    S3 {
        /// Its name.
        bucket: String,
        /// Empty, or ending in `/`.
        prefix: String,
    },
    /// The embedded bucket, storing in a local directory.
    Embedded {
        /// The directory.
        dir: PathBuf,
    },
}

impl Source {
    /// Empty, or ending in `/`.
    pub fn prefix(&self) -> &str {
        match self {
            Source::S3 { prefix, .. } => prefix,
            Source::Embedded { .. } => "",
        }
    }

    /// The same with a prefix, if it has none.
    pub fn below(self, prefix: &str) -> Result<Source, BadSetting> {
        let bad = |why| BadSetting { what: "prefix", given: prefix.into(), why };
        match self {
            Source::S3 { bucket, prefix: own } if own.is_empty() => {
                Source::parse(&format!("s3://{bucket}/{prefix}")).map_err(|BadSetting { why, .. }| bad(why))
            }
            Source::S3 { .. } => Err(bad("the source has a prefix already; give one of the two")),
            Source::Embedded { .. } => Err(bad("only a bucket, s3://BUCKET, has prefixes")),
        }
    }

    /// As people write it, and as the spool remembers which bucket it belongs to. Escaped, since it also stands in
    /// lists of mounts, between spaces and commas.
    pub fn url(&self) -> String {
        match self {
            Source::S3 { bucket, prefix } => {
                format!("s3://{bucket}/{}", escape_ascii(prefix.as_bytes()))
            }
            Source::Embedded { dir } => {
                format!("file://{}", escape_ascii(dir.as_os_str().as_encoded_bytes()))
            }
        }
    }

    /// Reads back what [`Source::url`] gives.
    pub fn from_url(url: &str) -> Result<Source, BadSetting> {
        Source::parse(&String::from_utf8_lossy(&unescape(url)))
    }

    /// Reads `s3://BUCKET[/PREFIX]` or `file:///DIR`.
    pub fn parse(text: &str) -> Result<Source, BadSetting> {
        let bad = |why| BadSetting { what: "source", given: text.into(), why };
        if let Some(dir) = text.strip_prefix("file://") {
            return if dir.starts_with('/') {
                Ok(Source::Embedded { dir: dir.into() })
            } else {
                Err(bad("a file source has an absolute path: file:///var/tmp/bucket"))
            };
        }
        let rest = text.strip_prefix("s3://").or(text.starts_with("arn:").then_some(text));
        let rest =
            rest.ok_or(bad("a source is s3://BUCKET, s3://BUCKET/PREFIX, the ARN of an access point or file:///DIR"))?;
        // The ARN of an access point stands for a bucket, and has a `/` of its own.
        let own =
            rest.starts_with("arn:").then(|| rest.find(ACCESS_POINT)).flatten().map_or(0, |at| at + ACCESS_POINT.len());
        let end = rest[own..].find('/').map_or(rest.len(), |at| own + at);
        let (bucket, prefix) = (&rest[..end], rest[end..].strip_prefix('/').unwrap_or(""));
        if bucket.starts_with("arn:") && region_of(bucket).is_none() {
            return Err(bad("an ARN is that of an access point: arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-:".contains(&b) || (own > 0 && b == b'/');
        if !(1..=255).contains(&bucket.len()) || !bucket.bytes().all(legal) {
            return Err(bad("a bucket's name has letters, digits, `.` and `-`: s3://BUCKET/PREFIX"));
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.split('/').skip(usize::from(prefix.is_empty())).any(|p| matches!(p, "" | "." | "..")) {
            return Err(bad("a prefix has no empty, `.` or `..` part"));
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Source::S3 { bucket: bucket.into(), prefix: format!("{prefix}{slash}") })
    }
}

/// What comes before the name of an access point in its ARN.
const ACCESS_POINT: &str = ":accesspoint/";

/// The region in the ARN of an access point that stands for a bucket; empty for one of several regions.
pub fn region_of(bucket: &str) -> Option<&str> {
    let mut parts = bucket.split(':');
    let head = [parts.next()?, parts.next()?, parts.next()?];
    let (region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let name = resource.strip_prefix("accesspoint/").filter(|name| parts.next().is_none() && !name.is_empty());
    (head[0] == "arn" && head[1].starts_with("aws") && head[2] == "s3" && name.is_some()).then_some(region)
}

/// What a directory of the mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Live files only; the bucket is never listed.
    Live,
    /// Live files and what the bucket holds.
    Bucket,
}

/// What fsync waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncLevel {
    /// The spool's disk.
    Spool,
    /// S3's confirmation.
    S3,
}

/// What happens to a write when the spool has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Of the first-level folder with most unsent bytes the stream with most drops its oldest; the application never
    /// stops.
    DropOldest,
    /// It waits for room, 29 s at most, then ENOSPC.
    Block,
    /// ENOSPC at once.
    Error,
}

/// How to reach the S3 service; the rest comes from the SDK's default chain.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// Region; else the chain's.
    pub region: Option<String>,
    /// Profile of the shared config files.
    pub profile: Option<String>,
    /// Another S3 service than Amazon's.
    pub endpoint_url: Option<String>,
    /// Requests are not signed.
    pub anonymous: bool,
    /// `http://host/bucket/key` instead of `http://bucket.host/key`.
    pub force_path_style: bool,
    /// A role to assume with the chain's credentials.
    pub role_arn: Option<String>,
    /// Server-side encryption: `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub sse: Option<String>,
    /// The KMS key for it.
    pub sse_kms_key_id: Option<String>,
    /// Storage class of new objects.
    pub storage_class: Option<String>,
    /// Account that must own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// Which of Amazon's endpoints is asked.
    pub endpoints: EndpointOptions,
    /// How else new objects are stored.
    pub objects: ObjectOptions,
}

/// Owner and modes shown for what has none of its own.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Mode of stored objects.
    pub file_mode: u32,
    /// Mode of directories that nobody made in the mount.
    pub dir_mode: u32,
}

/// How appends become segments.
#[derive(Clone, Debug)]
pub struct Segmenting {
    /// When to seal.
    pub rules: Rules,
    /// How a record begins, where lines alone do not tell.
    pub record_start: Option<Regex>,
    /// The folder between stream and segment.
    pub partition: PartitionTemplate,
    /// How the objects' bytes are stored.
    pub form: Form,
    /// How hard they are compressed.
    pub levels: Levels,
    /// Whole files stay local.
    pub keep_whole: bool,
}

/// How hard is compressed: more takes longer, and makes less. Only `form` is in a key: an object of another level is as
/// good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 0 to 9.
    pub gzip: u32,
    /// 1 to 19; more would take hundreds of MiB of memory, of who reads too.
    pub zstd: i32,
}

impl Default for Levels {
    /// The defaults of the tools that people know.
    fn default() -> Levels {
        Levels { gzip: 6, zstd: 3 }
    }
}

/// Which files go where.
#[derive(Clone, Debug)]
pub struct Routing {
    /// From path to stream; the first that matches decides.
    pub stream_map: Vec<StreamRule>,
    /// What every segment is labelled with.
    pub labels: Labels,
    /// Names that stay local.
    pub exclude: Globs,
    /// Names of whole files.
    pub whole: Globs,
}

/// Limits of the spool.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// Most bytes in it; `None` takes the default.
    pub max: Option<u64>,
    /// Most bytes of whole files in it; `None` takes the default.
    pub whole_max: Option<u64>,
    /// Percent of its file system that stay free.
    pub min_free_percent: u8,
    /// Most bytes of memory for names and attributes of the live view.
    pub names_max: u64,
    /// What a write gets when neither leaves room.
    pub when_full: WhenFull,
}

/// Who writes an appended byte into the spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePath {
    /// The kernel where it can (FUSE passthrough), else the daemon.
    Auto,
    /// The kernel, or no mount.
    Passthrough,
    /// The daemon.
    Daemon,
}

/// A spool, and how what is in it comes to the bucket: with a mount, or without one (`logsinkfs recover`).
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// Where the objects are.
    pub source: Source,
    /// Where unconfirmed bytes are kept.
    pub dir: PathBuf,
    /// The readable part of the writer id.
    pub writer_name: String,
    /// How appends become segments.
    pub segmenting: Segmenting,
    /// Limits of the spool.
    pub limits: SpoolLimits,
    /// How long a finished log stays in the live view.
    pub retire_after: Duration,
    /// How long what S3 listed is fresh.
    pub freshness: Freshness,
    /// How to reach the S3 service.
    pub s3: S3Settings,
    /// Owner and modes of what nobody made in the mount.
    pub ownership: Ownership,
}

/// Everything that a mount is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its spool and its bucket.
    pub spool: SpoolSettings,
    /// Where the mount appears.
    pub mountpoint: PathBuf,
    /// What directories show.
    pub view: View,
    /// Which files go where.
    pub routing: Routing,
    /// Refuse writes that are not at the end.
    pub strict_append: bool,
    /// What fsync waits for.
    pub fsync: FsyncLevel,
    /// How long a stopping daemon may upload.
    pub shutdown_timeout: Duration,
    /// Refuse to start without the bucket.
    pub require_bucket: bool,
    /// Let other users in.
    pub allow_other: bool,
    /// Who writes appended bytes into the spool.
    pub write_path: WritePath,
    /// Keeper and worker.
    pub processes: Processes,
    /// Where the daemon tells how it is.
    pub admin: Option<SocketAddr>,
}

/// Reads a size: `512KiB`, `64MiB`, `10GB`, or bytes.
pub fn parse_size(text: &str) -> Result<u64, BadSetting> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| BadSetting {
        what: "size",
        given: text.into(),
        why: "a size is a number with a unit: 512KiB, 64MiB, 10GiB",
    })
}

/// Smallest `--rotate-size`: below it, objects cost more than what is in them.
pub const ROTATE_SIZE_MIN: u64 = 1024;
/// Largest `--rotate-size`: what one PUT takes (S3: 5 GiB).
pub const ROTATE_SIZE_MAX: u64 = 5 << 30;

/// Reads `--rotate-size`.
pub fn parse_rotate_size(text: &str) -> Result<u64, BadSetting> {
    let why = "it must be between 1KiB and 5GiB, the most that one PUT takes";
    let size = parse_size(text)?;
    if (ROTATE_SIZE_MIN..=ROTATE_SIZE_MAX).contains(&size) {
        Ok(size)
    } else {
        Err(BadSetting { what: "size of a segment", given: text.into(), why })
    }
}

/// Reads an octal mode.
pub fn parse_mode(text: &str) -> Result<u32, BadSetting> {
    let why = "a mode is octal, 0000 to 0777";
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| BadSetting {
        what: "mode",
        given: text.into(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_prefixes_made_whole() {
        let s3 = |bucket: &str, prefix: &str| Source::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(Source::parse("s3://b"), Ok(s3("b", "")));
        assert_eq!(Source::parse("s3://b/"), Ok(s3("b", "")));
        assert_eq!(Source::parse("s3://b/x/y"), Ok(s3("b", "x/y/")));
        assert_eq!(Source::parse("file:///d"), Ok(Source::Embedded { dir: "/d".into() }));
        let arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/my-ap";
        let of_several = "arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap";
        for (text, bucket, prefix) in [
            (format!("s3://{arn}"), arn, ""),
            (format!("s3://{arn}/x/y"), arn, "x/y/"),
            (format!("{arn}/x"), arn, "x/"),
            (of_several.to_owned(), of_several, ""),
        ] {
            let source = Source::parse(&text).expect(&text);
            assert_eq!(source, s3(bucket, prefix));
            assert_eq!(Source::from_url(&source.url()), Ok(source));
        }
        assert_eq!((region_of(arn), region_of(of_several), region_of("b")), (Some("eu-west-1"), Some(""), None));
        assert_eq!(Source::parse("s3://b").and_then(|source| source.below("x/y/")), Ok(s3("b", "x/y/")));
        for (source, prefix) in [("s3://b/x", "y"), ("file:///d", "y"), ("s3://b", "/y"), ("s3://b", "x//y")] {
            assert!(Source::parse(source).and_then(|source| source.below(prefix)).is_err(), "{source} {prefix}");
        }
        for bad in ["arn:aws:s3:::b", "s3://arn:aws:s3:eu-west-1:1:accesspoint/", "arn:aws:sns:r:1:accesspoint/a"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "b", "s3://", "s3:///x", "s3://b/x//y", "s3://b/../x", "file://d", "https://b"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_modes_are_read_or_refused() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_mode("0640"), Ok(0o640));
        assert!(parse_size("x").is_err() && parse_rotate_size("1B").is_err());
        assert!(parse_rotate_size("6GiB").is_err());
        assert!(parse_mode("888").is_err() && parse_mode("7777").is_err());
    }
}
