//! A scenario that is played three times: on the embedded bucket, on moto, and with the daemon
//! killed in the middle.
//!
//! Owns: what differs between the three, so that a scenario says it once: `midway()`.

use super::journal::Ledger;
use super::mount::Mount;
use super::programs::back;
use super::rig::Rig;
use super::s3::Kind;

/// How a scenario is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Play {
    Calm,
    /// `kill -9` of the daemon midway, then a new one on the same spool.
    Killed,
}

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
        if self.play == Play::Killed {
            self.mount.crash();
            self.mount.start_again();
            std::fs::write(back(&self.rig), "").unwrap();
        }
    }
}

/// Plays a scenario and compares what it wrote with what is in the bucket.
pub fn play(kind: Kind, play: Play, scenario: fn(&mut Stage) -> Ledger) {
    let rig = Rig::new(kind);
    // Small segments, so that uploads are under way while the scenario runs.
    let mount = rig.mount(&["--rotate-size", "32KiB"]);
    let mut stage = Stage { mount, rig, play };
    let ledger = scenario(&mut stage);
    if play == Play::Calm {
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

/// Makes the three tests of a scenario.
#[macro_export]
macro_rules! scenario {
    ($name:ident) => {
        mod $name {
            use $crate::harness::Kind;
            use $crate::harness::stage::{Play, play};

            #[test]
            fn on_the_embedded_bucket() {
                play(Kind::Embedded, Play::Calm, super::$name);
            }

            #[test]
            fn on_moto() {
                play(Kind::Moto, Play::Calm, super::$name);
            }

            #[test]
            fn with_the_daemon_killed_midway() {
                play(Kind::Embedded, Play::Killed, super::$name);
            }
        }
    };
}
