//! The program: reads the command line, calls the library, gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use logsinkfs::edges::cli::{Cli, Command};
#[cfg(target_os = "linux")]
use logsinkfs::edges::{allocator, mount, recover, upgrade};
use logsinkfs::edges::{read, verify};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    allocator::set_up();
    match Cli::parse().command {
        #[cfg(target_os = "linux")]
        Command::Mount(args) => mount::run(*args),
        #[cfg(target_os = "linux")]
        Command::Recover(args) => recover::run(&args),
        #[cfg(target_os = "linux")]
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Verify(args) => verify::run(*args),
        Command::Cat(args) => read::cat(*args),
        Command::Tail(args) => read::tail(*args),
        Command::Ls(args) => read::ls(*args),
        #[cfg(feature = "embedded-bucket")]
        Command::Bucket(args) => logsinkfs::edges::bucket::serve(&args),
    }
}
