//! Order: the generations of a stream are numbered as they were born, whenever each is sealed, and no byte is older
//! than the key of its segment says.

use std::time::Duration;

use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::fs::Access;
use logsinkfs::types::clock::Clock;
use logsinkfs::types::time::Utc;

use super::check::{assert_delivered, generations, segments};
use super::daemon::{BY, Daemon, Log, ONCE, World, run};

const KERNEL: Access =
    Access { read: false, write: true, append: true, sync: false, exclusive: false, truncate: false };

/// The starts of a stream's segments, in the order of (generation, offset).
fn starts(world: &World, stream: &str) -> Vec<Utc> {
    let mut names: Vec<_> = segments(world).into_values().map(|(name, _)| name).collect();
    names.retain(|name| name.stream == stream.as_bytes());
    names.sort_by_key(|name| (name.generation, name.offset));
    names.into_iter().map(|name| name.start).collect()
}

/// A program that keeps its old logs by renaming: what it wrote is in so many files of one stream.
async fn rotate(daemon: &Daemon, logs: usize) {
    for n in 1..=logs {
        let log = daemon.open("app.log");
        daemon.append(log, format!("line {n}\n"));
        daemon.close(log);
        if n < logs {
            daemon.rename("app.log", &format!("app.log.{n}")).await;
        }
    }
}

const SEVEN: [&str; 7] = ["line 1\n", "line 2\n", "line 3\n", "line 4\n", "line 5\n", "line 6\n", "line 7\n"];

#[test]
fn rotated_logs_are_numbered_as_they_were_born_whichever_is_sealed_first() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        rotate(&daemon, 7).await;
        for name in ["app.log", "app.log.4", "app.log.6"] {
            let log = daemon.open(name);
            daemon.parts.queues.force(&daemon.log(log));
            daemon.pass(Duration::from_secs(1)).await;
        }
        assert_eq!(segments(&world).len(), 3, "the others wait for their time");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &SEVEN);
    });
}

#[test]
fn so_are_those_that_a_kill_leaves_to_the_next_start() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        rotate(&daemon, 7).await;
        // The wall clock says nothing of the order.
        world.clock.jump_back(Duration::from_secs(3600));
        let daemon = world.boot_from(&daemon.crash());
        daemon.flush().await;
        assert_delivered(&world, "app.log", &SEVEN);
    });
}

#[test]
fn a_generation_that_is_sealed_first_leaves_the_numbers_before_it_to_its_elders() {
    run(async {
        let mut world = World::new();
        world.settings.spool.segmenting.rules.size = 1024;
        let daemon = world.boot();
        let (old, older) = (daemon.open("app.log"), "older\n");
        daemon.append(old, older);
        daemon.rename("app.log", "app.log.1").await;
        let log = daemon.open("app.log");
        let young = "young\n".repeat(171);
        daemon.append(log, &young);
        daemon.pass(Duration::from_secs(1)).await;
        assert_eq!(segments(&world).len(), 1, "the young one had reached its size");
        // Its elder's number outlives a kill.
        let daemon = world.boot_from(&daemon.crash());
        daemon.flush().await;
        assert_delivered(&world, "app.log", &[older, &young]);
    });
}

#[test]
fn a_log_that_is_empty_when_a_younger_one_is_sealed_has_no_number_before_it_is_written() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let old = daemon.open("app.log");
        daemon.rename("app.log", "app.log.1").await;
        let log = daemon.open("app.log");
        daemon.append(log, "young\n");
        daemon.flush().await;
        daemon.append(old, "written later\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["young\n", "written later\n"]);
    });
}

#[test]
fn a_kill_does_not_take_the_start_of_what_is_not_sealed_back_behind_the_segment_before() {
    run(async {
        let mut world = World::new();
        world.settings.spool.segmenting.partition = PartitionTemplate::parse("m=%H%M").unwrap();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "first\n");
        daemon.flush().await;
        daemon.pass(Duration::from_secs(240)).await;
        daemon.append(log, "second\n");
        let daemon = world.boot_from(&daemon.crash());
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["first\nsecond\n"]);
        let starts = starts(&world, "app.log");
        assert!(starts.is_sorted(), "{starts:?}");
    });
}

/// Opens a log as one for which the kernel appends.
fn open_for_kernel(daemon: &Daemon, name: &str) -> Log {
    let (parent, name) = daemon.place(name);
    let (entry, handle, _) = daemon.fs.create(parent, name.as_bytes(), BY, KERNEL, ONCE).unwrap();
    Log { id: entry.attr.id, handle }
}

#[test]
fn what_the_kernel_appends_is_never_older_than_its_key_says() {
    run(async {
        let world = World::new();
        let daemon = world.boot_worker();
        let log = open_for_kernel(&daemon, "app.log");
        let mut written = Vec::new();
        for n in 0..40_u64 {
            // Quiet for so long that the file is looked at seldom; then at any moment between two looks.
            daemon.pass(Duration::from_millis(n * 997)).await;
            written.push(world.clock.now());
            daemon.log(log).file().unwrap().append(b"line\n").unwrap();
            if n % 4 == 3 {
                daemon.flush().await;
            }
        }
        daemon.flush().await;
        let all = generations(&world);
        assert_eq!(all.len(), 1);
        for (offset, start) in &all[0].starts {
            let first = written[usize::try_from(offset / 5).unwrap()];
            assert!(*start <= first, "{start:?} is later than {first:?} at {offset}");
            // The last look that did not see it is not far back.
            assert!(first.since(*start) <= Duration::from_secs(6), "{start:?}, {first:?}");
        }
    });
}

#[test]
fn a_log_that_is_truncated_while_it_is_empty_is_as_young_as_that() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let old = daemon.open("app.log");
        daemon.rename("app.log", "app.log.1").await;
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.truncate(old);
        daemon.append(old, "two\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n", "two\n"]);
    });
}
