//! Time that passes only when nothing else can happen: the tests' runtime has tokio's clock paused, and this clock
//! follows it. Its wall clock can jump.

use std::time::Duration;

use logsinkfs::types::clock::Clock;
use logsinkfs::types::time::Utc;
use parking_lot::Mutex;

/// The clock.
#[derive(Debug)]
pub struct TestClock {
    started: tokio::time::Instant,
    wall: Mutex<Utc>,
    /// The latest that it showed before it was set back.
    highest: Mutex<Utc>,
}

impl TestClock {
    /// Starts at half past eight on a Monday.
    pub fn start() -> TestClock {
        let wall = Utc::from_name("20261123T083000.000000Z").unwrap();
        TestClock { started: tokio::time::Instant::now(), wall: Mutex::new(wall), highest: Mutex::new(wall) }
    }

    /// The wall clock is set back.
    pub fn jump_back(&self, by: Duration) {
        *self.highest.lock() = self.latest();
        let mut wall = self.wall.lock();
        *wall = wall.minus(by);
    }

    /// The latest that it has shown.
    pub fn latest(&self) -> Utc {
        self.now().max(*self.highest.lock())
    }

    /// The wall clock is set forward.
    pub fn jump_forward(&self, by: Duration) {
        let mut wall = self.wall.lock();
        *wall = wall.plus(by);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Utc {
        self.wall.lock().plus(self.started.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
