//! The start of a worker: spawned or attached, greeted, its answer checked, told to serve. One half of the methods of
//! [`Keeper`]; the other is `exit.rs`.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::process::Pid;
use tracing::info;

use super::backing::PeerId;
use super::child::{Ended, kill};
use super::device::{is_answer, offers_resend};
use super::error::SupervisorError;
use super::events::listen_to_worker;
use super::link::Link;
use super::protocol::{Hello, ToClient, ToKeeper, ToWorker};
use super::pulse::{Pulse, silence};
use super::state::{End, Keeper, Stage, Worker};

impl Keeper<'_> {
    pub(super) fn start(&mut self, client: Option<Arc<Link>>) -> Option<End> {
        let started = match &self.context.program {
            Some(program) => program.start(),
            None => return None,
        };
        match started {
            Ok((link, pid)) => self.greet(Arc::new(link), Some(pid), client),
            Err(e) => {
                let why = Ended::Failed(format!("it could not be started: {e}"));
                self.next_failed(client, &why)
            }
        }
    }

    pub(super) fn upgrade(&mut self, client: Arc<Link>) {
        let refusal = match (&self.context.program, &self.present) {
            _ if self.stopping => Some("the mount is being stopped"),
            (None, _) => Some("its keeper starts no worker: start one with --attach"),
            _ if !offers_resend(&self.context.init) => {
                Some("this kernel cannot send requests again that the old worker leaves")
            }
            (Some(_), Some(present)) if present.stage == Stage::Serving && self.next.is_none() => None,
            _ => Some("another worker is about to serve"),
        };
        match refusal {
            Some(why) => refuse(&client, why),
            // It does not end the mount while the present worker serves.
            None => drop(self.start(Some(client))),
        }
    }

    pub(super) fn attach(&mut self, link: Arc<Link>) {
        let why = match &self.present {
            _ if self.stopping => "the mount is being stopped",
            // Whoever attaches is given /dev/fuse, and with it all that programs write.
            _ if self.context.program.is_some() => "its keeper starts its workers itself: it was not made with --hold",
            Some(_) if !offers_resend(&self.context.init) => {
                "this kernel cannot send requests again that the present worker leaves"
            }
            Some(present) if present.stage != Stage::Serving => "another worker is about to serve",
            _ if self.next.is_some() => "another worker is about to serve",
            _ => {
                self.start_at = None;
                drop(self.greet(link, None, None));
                return;
            }
        };
        refuse(&link, why);
    }

    fn greet(&mut self, link: Arc<Link>, child: Option<Pid>, client: Option<Arc<Link>>) -> Option<End> {
        self.peers += 1;
        let id = PeerId(self.peers);
        let hello = ToWorker::Hello(Hello {
            session: self.context.session.clone(),
            init: self.context.init.clone(),
            spool: Some(self.context.spool),
            replaces: self.present.is_some(),
        });
        let listening = link.send_with(&hello, self.context.device.fuse.as_fd()).and_then(|()| {
            let (registry, user) = (self.context.registry.clone(), self.context.user);
            listen_to_worker(id, link.clone(), registry, user, self.events.clone())
        });
        let since = self.clock.monotonic();
        let stage = Stage::Asked;
        let (stopped, unfit) = (None, None);
        self.next = Some(Worker { id, link, child, stage, since, pulse: None, client, stopped, unfit });
        match listening {
            Ok(()) => None,
            // It ended before it was spoken to: how it ended says more, and is told in a moment.
            Err(e) if child.is_some() && e.kind() == ErrorKind::BrokenPipe => None,
            Err(e) => self.dismiss_next(&format!("it could not be spoken to: {e}")),
        }
    }

    pub(super) fn hear(&mut self, peer: PeerId, message: ToKeeper) -> Option<End> {
        let is = |worker: &Option<Worker>, stage| worker.as_ref().is_some_and(|w| w.id == peer && w.stage == stage);
        match message {
            ToKeeper::Answer { answer, pings } if is(&self.next, Stage::Asked) => self.weigh(answer, pings),
            ToKeeper::Pong if self.present.as_ref().is_some_and(|w| w.id == peer) => {
                self.is_there();
                None
            }
            ToKeeper::Unfit { why } if is(&self.next, Stage::Asked) => {
                if let Some(next) = &mut self.next {
                    // It ends by itself then, and its own words come first.
                    next.tell(&ToWorker::Refused { why: why.clone() });
                    next.unfit = Some(why);
                }
                None
            }
            ToKeeper::Serving if is(&self.present, Stage::Going) => {
                self.serves();
                let stop = self.stop_then;
                stop.and_then(|(signal, _)| self.pass_on(signal))
            }
            ToKeeper::Detach if is(&self.present, Stage::Serving) => {
                let end = self.stop();
                self.context.device.detach();
                self.tell_present(&ToWorker::Detached);
                end
            }
            ToKeeper::Stopped { code } if is(&self.present, Stage::Serving) => {
                if let Some(present) = &mut self.present {
                    present.stopped = Some(code);
                }
                None
            }
            // What crossed with its dismissal.
            _ if is(&self.present, Stage::Leaving) => None,
            message => self.lose_link(peer, Some(format!("it says {message:?} out of turn"))),
        }
    }

    /// The first answer is the session's; every later worker has to give the same, since the kernel negotiates once.
    fn weigh(&mut self, answer: Vec<u8>, pings: bool) -> Option<End> {
        match &self.answer {
            Some(agreed) if *agreed == answer => {}
            Some(_) => return self.dismiss_next("it would negotiate another session"),
            None if !is_answer(&self.context.init, &answer) => {
                return self.dismiss_next("it does not answer FUSE_INIT");
            }
            None => {
                if let Err(e) = rustix::io::write(&self.context.device.fuse, &answer) {
                    let point = self.context.device.point.clone();
                    return Some(Err(SupervisorError::Mount(point, e.into())));
                }
                self.answer = Some(answer);
            }
        }
        let now = self.clock.monotonic();
        if let Some(next) = &mut self.next {
            (next.stage, next.since) = (Stage::Accepted, now);
            next.pulse = pings.then(|| Pulse::new(silence(self.context.patience), now));
        }
        match &mut self.present {
            None => self.promote(),
            Some(present) => {
                info!("handing over to another worker");
                present.stage = Stage::Leaving;
                self.context.registry.entitle(None);
                present.tell(&ToWorker::Leave);
                if let Some(pid) = present.child {
                    kill(pid);
                }
            }
        }
        None
    }

    /// The next worker becomes the present one; there is none.
    pub(super) fn promote(&mut self) {
        let Some(mut next) = self.next.take() else { return };
        (next.stage, next.since) = (Stage::Going, self.clock.monotonic());
        self.context.registry.entitle(Some(next.id));
        next.tell(&ToWorker::Go { resumed: self.workers > 0, restarts: self.workers });
        self.workers += 1;
        self.present = Some(next);
    }

    fn serves(&mut self) {
        let now = self.clock.monotonic();
        let Some(present) = &mut self.present else { return };
        (present.stage, present.since) = (Stage::Serving, now);
        self.restarts.served(now);
        if let Some(client) = present.client.take() {
            // Who asked may have gone; the upgrade is done all the same.
            let _ = client.send(&ToClient::Upgraded);
        }
        if self.served {
            info!("the new worker serves")
        } else {
            self.served = true;
            (self.context.announce)();
        }
    }
}

/// Tells who asked for a worker that there will be none.
pub(super) fn refuse(client: &Link, why: &str) {
    // Who asked may have gone.
    let _ = client.send(&ToClient::Refused { why: why.to_owned() });
}
