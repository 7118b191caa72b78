//! Options as mount(8) and fstab(5) write them: `-o k=v,...` of `logsinkfs mount`, and the command line of
//! mount.logsinkfs, the name under which mount(8) starts this program. Owns their translation into flags, which is
//! pure; flags are validated afterwards as on any command line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Parser};

use super::MountArgs;

/// The name under which mount(8) starts the helper of the type `logsinkfs`.
const HELPER: &str = "mount.logsinkfs";
/// What fstab(5) and mount(8) say to each other, or what every mount of ours is anyway.
const AGREED: [&str; 22] = [
    "_netdev",
    "async",
    "auto",
    "comment",
    "default_permissions",
    "defaults",
    "group",
    "lazytime",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nolazytime",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "silent",
    "user",
    "users",
];
/// What no mount of ours is, and why.
const NEVER: [(&str, &str); 9] = [
    ("atime", "access times are not kept"),
    ("bind", "that is made by mount(8) itself: mount --bind"),
    ("dev", "every mount is nosuid,nodev,noexec"),
    ("dirsync", "names are durable with fsync(2)"),
    ("exec", "every mount is nosuid,nodev,noexec"),
    ("remount", "a mount is changed by making it anew: umount, then mount"),
    ("strictatime", "access times are not kept"),
    ("suid", "every mount is nosuid,nodev,noexec"),
    ("sync", "bytes are durable with fsync(2)"),
];

/// Options cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such flag.
    #[error("there is no option `{0}`")]
    Unknown(String),
    /// A flag that takes a value.
    #[error("the option `{0}` needs a value: {0}=...")]
    NoValue(String),
    /// A switch.
    #[error("the option `{0}` takes no value")]
    Superfluous(String),
    /// A mount is not like that.
    #[error("a mount cannot be `{0}`: {1}")]
    Never(&'static str, &'static str),
    /// A quotation mark that is not closed.
    #[error("a quotation mark in `{0}` is not closed")]
    Unclosed(String),
    /// mount(8) would wait for ever.
    #[error("`foreground` is not for mount(8), which waits until the command returns")]
    Foreground,
}

impl OptionError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            OptionError::Unclosed(_) => "write a value with commas as key=\"a,b\", or as key=a\\,b",
            OptionError::Foreground => "leave it away, or call `logsinkfs mount` yourself",
            _ => {
                "options are the flags of `logsinkfs mount --help` without their dashes, such as spool_dir=/var/spool/logs,allow_other; beside them _netdev, nofail, x-*, ro and the like are known"
            }
        }
    }
}

/// The helper of mount(8) for the type `logsinkfs`: mounts a bucket as a log directory.
#[derive(Debug, Parser)]
#[command(name = HELPER, version, max_term_width = 100)]
pub struct Helper {
    /// s3://BUCKET[/PREFIX], or file:///DIR.
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// Directory to mount on.
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: OsString,
    /// Flags of `logsinkfs mount`, without their dashes.
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Ignore unknown options.
    #[arg(short)]
    sloppy: bool,
    /// Mount nothing; only check the options.
    #[arg(short)]
    pub fake: bool,
    /// No effect: the kernel maintains /etc/mtab.
    #[arg(short)]
    no_mtab: bool,
    /// Print the command that is started.
    #[arg(short)]
    pub verbose: bool,
    /// File system type given to mount(8).
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

impl Helper {
    /// Whether a program of this name is meant to be the helper.
    pub fn is_meant(program: &OsStr) -> bool {
        Path::new(program).file_name() == Some(HELPER.as_ref())
    }

    /// The arguments of `logsinkfs` that say the same.
    pub fn arguments(&self) -> Result<Vec<OsString>, OptionError> {
        let flags = flags(&self.options, self.sloppy)?;
        if flags.iter().any(|flag| flag == "--foreground") {
            return Err(OptionError::Foreground);
        }
        let points = [self.source.clone(), self.mountpoint.clone()];
        Ok([OsString::from("mount")].into_iter().chain(flags).chain(points).collect())
    }
}

/// The flags that lists of options stand for.
pub(super) fn flags(lists: &[String], sloppy: bool) -> Result<Vec<OsString>, OptionError> {
    let known = known();
    let mut flags = Vec::new();
    let mut read_only = false;
    for list in lists {
        for item in split(list)? {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(unquoted(value))),
                None => (item, None),
            };
            if name.is_empty() || name.starts_with("x-") || name.starts_with("X-") || AGREED.contains(&name) {
                continue;
            }
            if let Some((never, why)) = NEVER.iter().find(|(never, _)| *never == name) {
                return Err(OptionError::Never(never, why));
            }
            let flag = name.replace('_', "-");
            match (known.get(&flag), value) {
                _ if matches!(name, "ro" | "rw") || flag == "read-only" => read_only = name != "rw",
                (Some(true), Some(value)) => flags.push(format!("--{flag}={value}").into()),
                (Some(false), None) => flags.push(format!("--{flag}").into()),
                (Some(true), None) => return Err(OptionError::NoValue(name.to_owned())),
                (Some(false), Some(_)) => return Err(OptionError::Superfluous(name.to_owned())),
                (None, _) if sloppy => {}
                (None, _) => return Err(OptionError::Unknown(name.to_owned())),
            }
        }
    }
    flags.extend(read_only.then(|| "--read-only".into()));
    Ok(flags)
}

/// The flags of `mount`, and whether each takes a value.
fn known() -> BTreeMap<String, bool> {
    let command = MountArgs::augment_args(clap::Command::new("mount"));
    let flags = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    flags.map(|(long, arg)| (long.to_owned(), arg.get_action().takes_values())).collect()
}

/// The options of a list. A comma separates two where it is neither quoted nor behind a backslash, as in mount(8).
fn split(list: &str) -> Result<Vec<&str>, OptionError> {
    let (mut items, mut start, mut quoted, mut before) = (Vec::new(), 0, false, ' ');
    for (at, c) in list.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted && before != '\\' => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    items.push(&list[start..]);
    if quoted { Err(OptionError::Unclosed(list[start..].to_owned())) } else { Ok(items) }
}

/// A value as it is meant: what is quoted stands for itself.
fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => value.replace("\\,", ","),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags_of(list: &str) -> Result<Vec<String>, OptionError> {
        let flags = flags(&[list.to_owned()], false)?;
        Ok(flags.into_iter().map(|flag| flag.into_string().expect("text")).collect())
    }

    fn helper(line: &str) -> Helper {
        Helper::try_parse_from(line.split(' ')).expect("a command line of mount(8)")
    }

    #[test]
    fn a_line_of_fstab_is_a_mount_with_flags() {
        let line = "mount.logsinkfs s3://my-bucket/logs /mnt/logs -nv -o rw,_netdev,nofail,x-systemd.automount,allow_other,region=eu-central-1";
        let arguments = helper(line).arguments();
        let same = "mount --allow-other --region=eu-central-1 s3://my-bucket/logs /mnt/logs";
        assert_eq!(arguments, Ok(same.split(' ').map(OsString::from).collect()));
    }

    #[test]
    fn every_flag_that_takes_a_value_is_an_option_with_dashes_or_underscores() {
        for (flag, takes_value) in known() {
            let value = if takes_value { "=1" } else { "" };
            for name in [flag.clone(), flag.replace('-', "_")] {
                assert_eq!(flags_of(&format!("{name}{value}")), Ok(vec![format!("--{flag}{value}")]));
            }
        }
    }

    #[test]
    fn the_last_of_ro_and_rw_counts() {
        for (list, expected) in [("ro", 1), ("ro,rw", 0), ("rw,ro", 1), ("rw,read_only,ro", 1), ("rw", 0)] {
            assert_eq!(flags_of(list).map(|flags| flags.len()), Ok(expected), "{list}");
        }
        assert_eq!(flags_of("ro"), Ok(vec!["--read-only".to_owned()]));
    }

    #[test]
    fn what_agrees_with_every_mount_is_accepted_and_what_does_not_is_refused() {
        assert_eq!(flags_of(&format!("{},user=me,x-gvfs-hide,X-a=b,,", AGREED.join(","))), Ok(vec![]));
        for (name, why) in NEVER {
            assert_eq!(flags_of(name), Err(OptionError::Never(name, why)));
        }
    }

    #[test]
    fn an_option_that_cannot_be_meant_is_refused_by_its_name() {
        let refused = |list: &str| flags_of(list).expect_err(list);
        assert_eq!(refused("ro,regoin=x"), OptionError::Unknown("regoin".to_owned()));
        assert_eq!(refused("region"), OptionError::NoValue("region".to_owned()));
        assert_eq!(refused("allow_other=1"), OptionError::Superfluous("allow_other".to_owned()));
        assert_eq!(refused("ro,exclude=\"a"), OptionError::Unclosed("exclude=\"a".to_owned()));
        assert_eq!(refused("help"), OptionError::Unknown("help".to_owned()));
    }

    #[test]
    fn a_sloppy_mount_ignores_what_is_unknown_and_nothing_else() {
        let line = |options| helper(&format!("mount.logsinkfs s3://b /mnt -s -o {options}")).arguments();
        assert_eq!(line("no_such=1,no_such").map(|arguments| arguments.len()), Ok(3));
        assert!(line("region").is_err());
    }

    #[test]
    fn mount_8_is_not_made_to_wait_for_ever() {
        let helper = helper("mount.logsinkfs s3://b /mnt -o foreground");
        assert_eq!(helper.arguments(), Err(OptionError::Foreground));
    }

    #[test]
    fn the_helper_is_known_by_its_name_in_any_folder() {
        assert!(Helper::is_meant("/sbin/mount.logsinkfs".as_ref()));
        assert!(!Helper::is_meant("/usr/bin/logsinkfs".as_ref()));
        assert!(!Helper::is_meant("/mount.logsinkfs/logsinkfs".as_ref()));
    }

    proptest! {
        /// Whatever a value is, there is a way to write it: quoted, or with its commas behind backslashes.
        #[test]
        fn a_value_comes_through_as_it_was_meant(values in prop::collection::vec("[^\"]{0,12}", 1..5)) {
            let option = |value: &String| {
                if value.contains('\\') || value.len().is_multiple_of(2) {
                    format!("stream-map=\"{value}\"")
                } else {
                    format!("stream_map={}", value.replace(',', "\\,"))
                }
            };
            let written = values.iter().map(option);
            let list = written.collect::<Vec<_>>().join(",");
            let expected = values.iter().map(|value| format!("--stream-map={value}")).collect();
            prop_assert_eq!(flags_of(&list), Ok::<Vec<_>, _>(expected));
        }
    }
}
