//! Waiting for something to come true.
//!
//! Owns: the only clock and the only pause of the tests. A scenario never sleeps; it names the state it waits for. The
//! deadline is there to end a test that can no longer succeed and says nothing about speed, so it is far above what any
//! step takes on a busy machine.

use std::time::{Duration, Instant};

/// Far above the slowest step (a JVM start on a loaded machine), below the watchdog of processes.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a state is looked at: short against every step, long against the look itself.
const PAUSE: Duration = Duration::from_millis(10);

/// Polls `look` until it answers, and panics with `what` when it never does.
#[allow(clippy::disallowed_methods, reason = "the tests run on the real clock")]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Gives `look` a second to come true, for a better message; says nothing when it does not.
pub fn briefly(mut look: impl FnMut() -> bool) {
    for _ in 0..100 {
        if look() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}
