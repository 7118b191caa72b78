//! How many bytes of the spool each first part of paths holds, and whether one of them may take more than there is room for:
//! who holds little does not wait until somebody who filled the spool has given something up.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::parts::Parts;
use crate::local::log_file::LogFile;
use crate::values::shares::Part;

/// How old the count may be, ...
const OLD: Duration = Duration::from_millis(100);
/// ... and at least so many times as long as it took.
const TIMES: u32 = 20;

/// The count, as of a moment.
#[derive(Debug, Default)]
pub struct Held(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// Until when it counts (monotonic).
    until: Duration,
    parts: HashMap<Part, u64>,
}

/// Whether a log may take so many bytes though the spool is full: its part of paths holds less than an equal share, and
/// another one more. What is taken so is less than a share of each part.
pub fn may_exceed(parts: &Parts, log: &LogFile, bytes: u64) -> bool {
    if parts.room.disk_shortage() > 0 {
        return false;
    }
    let part = parts.namespace.part(log.id);
    let mut counted = parts.held.0.lock();
    let now = parts.clock.monotonic();
    if now >= counted.until {
        let held = count(parts);
        let took = parts.clock.monotonic().saturating_sub(now);
        *counted = Counted { until: now + OLD.max(took * TIMES), parts: held };
    }
    let own = counted.parts.entry(part).or_default();
    let then = *own + bytes;
    let share = parts.room.budget() / counted.parts.len() as u64;
    let is_less = counted.parts.len() > 1 && then <= share;
    if is_less {
        // Counted at once, so that nobody takes more than a share between two counts.
        counted.parts.insert(parts.namespace.part(log.id), then);
    }
    is_less
}

fn count(parts: &Parts) -> HashMap<Part, u64> {
    let mut held: HashMap<Part, u64> = HashMap::new();
    for log in parts.namespace.logs() {
        let bytes = log.len().map_or(0, |len| log.state().held(len));
        if bytes > 0 {
            *held.entry(parts.namespace.part(log.id)).or_default() += bytes;
        }
    }
    held
}
