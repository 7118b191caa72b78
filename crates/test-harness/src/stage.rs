//! A scenario that is played once for each write path and each way of being disturbed: calm on the embedded bucket and
//! on moto, with the worker killed in the middle, with keeper and worker killed.
//!
//! Owns: what differs between the plays, so that a scenario says it once: `midway()`; and what holds after each: every
//! line once, in its order, in the streams that the scenario expects, whoever reads them.

use std::collections::BTreeSet;

use super::journal::Ledger;
use super::mount::Mount;
use super::programs::back;
use super::reading::read;
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

/// The rig and the mount of one scenario. The mount stands first, so that it is dropped before the folder that it is
/// in.
pub struct Stage {
    pub mount: Mount,
    pub rig: Rig,
    pub play: Play,
    /// The streams that hold the lines, and no other does: `app.log` unless the scenario says otherwise.
    pub streams: BTreeSet<String>,
    /// Which other streams there may be, of what the program writes beside its lines.
    pub beside: fn(&str) -> bool,
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

    /// Each of the files that are called so and hold something is a stream of its own: it was created under that name.
    pub fn streams_are_files(&mut self, start: &str) {
        let entries = std::fs::read_dir(&self.mount.plan.point).unwrap().map(Result::unwrap);
        let written = entries.filter(|entry| entry.metadata().unwrap().len() > 0);
        let names = written.map(|entry| entry.file_name().into_string().unwrap());
        self.streams = names.filter(|name| name.starts_with(start)).collect();
    }
}

type Scenario = fn(&mut Stage) -> Ledger;

/// Plays a scenario and compares what it wrote with what is in the bucket.
fn play(kind: Kind, write_path: &str, play: Play, scenario: Scenario) {
    let rig = Rig::new(kind);
    // Small segments, so that uploads are under way while the scenario runs.
    let mount = rig.mount(&["--rotate-size", "32KiB", "--write-path", write_path]);
    let streams = BTreeSet::from(["app.log".to_owned()]);
    let mut stage = Stage { mount, rig, play, streams, beside: |_| false };
    let ledger = scenario(&mut stage);
    if play != Play::Killed {
        assert_eq!(ledger.failed, 0, "a write failed though nothing was wrong");
    }
    let Stage { mount, rig, streams, beside, .. } = stage;
    let log = mount.stop_and_tell();
    if play == Play::Calm {
        assert_quiet(&log);
    }
    assert!(ledger.count() > 100, "the scenario wrote only {} lines", ledger.count());
    let (bucket, starts) = (rig.bucket(), if play == Play::Killed { 2 } else { 1 });
    let mut stored = bucket.streams();
    stored.retain(|stream| !beside(stream));
    assert_eq!(stored, streams, "the streams in the bucket");
    let found: Vec<String> = streams.iter().flat_map(|stream| bucket.lines(stream)).collect();
    ledger.report(&bucket, &found, starts);
    ledger.assert_in(&found);
    assert_read_back(&rig, &ledger, &streams);
}

/// What a daemon warns of in ordinary use: the first lock file of each kind, and a log that is truncated or removed
/// every second, since tests do in one what takes a day elsewhere.
const TOLD: [&str; 2] = ["this file stays local", "is truncated or removed so often"];

/// Insists that a daemon had nothing to complain of.
pub fn assert_quiet(log: &str) {
    let loud = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let told = |line: &&str| TOLD.iter().any(|told| line.contains(told));
    let loud: Vec<&str> = log.lines().filter(|line| loud(line) && !told(line)).collect();
    assert!(loud.is_empty(), "in ordinary use the daemon says {loud:#?}");
}

/// Insists that `cat`, `tail` and a reader mount show the lines of each program as it wrote them.
fn assert_read_back(rig: &Rig, ledger: &Ledger, streams: &BTreeSet<String>) {
    let reader = rig.read(&["--since", "all"]);
    let mut all = Vec::new();
    for stream in streams {
        let whole = read(rig, "cat", stream, &[]);
        let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        ledger.assert_each_in_order(stream, &lines);
        let last: Vec<String> = read(rig, "tail", stream, &["-n", "50"]).lines().map(str::to_owned).collect();
        assert_eq!(last, lines[lines.len().saturating_sub(50)..], "tail -n 50 of {stream}");
        let shown = std::fs::read(reader.path(stream)).unwrap();
        assert!(shown == whole.as_bytes(), "a reader mount shows {stream} otherwise than cat");
        all.extend(lines);
    }
    ledger.assert_in(&all);
    reader.stop();
}

pub fn on_the_embedded_bucket(scenario: Scenario) {
    play(Kind::Embedded, KERNEL, Play::Calm, scenario);
}

pub fn on_moto(scenario: Scenario) {
    play(Kind::Moto, KERNEL, Play::Calm, scenario);
}

pub fn with_the_worker_killed_midway(scenario: Scenario) {
    play(Kind::Embedded, KERNEL, Play::WorkerKilled, scenario);
}

pub fn with_all_killed_midway(scenario: Scenario) {
    play(Kind::Embedded, KERNEL, Play::Killed, scenario);
}

pub fn through_the_daemon(scenario: Scenario) {
    play(Kind::Embedded, DAEMON, Play::Calm, scenario);
}

pub fn through_the_daemon_with_the_worker_killed_midway(scenario: Scenario) {
    play(Kind::Embedded, DAEMON, Play::WorkerKilled, scenario);
}

pub fn through_the_daemon_with_all_killed_midway(scenario: Scenario) {
    play(Kind::Embedded, DAEMON, Play::Killed, scenario);
}

/// Makes the tests of a scenario: all plays, or those that a program survives which does not come back by itself when
/// its mount has died (`unbroken`), or the plays that are named.
#[macro_export]
macro_rules! scenario {
    ($name:ident) => {
        $crate::scenario!($name: on_the_embedded_bucket on_moto with_the_worker_killed_midway
            with_all_killed_midway through_the_daemon through_the_daemon_with_the_worker_killed_midway
            through_the_daemon_with_all_killed_midway);
    };
    ($name:ident unbroken) => {
        $crate::scenario!($name: on_the_embedded_bucket with_the_worker_killed_midway
            through_the_daemon_with_the_worker_killed_midway);
    };
    ($name:ident: $($play:ident)+) => {
        mod $name {
            $(
                #[test]
                fn $play() {
                    $crate::stage::$play(super::$name);
                }
            )+
        }
    };
}
