//! The program: reads the command line, calls the library, gives the exit code.

use std::process::ExitCode;

use clap::Parser;
#[cfg(target_os = "linux")]
use logsinkfs::edges::cli::Helper;
use logsinkfs::edges::cli::{Cli, Command};
#[cfg(target_os = "linux")]
use logsinkfs::edges::{allocator, control_client, mount, quarantine, recover, umount};
use logsinkfs::edges::{certificates, read, verify};

fn main() -> ExitCode {
    certificates::adopt_ca_bundle();
    #[cfg(target_os = "linux")]
    allocator::set_up();
    #[cfg(target_os = "linux")]
    if std::env::args_os().next().is_some_and(|program| Helper::is_meant(&program)) {
        return mount::by_helper(&Helper::parse());
    }
    let cli = Cli::parse();
    #[cfg(target_os = "linux")]
    let cli = match cli.with_options() {
        Ok(cli) => cli,
        Err(e) => return mount::refuse(&e),
    };
    match cli.command {
        #[cfg(target_os = "linux")]
        Command::Mount(args) => mount::run(*args),
        #[cfg(target_os = "linux")]
        Command::Recover(args) => recover::run(&args),
        #[cfg(target_os = "linux")]
        Command::Umount(args) => umount::run(&args),
        #[cfg(target_os = "linux")]
        Command::Status(args) => control_client::status(&args),
        #[cfg(target_os = "linux")]
        Command::Flush(args) => control_client::flush(&args),
        #[cfg(target_os = "linux")]
        Command::Upgrade(args) => control_client::upgrade(&args),
        #[cfg(target_os = "linux")]
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Verify(args) => verify::run(*args),
        Command::Cat(args) => read::cat(*args),
        Command::Tail(args) => read::tail(*args),
        Command::Ls(args) => read::ls(*args),
        #[cfg(feature = "embedded-bucket")]
        Command::Bucket(args) => logsinkfs::edges::bucket::serve(&args),
    }
}
