//! A scenario that is played once for each write path and each way of being disturbed: calm on the
//! embedded bucket and on moto, with the worker killed in the middle, with keeper and worker killed.
//!
//! Owns: what differs between the plays, so that a scenario says it once: `midway()`.

use super::journal::Ledger;
use super::mount::Mount;
use super::programs::back;
use super::rig::Rig;
use super::s3::Kind;

/// What happens while a scenario is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Play {
    Calm,
    /// `kill -9` of the worker midway: no program may notice.
    WorkerKilled,
    /// `kill -9` of keeper and worker midway, then a new daemon on the same spool.
    Killed,
}

/// Who writes into the spool.
pub const KERNEL: &str = "passthrough";
pub const DAEMON: &str = "daemon";

/// The rig and the mount of one scenario. The mount stands first, so that it is dropped before the
/// folder that it is in.
pub struct Stage {
    pub mount: Mount,
    pub rig: Rig,
    pub play: Play,
}

impl Stage {
    /// The scenario calls this while its program is writing.
    pub fn midway(&mut self) {
        match self.play {
            Play::Calm => {}
            Play::WorkerKilled => self.mount.kill_worker(),
            Play::Killed => {
                self.mount.crash();
                self.mount.start_again();
                std::fs::write(back(&self.rig), "").unwrap();
            }
        }
    }
}

/// Plays a scenario and compares what it wrote with what is in the bucket.
pub fn play(kind: Kind, write_path: &str, play: Play, scenario: fn(&mut Stage) -> Ledger) {
    let rig = Rig::new(kind);
    // Small segments, so that uploads are under way while the scenario runs.
    // Copies that programs make of a log would bring its lines a second time.
    let copies = "+*.gz +*.log.[0-9] +*.log.[0-9][0-9]";
    let flags = ["--rotate-size", "32KiB", "--write-path", write_path, "--exclude", copies];
    let mount = rig.mount(&flags);
    let mut stage = Stage { mount, rig, play };
    let ledger = scenario(&mut stage);
    if play != Play::Killed {
        assert_eq!(ledger.failed, 0, "a write failed though nothing was wrong");
    }
    let Stage { mount, rig, .. } = stage;
    mount.stop();
    assert!(ledger.count() > 100, "the scenario wrote only {} lines", ledger.count());
    let (bucket, starts) = (rig.bucket(), if play == Play::Killed { 2 } else { 1 });
    let found = bucket.all_lines();
    ledger.report(&bucket, &found, starts);
    ledger.assert_in(&found);
}

/// Makes the tests of a scenario.
#[macro_export]
macro_rules! scenario {
    ($name:ident) => {
        mod $name {
            use $crate::harness::Kind;
            use $crate::harness::stage::{DAEMON, KERNEL, Play, play};

            #[test]
            fn on_the_embedded_bucket() {
                play(Kind::Embedded, KERNEL, Play::Calm, super::$name);
            }

            #[test]
            fn on_moto() {
                play(Kind::Moto, KERNEL, Play::Calm, super::$name);
            }

            #[test]
            fn with_the_worker_killed_midway() {
                play(Kind::Embedded, KERNEL, Play::WorkerKilled, super::$name);
            }

            #[test]
            fn with_all_killed_midway() {
                play(Kind::Embedded, KERNEL, Play::Killed, super::$name);
            }

            #[test]
            fn through_the_daemon() {
                play(Kind::Embedded, DAEMON, Play::Calm, super::$name);
            }

            #[test]
            fn through_the_daemon_with_the_worker_killed_midway() {
                play(Kind::Embedded, DAEMON, Play::WorkerKilled, super::$name);
            }

            #[test]
            fn through_the_daemon_with_all_killed_midway() {
                play(Kind::Embedded, DAEMON, Play::Killed, super::$name);
            }
        }
    };
}
