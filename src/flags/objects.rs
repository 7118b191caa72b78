//! Flags for how objects are stored, beside encryption and storage class: the same flags and environment variables for
//! every command that uploads.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::settings::UsageError;
use crate::settings::objects::{
    ACLS, Checksum, LockMode, NoOverwrite, ObjectOptions, Retention, parse_context, parse_retention,
};
use crate::settings::tags::{self, TagTemplate};

/// How objects are stored.
#[derive(Clone, Debug, Args)]
pub struct ObjectArgs {
    /// Canned ACL of new objects.
    #[arg(long, env = "LOGSINKFS_ACL", value_name = "ACL", value_parser = PossibleValuesParser::new(ACLS), help_heading = "Objects")]
    pub acl: Option<String>,
    /// Tag of new objects, such as team=web; {stream}, {writer}, {host} and {label:NAME} stand for what is known of an
    /// object. May be repeated, up to ten times (in the environment: one per line).
    #[arg(long, env = "LOGSINKFS_TAG", value_name = "KEY=VALUE", value_parser = TagTemplate::parse, value_delimiter = '\n', help_heading = "Objects")]
    pub tag: Vec<TagTemplate>,
    /// Object Lock for new objects: who may lift it.
    #[arg(
        long,
        env = "LOGSINKFS_OBJECT_LOCK_MODE",
        value_name = "MODE",
        value_enum,
        requires = "object_lock_retain",
        help_heading = "Objects"
    )]
    pub object_lock_mode: Option<LockMode>,
    /// How long new objects are locked, from their upload on: 24h, 30d, 7y.
    #[arg(
        long,
        env = "LOGSINKFS_OBJECT_LOCK_RETAIN",
        value_name = "TIME",
        value_parser = parse_retention,
        requires = "object_lock_mode",
        help_heading = "Objects"
    )]
    pub object_lock_retain: Option<Duration>,
    /// Put new objects under a legal hold.
    #[arg(long, env = "LOGSINKFS_OBJECT_LOCK_LEGAL_HOLD", help_heading = "Objects")]
    pub object_lock_legal_hold: bool,
    /// Encryption context for aws:kms. May be repeated (in the environment: one per line).
    #[arg(long, env = "LOGSINKFS_SSE_KMS_ENCRYPTION_CONTEXT", value_name = "KEY=VALUE", value_parser = parse_context, value_delimiter = '\n', requires = "sse", help_heading = "Objects")]
    pub sse_kms_encryption_context: Vec<(String, String)>,
    /// Checksum that is sent with each object and part. Default: crc32.
    #[arg(long, env = "LOGSINKFS_CHECKSUM_ALGORITHM", value_name = "ALGORITHM", value_enum, help_heading = "Objects")]
    pub checksum_algorithm: Option<Checksum>,
    /// Header that forbids overwriting, for services that spell `If-None-Match: *` otherwise. Without a value: `*`.
    #[arg(long, env = "LOGSINKFS_NO_OVERWRITE_HEADER", value_name = "NAME[=VALUE]", value_parser = NoOverwrite::parse, help_heading = "Objects")]
    pub no_overwrite_header: Option<NoOverwrite>,
}

impl ObjectArgs {
    /// Finds wrong what each flag alone does not tell.
    pub(super) fn check(&self, sse: Option<&str>) -> Result<(), UsageError> {
        tags::check(&self.tag).map_err(UsageError::Tags)?;
        let by_kms = sse.is_some_and(|sse| sse.starts_with("aws:kms"));
        if !self.sse_kms_encryption_context.is_empty() && !by_kms {
            return Err(UsageError::ContextWithoutKms);
        }
        Ok(())
    }

    /// The settings that the flags mean.
    pub(super) fn settings(self) -> ObjectOptions {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        let retention = self.object_lock_mode.zip(self.object_lock_retain);
        ObjectOptions {
            acl: self.acl,
            tags: self.tag.into_iter().map(|tag| tag.on_host(&host)).collect(),
            retention: retention.map(|(mode, time)| Retention { mode, time }),
            legal_hold: self.object_lock_legal_hold,
            kms_context: self.sse_kms_encryption_context.into_iter().collect(),
            checksum: self.checksum_algorithm.unwrap_or_default(),
            no_overwrite: self.no_overwrite_header,
        }
    }
}
