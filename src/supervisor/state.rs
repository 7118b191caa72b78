//! The state of the keeper: who serves the mount and who comes next. Owns workers from start to end: takeovers,
//! restarts and the end of the mount are decided here, event by event, on one thread.
//!
//! A worker is `next` while it computes its answer to FUSE_INIT, waits until the present one is gone, and is `present`
//! from `Go` on.
//!
//! Invariants: at most one worker has been told `Go` and is not known to be gone. The keeper never touches the mount:
//! without a worker it would wait for itself.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use rustix::process::Pid;
use tracing::warn;

use super::backing::{PeerId, Registry};
use super::child::{Ended, Program, kill};
use super::device::{Device, offers_resend};
use super::error::SupervisorError;
use super::events::Event;
use super::link::Link;
use super::protocol::{Request, ToClient, ToWorker};
use super::pulse::{Pulse, silence};
use super::restarts::Restarts;
use crate::types::clock::Clock;
use crate::types::ids::SessionId;
use crate::types::processes::RunAs;
use crate::types::time::Monotonic;

/// Signals that come this soon after the first one count as one: timeout(1) signals its child and then the group that
/// it is in, a service manager every process of a service.
pub const TOGETHER: Duration = Duration::from_secs(1);
/// How long a worker may take to answer, and one that is replaced to go: each takes milliseconds.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(10);

/// How the mount ended: the keeper's exit code, or why it was given up.
pub type End = Result<u8, SupervisorError>;

/// What does not change while the mount lives.
pub struct MountContext {
    /// The mount.
    pub device: Device,
    /// The kernel's FUSE_INIT.
    pub init: Vec<u8>,
    /// The mount's name, for the workers.
    pub session: SessionId,
    /// Device and inode of the spool's directory.
    pub spool: (u64, u64),
    /// Registers backing files.
    pub registry: Arc<Registry>,
    /// Where workers come from; none when somebody else starts them.
    pub program: Option<Program>,
    /// Who the workers are.
    pub user: RunAs,
    /// How long the mount may be without a worker.
    pub patience: Duration,
    /// Called when the first worker serves.
    pub announce: Box<dyn Fn()>,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was told what there is to serve.
    Asked,
    /// Its answer is right; it waits for the present worker's end.
    Accepted,
    /// It was told to serve.
    Going,
    /// It serves.
    Serving,
    /// It was told to leave, or is being killed.
    Leaving,
}

pub(super) struct Worker {
    pub(super) id: PeerId,
    pub(super) link: Arc<Link>,
    /// The process, when it is a child of ours.
    pub(super) child: Option<Pid>,
    pub(super) stage: Stage,
    /// Since when it is at this stage; while it recovers, when it was last heard of.
    pub(super) since: Monotonic,
    /// Whether it still answers, of one that knows the question.
    pub(super) pulse: Option<Pulse>,
    /// Who asked for it and is told of the outcome.
    pub(super) client: Option<Arc<Link>>,
    /// What it said that the mount's exit code is.
    pub(super) stopped: Option<u8>,
    /// Why it said that it cannot serve.
    pub(super) unfit: Option<String>,
}

impl Worker {
    /// Whether it still answers, where that is asked: one that was told to leave has its time otherwise.
    pub(super) fn pulse(&self) -> Option<&Pulse> {
        self.pulse.as_ref().filter(|_| self.stage != Stage::Leaving)
    }

    pub(super) fn tell(&self, message: &ToWorker) {
        // One that does not read is found out by its thread.
        if self.link.send(message).is_err() {
            self.link.close();
        }
    }
}

/// The state of a mount.
pub struct Keeper<'a> {
    pub(super) context: MountContext,
    pub(super) clock: &'a dyn Clock,
    pub(super) events: SyncSender<Event>,
    /// The session's answer to FUSE_INIT, once the kernel has it.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) present: Option<Worker>,
    pub(super) next: Option<Worker>,
    pub(super) restarts: Restarts,
    /// When the next worker is started.
    pub(super) start_at: Option<Monotonic>,
    pub(super) peers: u64,
    /// How many workers were told to serve: behind the first, requests may be unanswered.
    pub(super) workers: u64,
    /// A worker has served.
    pub(super) served: bool,
    /// The mount is being stopped.
    pub(super) stopping: bool,
    /// The signal by which the mount is to be stopped once the worker that is coming serves, and when it came.
    pub(super) stop_then: Option<(i32, Monotonic)>,
}

impl<'a> Keeper<'a> {
    /// A mount without a worker. What its threads learn goes to `events`.
    pub fn new(context: MountContext, clock: &'a dyn Clock, events: SyncSender<Event>) -> Keeper<'a> {
        let restarts = Restarts::new(context.patience);
        let start_at = context.program.as_ref().map(|_| clock.monotonic());
        if !offers_resend(&context.init) {
            warn!(
                "this kernel cannot send requests again (Linux 6.9 or later can): when the worker dies, the mount ends"
            );
        }
        Keeper {
            context,
            clock,
            events,
            answer: None,
            present: None,
            next: None,
            restarts,
            start_at,
            peers: 0,
            workers: 0,
            served: false,
            stopping: false,
            stop_then: None,
        }
    }

    /// Keeps the mount until its end.
    pub fn run(mut self, events: &Receiver<Event>) -> End {
        let end = loop {
            if let Some(end) = self.look_at_the_clock() {
                break end;
            }
            let wait = self.next_time().map(|at| at.since(self.clock.monotonic()));
            let event = match wait {
                Some(wait) => events.recv_timeout(wait),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // The sender that this holds itself keeps the channel open.
            let end = event.ok().and_then(|event| self.apply(event));
            if let Some(end) = end {
                break end;
            }
        };
        for pid in [&self.present, &self.next].into_iter().flatten().filter_map(|w| w.child) {
            kill(pid);
        }
        self.context.device.detach();
        end
    }

    fn apply(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Signal(signal_hook::consts::SIGCHLD) => self.take_up_children(),
            Event::Signal(signal) => self.pass_on(signal),
            Event::Said(peer, message) => self.hear(peer, message),
            Event::Gone(peer, fault) => self.lose_link(peer, fault),
            Event::Upgrade(client) => {
                self.upgrade(client);
                None
            }
            Event::Attach(link) => {
                self.attach(link);
                None
            }
            Event::Ask(request, client) => {
                self.ask(request, &client);
                None
            }
        }
    }

    fn next_time(&self) -> Option<Monotonic> {
        let pulse = self.present.as_ref().and_then(Worker::pulse);
        let beat = pulse.map(|pulse| pulse.next);
        let times = [self.start_at, self.deadline(), self.patience_with_next(), beat];
        times.into_iter().flatten().min()
    }

    fn deadline(&self) -> Option<Monotonic> {
        let recovers = |present: &Worker| present.stage == Stage::Going && present.pulse.is_some();
        let is_on_its_way = self.present.as_ref().is_some_and(recovers);
        self.restarts.deadline().filter(|_| !self.stopping && !is_on_its_way)
    }

    /// Until when the next worker may take its time: less where somebody serves or waits in its stead.
    fn patience_with_next(&self) -> Option<Monotonic> {
        let next = self.next.as_ref()?;
        let awaited = self.present.is_some() || next.child.is_none();
        let longest = silence(self.context.patience);
        Some(next.since + if awaited { HANDOVER_PATIENCE } else { longest })
    }

    fn look_at_the_clock(&mut self) -> Option<End> {
        let now = self.clock.monotonic();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Some(Err(SupervisorError::NoWorker(self.context.patience)));
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            return self.start(None);
        }
        if self.patience_with_next().is_some_and(|end| end <= now) {
            let why = match self.next.as_ref().map(|next| next.stage) {
                Some(Stage::Accepted) => "the present worker does not leave",
                _ => "it said nothing for too long",
            };
            self.stay_with_present();
            return self.dismiss_next(why);
        }
        self.look_at_present(now)
    }

    /// The present worker was told to leave and did not: it serves on. A child was killed.
    pub(super) fn stay_with_present(&mut self) {
        let told = |worker: &&mut Worker| worker.stage == Stage::Leaving && worker.child.is_none();
        if let Some(present) = self.present.as_mut().filter(told) {
            present.stage = Stage::Serving;
            self.context.registry.entitle(Some(present.id));
        }
    }

    /// Whether the mount has served and will again, as it seems.
    fn is_worker_coming(&self) -> bool {
        let present = self.present.as_ref().map(|present| present.stage);
        self.served
            && match present {
                Some(stage) => stage == Stage::Going,
                None => self.next.is_some() || self.start_at.is_some(),
            }
    }

    pub(super) fn pass_on(&mut self, signal: i32) -> Option<End> {
        let stop = matches!(signal, signal_hook::consts::SIGTERM | signal_hook::consts::SIGINT);
        if stop && self.is_worker_coming() {
            // What the spool holds is uploaded by it; a second signal does not wait for that.
            let now = self.clock.monotonic();
            let (_, first) = *self.stop_then.get_or_insert((signal, now));
            if now < first + TOGETHER {
                self.start_at = self.start_at.map(|_| now);
                return None;
            }
        }
        if stop && let Some(end) = self.stop() {
            return Some(end);
        }
        match &self.present {
            // What it may have taken on is in the spool.
            Some(Worker { child: Some(pid), stage: Stage::Going, .. }) if stop => kill(*pid),
            Some(present) => present.tell(&ToWorker::Signal { signal }),
            None if stop => return self.lost(&Ended::Failed("there was none".to_owned())),
            None => {}
        }
        None
    }

    /// From now on neither a restart nor a replacement goes on.
    pub(super) fn stop(&mut self) -> Option<End> {
        self.stopping = true;
        self.stay_with_present();
        self.dismiss_next("the mount is being stopped")
    }

    /// Hands a question on with the client's socket, so that nothing here waits for an answer.
    fn ask(&self, request: Request, client: &Link) {
        let serving = |present: &&Worker| present.stage == Stage::Serving;
        let asked = self
            .present
            .as_ref()
            .filter(serving)
            .map(|present| present.link.send_with(&ToWorker::Asked(request), client.as_fd()));
        if !matches!(asked, Some(Ok(()))) {
            // Whoever asked may have gone.
            let _ = client.send(&ToClient::Unserved);
        }
    }

    pub(super) fn tell_present(&self, message: &ToWorker) {
        if let Some(present) = &self.present {
            present.tell(message);
        }
    }
}
