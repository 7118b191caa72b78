//! Value types of flags, and parsers for single values.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use regex::bytes::Regex;

use crate::format::naming::Form;
use crate::lines::colour::When;
use crate::settings::objects::{Checksum, LockMode};
use crate::settings::writer::{FsyncLevel, View, WhenFull, WritePath};
use crate::sys::telemetry::LogFormat;
use crate::types::processes::{Guard, RunAs};

/// The words that a flag takes for the values of a setting, with their help.
macro_rules! words {
    ($setting:ty: $($value:ident = $word:literal, $help:literal;)+) => {
        impl ValueEnum for $setting {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$value),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                // A setting may have values that no word stands for.
                #[allow(unreachable_patterns, reason = "most have none")]
                Some(match self {
                    $(Self::$value => PossibleValue::new($word).help($help),)+
                    _ => return None,
                })
            }
        }
    };
}

words!(View:
    Live = "live", "Live files only; the bucket is never listed";
    Bucket = "bucket", "Live files and what the bucket holds";
);
words!(Guard:
    Mode = "mode", "Only root may write there";
    Immutable = "immutable", "Not even root may. Deleting the directory takes chattr -i first";
);
words!(FsyncLevel:
    Spool = "spool", "The spool's disk";
    S3 = "s3", "S3's confirmation";
);
words!(WhenFull:
    DropOldest = "drop-oldest",
        "The log with the most unsent bytes (in the first-level folder with the most) drops its oldest; marked in S3";
    Block = "block", "The writer waits up to 29 s, then ENOSPC";
    Error = "error", "ENOSPC at once";
);
words!(Form:
    Gzip = "gzip", "Readable by every log tool";
    Zstd = "zstd", "Smaller and faster";
    Plain = "none", "As appended";
);
words!(LockMode:
    Governance = "governance", "Who has s3:BypassGovernanceRetention may delete them all the same";
    Compliance = "compliance", "Nobody may delete them, not even the account's root";
);
words!(Checksum:
    Crc64Nvme = "crc64nvme", "CRC-64/NVME";
    Crc32 = "crc32", "CRC-32";
    Crc32c = "crc32c", "CRC-32C";
    Sha1 = "sha1", "SHA-1";
    Sha256 = "sha256", "SHA-256";
    None = "none", "No checksum: for services that refuse its header";
);
words!(LogFormat:
    Text = "text", "For people";
    Json = "json", "A JSON object for each line";
);
words!(WritePath:
    Auto = "auto", "The kernel where possible, else the daemon";
    Passthrough = "passthrough", "The kernel, or no mount";
    Daemon = "daemon", "The daemon";
);

words!(When:
    Auto = "auto", "On a terminal, unless NO_COLOR is set";
    Always = "always", "Always";
    Never = "never", "Never";
);

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
    let known = looked_up(known).map_err(|e| format!("users cannot be looked up: {e}"))?;
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
                let known = looked_up(Group::from_name(group));
                let known = known.map_err(|e| format!("groups cannot be looked up: {e}"))?;
                known.ok_or_else(|| format!("there is no group `{group}`"))?.gid
            }
        }
        .as_raw(),
    };
    Ok(RunAs { uid, gid })
}

/// What a look-up has found. A machine without /etc/passwd or /etc/group knows nobody by name, which is no reason to
/// refuse a number.
fn looked_up<T>(found: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    if matches!(found, Err(nix::errno::Errno::ENOENT)) { Ok(None) } else { found }
}
