//! The clock: the only place that asks the machine for the time.

use std::time::{Instant, SystemTime};

use super::time::{Monotonic, Utc};

/// A source of time.
pub trait Clock: Send + Sync {
    /// The wall clock, for names and for people. It may jump.
    fn now(&self) -> Utc;

    /// Now, by the clock that never goes back.
    fn monotonic(&self) -> Monotonic;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts the monotonic clock.
    #[allow(clippy::new_without_default, reason = "a default that reads a clock would surprise")]
    pub fn new() -> SystemClock {
        #[allow(clippy::disallowed_methods, reason = "this is the clock that others are passed")]
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Utc {
        #[allow(clippy::disallowed_methods, reason = "this is the clock that others are passed")]
        Utc::from(SystemTime::now())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::after_start(self.0.elapsed())
    }
}
