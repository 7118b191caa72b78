//! Time that passes only when nothing else can happen: the tests' runtime has tokio's clock paused, and this clock
//! follows it. Its wall clock can jump.

use std::time::Duration;

use logsinkfs::types::clock::Clock;
use logsinkfs::types::time::{Monotonic, Utc};
use parking_lot::Mutex;

/// The clock.
#[derive(Debug)]
pub struct TestClock {
    started: tokio::time::Instant,
    wall: Mutex<Utc>,
    /// The latest that it showed before it was set back.
    highest: Mutex<Utc>,
    /// What each look at the monotonic clock has taken, in all.
    looks: Mutex<Duration>,
    look: Mutex<Duration>,
}

impl TestClock {
    /// Starts at half past eight on a Monday.
    pub fn start() -> TestClock {
        let wall = Utc::from_name("20261123T083000.000000Z").unwrap();
        let started = tokio::time::Instant::now();
        let (wall, highest) = (Mutex::new(wall), Mutex::new(wall));
        TestClock { started, wall, highest, looks: Mutex::default(), look: Mutex::default() }
    }

    /// From now on each look at the monotonic clock takes so long: what happens rarely between two looks happens
    /// always.
    pub fn slow_down(&self, look: Duration) {
        *self.look.lock() = look;
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

    fn monotonic(&self) -> Monotonic {
        let mut looks = self.looks.lock();
        *looks += *self.look.lock();
        Monotonic::after_start(self.started.elapsed() + *looks)
    }
}
