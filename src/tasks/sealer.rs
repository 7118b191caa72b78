//! The sealer: watches the lives that have grown, asks `values::rotation` what to do with each, and has
//! it done on a blocking thread, a few at a time. Single owner of who is being watched.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::parts::Parts;
use super::seal::{Order, seal};
use super::settle;
use crate::local::life::Life;
use crate::values::errors::{FsError, LocalError};
use crate::values::ids::{NodeId, SpoolRange};
use crate::values::rotation::{Decision, Reason, Tail, decide, phase};
use crate::values::time::Utc;

/// How often growth is looked for in lives that have something unsealed.
const LOOK: Duration = Duration::from_millis(200);
/// Seals under way at once: each waits for the disk twice.
const PARALLEL: usize = 4;
/// Wait before a seal is tried again that failed, or that found no line's end.
const AGAIN: Duration = Duration::from_secs(1);

struct Watched {
    life: Arc<Life>,
    /// Not looked at before then (monotonic), unless it is forced.
    not_before: Duration,
    sealing: bool,
}

type Outcome = (NodeId, Result<bool, FsError>);

/// Runs until `stop` says so.
pub async fn run(parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let mut watched: HashMap<NodeId, Watched> = HashMap::new();
    let mut seals: JoinSet<Outcome> = JoinSet::new();
    loop {
        let nothing_to_watch = watched.is_empty();
        tokio::select! {
            () = parts.watch_list.changed() => {}
            () = tokio::time::sleep(LOOK), if !nothing_to_watch => {}
            Some(done) = seals.join_next(), if !seals.is_empty() => match done {
                Ok((id, result)) => sealed(&parts, &mut watched, id, result),
                Err(e) => error!("a seal did not end: {e}"),
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        for life in parts.watch_list.take() {
            let not_before = Duration::ZERO;
            watched.insert(life.id, Watched { life, not_before, sealing: false });
        }
        look(&parts, &mut watched, &mut seals);
    }
}

fn sealed(
    parts: &Parts,
    watched: &mut HashMap<NodeId, Watched>,
    id: NodeId,
    result: Result<bool, FsError>,
) {
    let Some(entry) = watched.get_mut(&id) else { return };
    entry.sealing = false;
    match result {
        Ok(true) => {}
        Ok(false) => entry.not_before = parts.clock.monotonic() + AGAIN,
        Err(e) => {
            error!(node = %id, "sealing failed, it is tried again: {e}");
            entry.life.state().last_error = Some(e.to_string());
            entry.not_before = parts.clock.monotonic() + AGAIN;
        }
    }
}

fn look(parts: &Arc<Parts>, watched: &mut HashMap<NodeId, Watched>, seals: &mut JoinSet<Outcome>) {
    let (now, monotonic) = (parts.clock.now(), parts.clock.monotonic());
    // The older log first, so that generations of one stream are numbered as they were written.
    let mut oldest_first: Vec<(Option<Utc>, NodeId)> = watched
        .values()
        .filter(|entry| !entry.sealing)
        .map(|entry| (entry, entry.life.state()))
        .filter(|(entry, state)| monotonic >= entry.not_before || state.forced)
        .map(|(entry, state)| (state.first_byte, entry.life.id))
        .collect();
    oldest_first.sort_unstable();
    for (_, id) in oldest_first {
        let Some(entry) = watched.get_mut(&id) else { continue };
        if seals.len() >= PARALLEL {
            return;
        }
        match next_order(parts, &entry.life, now) {
            Ok(Next::Seal(order)) => {
                entry.sealing = true;
                let (life, parts) = (entry.life.clone(), parts.clone());
                seals.spawn_blocking(move || (id, seal(&parts, &life, order)));
            }
            Ok(Next::Wait) => {}
            Ok(Next::Nothing) => {
                if unwatch(parts, &entry.life) {
                    watched.remove(&id);
                }
            }
            Err(e) => {
                error!(node = %id, "a live file cannot be looked at: {e}");
                entry.not_before = monotonic + AGAIN;
            }
        }
    }
}

/// Takes a life off the list; `false` when it has grown meanwhile and stays.
fn unwatch(parts: &Arc<Parts>, life: &Arc<Life>) -> bool {
    life.end_watch();
    let len = life.len().unwrap_or_default();
    let left = len > life.state().sealed_end();
    if left && life.start_watch() {
        return false;
    }
    settle::finish_if_ended(parts, life);
    true
}

enum Next {
    /// Everything is sealed.
    Nothing,
    /// Something is not, and its time has not come.
    Wait,
    Seal(Order),
}

fn next_order(parts: &Parts, life: &Life, now: Utc) -> Result<Next, LocalError> {
    let rules = &parts.segmenting.rules;
    let len = life.len()?;
    let mut state = life.state();
    if len > state.last_growth.1 {
        state.last_growth = (now, len);
        state.first_byte.get_or_insert(now);
    }
    let (range, generation, ended) = state.tail(len);
    if range.is_empty() {
        state.forced = false;
        state.first_byte = None;
        return Ok(Next::Nothing);
    }
    let first_byte = *state.first_byte.get_or_insert(now);
    let tail = Tail {
        unsealed: range.len(),
        first_byte,
        last_growth: state.last_growth.0,
        open: state.writers > 0,
        ended,
        forced: state.forced,
        unlinked: !state.linked,
        backlog: life.stream.has_backlog(),
    };
    let token = life.stream.has_token(now, rules.interval);
    let offset = phase(&life.stream.path, rules.interval);
    match decide(rules, &tail, now, offset, token) {
        Decision::Wait(_) => Ok(Next::Wait),
        Decision::Seal { reason, upto, split, exact } => {
            draw_token(life, reason);
            let range = SpoolRange { start: range.start, end: range.start.plus(upto) };
            Ok(Next::Seal(Order { range, generation, reason, split, exact }))
        }
    }
}

/// Early seals are paid for. An ended generation cannot wait, since it must become an object of its
/// own; a program that makes one after the other is named.
fn draw_token(life: &Life, reason: Reason) {
    match reason {
        Reason::Idle | Reason::Unlinked | Reason::Ended => {
            if let Some(times) = life.stream.take_token() {
                let stream = crate::values::escape::escape_path(&life.stream.path);
                warn!(%stream, times, "this log is truncated or removed so often that each time makes a small object");
            }
        }
        Reason::Size | Reason::Interval | Reason::Forced => {}
    }
}
