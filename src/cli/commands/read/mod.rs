//! The commands that read a bucket without a mount.
//!
//! Map: `open` resolves a location, `directory` what is below one, `sources` the streams that a command line names;
//! `error` has what can go wrong, and `explain` what was meant. `out` is the output and `merge` several streams in one;
//! `waiting` shows what is waited for. `cat`, `tail` and `ls` are the commands of these names.

mod cat;
mod directory;
mod error;
mod explain;
mod ls;
mod merge;
mod open;
mod out;
mod sources;
mod tail;
mod waiting;

pub use self::cat::run as cat;
pub use self::error::ReadError;
pub use self::ls::run as ls;
pub use self::open::{Location, files_folders, folders};
pub use self::tail::run as tail;

use std::future::Future;
use std::process::ExitCode;

use crate::flags::{LineArgs, SpanArgs};
use crate::lines::pipeline::LineOptions;
use crate::lines::print::PrintStyle;
use crate::lines::stamp::Stamps;

/// Runs a command to its exit code; says what went wrong.
pub fn to_end(command: impl Future<Output = Result<ExitCode, ReadError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.map_err(ReadError::from).and_then(|runtime| runtime.block_on(command));
    match ended {
        Ok(code) => code,
        // Who reads our output has seen enough.
        Err(ReadError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            tell(&e);
            ExitCode::from(e.exit_code())
        }
    }
}

/// Says what went wrong.
fn tell(e: &ReadError) {
    eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
}

/// What the flags ask of lines. Their times are looked at only where something depends on them.
fn line_options(
    location: &Location,
    span: &SpanArgs,
    args: &LineArgs,
    several: bool,
    merged: bool,
) -> Result<LineOptions, ReadError> {
    let cut = location.cut(span);
    let timed = cut.is_some() || args.json || merged;
    let stamps = timed.then(|| Stamps::new(args.time_format.clone(), args.line_zone.clone()));
    let name = args.with_filename || (several && !args.no_filename);
    Ok(LineOptions {
        stamps,
        span: cut,
        grep: args.grep().map_err(ReadError::Pattern)?,
        style: PrintStyle { name, writer: args.writers, json: args.json },
    })
}

/// A number of things.
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A key or name as it may be printed: foreign ones may hold what a terminal obeys.
pub fn shown(key: &str) -> String {
    key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
