//! The sealer: watches log files that have grown, asks `types::rotation` what to do with each, and runs seals on
//! blocking threads, a few at a time. Single owner of the watch list.
//!
//! The daemon reports its own appends. Appends of the kernel (passthrough) are reported by nobody, so files that are
//! open that way are polled, rarely while they are quiet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::parts::{Disk, Parts, Ports};
use super::seal::{Order, seal};
use super::{drop, evict};
use crate::log_file::{LogFile, State};
use crate::spool::record::Generation;
use crate::types::errors::{FsError, LocalError};
use crate::types::ids::{NodeId, SpoolRange};
use crate::types::rotation::{Decision, Reason, Rules, Split, Tail, decide, phase};
use crate::types::time::{Monotonic, Utc};

/// Least time between two looks at log files that have grown: a log that is written all the time is looked at five
/// times a second, and its writer wakes nobody in between.
const LOOK: Duration = Duration::from_millis(200);
/// Wait before a first look, for others that come with it: a program that removes a thousand logs is not held up by
/// their seals.
const GATHER: Duration = Duration::from_millis(100);
/// Longest time between two looks at a quiet file that the kernel may append to: ten thousand of them cost 2,000
/// stat(2) a second then, less than a percent of a core (docs/BENCHMARKS.md).
const POLL_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two looks, when room is short.
const POLL_MIN: Duration = Duration::from_millis(20);
/// The speed, in bytes a second, up to which the watcher keeps writers within the room that is left.
const FOLLOWED: u64 = 1 << 30;
/// Longest time between two looks at a log file that waits for its time: the wall clock may have jumped.
const LOOK_AT_LEAST: Duration = Duration::from_secs(60);
/// Seals under way at once: each waits for the disk twice.
const PARALLEL: usize = 4;
/// Wait before a seal is tried again that failed, or that found no line's end.
const AGAIN: Duration = Duration::from_secs(1);
/// Least time between two lines of the log about seals that fail.
const SAY_AGAIN: Duration = Duration::from_secs(60);

struct Watched {
    log: Arc<LogFile>,
    /// Not looked at before then (monotonic), unless it grows.
    not_before: Monotonic,
    /// A seal failed: not looked at before then, whatever happens.
    failed_until: Monotonic,
    /// Time between two looks while nobody says when it grows.
    pause: Duration,
    sealing: bool,
}

impl Watched {
    fn new(log: Arc<LogFile>) -> Watched {
        let (not_before, failed_until) = (Monotonic::ZERO, Monotonic::ZERO);
        Watched { log, not_before, failed_until, pause: LOOK, sealing: false }
    }

    fn due(&self) -> Monotonic {
        self.not_before.max(self.failed_until)
    }

    /// When to look again, at the latest in `wait`: soon at a file that somebody may be writing unseen, sooner when it
    /// grew.
    fn pause_for(&mut self, wait: Duration, grew: bool, longest: Duration) -> Duration {
        self.pause = if grew { LOOK } else { self.pause * 2 }.min(longest);
        self.pause.min(wait)
    }
}

/// What was said of seals that failed.
#[derive(Default)]
struct Failures {
    said: Option<Monotonic>,
    unsaid: u64,
}

type SealDone = (NodeId, Reason, Result<bool, FsError>);

/// Runs until `stop` says so.
pub async fn run(parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let mut watched: HashMap<NodeId, Watched> = HashMap::new();
    let mut seals: JoinSet<SealDone> = JoinSet::new();
    let mut rest = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut making_room = None;
    let mut failures = Failures::default();
    loop {
        let due = next_due(&parts.ports, &watched, &seals);
        let news = async {
            rest.as_mut().await;
            tokio::select! {
                () = parts.queues.watch_list.changed(GATHER) => {}
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => {}
            }
        };
        tokio::select! {
            () = news => {
                let pause = LOOK.min(longest_pause(&parts.disk));
                rest.set(tokio::time::sleep(pause));
            }
            Some(done) = seals.join_next(), if !seals.is_empty() => match done {
                Ok((id, reason, result)) => sealed(&parts, &mut watched, &mut failures, id, reason, result),
                Err(e) => error!("a seal failed: {e}"),
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for log in parts.queues.watch_list.take() {
            let entry = watched.entry(log.id);
            entry.or_insert_with(|| Watched::new(log)).not_before = Monotonic::ZERO;
        }
        watch_room(&parts, &mut making_room);
        look(&parts, &mut watched, &mut seals);
    }
}

/// Has room made when it is short: where the kernel writes, no write comes by that would.
fn watch_room(parts: &Arc<Parts>, task: &mut Option<tokio::task::JoinHandle<()>>) {
    let busy = task.as_ref().is_some_and(|task| !task.is_finished());
    if busy || parts.disk.budget.to_reclaim() == 0 {
        return;
    }
    let parts = parts.clone();
    *task = Some(tokio::task::spawn_blocking(move || {
        if let Err(e) = drop::make_room(&parts, 0) {
            error!("could not make room in the spool: {e}");
        }
    }));
}

/// How long the watcher may look away: a writer at the speed that it follows takes half of the room that is left.
fn longest_pause(disk: &Disk) -> Duration {
    let millis = disk.budget.available() / 2 / (FOLLOWED / 1000);
    Duration::from_millis(millis).clamp(POLL_MIN, POLL_MAX)
}

/// How long until somebody is to be looked at; `None` while that depends on events alone.
fn next_due(ports: &Ports, watched: &HashMap<NodeId, Watched>, seals: &JoinSet<SealDone>) -> Option<Duration> {
    if seals.len() >= PARALLEL {
        return None;
    }
    let waiting = watched.values().filter(|entry| !entry.sealing);
    let next = waiting.map(Watched::due).min()?;
    Some(next.since(ports.clock.monotonic()))
}

fn sealed(
    parts: &Parts,
    watched: &mut HashMap<NodeId, Watched>,
    failures: &mut Failures,
    id: NodeId,
    reason: Reason,
    result: Result<bool, FsError>,
) {
    let Some(entry) = watched.get_mut(&id) else { return };
    entry.sealing = false;
    match result {
        // A copy was removed meanwhile.
        Err(_) if !parts.disk.namespace.is_kept(id) => drop(watched.remove(&id)),
        Ok(true) => draw_token(&entry.log, reason),
        Ok(false) => entry.not_before = parts.ports.clock.monotonic() + AGAIN,
        Err(e) => {
            // Where the disk is full each log fails each second.
            let now = parts.ports.clock.monotonic();
            if failures.said.is_none_or(|said| now.since(said) >= SAY_AGAIN) {
                let path = parts.disk.path_of(&entry.log);
                error!(path, unsaid = failures.unsaid, "sealing failed and is retried: {e}");
                *failures = Failures { said: Some(now), unsaid: 0 };
            } else {
                failures.unsaid += 1;
            }
            if matches!(&e, FsError::Local(e) if e.is_no_space()) {
                parts.disk.spool.drop_ballast();
            }
            entry.log.state().failed(e.to_string());
            entry.failed_until = parts.ports.clock.monotonic() + AGAIN;
        }
    }
}

fn look(parts: &Arc<Parts>, watched: &mut HashMap<NodeId, Watched>, seals: &mut JoinSet<SealDone>) {
    let (now, monotonic) = (parts.ports.clock.now(), parts.ports.clock.monotonic());
    let longest = longest_pause(&parts.disk);
    // The older log first: it waits longest.
    let mut oldest_first: Vec<(Option<Utc>, NodeId)> = watched
        .values()
        .filter(|entry| !entry.sealing && monotonic >= entry.due())
        .map(|entry| (entry.log.state().growth.first_byte(), entry.log.id))
        .collect();
    oldest_first.sort_unstable();
    for (_, id) in oldest_first {
        let Some(entry) = watched.get_mut(&id) else { continue };
        if seals.len() >= PARALLEL {
            return;
        }
        let before = entry.log.state().growth.last_len();
        let next = next_order(parts, &entry.log, now);
        let grew = entry.log.state().growth.last_len() > before;
        match next {
            Ok(Next::Seal(order)) => {
                entry.sealing = true;
                let (log, parts) = (entry.log.clone(), parts.clone());
                seals.spawn_blocking(move || (id, order.reason, seal(&parts, &log, *order)));
            }
            Ok(Next::Wait(until)) => {
                let wait = until.since(now).clamp(LOOK, LOOK_AT_LEAST);
                let told = let_go(&entry.log);
                let wait = if told { wait } else { entry.pause_for(wait, grew, longest) };
                entry.not_before = monotonic + wait;
            }
            Ok(Next::Nothing) => {
                if let_go(&entry.log) {
                    evict::finish_if_ended(parts, &entry.log);
                    watched.remove(&id);
                } else {
                    entry.not_before = monotonic + entry.pause_for(POLL_MAX, grew, longest);
                }
            }
            // It was finished and removed since it came onto the list.
            Err(_) if parts.disk.namespace.attr(id).is_err() => drop(watched.remove(&id)),
            Err(e) => {
                error!(path = parts.disk.path_of(&entry.log), "a live file could not be examined: {e}");
                entry.not_before = monotonic + AGAIN;
            }
        }
    }
}

/// Lets the next write put the log file on the list again; `false` when nobody will: it has grown meanwhile, or
/// somebody writes unseen.
fn let_go(log: &LogFile) -> bool {
    if log.state().handles.is_orphaned() {
        log.look_for_orphans();
    }
    log.end_watch();
    let len = log.len().unwrap_or_default();
    let stays = {
        let state = log.state();
        len > state.growth.last_len() || state.handles.has_unseen()
    };
    !(stays && log.start_watch())
}

enum Next {
    /// Everything is sealed.
    Nothing,
    /// Something is not, and its time has not come.
    Wait(Utc),
    Seal(Box<Order>),
}

/// Whether a file that is written in place is a part of one that is still being written.
fn is_part(parts: &Parts, log: &LogFile) -> bool {
    let is_written = |log: &LogFile| {
        let state = log.state();
        state.content().is_in_place() && state.handles.writers() > 0
    };
    let in_place = log.state().content().is_in_place();
    in_place && parts.disk.namespace.named_after(log.id).is_some_and(|whole| is_written(&whole))
}

/// A whole file is sealed when it is closed and quiet and no part of another, when it was truncated, and half written
/// when the mount stops.
fn next_of_whole(
    state: &State,
    rules: &Rules,
    (range, generation, is_truncated): (SpoolRange, Generation, bool),
    (now, token, is_stopping, is_part): (Utc, bool, bool, bool),
) -> Next {
    let is_forced = state.is_forced(range.start);
    let quiet_at = state.growth.last().plus(if token { rules.idle } else { rules.interval });
    let reason = match state.handles.writers() > 0 {
        _ if !(is_truncated || state.is_linked()) => return Next::Nothing,
        _ if is_truncated => Reason::Ended,
        // It is looked at again when it is closed.
        true if !(is_forced && is_stopping) => return Next::Nothing,
        _ if is_forced => Reason::Forced,
        _ if now < quiet_at => return Next::Wait(quiet_at),
        _ if is_part => return Next::Wait(now.plus(rules.idle)),
        _ => Reason::Idle,
    };
    Next::Seal(Box::new(Order { range, generation, reason, split: Split::Allowed, exact: true }))
}

fn next_order(parts: &Parts, log: &LogFile, now: Utc) -> Result<Next, LocalError> {
    let (disk, is_stopping) = (&parts.disk, parts.queues.is_stopping.load(Ordering::Acquire));
    let rules = &disk.segmenting.rules;
    let len = log.len()?;
    let (account, is_part) = (disk.account(log), is_part(parts, log));
    let mut state = log.state();
    state.saw(now, len);
    disk.count(account, &mut state, len);
    let (range, generation, ended) = state.tail(len);
    if range.is_empty() {
        state.growth.all_sealed();
        return Ok(Next::Nothing);
    }
    let token = log.stream().has_token(now, rules.interval);
    let is_truncated = ended && range.end <= state.current().at;
    if generation.stays_local(range.len()) && !is_truncated {
        state.growth.all_sealed();
        return Ok(Next::Nothing);
    }
    if generation.content.is_in_place() {
        return Ok(next_of_whole(&state, rules, (range, generation, is_truncated), (now, token, is_stopping, is_part)));
    }
    let first_byte = state.growth.first_byte_or(now);
    let tail = Tail {
        unsealed: range.len(),
        first_byte,
        last_growth: state.growth.last(),
        open: state.handles.writers() > 0,
        ended,
        forced: state.is_forced(range.start),
        unlinked: !state.is_linked(),
        backlog: log.stream().has_backlog(),
    };
    let offset = phase(&log.stream().path, rules.interval);
    match decide(rules, &tail, now, offset, token) {
        Decision::Wait(until) => Ok(Next::Wait(until)),
        Decision::Seal { reason, upto, split, exact } => {
            let range = SpoolRange { start: range.start, end: range.start.plus(upto) };
            Ok(Next::Seal(Box::new(Order { range, generation, reason, split, exact })))
        }
    }
}

/// Early seals are paid for. An ended generation cannot wait, since it must become an object of its own; a program that
/// makes one after the other is named.
fn draw_token(log: &LogFile, reason: Reason) {
    match reason {
        Reason::Idle | Reason::Unlinked | Reason::Ended => {
            if let Some(times) = log.stream().take_token() {
                let stream = crate::types::escape::escape_path(&log.stream().path);
                warn!(%stream, times, "this log is truncated or removed so often that each time makes a small object");
            }
        }
        Reason::Size | Reason::Interval | Reason::Forced => {}
    }
}
