//! The commands that read a bucket without a mount.
//!
//! Map: `open` resolves a location, `error` has what can go wrong; `cat`, `tail` and `ls` are the commands of these
//! names.

mod cat;
mod error;
mod ls;
mod open;
mod tail;

pub use self::cat::run as cat;
pub use self::error::ReadError;
pub use self::ls::run as ls;
pub use self::open::{Location, files_folders, folders};
pub use self::tail::run as tail;

use std::future::Future;
use std::process::ExitCode;

/// Runs a command to its exit code; says what went wrong.
pub fn to_end(command: impl Future<Output = Result<ExitCode, ReadError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.map_err(ReadError::from).and_then(|runtime| runtime.block_on(command));
    match ended {
        Ok(code) => code,
        // Who reads our output has seen enough.
        Err(ReadError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
            ExitCode::from(e.exit_code())
        }
    }
}

/// A number of things.
pub fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A key or name as it may be printed: foreign ones may hold what a terminal obeys.
pub fn shown(key: &str) -> String {
    key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
