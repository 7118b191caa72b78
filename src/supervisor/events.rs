//! Event sources of the keeper: workers, each on a thread of its own, and signals. Requests for backing files are
//! answered on the worker's thread, with the worker's file permissions; everything else becomes an [`Event`].

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::{io, thread};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::backing::{PeerId, Registry};
use super::link::Link;
use super::protocol::{Request, ToKeeper, ToWorker};
use crate::sys::privileges::act_as;
use crate::types::processes::RunAs;

/// What the keeper reacts to; times aside, there is nothing else.
#[derive(Debug)]
pub enum Event {
    /// A signal to the keeper. SIGCHLD: look which child has ended.
    Signal(i32),
    /// A worker said something that is not about backing files.
    Said(PeerId, ToKeeper),
    /// A worker's socket is at its end; why, if that was its fault.
    Gone(PeerId, Option<String>),
    /// Somebody asks for an upgrade.
    Upgrade(Arc<Link>),
    /// Somebody asks something of the worker.
    Ask(Request, Arc<Link>),
    /// Somebody else's worker wants to serve.
    Attach(Arc<Link>),
}

/// Events that may wait: a worker sends a handful, and who sends more waits.
pub const EVENTS_MAX: usize = 64;

/// Turns signals into events from now on.
pub fn listen_to_signals(events: SyncSender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Listens to a worker from now on.
pub fn listen_to_worker(
    peer: PeerId,
    link: Arc<Link>,
    registry: Arc<Registry>,
    user: RunAs,
    events: SyncSender<Event>,
) -> io::Result<()> {
    thread::Builder::new().name(format!("worker {}", peer.0)).spawn(move || {
        act_as(user);
        let fault = loop {
            let message = match link.receive() {
                Ok(Some(message)) => message,
                Ok(None) => break None,
                Err(e) => break Some(e.to_string()),
            };
            match about_backing_files(&registry, peer, message) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    if let Err(e) = link.send(&answer) {
                        break Some(format!("it does not read: {e}"));
                    }
                }
                Err(message) => {
                    if events.send(Event::Said(peer, message)).is_err() {
                        return;
                    }
                }
            }
        };
        link.close();
        // Nobody listens any more when the keeper ends.
        let _ = events.send(Event::Gone(peer, fault));
    })?;
    Ok(())
}

/// Carries out a request about backing files, and gives the answer if there is one; gives any other message back.
fn about_backing_files(registry: &Registry, peer: PeerId, message: ToKeeper) -> Result<Option<ToWorker>, ToKeeper> {
    Ok(match message {
        ToKeeper::Register { node, start } => {
            let backing = registry.register_for(peer, node, start).map(|id| id.0).map_err(|e| e.to_string());
            Some(ToWorker::Registered { node, start, backing })
        }
        ToKeeper::Unregister { node } => {
            registry.unregister_for(peer, node);
            None
        }
        ToKeeper::Probe => Some(ToWorker::Probed { able: registry.probe_for(peer).map_err(|e| e.to_string()) }),
        ToKeeper::List { after } => Some(ToWorker::Nodes { nodes: registry.list_for(peer, after) }),
        other => return Err(other),
    })
}
