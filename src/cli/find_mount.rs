//! Which mount a command is about: the one that it names, the one whose spool it names, or the only one that there is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::flags::MountedArgs;
use crate::spool::IDENTITY;
use crate::supervisor::control_client::{Failure, Keeper, mount_at, refused};
use crate::supervisor::protocol::{Request, ToClient};
use crate::sys::mountpoint;
use crate::types::escape::for_terminal;

/// How long a status may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// Tells of a failure; gives the exit code.
pub fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|Failure { what, hint, code }| {
        eprintln!("logsinkfs: error: {what}\nlogsinkfs: hint: {hint}");
        code
    })
}

/// The status of a mount, or what else the worker tells of it.
pub fn status_of(keeper: &Keeper, request: Request) -> Result<Value, Failure> {
    match keeper.ask_worker(request, Some(STATUS_PATIENCE))? {
        ToClient::Status(status) => Ok(status),
        other => Err(refused(other)),
    }
}

/// Finds the keeper of a mount, or of the only one that there is.
pub fn find(MountedArgs { mountpoint, keeper_socket }: &MountedArgs) -> Result<Keeper, Failure> {
    if let Some(socket) = keeper_socket {
        return Ok(Keeper::at(socket.clone()));
    }
    let mut found = match mountpoint {
        Some(point) => vec![mount_at(point)?],
        None => mountpoint::all().unwrap_or_default(),
    };
    match (found.pop(), found.is_empty()) {
        (Some(mount), true) => Keeper::listening(&mount),
        (Some(last), false) => {
            found.push(last);
            let points: Vec<_> = found.iter().map(|m| m.point.display().to_string()).collect();
            let what = format!("there are several mounts: {}", for_terminal(&points.join(", ")));
            Err(Failure::new(what, "name one by its directory"))
        }
        (None, _) => {
            let what = "no file system of logsinkfs is mounted here";
            Err(Failure::new(what, "name the mount's directory"))
        }
    }
}

/// The keeper of a mount, named by its directory or by its spool.
pub fn keeper_of(place: &Path, socket: Option<&Path>) -> Result<Keeper, Failure> {
    if let Some(socket) = socket {
        return Ok(Keeper::at(socket.to_owned()));
    }
    let Ok(spool) = place.join(IDENTITY).canonicalize() else {
        return mount_at(place).map(|mount| Keeper::of(&mount));
    };
    let uses = |keeper: &Keeper| {
        let status = status_of(keeper, Request::Status);
        let used = status.ok().and_then(|status| Some(PathBuf::from(status["spool"].as_str()?)));
        used.is_some_and(|used| used.join(IDENTITY).canonicalize().is_ok_and(|used| used == spool))
    };
    let mounts = mountpoint::all().unwrap_or_default();
    mounts.iter().map(Keeper::of).find(uses).ok_or_else(|| {
        let what = format!("no mount that can be asked uses the spool {}", place.display());
        Failure::new(what, "mount it, and name the mount's directory")
    })
}

/// The spool of a mount.
pub fn spool_of(mountpoint: &Path, socket: Option<&Path>) -> Result<PathBuf, Failure> {
    let mounted = MountedArgs { mountpoint: Some(mountpoint.to_owned()), keeper_socket: socket.map(Path::to_owned) };
    let status = status_of(&find(&mounted)?, Request::Status)?;
    status["spool"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("a reader mount has no spool", "name a mount that writes"))
}
