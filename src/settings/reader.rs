//! Settings of a reader mount, validated. It has no spool, so settings of a writer mount do not apply.

use core::net::SocketAddr;
use std::path::PathBuf;

use super::writer::{Ownership, S3Settings, Source};
use crate::types::freshness::Freshness;
use crate::types::processes::RunAs;
use crate::types::span::Moment;

/// Everything that a reader mount is told.
#[derive(Clone, Debug)]
pub struct ReaderSettings {
    /// Where the objects are.
    pub source: Source,
    /// Where the mount appears.
    pub mountpoint: PathBuf,
    /// From when on a stream is shown, unless a slice is asked for.
    pub since: Moment,
    /// A gap is an error where it is read, not a line that says so.
    pub strict: bool,
    /// Where segments are unpacked.
    pub cache_dir: PathBuf,
    /// Most bytes of unpacked segments, beside those that are being read.
    pub cache_max: u64,
    /// How long what was found in the bucket is cached.
    pub freshness: Freshness,
    /// How to reach the S3 service.
    pub s3: S3Settings,
    /// Owner and modes.
    pub ownership: Ownership,
    /// Let other users in.
    pub allow_other: bool,
    /// Who serves it, where root mounts; `None` takes the default.
    pub run_as: Option<RunAs>,
    /// Where it tells how it is over HTTP.
    pub admin: Option<SocketAddr>,
}
