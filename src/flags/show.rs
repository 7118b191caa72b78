//! The flags of `logsinkfs config`: those of `mount`, none of which is required; and its rows.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::reader::SINCE;
use super::{MountArgs, Origin, Origins, UsageError};

/// `logsinkfs config`.
#[derive(Clone, Debug)]
pub struct ShowArgs {
    /// Print JSON.
    pub json: bool,
    matches: ArgMatches,
}

/// One option.
#[derive(Debug)]
pub struct Shown {
    /// Its name, which is also the key of configuration files.
    pub name: String,
    /// The value; none if it is not set, and nothing stands for it.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: Origin,
}

impl Args for ShowArgs {
    fn augment_args(command: Command) -> Command {
        let command = MountArgs::augment_args(command).mut_args(|arg| arg.required(false));
        command.arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print a line of JSON for each option: name, value, source")
                .display_order(0),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        ShowArgs::augment_args(command)
    }
}

impl FromArgMatches for ShowArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ShowArgs, clap::Error> {
        Ok(ShowArgs { json: matches.get_flag("json"), matches: matches.clone() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ShowArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ShowArgs {
    /// The options, in the order of the help.
    pub fn rows(&self, origins: &Origins) -> Vec<Shown> {
        let command = MountArgs::augment_args(Command::new("mount"));
        let shown = |arg: &Arg| {
            let id = arg.get_id().as_str();
            let name = arg.get_long().or(arg.is_positional().then_some(id))?.to_owned();
            Some(Shown { name, value: self.value(arg), origin: origins.of(id) })
        };
        command.get_arguments().filter_map(shown).collect()
    }

    fn value(&self, arg: &Arg) -> Option<String> {
        let id = arg.get_id().as_str();
        if !arg.get_action().takes_values() {
            return Some(self.matches.get_flag(id).to_string());
        }
        let raw = self.matches.get_raw(id)?;
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        let value = values.join(if arg.get_value_delimiter() == Some('\n') { ", " } else { " " });
        Some(if id == "endpoint_url" { without_password(&value) } else { value })
    }

    /// Fills in the defaults that depend on the machine and on the mount, where a mount is named; and says what is
    /// wrong with the whole.
    pub fn fill(&self, rows: &mut [Shown]) -> Result<(), UsageError> {
        let Ok(args) = MountArgs::from_arg_matches(&self.matches) else { return Ok(()) };
        let mut set = |name: &str, value: String| {
            let row = rows.iter_mut().find(|row| row.name == name && row.value.is_none());
            row.into_iter().for_each(|row| row.value = Some(value.clone()));
        };
        let ownership = args.ownership();
        set("uid", ownership.uid.to_string());
        set("gid", ownership.gid.to_string());
        if let Some(settings) = args.reader_settings()? {
            set("since", format!("{}h", SINCE.as_secs() / 3600));
            set("cache-dir", settings.cache_dir.display().to_string());
            set("cache-max", bytesize::ByteSize::b(settings.cache_max).display().iec().to_string());
        } else {
            let settings = args.settings()?;
            set("spool-dir", settings.spool.dir.display().to_string());
            set("writer-id", settings.spool.writer_name);
        }
        Ok(())
    }
}

/// A URL may carry a password; it is not shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_endpoint_is_not_shown() {
        assert_eq!(without_password("http://me:secret@host:1/p@q"), "http://***@host:1/p@q");
        assert_eq!(without_password("http://host:1/p@q"), "http://host:1/p@q");
    }
}
