//! Signals of a daemon. Owns which of them count. Where there is a keeper it decides the end of the mount, and passes
//! its signals on over the socket: a service manager signals all processes of a service, and a worker that got the same
//! signal twice would take it for impatience.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tracing::debug;

use crate::supervisor::TOGETHER;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalAction {
    /// Stop the mount; the signal's name.
    Stop(&'static str),
    /// End this process; the mount goes on.
    Leave,
    /// Seal and upload everything now.
    Seal,
    /// Forget listings.
    Refresh,
}

/// What a signal to stop means that comes to this process itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// The mount is to stop: there is nobody else.
    Stops,
    /// Nothing: the keeper got it as well.
    IsLeftToTheKeeper,
    /// This worker is to end, which somebody else started.
    Leaves,
}

/// The signals that a daemon listens to.
pub struct Signals {
    term: Signal,
    int: Signal,
    seal: Signal,
    refresh: Signal,
    keeper: Option<Receiver<i32>>,
    direct: Direct,
}

impl Signals {
    /// Listens from now on; `keeper` gives the numbers of the signals that it passes on.
    pub fn new(keeper: Option<Receiver<i32>>, direct: Direct) -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            seal: signal(SignalKind::user_defined1())?,
            refresh: signal(SignalKind::hangup())?,
            keeper,
            direct,
        })
    }

    /// Waits for the next signal that asks for something.
    pub async fn next(&mut self) -> SignalAction {
        loop {
            let action = tokio::select! {
                Some(signal) = passed_on(&mut self.keeper) => named(signal),
                _ = self.term.recv() => self.asked_to_stop("SIGTERM"),
                _ = self.int.recv() => self.asked_to_stop("SIGINT"),
                _ = self.seal.recv() => Some(SignalAction::Seal),
                _ = self.refresh.recv() => Some(SignalAction::Refresh),
            };
            match action {
                Some(action) => return action,
                None => debug!("a signal is left to the keeper"),
            }
        }
    }

    /// Waits for a signal to stop, whatever else comes; gives the signal's name.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalAction::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Waits for a second signal to stop; `asked` says whether the first one was a signal, or the mount was unmounted.
    pub async fn impatience(&mut self, asked: bool) -> &'static str {
        if !asked {
            self.stop().await;
        }
        let same = async {
            loop {
                self.stop().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(TOGETHER, same).await;
        self.stop().await
    }

    fn asked_to_stop(&self, signal: &'static str) -> Option<SignalAction> {
        match self.direct {
            Direct::Stops => Some(SignalAction::Stop(signal)),
            Direct::IsLeftToTheKeeper => None,
            Direct::Leaves => Some(SignalAction::Leave),
        }
    }
}

async fn passed_on(keeper: &mut Option<Receiver<i32>>) -> Option<i32> {
    match keeper {
        Some(keeper) => keeper.recv().await,
        None => None,
    }
}

fn named(signal: i32) -> Option<SignalAction> {
    match SignalKind::from_raw(signal) {
        kind if kind == SignalKind::terminate() => Some(SignalAction::Stop("SIGTERM")),
        kind if kind == SignalKind::interrupt() => Some(SignalAction::Stop("SIGINT")),
        kind if kind == SignalKind::user_defined1() => Some(SignalAction::Seal),
        kind if kind == SignalKind::hangup() => Some(SignalAction::Refresh),
        _ => None,
    }
}
