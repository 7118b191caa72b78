//! The clock: the only place that asks the machine for the time.

use std::time::{Duration, Instant, SystemTime};

use super::time::Utc;

/// A source of time.
pub trait Clock: Send + Sync {
    /// The wall clock, for names and for people. It may jump.
    fn now(&self) -> Utc;

    /// Time since some fixed point; never goes back. For waits and time-outs.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts the monotonic clock at zero.
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

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
