//! `logsinkfs mount`: decides which process this is (keeper, worker, both, or a reader mount), in the foreground or as
//! the parent of a background process; also the helper of mount(8).

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::cli::commands::config;
use crate::flags::{Helper, MountArgs, UsageError};
use crate::settings::reader::ReaderSettings;
use crate::settings::writer::Settings;
use crate::supervisor;
use crate::sys::telemetry::Logging;
use crate::sys::{launch, privileges, telemetry};
use crate::types::processes::Keeping;
use crate::worker::error::DaemonError;
use crate::worker::{daemon, holder, reader, run};

/// Wrong usage, as clap's own.
const EXIT_USAGE: u8 = 2;

/// Mounts, to the exit code.
pub fn run(args: MountArgs) -> ExitCode {
    let (foreground, log) = (args.foreground, args.log.logging());
    let settings = match args.reader_settings() {
        Ok(settings) => settings,
        Err(e) => return wrong(&e),
    };
    if let Some(settings) = settings {
        if holder::is_to_serve() {
            return end(serve_as_reader(&settings, &log));
        }
        if !foreground {
            return into_background();
        }
        telemetry::start(&log);
        return end(if rustix::process::geteuid().is_root() { holder::run(&settings) } else { reader::run(&settings) });
    }
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(e) => return wrong(&e),
    };
    if run::is_child_of_keeper() {
        return end(serve_as_worker(&settings, &log));
    }
    if !foreground {
        return into_background();
    }
    end(match settings.processes.keeping {
        Keeping::Attach => serve_as_worker(&settings, &log),
        Keeping::None => {
            telemetry::start(&log);
            daemon::run_alone(&settings)
        }
        Keeping::Both | Keeping::Hold => {
            telemetry::start(&log);
            supervisor::run(&settings).map_err(DaemonError::from)
        }
    })
}

/// Mounts as mount(8) asks its helper to: this process becomes the command that says the same, by which the daemon that
/// it leaves then starts its workers.
pub fn by_helper(helper: &Helper) -> ExitCode {
    let arguments = match helper.arguments() {
        Ok(arguments) => arguments,
        Err(e) => return config::refuse(&e.into()),
    };
    if helper.verbose {
        eprintln!("logsinkfs: starting {arguments:?}");
    }
    if helper.fake {
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe();
    // mount(8) waits until this returns, whatever the environment or a file says.
    let failed =
        program.map(|program| Command::new(program).args(arguments).env("LOGSINKFS_FOREGROUND", "false").exec());
    let failed = failed.unwrap_or_else(|e| e);
    eprintln!("logsinkfs: error: the program cannot be started: {failed}");
    ExitCode::FAILURE
}

fn wrong(e: &UsageError) -> ExitCode {
    eprintln!("logsinkfs: error: {e}");
    ExitCode::from(EXIT_USAGE)
}

fn into_background() -> ExitCode {
    launch::into_background().unwrap_or_else(|e| {
        eprintln!("logsinkfs: error: the daemon could not be started: {e}");
        ExitCode::FAILURE
    })
}

fn serve_as_worker(settings: &Settings, log: &Logging) -> Result<ExitCode, DaemonError> {
    let hidden = run::drop_privileges(privileges::worker_user(settings)?)?;
    telemetry::start(log);
    run::run(settings, &hidden)
}

fn serve_as_reader(settings: &ReaderSettings, log: &Logging) -> Result<ExitCode, DaemonError> {
    let (fuse, hidden) = holder::take_over(settings)?;
    telemetry::start(log);
    hidden.warn();
    reader::serve_held(settings, fuse)
}

fn end(ended: Result<ExitCode, DaemonError>) -> ExitCode {
    ended.unwrap_or_else(|e| {
        eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
        ExitCode::FAILURE
    })
}
