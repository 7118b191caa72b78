//! A reader mount made by root: this process holds the mount with root's rights and without S3, and a child without
//! rights serves it. Owns what the child inherits, which signals it gets, and its output. It is not replaced when it
//! ends, since nothing is lost with it.
//!
//! Invariant: nothing read from a bucket is parsed here.

use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing::{error, warn};

use super::error::DaemonError;
use super::reader;
use super::run::{Hidden, drop_privileges};
use crate::settings::reader::ReaderSettings;
use crate::supervisor::Device;
use crate::sys::{launch, privileges, relaunch};
use crate::types::processes::RunAs;

/// Tells the process that serves that it is one.
const SERVES: &str = "LOGSINKFS_SERVES_HELD";

/// Whether this process was started to serve.
pub fn is_to_serve() -> bool {
    std::env::var_os(SERVES).is_some()
}

/// Drops all privileges, and takes the mount over that is standard input. To be called first, while there is one
/// thread.
pub fn take_over(settings: &ReaderSettings) -> Result<(OwnedFd, Hidden), DaemonError> {
    let hidden = drop_privileges(privileges::reader_user(settings)?)?;
    // Becoming another user takes it back.
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(io::Error::from)?;
    let fuse = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;
    Ok((fuse, hidden))
}

/// Makes the mount and holds it until its end.
pub fn run(settings: &ReaderSettings) -> Result<ExitCode, DaemonError> {
    if launch::is_background() {
        launch::leave_session();
    }
    let user = privileges::reader_user(settings)?;
    privileges::acting_as(user, || reader::try_cache(settings))??;
    let device = Device::new(reader::plan(settings))?;
    let ended = hold(settings, &device, user);
    device.detach();
    ended
}

fn hold(settings: &ReaderSettings, device: &Device, user: RunAs) -> Result<ExitCode, DaemonError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD])?;
    let mut serving = start(device, user)?;
    let pid = Pid::from_child(&serving);
    let (output, words) = (serving.stdout.take(), serving.stderr.take());
    thread::scope(|scope| {
        // Through here, so that it follows when this process leaves its terminal for a log.
        scope.spawn(|| words.map(|mut words| io::copy(&mut words, &mut io::stderr())));
        scope.spawn(|| {
            let lines = output.map(|output| BufReader::new(output).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                if launch::is_serving(&line) {
                    announce(settings, device);
                }
            }
        });
        for signal in signals.forever() {
            match (Signal::from_named_raw(signal), serving.try_wait()?) {
                (_, Some(ended)) => {
                    let code = ended.code().and_then(|code| u8::try_from(code).ok());
                    if code.is_none() {
                        error!("the process that serves the mount was ended: {ended}");
                    }
                    return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
                }
                // It may end in this moment.
                (Some(passed), None) if signal != SIGCHLD => drop(kill_process(pid, passed)),
                _ => {}
            }
        }
        Ok(ExitCode::FAILURE)
    })
}

/// Starts this program again, to serve.
fn start(device: &Device, user: RunAs) -> io::Result<Child> {
    let mut serving = Command::new(std::env::current_exe()?);
    serving
        .args(relaunch::arguments())
        .env(relaunch::TOLD.0, relaunch::TOLD.1)
        .env(SERVES, "1")
        // The flag, where it is given, says the same.
        .env("LOGSINKFS_RUN_AS", format!("{}:{}", user.uid, user.gid))
        .stdin(device.fuse.try_clone()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What a terminal sends to its foreground reaches this process alone, which passes it on.
        .process_group(0);
    for ours in [launch::BACKGROUND, launch::NOTIFY] {
        serving.env_remove(ours);
    }
    serving.spawn()
}

fn announce(settings: &ReaderSettings, device: &Device) {
    launch::announce(&device.point);
    if launch::is_background()
        && let Err(e) = reader::open_log(settings, &device.point).and_then(launch::let_go)
    {
        warn!("could not detach from the terminal: {e}");
    }
}
