//! The end of a worker, and what follows for the mount. One half of the methods of [`Keeper`]; the other is `start.rs`.

use std::sync::Arc;

use tracing::{error, warn};

use super::backing::PeerId;
use super::child::{Ended, ended, kill};
use super::device::offers_resend;
use super::error::SupervisorError;
use super::link::Link;
use super::protocol::ToWorker;
use super::pulse::{Beat, silence};
use super::start::refuse;
use super::state::{End, Keeper, Stage, Worker};
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::types::time::Monotonic;

impl Keeper<'_> {
    pub(super) fn take_up_children(&mut self) -> Option<End> {
        while let Some((pid, how)) = ended() {
            let is = |worker: &Option<Worker>| worker.as_ref().is_some_and(|w| w.child == Some(pid));
            let end = match (is(&self.present), is(&self.next)) {
                (true, _) => self.present_ended(how),
                (_, true) => self.next_ended(how),
                // An orphan that the first process of a container has to take up.
                (false, false) => None,
            };
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// A worker's socket is at its end. A child is killed and reaped; of another process nothing more is heard.
    pub(super) fn lose_link(&mut self, peer: PeerId, fault: Option<String>) -> Option<End> {
        let is = |worker: &&mut Worker| worker.id == peer;
        let (is_present, worker) = match self.present.as_mut().filter(is) {
            Some(present) => (true, present),
            None => (false, self.next.as_mut().filter(is)?),
        };
        worker.link.close();
        if let Some(why) = &fault {
            error!(why, "the worker broke the protocol; killing it");
        }
        match worker.child {
            Some(pid) => {
                kill(pid);
                None
            }
            None if is_present => self.present_ended(Ended::Closed),
            None => self.next_ended(fault.map_or(Ended::Closed, Ended::Failed)),
        }
    }

    /// Asks the present worker whether it is there, and ends one that has not answered. Its successor is sent what it
    /// left.
    pub(super) fn look_at_present(&mut self, now: Monotonic) -> Option<End> {
        let present = self.present.as_mut().filter(|present| present.pulse().is_some())?;
        match present.pulse.as_mut()?.look(now) {
            Beat::Wait => None,
            Beat::Ask => {
                present.tell(&ToWorker::Ping);
                None
            }
            Beat::Silent => {
                let why = format!("it did not answer for {:?}", silence(self.context.patience));
                error!(why, "the worker does not respond; killing it");
                // One that is a child ends by that; if it cannot, nobody else could serve either.
                present.pulse = None;
                if let Some(pid) = present.child {
                    kill(pid);
                    return None;
                }
                present.link.close();
                self.present_ended(Ended::Failed(why))
            }
        }
    }

    /// The present worker has answered.
    pub(super) fn is_there(&mut self) {
        let now = self.clock.monotonic();
        let Some(present) = &mut self.present else { return };
        if let Some(pulse) = &mut present.pulse {
            pulse.answered();
        }
        if present.stage == Stage::Going {
            self.restarts.recovers(now.since(present.since));
            present.since = now;
        }
    }

    fn present_ended(&mut self, how: Ended) -> Option<End> {
        let present = self.present.take()?;
        self.context.registry.entitle(None);
        self.restarts.lost(self.clock.monotonic());
        if present.stage == Stage::Leaving && self.next.is_some() {
            self.promote();
            return None;
        }
        let served = present.stage == Stage::Serving;
        match (how, present.stopped) {
            (_, Some(code)) => Some(Ok(code)),
            (Ended::Exited(code @ (0 | EXIT_DATA_LEFT)), _) if served || self.stopping => Some(Ok(code)),
            (how, _) => {
                if let Some(client) = present.client {
                    refuse(&client, &format!("the new worker failed: {how}"));
                }
                self.lost(&how)
            }
        }
    }

    fn next_ended(&mut self, how: Ended) -> Option<End> {
        let next = self.next.take()?;
        self.stay_with_present();
        self.next_failed(next.client, &next.unfit.map_or(how, Ended::Unfit))
    }

    /// Tells the next worker, and who asked for it, that it is not wanted.
    pub(super) fn dismiss_next(&mut self, why: &str) -> Option<End> {
        let next = self.next.take()?;
        next.tell(&ToWorker::Refused { why: why.to_owned() });
        next.link.close();
        if let Some(pid) = next.child {
            kill(pid);
        }
        self.next_failed(next.client, &Ended::Failed(why.to_owned()))
    }

    pub(super) fn next_failed(&mut self, client: Option<Arc<Link>>, how: &Ended) -> Option<End> {
        if let Some(client) = client {
            refuse(&client, &how.to_string());
        }
        match &self.present {
            Some(_) => {
                warn!(why = %how, "a new worker could not take over; the present one goes on serving");
                None
            }
            None => self.lost(how),
        }
    }

    /// There is no worker any more.
    pub(super) fn lost(&mut self, how: &Ended) -> Option<End> {
        if self.stopping || self.stop_then.is_some() {
            error!(why = %how, "the worker did not finish its shutdown; the next mount with this spool uploads what it left");
            return Some(Ok(EXIT_DATA_LEFT));
        }
        let starts_workers = self.context.program.is_some();
        if !self.served && starts_workers {
            return Some(match how {
                Ended::Exited(code) => Ok((*code).max(1)),
                Ended::Unfit(_) => Ok(1),
                how => Err(SupervisorError::FirstWorker(how.to_string())),
            });
        }
        if self.workers > 0 && !offers_resend(&self.context.init) {
            return Some(Err(SupervisorError::NoResend(how.to_string())));
        }
        // Also where none has served yet: the mount is there, and programs wait for it.
        self.restarts.lost(self.clock.monotonic());
        if self.next.is_some() {
            // It was to take over from the one that is lost.
            warn!(why = %how, "the mount has no worker; another is attaching");
        } else if starts_workers {
            let pause = self.restarts.pause();
            warn!(why = %how, ?pause, "the mount has no worker; starting one");
            self.start_at = Some(self.clock.monotonic() + pause);
        } else {
            warn!(why = %how, "the mount has no worker; waiting for one to attach");
        }
        None
    }
}
