//! The supervisor, in speech the keeper: holds /dev/fuse and the mount while workers come and go. It has the rights
//! that mounting takes and lives as long as the mount, so it is small, and uses no network, no S3 and no async runtime.
//!
//! This file owns its beginning and its end: the order in which mount, spool and sockets are made and removed.
//!
//! Map: `state` is who serves and who is next, `start` and `exit` what happens when workers come and go, `restarts` the
//! back-off and the deadline, `pulse` whether a worker answers; `device` is the mount and the kernel's first request;
//! `backing` and `ioctl` register spool files that the kernel writes to itself; `child`, `events` and `control` turn
//! what workers, signals and people ask into events; `control_client` is how a command asks; `protocol` is the
//! messages, `link` the socket; `error` is why a mount was not made or held.

mod backing;
mod child;
mod control;
pub mod control_client;
mod device;
pub mod error;
mod events;
mod exit;
mod ioctl;
pub mod link;
pub mod protocol;
mod pulse;
mod restarts;
mod start;
mod state;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::fstat;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{debug, warn};

pub use self::backing::Registry;
pub use self::control::default_path;
pub use self::device::{Device, Plan};
pub use self::state::TOGETHER;

use self::child::Program;
use self::control::{Control, SocketName, make_folder};
use self::error::SupervisorError;
use self::events::{EVENTS_MAX, Event, listen_to_signals};
use self::protocol::ToClient;
use self::start::refuse;
use self::state::{Keeper, MountContext};
use crate::settings::writer::Settings;
use crate::spool::pinned;
use crate::sys::{launch, privileges, spool_owner};
use crate::types::clock::SystemClock;
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::types::ids::SessionId;
use crate::types::processes::{Keeping, RunAs};
use crate::types::random;

/// Makes the mount and keeps it until its end.
pub fn run(settings: &Settings) -> Result<ExitCode, SupervisorError> {
    if launch::is_background() {
        launch::leave_session();
    }
    let oom_score = privileges::survive_want_of_memory();
    let user = privileges::worker_user(settings)?;
    let program = match settings.processes.keeping {
        Keeping::Hold => None,
        _ => Some(Program::of_this_process(user, oom_score)?),
    };
    let (events, heard) = sync_channel(EVENTS_MAX);
    listen_to_signals(events.clone())?;
    let spool = spool_owner::prepare(settings, user)?;
    pinned::pin(&spool, &settings.spool.dir, &settings.spool.source.url())?;
    let held = match (settings.processes.keeping, &settings.processes.socket) {
        (Keeping::Hold, Some(path)) => {
            let control = hold(settings, path, user, &events)?;
            leave_terminal(&spool, user);
            if !await_worker(&events, &heard) {
                return Ok(ExitCode::from(EXIT_DATA_LEFT));
            }
            Some(control)
        }
        _ => None,
    };
    let device = Device::new(settings.into())?;
    let ready = device.first_request().and_then(|init| {
        let registry = Registry::new(device.fuse.try_clone()?, spool.try_clone()?, user.uid);
        let control = held.or_else(|| listen(settings, &device, user, &events));
        Ok((init, Arc::new(registry), control))
    });
    let (init, registry, _control) = match ready {
        Ok(ready) => ready,
        Err(e) => {
            device.detach();
            return Err(e);
        }
    };
    let point = device.point.clone();
    let dir = fstat(&spool).map_err(std::io::Error::from)?;
    let announce = Box::new(move || {
        launch::announce(&point);
        leave_terminal(&spool, user);
    });
    let context = MountContext {
        device,
        init,
        session: SessionId(random::id()),
        spool: (dir.st_dev, dir.st_ino),
        registry,
        program,
        user,
        patience: settings.processes.patience,
        announce,
    };
    let code = Keeper::new(context, &SystemClock::new(), events).run(&heard)?;
    debug!(code, "the mount has ended");
    Ok(ExitCode::from(code))
}

/// Listens for the worker that somebody else starts.
fn hold(
    settings: &Settings,
    socket: &Path,
    user: RunAs,
    events: &SyncSender<Event>,
) -> Result<Control, SupervisorError> {
    let point = Plan::from(settings).prepare()?;
    let control = Control::listen(socket, SocketName::Named, user, events.clone())
        .map_err(|e| SupervisorError::Socket(socket.to_owned(), e))?;
    if launch::is_background() {
        launch::announce_log(&settings.spool.dir.join(launch::LOG));
    }
    launch::announce_holding(&point);
    Ok(control)
}

/// Waits for the first worker that somebody else starts; `false` when the keeper is told to stop before. There is no
/// mount until then: a process that looked at one without a worker would wait, however long that is.
fn await_worker(events: &SyncSender<Event>, heard: &Receiver<Event>) -> bool {
    for event in heard {
        match event {
            // It is greeted when there is a mount. One that finds no room is gone, and comes again.
            Event::Attach(link) if events.try_send(Event::Attach(link.clone())).is_ok() => {
                return true;
            }
            Event::Signal(SIGTERM | SIGINT) => return false,
            Event::Upgrade(client) => refuse(&client, "no worker has come yet"),
            // Whoever asked may have gone.
            Event::Ask(_, client) => drop(client.send(&ToClient::Unserved)),
            Event::Signal(_) | Event::Said(..) | Event::Gone(..) | Event::Attach(_) => {}
        }
    }
    false
}

/// Opens the keeper's socket. Without one the mount serves all the same.
fn listen(settings: &Settings, device: &Device, worker: RunAs, events: &SyncSender<Event>) -> Option<Control> {
    let own = rustix::process::geteuid().as_raw();
    let asked = settings.processes.socket.clone();
    let Some(path) = asked.clone().or_else(|| device.number().map(|number| default_path(&number, own))) else {
        debug!("no control socket, so this mount cannot be upgraded: --keeper-socket says where to make one");
        return None;
    };
    let (place, folder) = match asked {
        Some(_) => (SocketName::Named, Ok(())),
        None => (SocketName::OfTheDevice, make_folder(&path)),
    };
    match folder.and_then(|()| Control::listen(&path, place, worker, events.clone())) {
        Ok(control) => Some(control),
        Err(e) => {
            warn!(path = %path.display(), "no control socket, so this mount cannot be upgraded: {e}");
            None
        }
    }
}

/// In the background what is logged goes to a file from now on.
fn leave_terminal(spool: &OwnedFd, user: RunAs) {
    if !launch::is_background() {
        return;
    }
    // The spool is the worker's: a link that lies there must not lead us where only root may write.
    let log = privileges::acting_as(user, || launch::open_log(spool)).flatten();
    if let Err(e) = log.and_then(launch::let_go) {
        warn!("the log file in the spool cannot be used: {e}");
    }
}
