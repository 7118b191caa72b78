//! The uploader: sends sealed segments, several at a time, until S3 has each. Single owner of the queue, the retries,
//! and the gate that closes during an outage of S3, so that an outage costs one attempt now and then, whatever the
//! backlog.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::backoff::{BACKOFF_MAX, backoff};
use super::outage;
use super::parts::{Disk, Outage, Parts, Ports};
use super::registrar::{Registrar, RegistrationError};
use super::send::{Attempt, Places, SendOutcome, form_of, is_in_parts, send};
use crate::format::naming::Form;
use crate::metrics::METRICS;
use crate::s3::bucket::Conditional;
use crate::spool::marker::Marker;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::escape::escape_path;
use crate::types::random;
use crate::types::span::in_words;
use crate::types::time::Monotonic;

/// PUTs at once in normal work: enough for a gigabit at 50 ms.
const PARALLEL: usize = 8;
/// PUTs at once while the daemon is stopping, when time is short.
const PARALLEL_STOPPING: usize = 16;
/// Segments under way for each PUT: while one is sent, one is made ready and one confirmed. Both wait for the disk, so
/// that small segments would leave the connections idle most of the time.
const STAGES: usize = 3;
/// While one stream may be what fails, every other try is something new.
const NEW_EVERY: u32 = 2;
/// While S3 as a whole fails, nothing new would fare better, and what a PUT was begun for cannot be dropped any more
/// should the spool be full.
const NEW_EVERY_OUTAGE: u32 = 16;
/// The reserve is handed out in these units.
const PERMIT_BYTES: u64 = 64 * 1024;

/// Whether S3 can be used.
struct Gate {
    closed_until: Option<Monotonic>,
    failures: u32,
    /// Of so many tries one is something new.
    new_every: u32,
    /// What was said of this outage: each kind once, since another one may need somebody else.
    said: Vec<Kind>,
}

/// How the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Serving.
    Normal,
    /// Stopping: as fast as it goes.
    Stopping,
    /// Stopped.
    Stopped,
}

/// The uploader's state.
struct Uploader {
    parts: Arc<Parts>,
    registrar: Registrar,
    reserve: Arc<Semaphore>,
    places: Arc<Places>,
    conditional: Option<Conditional>,
    gate: Gate,
    /// Tried and put back; tried again before anything new.
    retries: VecDeque<Attempt>,
    /// Failed for a reason of their own, until when.
    delayed: Vec<(Monotonic, Attempt)>,
    running: JoinSet<(Attempt, SendOutcome)>,
}

/// Runs until `pace` says stop.
pub async fn run(parts: Arc<Parts>, registrar: Registrar, mut pace: watch::Receiver<Pace>) {
    let permits = usize::try_from(parts.disk.budget.body_reserve() / PERMIT_BYTES).unwrap_or(1).max(1);
    let mut uploader = Uploader {
        registrar,
        reserve: Arc::new(Semaphore::new(permits)),
        places: Arc::new(Places::new(PARALLEL)),
        conditional: None,
        gate: Gate { closed_until: None, failures: 0, new_every: NEW_EVERY, said: Vec::new() },
        retries: VecDeque::new(),
        delayed: Vec::new(),
        running: JoinSet::new(),
        parts: parts.clone(),
    };
    loop {
        let speed = *pace.borrow();
        if speed == Pace::Stopped {
            return;
        }
        // One look at the clock for all that follows: were the gate to open between two, nobody would be woken for it.
        let now = parts.ports.clock.monotonic();
        if uploader.conditional.is_none() && uploader.is_open(now) {
            // Nothing is uploaded before the registration.
            tokio::select! {
                () = uploader.register() => continue,
                _ = pace.wait_for(|p| *p == Pace::Stopped) => return,
            }
        }
        uploader.start_what_may(speed, now);
        let wake = uploader.next_wake(now);
        tokio::select! {
            () = parts.queues.outbox.changed() => {}
            () = sleep_until(&parts.ports, wake), if wake.is_some() => {}
            _ = pace.changed() => uploader.hurry(),
            Some(done) = uploader.running.join_next(), if !uploader.running.is_empty() => match done {
                Ok((attempt, outcome)) => uploader.apply(attempt, outcome),
                // The segment is still marked as sealed; the next start finds it.
                Err(e) => error!("an upload failed: {e}"),
            },
        }
    }
}

async fn sleep_until(ports: &Ports, wake: Option<Monotonic>) {
    let wait = wake.unwrap_or_default().since(ports.clock.monotonic());
    tokio::time::sleep(wait).await;
}

impl Uploader {
    fn is_open(&self, now: Monotonic) -> bool {
        self.gate.closed_until.is_none_or(|until| now >= until)
    }

    /// How many may be under way: one while S3's return is still to be seen.
    fn limit(&self, pace: Pace, now: Monotonic) -> usize {
        match (self.is_open(now), self.conditional, self.gate.failures) {
            (false, ..) | (_, None, _) => 0,
            (true, Some(_), 1..) => 1,
            (true, Some(_), 0) if pace == Pace::Normal => STAGES * PARALLEL,
            (true, Some(_), 0) => STAGES * PARALLEL_STOPPING,
        }
    }

    /// What waits for its next try is tried at once, and more at a time.
    fn hurry(&mut self) {
        self.places.puts.add_permits(PARALLEL_STOPPING - PARALLEL);
        self.gate.closed_until = None;
        self.retries.extend(self.delayed.drain(..).map(|(_, attempt)| attempt));
    }

    fn next_wake(&self, now: Monotonic) -> Option<Monotonic> {
        let gate = self.gate.closed_until.filter(|_| !self.is_open(now));
        let delayed = self.delayed.iter().map(|(until, _)| *until).min();
        [gate, delayed].into_iter().flatten().min()
    }

    async fn register(&mut self) {
        match self.registrar.register(&self.parts).await {
            Ok(conditional) => {
                self.conditional = Some(conditional);
                // The daemon before may have left one.
                outage::end(&self.parts.disk);
                self.parts.queues.s3.send_modify(|s3| s3.conditional = Some(conditional));
                self.opened();
            }
            Err(RegistrationError::Bucket(e)) => self.close(&e),
            Err(RegistrationError::Local(e)) => {
                error!("this start could not be registered: {e}");
                self.gate.closed_until = Some(self.parts.ports.clock.monotonic() + BACKOFF_MAX);
            }
        }
    }

    fn start_what_may(&mut self, pace: Pace, now: Monotonic) {
        let (due, later) = self.delayed.drain(..).partition(|(until, _)| *until <= now);
        self.delayed = later;
        let due: Vec<(Monotonic, Attempt)> = due;
        self.retries.extend(due.into_iter().map(|(_, attempt)| attempt));
        let Some(conditional) = self.conditional else { return };
        while self.running.len() < self.limit(pace, now) {
            let Some(attempt) = self.next() else { return };
            let (parts, places) = (self.parts.clone(), self.places.clone());
            self.running.spawn(async move { send(&parts, &places, conditional, attempt).await });
        }
    }

    /// What is to be tried next: what was tried before goes first. But while S3's return is still to be seen, some
    /// tries are something new, since what has failed may have failed for a reason of its own (one stream that may not
    /// be written), and must not keep the rest.
    fn next(&mut self) -> Option<Attempt> {
        let (parts, reserve) = (&self.parts, &self.reserve);
        let ready = self.retries.iter_mut().position(|a| take_reserve(&parts.disk, reserve, a));
        if ready.is_none() && !self.retries.is_empty() {
            // The reserve is used up by what is under way.
            return None;
        }
        if ready.is_none() || self.gate.failures % self.gate.new_every == 1 {
            let fresh = |job| Attempt { job, body: None, reserve: None, failures: 0 };
            if let Some(mut attempt) = parts.queues.outbox.pop().map(fresh) {
                if take_reserve(&parts.disk, reserve, &mut attempt) {
                    return Some(attempt);
                }
                parts.queues.outbox.put_back(attempt.job);
            }
        }
        self.retries.remove(ready?)
    }

    fn apply(&mut self, mut attempt: Attempt, outcome: SendOutcome) {
        match outcome {
            SendOutcome::Done => self.opened(),
            SendOutcome::Outage(e) => {
                METRICS.upload_retries.get_or_create(&[("reason", "outage")]).inc();
                attempt.job.may_have_arrived |= e.kind.may_have_arrived();
                attempt.job.log.state().failed(e.to_string());
                // So many bodies are enough to begin with; the turn of another comes again.
                if self.retries.len() < PARALLEL {
                    self.retries.push_back(attempt);
                } else {
                    self.parts.queues.outbox.push(attempt.job);
                }
                self.close(&e);
            }
            SendOutcome::Failed(why) => {
                METRICS.upload_retries.get_or_create(&[("reason", "segment")]).inc();
                attempt.failures += 1;
                // Its part of the reserve is for those that can be sent.
                (attempt.body, attempt.reserve) = (None, None);
                let wait = backoff(attempt.failures, random::fraction());
                let stream = escape_path(&attempt.job.log.stream().path);
                match attempt.failures {
                    1 => {
                        warn!(%stream, "a segment could not be uploaded; retrying until it can: {why}")
                    }
                    _ => debug!(%stream, ?wait, "the segment could not be uploaded: {why}"),
                }
                attempt.job.log.state().failed(why);
                self.delayed.push((self.parts.ports.clock.monotonic() + wait, attempt));
            }
        }
    }

    fn close(&mut self, e: &BucketError) {
        let everything =
            matches!(e.kind, Kind::Unreachable | Kind::NoHost | Kind::Untrusted | Kind::Throttled | Kind::Server);
        self.gate.new_every = if everything { NEW_EVERY_OUTAGE } else { NEW_EVERY };
        let now = self.parts.ports.clock.monotonic();
        if !self.gate.said.contains(&e.kind) {
            self.gate.said.push(e.kind.clone());
            warn!(hint = e.kind.hint(), "S3 cannot be used; writes go on into the spool: {e}");
        } else {
            debug!("S3 still cannot be used: {e}");
        }
        let known = self.parts.queues.s3.borrow().outage.as_ref().map(|outage| outage.since);
        let since = known.unwrap_or_else(|| outage::begin(&self.parts));
        let outage = Outage { since, error: e.clone() };
        self.parts.queues.s3.send_modify(|s3| s3.outage = Some(outage));
        // Several tries that were under way together are one failure.
        if self.is_open(now) {
            self.gate.failures += 1;
            self.gate.closed_until = Some(now + backoff(self.gate.failures, random::fraction()));
        }
    }

    fn opened(&mut self) {
        let outage = self.parts.queues.s3.borrow().outage.clone();
        if let Some(outage) = outage {
            self.gate.said.clear();
            outage::end(&self.parts.disk);
            self.parts.queues.s3.send_modify(|s3| s3.outage = None);
            let lasted = in_words(self.parts.ports.clock.now().since(outage.since));
            info!(outage = lasted, "S3 can be used again");
        }
        self.gate.failures = 0;
        self.gate.closed_until = None;
    }
}

/// Takes the part of the reserve that an attempt needs; `false` when it is not free.
fn take_reserve(disk: &Disk, reserve: &Arc<Semaphore>, attempt: &mut Attempt) -> bool {
    if attempt.body.is_some() || attempt.reserve.is_some() {
        return true;
    }
    let Some(name) = attempt.job.segment() else { return true };
    if name.phase.is_dropped() {
        return true;
    }
    // A marker that cannot be read is named when it is to be sent.
    let marker = Marker::load(attempt.job.log.names(), &name);
    if marker.as_ref().is_ok_and(|marker| is_in_parts(&name, marker)) {
        return true;
    }
    match marker.map_or(Form::Plain, |marker| form_of(&marker)) {
        Form::Plain => return true,
        Form::Gzip | Form::Zstd | Form::Dropped => {}
    }
    let all = disk.budget.body_reserve() / PERMIT_BYTES;
    let asked = name.range.len().div_ceil(PERMIT_BYTES).min(all).max(1);
    let asked = u32::try_from(asked).unwrap_or(u32::MAX);
    attempt.reserve = reserve.clone().try_acquire_many_owned(asked).ok();
    attempt.reserve.is_some()
}
