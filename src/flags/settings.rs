//! From parsed flags to settings, and the defaults that depend on the machine.

use std::path::{Path, PathBuf};

use super::reader::{CACHE_MAX, SINCE};
use super::{MountArgs, ReaderArgs};
use crate::settings::reader::ReaderSettings;
use crate::settings::writer::{
    Ownership, Routing, Segmenting, Settings, Source, SpoolLimits, SpoolSettings, WritePath,
};
use crate::sys::state_path::state_path;
use crate::types::duration::BadSetting;
use crate::types::freshness::Freshness;
use crate::types::globs::{EXCLUDE, Globs, WHOLE};
use crate::types::processes::{Keeping, Processes};
use crate::types::span::Moment;
use crate::worker::write_path::must_stop_writers;

/// A value that clap could not check alone is wrong.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A glob is wrong.
    #[error("{0}: {1}")]
    Glob(&'static str, globset::Error),
    /// There is no place for the spool.
    #[error("no --spool-dir is given, and neither XDG_STATE_HOME nor HOME says where to put one")]
    NoSpoolDir,
    /// A passthrough writer cannot be stopped.
    #[error(
        "--write-path passthrough excludes --when-full block and error: where the kernel writes into the spool itself, nothing can stop a writer"
    )]
    CannotStop,
    /// A prefix that does not fit the source.
    #[error("--prefix: {0}")]
    Prefix(#[from] BadSetting),
    /// An option of a reader mount.
    #[error("{0} means something only with --read-only")]
    OnlyReads(&'static str),
    /// Tags that no object can have.
    #[error("--tag: {0}")]
    Tags(String),
    /// An encryption context of something else than KMS.
    #[error("--sse-kms-encryption-context needs --sse aws:kms or aws:kms:dsse")]
    ContextWithoutKms,
    /// A descriptor has no path that would tell its mounts apart.
    #[error("a mount point that is a descriptor needs --spool-dir: it does not say which mount it is")]
    NamelessSpool,
}

impl MountArgs {
    /// The settings that the flags mean.
    pub fn settings(self) -> Result<Settings, UsageError> {
        if let Some(flag) = self.reader.of_readers() {
            return Err(UsageError::OnlyReads(flag));
        }
        self.storage.check()?;
        let source = self.located()?;
        let (ownership, processes) = (self.ownership(), self.processes());
        let spool_dir = match self.spool_dir {
            Some(dir) => dir,
            None if self.mountpoint.starts_with("/dev/fd") => {
                return Err(UsageError::NamelessSpool);
            }
            None => default_spool_dir(&source, &self.mountpoint)?,
        };
        if self.write_path == WritePath::Passthrough && must_stop_writers(self.when_full) {
            return Err(UsageError::CannotStop);
        }
        let keep_whole = self.whole == ["none"];
        Ok(Settings {
            spool: SpoolSettings {
                source,
                dir: spool_dir,
                writer_name: self.writer_id.unwrap_or_else(readable_name),
                segmenting: Segmenting { keep_whole, ..self.segments.settings() },
                limits: SpoolLimits {
                    max: self.spool_max,
                    whole_max: self.whole_max,
                    min_free_percent: self.spool_min_free,
                    names_max: self.names_max,
                    when_full: self.when_full,
                },
                retire_after: self.retire_after,
                freshness: Freshness {
                    listed: self.metadata_ttl,
                    absent: self.negative_metadata_ttl.unwrap_or(self.metadata_ttl),
                },
                s3: self.storage.settings(),
                ownership,
            },
            mountpoint: self.mountpoint,
            view: self.view,
            routing: Routing {
                stream_map: self.stream_map,
                labels: self.label.into_iter().collect(),
                exclude: globs("--exclude", EXCLUDE, &self.exclude)?,
                whole: globs("--whole", WHOLE, if keep_whole { &[] } else { &self.whole })?,
            },
            strict_append: self.strict_append,
            fsync: self.fsync,
            shutdown_timeout: self.shutdown_timeout,
            require_bucket: self.require_bucket,
            allow_other: self.allow_other,
            write_path: self.write_path,
            processes,
            admin: self.admin,
        })
    }

    /// The settings that the flags mean for a reader mount; `None` when a writer mount is asked for.
    pub fn reader_settings(&self) -> Result<Option<ReaderSettings>, UsageError> {
        let source = self.located()?;
        let ReaderArgs { read_only, since, strict, cache_dir, cache_max } = self.reader.clone();
        Ok(read_only.then(|| ReaderSettings {
            source,
            mountpoint: self.mountpoint.clone(),
            since: since.unwrap_or(Moment::Ago(SINCE)),
            strict,
            cache_dir: cache_dir.unwrap_or_else(std::env::temp_dir),
            cache_max: cache_max.unwrap_or(CACHE_MAX),
            freshness: Freshness {
                listed: self.metadata_ttl,
                absent: self.negative_metadata_ttl.unwrap_or(self.metadata_ttl),
            },
            s3: self.storage.s3.clone().settings(),
            ownership: self.ownership(),
            allow_other: self.allow_other,
            run_as: self.run_as,
            admin: self.admin,
        }))
    }

    /// The source, with the prefix that is given apart from it.
    fn located(&self) -> Result<Source, UsageError> {
        let source = self.source.clone();
        match &self.prefix {
            Some(prefix) => Ok(source.below(prefix)?),
            None => Ok(source),
        }
    }

    fn processes(&self) -> Processes {
        Processes {
            keeping: match (self.no_keeper, self.hold, self.attach) {
                (true, ..) => Keeping::None,
                (_, true, _) => Keeping::Hold,
                (.., true) => Keeping::Attach,
                (false, false, false) => Keeping::Both,
            },
            socket: self.keeper_socket.clone(),
            run_as: self.run_as,
            patience: self.worker_patience,
            guard: self.guard_mountpoint,
        }
    }

    /// Owner and modes of what nobody made in the mount.
    pub(super) fn ownership(&self) -> Ownership {
        Ownership {
            uid: self.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
            gid: self.gid.unwrap_or_else(|| rustix::process::getegid().as_raw()),
            file_mode: self.file_mode,
            dir_mode: self.dir_mode,
        }
    }
}

fn globs(flag: &'static str, default: &str, given: &[String]) -> Result<Globs, UsageError> {
    Globs::parse(default, given.iter().map(String::as_str)).map_err(|e| UsageError::Glob(flag, e))
}

/// One spool for each source and mount point, named so that a person finds it.
fn default_spool_dir(source: &Source, mountpoint: &Path) -> Result<PathBuf, UsageError> {
    state_path(source, mountpoint).ok_or(UsageError::NoSpoolDir)
}

/// The pod's name where Kubernetes gives one, else the host's (which is the pod's in a pod).
pub(super) fn readable_name() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
