//! `logsinkfs man` and `logsinkfs completions`: what is generated from the flags.

use std::process::ExitCode;

use super::print;
use crate::flags::{CompletionsArgs, ManArgs, write_man_pages};

/// Writes the man pages into a directory.
pub fn man(args: &ManArgs) -> ExitCode {
    match write_man_pages(&args.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("logsinkfs: error: {e}");
            eprintln!("logsinkfs: hint: name an existing directory that you may write");
            ExitCode::FAILURE
        }
    }
}

/// Prints the completions for a shell.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    print(|to| args.write(to))
}
