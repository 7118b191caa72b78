//! Daemonizing: the program starts itself again in a session of its own, relays its output until the mount serves, and
//! exits. Also reports progress to the parent and to the service manager (sd_notify).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{Mode, OFlags, openat};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use sd_notify::NotifyState;

use super::relaunch;

/// Tells the child that it is one.
pub(crate) const BACKGROUND: &str = "LOGSINKFS_IN_BACKGROUND";
/// Where the service manager listens (sd_notify(3)).
pub(crate) const NOTIFY: &str = "NOTIFY_SOCKET";
/// What the line begins with that says that the mount serves.
const SERVING: &str = "logsinkfs: serving ";
/// What the line begins with that says that the mount waits for somebody else's worker.
const HOLDING: &str = "logsinkfs: holding ";
/// The file in the spool that a daemon in the background logs to.
pub const LOG: &str = "logsinkfs.log";

/// Whether this process is the one that stays in the background.
pub fn is_background() -> bool {
    std::env::var_os(BACKGROUND).is_some()
}

/// Starts this program again, in the background, with the same arguments. Returns when that serves (0) or has ended
/// (its exit code).
pub fn into_background() -> std::io::Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(relaunch::arguments())
        .env(relaunch::TOLD.0, relaunch::TOLD.1)
        .env(BACKGROUND, "1")
        .env("LOGSINKFS_FOREGROUND", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if is_serving(&line) || line.starts_with(HOLDING) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Leaves the terminal's session, so that closing it does not end the daemon.
pub fn leave_session() {
    // Fails only for a process that leads its group already, which is as good.
    let _ = rustix::process::setsid();
}

/// Whether a line says that a mount serves.
pub fn is_serving(line: &str) -> bool {
    line.starts_with(SERVING)
}

/// Says that the mount serves, to the process that started the program.
pub fn announce(mountpoint: &Path) {
    say(SERVING, mountpoint);
}

/// Says that the mount waits for a worker, to the process that started the program.
pub fn announce_holding(mountpoint: &Path) {
    say(HOLDING, mountpoint);
}

fn say(what: &str, mountpoint: &Path) {
    let line = format!("{what}{}", mountpoint.display());
    let mut out = std::io::stdout();
    // Nobody may be listening any more.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
    tell_manager(NotifyState::Ready, line.trim_start_matches("logsinkfs: "));
}

/// Says that the mount ends, to the service manager: it may be somebody else who unmounts.
pub fn announce_end() {
    tell_manager(NotifyState::Stopping, "ending the mount");
}

/// Tells the service manager that started this process, where one did and listens (sd_notify(3)).
fn tell_manager(state: NotifyState<'_>, status: &str) {
    let _ = sd_notify::notify(&[state, NotifyState::Status(status)]);
}

/// Says where the log goes on when the terminal is left, to the process that started the program.
pub fn announce_log(log: &Path) {
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "logsinkfs: the log goes on in {}", log.display());
}

/// Opens the log file in a spool's directory, which may be another user's: no link is followed, and nothing is waited
/// for.
pub fn open_log(spool: impl AsFd) -> std::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(openat(spool, LOG, flags | careful, Mode::from_raw_mode(0o644))?.into())
}

/// Lets go of the terminal; what is logged from here on goes to a file.
pub fn let_go(log: File) -> std::io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&log)?;
    Ok(())
}
