//! The program: reads the command line, calls the library, gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use logsinkfs::cli::commands::{
    config, estimate, flush, generate, mount, quarantine, read, recover, status, umount, upgrade, verify,
};
use logsinkfs::flags::{Cli, Command, Helper};
use logsinkfs::sys::{allocator, certificates};

fn main() -> ExitCode {
    certificates::adopt_ca_bundle();
    allocator::set_up();
    if std::env::args_os().next().is_some_and(|program| Helper::is_meant(&program)) {
        return mount::by_helper(&Helper::parse());
    }
    let (cli, origins) = match Cli::read() {
        Ok(read) => read,
        Err(e) => return config::refuse(&e),
    };
    match cli.command {
        Command::Mount(args) => mount::run(*args),
        Command::Config(args) => config::run(&args, &origins),
        Command::Recover(args) => recover::run(&args),
        Command::Umount(args) => umount::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Flush(args) => flush::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
        Command::Verify(args) => verify::run(*args),
        Command::Cat(args) => read::cat(*args),
        Command::Tail(args) => read::tail(*args),
        Command::Ls(args) => read::ls(*args),
        Command::Estimate(args) => estimate::run(&args),
        Command::Man(args) => generate::man(&args),
        Command::Completions(args) => generate::completions(&args),
        #[cfg(feature = "embedded-bucket")]
        Command::Bucket(args) => logsinkfs::cli::commands::bucket::serve(&args),
    }
}
