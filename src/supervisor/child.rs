//! Starts workers and reports their ends. Owns the program and what a worker inherits; others decide when.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::{fmt, io};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::link::Link;
use super::protocol::SOCKET_ENV;
use crate::sys::privileges::OOM_SCORE_ENV;
use crate::sys::relaunch;
use crate::types::processes::RunAs;

/// The program that workers are started from: this one, as it is on disk when it is started.
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    user: RunAs,
    oom_score: Option<String>,
}

impl Program {
    /// The program of this process, which is to run as `user` and with that score for the choice of what to kill when
    /// memory runs out.
    pub fn of_this_process(user: RunAs, oom_score: Option<String>) -> io::Result<Program> {
        let path = std::env::current_exe()?;
        Ok(Program { path, args: relaunch::arguments(), user, oom_score })
    }

    /// Starts a worker; gives the socket to it.
    pub fn start(&self) -> io::Result<(Link, Pid)> {
        let (link, other) = Link::pair()?;
        let mut worker = Command::new(&self.path);
        worker
            .args(&self.args)
            .env(relaunch::TOLD.0, relaunch::TOLD.1)
            .env(SOCKET_ENV, "0")
            // The flag, where it is given, says the same.
            .env("LOGSINKFS_RUN_AS", self.user.to_string())
            .envs(self.oom_score.as_ref().map(|score| (OOM_SCORE_ENV, score)))
            .stdin(other)
            // What a terminal sends to its foreground reaches the keeper alone, which passes it on.
            .process_group(0);
        // Its end is learned from `ended`, as that of every child.
        let child = worker.spawn()?;
        Ok((link, Pid::from_child(&child)))
    }
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(u8),
    /// By a signal.
    Killed(i32),
    /// Somebody else's child closed its socket.
    Closed,
    /// It could not be started, or did not do what a worker does.
    Failed(String),
    /// It said before it served that it cannot, and why.
    Unfit(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(code) => write!(f, "it ended with exit code {code}"),
            Ended::Killed(signal) => write!(f, "it was killed by signal {signal}"),
            Ended::Closed => f.write_str("it closed its socket"),
            Ended::Failed(why) | Ended::Unfit(why) => f.write_str(why),
        }
    }
}

/// Takes up a child that has ended; orphans that the first process of a container inherits as well.
pub fn ended() -> Option<(Pid, Ended)> {
    // Fails only where there is no child.
    let (pid, status) = wait(WaitOptions::NOHANG).ok().flatten()?;
    let how = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Ended::Killed(signal),
        (None, None) => return None,
    };
    Some((pid, how))
}

/// Ends a child that was not reaped yet.
pub fn kill(pid: Pid) {
    // It may have ended in this moment.
    let _ = kill_process(pid, Signal::KILL);
}
