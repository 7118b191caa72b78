//! Value types of flags, and parsers for single values.

use clap::ValueEnum;
use regex::bytes::Regex;

use crate::types::processes::RunAs;

/// `--view`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ViewArg {
    /// Live files only; S3 is asked for nothing but PUTs.
    Live,
    /// Live files and what the bucket holds.
    Bucket,
}

/// `--guard-mountpoint`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GuardArg {
    /// Nobody but root may write there.
    Mode,
    /// Nobody may. Only a directory that nobody has to delete: chattr -i comes first.
    Immutable,
}

/// `--fsync`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FsyncArg {
    /// The spool's disk.
    Spool,
    /// S3's confirmation.
    S3,
}

/// `--when-full`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WhenFullArg {
    /// Of the first-level folder with most unsent bytes the stream with most gives up its oldest, marked in the bucket.
    DropOldest,
    /// The writer waits, up to 30 s.
    Block,
    /// ENOSPC at once.
    Error,
}

/// `--compression`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompressionArg {
    /// What every log tool reads.
    Gzip,
    /// Smaller and faster.
    Zstd,
    /// As appended.
    None,
}

/// `--write-path`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WritePathArg {
    /// The kernel where it can, else the daemon.
    Auto,
    /// The kernel, or no mount.
    Passthrough,
    /// The daemon.
    Daemon,
}

pub(super) fn parse_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| e.to_string())
}

/// Reads `NAME=VALUE`.
pub(super) fn parse_label(text: &str) -> Result<(String, String), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.chars().all(legal) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is NAME=VALUE; a name consists of letters, digits, `-`, `_` and `.`".into()),
    }
}

pub(super) fn parse_writer(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=39).contains(&text.len()) && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("a writer's name is 1 to 39 of a-z, 0-9 and `-`; a random suffix follows".into())
    }
}

/// Reads `USER[:GROUP]`, names or numbers. Without a group it is the user's own.
pub(super) fn parse_user(text: &str) -> Result<RunAs, String> {
    use nix::unistd::{Gid, Group, Uid, User};
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let known = match user.parse::<u32>() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let known = known.map_err(|e| format!("users cannot be looked up: {e}"))?;
    let uid = match (&known, user.parse::<u32>()) {
        (Some(user), _) => user.uid.as_raw(),
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(format!("there is no user `{user}`")),
    };
    let gid = match group {
        None => known.map_or(uid, |user| user.gid.as_raw()),
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => Gid::from_raw(gid),
            Err(_) => {
                let known = Group::from_name(group);
                let known = known.map_err(|e| format!("groups cannot be looked up: {e}"))?;
                known.ok_or_else(|| format!("there is no group `{group}`"))?.gid
            }
        }
        .as_raw(),
    };
    Ok(RunAs { uid, gid })
}
