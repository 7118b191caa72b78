//! What the environment and configuration files say of flags that the command line does not give, as words for its
//! parser; each value is tried alone first, so that an error names where it came from.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::error::ConfigError;
use super::file::{FileValue, Given};
use super::nearest::nearest;
use super::origin::{Origin, Origins};
use super::variables;
use crate::flags::reader::{OF_READERS, OF_WRITERS};

/// The flag that names configuration files; commands without it read none.
pub(super) const CONFIG: &str = "config";
/// The switch that decides which kind of mount is made.
const READ_ONLY: &str = "read_only";

/// What was found for one command.
pub(super) struct Findings<'a> {
    leaf: &'a Command,
    /// The same, to try single values on.
    trial: Command,
    /// Where the values come from.
    pub origins: Origins,
    /// A reader mount is asked for.
    reads: bool,
}

impl<'a> Findings<'a> {
    pub(super) fn new(leaf: &'a Command, bare: Command) -> Findings<'a> {
        Findings { leaf, trial: bare.no_binary_name(true), origins: Origins::default(), reads: false }
    }

    /// Notes the flags that the line itself gives, and what it says of the kind of mount.
    pub(super) fn take_flags(&mut self, is_given: impl Fn(&str) -> bool, is_on: impl Fn(&str) -> bool) {
        let ids = self.leaf.get_arguments().map(|arg| arg.get_id().as_str());
        for id in ids.filter(|id| is_given(id)) {
            self.origins.set(id, Origin::Flag);
            self.reads |= id == READ_ONLY && is_on(id);
        }
    }

    /// The words of the environment.
    pub(super) fn of_variables(&mut self) -> Result<Vec<OsString>, ConfigError> {
        let mut words = Vec::new();
        for arg in self.leaf.get_arguments() {
            let (id, Some(variable)) = (arg.get_id().as_str(), arg.get_env()) else { continue };
            if self.origins.of(id) != Origin::Default {
                continue;
            }
            let Some(value) = variables::value(variable, id) else { continue };
            let name = variable.to_string_lossy();
            self.origins.set(id, Origin::Variable(name.clone().into_owned()));
            // Files are read before, by themselves.
            if id != CONFIG {
                let place = format!("{name}={value:?}");
                words.extend(self.words(arg, &place, Stated::Variable(&value))?);
            }
        }
        Ok(words)
    }

    /// The words of configuration files, whose keys are those of any command that reads them. What only the other kind
    /// of mount knows is left out: both may have the same files.
    pub(super) fn of_files(&mut self, whole: &Command, values: &[FileValue]) -> Result<Vec<OsString>, ConfigError> {
        let keys = known_keys(whole);
        if let Some(wrong) = values.iter().find(|value| !keys.contains(&value.key)) {
            let nearest = nearest(&wrong.key, keys.iter().map(String::as_str)).map(str::to_owned);
            return Err(ConfigError::UnknownKey { place: wrong.place.clone(), key: wrong.key.clone(), nearest });
        }
        let is_unsaid = self.origins.of(READ_ONLY) == Origin::Default;
        self.reads |=
            is_unsaid && values.iter().any(|value| value.key == "read-only" && value.given == Given::Switch(true));
        let is_mount = self.leaf.get_arguments().any(|arg| arg.get_id() == READ_ONLY);
        let of_others: &[&str] = if self.reads { &OF_WRITERS } else { &OF_READERS };
        let mut words = Vec::new();
        for value in values {
            let arg = self.leaf.get_arguments().find(|arg| is_key(arg, &value.key));
            let Some(arg) = arg else { continue };
            let id = arg.get_id().as_str();
            let found = self.words(arg, &format!("{}: {}", value.place, value.key), Stated::File(&value.given))?;
            let is_for_others = is_mount && of_others.contains(&id);
            if self.origins.of(id) == Origin::Default && !is_for_others {
                self.origins.set(id, Origin::File(value.place.clone()));
                words.extend(found);
            }
        }
        Ok(words)
    }

    /// The words that say the same as a value.
    fn words(&mut self, arg: &Arg, place: &str, stated: Stated<'_>) -> Result<Vec<OsString>, ConfigError> {
        let wrong = |reason: &str| ConfigError::Value { place: place.to_owned(), reason: reason.to_owned() };
        let long = arg.get_long().unwrap_or_default();
        if !arg.get_action().takes_values() {
            let on = match stated {
                Stated::Variable(word) => variables::switch(word).ok_or_else(|| wrong("a switch is true or false"))?,
                Stated::File(Given::Switch(on)) => *on,
                Stated::File(_) => return Err(wrong("a switch is true or false, without quotation marks")),
            };
            return Ok(if on { vec![format!("--{long}").into()] } else { Vec::new() });
        }
        let takes_several = matches!(arg.get_action(), ArgAction::Append);
        let has_default = !arg.get_default_values().is_empty();
        let values: Vec<OsString> = match stated {
            Stated::Variable(value) => vec![value.to_owned()],
            Stated::File(Given::One(value)) => vec![value.into()],
            // A list without anything is not the default.
            Stated::File(Given::Several(values)) if takes_several && values.is_empty() && has_default => {
                vec![OsString::new()]
            }
            Stated::File(Given::Several(values)) if takes_several => values.iter().map(OsString::from).collect(),
            Stated::File(Given::Pairs(pairs)) if long == "label" => pairs.iter().map(OsString::from).collect(),
            Stated::File(Given::Switch(_)) => return Err(wrong("it takes a value, not true or false")),
            Stated::File(Given::Several(_)) => return Err(wrong("it takes one value, no list")),
            Stated::File(Given::Pairs(_)) => return Err(wrong("it takes a value, no table")),
        };
        let flag = format!("--{long}=");
        let word = |value: &OsString| [OsStr::new(&flag), value].into_iter().collect();
        let words: Vec<OsString> = values.iter().map(word).collect();
        match self.trial.try_get_matches_from_mut(&words).err().and_then(|e| reason(&e)) {
            Some(reason) => Err(wrong(&reason)),
            None => Ok(words),
        }
    }
}

/// What a source states of a flag.
#[derive(Clone, Copy)]
enum Stated<'a> {
    Variable(&'a OsStr),
    File(&'a Given),
}

/// Why a value cannot be used. Other errors are of the line as a whole, which is incomplete here.
fn reason(e: &clap::Error) -> Option<String> {
    match e.kind() {
        ErrorKind::ValueValidation => e.source().map(ToString::to_string),
        ErrorKind::InvalidValue => Some(match e.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) if !valid.is_empty() => format!("it is one of {}", valid.join(", ")),
            _ => "it needs a value".to_owned(),
        }),
        ErrorKind::InvalidUtf8 => Some("it is no UTF-8".to_owned()),
        _ => None,
    }
}

/// A flag that files may give is one that variables may give, too.
fn is_key(arg: &Arg, key: &str) -> bool {
    arg.get_env().is_some() && arg.get_long() == Some(key) && key != CONFIG
}

fn known_keys(whole: &Command) -> BTreeSet<String> {
    let reads_files = |command: &&Command| command.get_arguments().any(|arg| arg.get_id() == CONFIG);
    let args = whole.get_subcommands().filter(reads_files).flat_map(Command::get_arguments);
    args.filter_map(|arg| arg.get_long().filter(|long| is_key(arg, long)).map(str::to_owned)).collect()
}

/// The variables of all commands.
pub(super) fn known_variables(whole: &Command) -> BTreeSet<String> {
    let own = whole.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    own.chain(whole.get_subcommands().flat_map(known_variables)).collect()
}
