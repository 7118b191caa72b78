//! Where values come from: flags, then environment variables, then configuration files, then defaults. Owns the order
//! and the words of what is wrong; what a value means, the parser of its flag decides, wherever it comes from.
//!
//! What variables and files say is put in front of the user's own words, for flags that are not among them. So there
//! is one parser, and nothing changes the environment of a process that may have threads.
//!
//! - `line`: the words of a command line. `file` reads configuration files, `variables` the environment; `find` makes
//!   words of what they say; `origin` is where a value came from; `nearest` suggests names; `error` is what was wrong.

mod error;
mod file;
mod find;
mod line;
mod nearest;
mod origin;
mod variables;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

pub use self::error::ConfigError;
use self::find::{CONFIG, Findings, known_variables};
use self::line::Line;
pub use self::origin::{Origin, Origins};
use crate::flags::options;
use crate::sys::relaunch;

/// Reads a command line, with what stands behind it. `None`: it is incomplete, or asks for help.
pub(super) fn read(whole: &Command, words: Vec<OsString>) -> Result<Option<(ArgMatches, Origins)>, ConfigError> {
    let Some(mut line) = Line::of(whole, words) else { return Ok(None) };
    let bare = without_variables(whole.clone());
    let Some(mut given) = given_by(&bare, &line) else { return Ok(None) };
    let lists = several::<String>(&given, "options");
    if !lists.is_empty() {
        line.set_options(options::flags(&lists, false)?);
        let Some(again) = given_by(&bare, &line) else { return Ok(None) };
        given = again;
    }
    let is_given = |id: &str| line.is_off(id) || given.value_source(id) == Some(ValueSource::CommandLine);
    let leaf = line.leaf(whole);
    let mut found = Findings::new(leaf, line.leaf(&bare).clone());
    found.take_flags(is_given, |id| !line.is_off(id));
    let of_variables = found.of_variables()?;
    let mut of_files = Vec::new();
    if leaf.get_arguments().any(|arg| arg.get_id() == CONFIG) && !relaunch::is_told() {
        warn_of_unknown(whole);
        let values = file::load(&named_files(&given))?;
        of_files = found.of_files(whole, &values)?;
    }
    relaunch::keep(line.again(&of_files));
    let found_words = [of_files, of_variables].concat();
    match bare.try_get_matches_from(line.with(&found_words)) {
        Ok(matches) => Ok(Some((matches, found.origins))),
        Err(e) => refuse(&e, leaf, &found.origins),
    }
}

/// The commands as they are without the environment.
fn without_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    command.mut_subcommands(without_variables)
}

/// What the line itself gives, complete or not. `None` when it asks for help.
fn given_by(bare: &Command, line: &Line) -> Option<ArgMatches> {
    let mut given = bare.clone().ignore_errors(true).try_get_matches_from(line.with(&[])).ok()?;
    while let Some((_, inner)) = given.remove_subcommand() {
        given = inner;
    }
    Some(given)
}

fn several<T: Clone + Send + Sync + 'static>(given: &ArgMatches, id: &str) -> Vec<T> {
    given.try_get_many::<T>(id).ok().flatten().into_iter().flatten().cloned().collect()
}

/// The files that the line names, or else the variable.
fn named_files(given: &ArgMatches) -> Vec<PathBuf> {
    let named = several(given, CONFIG);
    if named.is_empty() {
        let variable = variables::value("LOGSINKFS_CONFIG".as_ref(), CONFIG);
        return variable.iter().flat_map(std::env::split_paths).collect();
    }
    named
}

fn warn_of_unknown(whole: &Command) {
    for (name, nearest) in variables::unknown(&known_variables(whole)) {
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        eprintln!("logsinkfs: warning: there is no variable {name}, and it has no effect{hint}");
    }
}

/// Says what clap has against a line, and where the flags come from that it names and the user did not type.
fn refuse<T>(e: &clap::Error, leaf: &Command, origins: &Origins) -> T {
    let _ = e.print();
    let said = e.render().to_string();
    // What lacks something is named only where the usage is shown, which elsewhere names every flag that is given.
    let whole = said.split("\nUsage:").next().filter(|_| e.kind() != ErrorKind::MissingRequiredArgument);
    let said = whole.unwrap_or(&said);
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    for arg in leaf.get_arguments() {
        let Some(flag) = arg.get_long().map(|long| format!("--{long}")) else { continue };
        let origin = origins.of(arg.get_id().as_str());
        let is_named = said.match_indices(&flag).any(|(at, _)| ends(&said[at + flag.len()..]));
        if is_named && matches!(origin, Origin::Variable(_) | Origin::File(_)) {
            eprintln!("logsinkfs: {flag} comes from {origin}");
        }
    }
    std::process::exit(e.exit_code())
}
