//! The program: reads the command line, calls the library, turns errors into messages and exit codes.

use std::process::ExitCode;

use clap::Parser;
use logsinkfs::edges::cli::{Cli, Command, MountArgs};
use logsinkfs::edges::{daemon, launch, telemetry};

/// Wrong usage, as clap's own.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Mount(args) => mount(*args),
        Command::Upgrade(_) => todo!("the keeper"),
        #[cfg(feature = "embedded-bucket")]
        Command::Bucket(args) => logsinkfs::edges::bucket::serve(&args),
    }
}

fn mount(args: MountArgs) -> ExitCode {
    let (foreground, level) = (args.foreground, args.log_level.clone());
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("logsinkfs: error: {e}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if !foreground {
        return launch::into_background().unwrap_or_else(|e| {
            eprintln!("logsinkfs: error: the daemon could not be started: {e}");
            ExitCode::FAILURE
        });
    }
    telemetry::start(&level);
    daemon::run(settings).unwrap_or_else(|e| {
        eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
        ExitCode::FAILURE
    })
}
