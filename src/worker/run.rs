//! The start of a worker, the process that serves a mount held by a keeper: drops the rights that it was started with
//! and agrees with the keeper on the session. `worker::daemon` does the rest.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::error::DaemonError;
use super::served_mount::{Holder, ServedMount};
use super::supervisor_client::SupervisorClient;
use super::{daemon, fit};
use crate::fuse;
use crate::s3::sdk::credentials::{is_hidden, protection};
use crate::settings::writer::Settings;
use crate::supervisor::error::SupervisorError;
use crate::supervisor::link::{Link, LinkError};
use crate::supervisor::protocol::{Hello, SOCKET_ENV, ToKeeper, ToWorker};
use crate::sys::{launch, privileges};
use crate::types::clock::{Clock, SystemClock};
use crate::types::processes::{Keeping, RunAs};
use crate::types::time::Monotonic;

/// How long an attaching worker waits for the keeper's socket: both are often started together.
const SOCKET_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const SOCKET_PAUSE: Duration = Duration::from_millis(50);
/// How long the keeper may take to hear that a worker gives up.
const UNFIT_PATIENCE: Duration = Duration::from_secs(5);

/// Whether this process was started by a keeper.
pub fn is_child_of_keeper() -> bool {
    std::env::var_os(SOCKET_ENV).is_some()
}

/// Files with credentials that the worker's user may not read, though the user who started it may.
#[must_use]
pub struct Hidden(Vec<PathBuf>);

impl Hidden {
    /// Says which they are.
    pub fn warn(&self) {
        for file in &self.0 {
            let uid = rustix::process::getuid().as_raw();
            let protection = protection(file);
            warn!(file = %file.display(), protection, uid, "the worker may not read this file with credentials: let its user or group (chgrp, chmod g+r; a pod's fsGroup), or choose another user with --run-as");
        }
    }
}

/// Becomes the worker's user for good. To be called first, while there is one thread.
pub fn drop_privileges(user: RunAs) -> Result<Hidden, DaemonError> {
    let files = privileges::credential_files();
    privileges::share_want_of_memory();
    privileges::become_user(user)?;
    Ok(Hidden(files.into_iter().filter(|file| is_hidden(file)).collect()))
}

/// Serves the keeper's mount until the keeper or a signal ends that.
pub fn run(settings: &Settings, hidden: &Hidden) -> Result<ExitCode, DaemonError> {
    let attached = settings.processes.keeping == Keeping::Attach && !is_child_of_keeper();
    if attached && launch::is_background() {
        launch::leave_session();
    }
    let link = match (attached, &settings.processes.socket) {
        (true, Some(path)) => connect(path).map_err(|e| SupervisorError::Socket(path.clone(), e))?,
        _ => inherited().map_err(|e| DaemonError::Talk(e.to_string()))?,
    };
    // Open until the process ends, which is what the keeper takes its end for.
    let link: &'static Link = Box::leak(Box::new(link));
    hidden.warn();
    if attached {
        // A keeper that has no mount yet makes one when it is told Attach.
        fit::to_serve(settings).inspect_err(|e| report_failure(link, e))?;
        link.send(&ToKeeper::Attach)?;
    }
    let (fuse, hello) = greeted(link)?;
    fit::for_mount(settings, &hello).inspect_err(|e| report_failure(link, e))?;
    let Hello { session, init, .. } = hello;
    let answer = fuse::negotiate(&init)?;
    link.send(&ToKeeper::Answer { answer, pings: true })?;
    let (resumed, restarts) = match link.receive::<ToWorker>() {
        Ok(Some(ToWorker::Go { resumed, restarts })) => (resumed, restarts),
        other => return Err(unexpected(other)),
    };
    let keeper = Arc::new(SupervisorClient::new(link, attached)?);
    let point = std::path::absolute(&settings.mountpoint)?;
    let holder = Holder::Keeper(keeper);
    let session = Some((session, init));
    daemon::run(settings, &ServedMount { fuse, point, session, resumed, restarts, holder })
}

/// The socket that a keeper hands to its child as standard input.
fn inherited() -> io::Result<Link> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Link::over(socket)
}

/// Comes to a keeper that somebody else started, when it is there.
fn connect(path: &Path) -> io::Result<Link> {
    let clock = SystemClock::new();
    loop {
        match Link::connect(path) {
            Err(e) if is_early(&e) && clock.monotonic() < Monotonic::after_start(SOCKET_PATIENCE) => {
                debug!("the keeper is not there yet: {e}");
                std::thread::sleep(SOCKET_PAUSE);
            }
            connected => return connected,
        }
    }
}

fn is_early(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Says that this worker could not serve, and why; returns when the keeper has heard it, or is of a version that does
/// not know what that means.
fn report_failure(link: &Link, why: &DaemonError) {
    let told = link.be_patient(Some(UNFIT_PATIENCE));
    let told = told.and_then(|()| link.send(&ToKeeper::Unfit { why: why.to_string() }));
    // A keeper that is gone needs not be told.
    let _ = told.map(|()| link.receive::<ToWorker>());
}

/// What there is to serve.
fn greeted(link: &Link) -> Result<(OwnedFd, Hello), DaemonError> {
    match link.receive_with::<ToWorker>() {
        Ok(Some((ToWorker::Hello(hello), Some(fuse)))) => Ok((fuse, hello)),
        other => Err(unexpected(other.map(|said| said.map(|(message, _)| message)))),
    }
}

/// What it means that something else came than what this worker waited for.
fn unexpected(received: Result<Option<ToWorker>, LinkError>) -> DaemonError {
    match received {
        Ok(Some(ToWorker::Refused { why })) => DaemonError::Refused(why),
        Ok(Some(message)) => DaemonError::Talk(format!("the keeper says {message:?}")),
        Ok(None) => DaemonError::Talk("the keeper is gone".to_owned()),
        Err(e) => DaemonError::Talk(e.to_string()),
    }
}
