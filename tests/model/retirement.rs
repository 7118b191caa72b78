//! Generations of a log and their numbers, when a range is sealed early and when not, when a log leaves the view, and
//! what never goes to S3 at all.

use std::time::Duration;

use logsinkfs::fs::Access;
use logsinkfs::settings::writer::FsyncLevel;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::{NodeId, SpoolOffset};
use logsinkfs::types::time::Monotonic;

use super::check::{assert_delivered, generations, segments};
use super::daemon::{ONCE, World, answer, run};
use super::faulty::{Fault, Op};

const DAY: Duration = Duration::from_secs(24 * 3600);
const WRITE: Access = Access { read: false, write: true, append: true, sync: false, exclusive: false, truncate: false };

#[test]
fn truncated_generations_become_objects_of_their_own_in_order() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        for text in ["first\n", "second", "third\n"] {
            daemon.append(log, text);
            daemon.truncate(log);
            daemon.truncate(log);
        }
        assert_eq!(daemon.read(log.id).await.unwrap(), b"");
        daemon.append(log, "fourth\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["first\n", "second", "third\n", "fourth\n"]);
        assert_eq!(daemon.read(log.id).await.unwrap(), b"fourth\n");
    });
}

#[test]
fn a_number_is_never_given_twice_even_after_the_folder_is_gone() {
    run(async {
        let world = World::new();
        let mut image = Default::default();
        for n in 1..=4 {
            let daemon = world.boot_from(&image);
            let log = daemon.open("app.log");
            daemon.append(log, format!("{n}\n"));
            daemon.unlink("app.log");
            daemon.close(log);
            daemon.emptied().await;
            image = daemon.crash();
        }
        assert_delivered(&world, "app.log", &["1\n", "2\n", "3\n", "4\n"]);
    });
}

#[test]
fn an_unlinked_log_goes_on_until_it_is_closed_and_then_leaves_the_spool() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "before\n");
        daemon.unlink("app.log");
        assert!(daemon.stat("app.log").is_none());
        daemon.pass(Duration::from_secs(60)).await;
        daemon.append(log, "after");
        assert_eq!(daemon.read(log.id).await.unwrap(), b"before\nafter");
        daemon.close(log);
        daemon.emptied().await;
        assert_delivered(&world, "app.log", &["before\nafter"]);
        assert!(daemon.parts.disk.namespace.logs().is_empty(), "nobody looks after it any more");
    });
}

#[test]
fn a_log_that_is_being_removed_has_nothing_left_to_reclaim() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.flush().await;
        // Whoever reclaims may have come across the log file before it went.
        let file = daemon.log(log);
        assert_eq!(file.state().segments.iter().count(), 1);
        daemon.unlink("app.log");
        daemon.close(log);
        daemon.emptied().await;
        let end = SpoolOffset(4);
        assert_eq!(file.state().held(end), 0);
        assert!(file.state().tail(end).0.is_empty(), "nor to seal, as long as its bytes are there");
    });
}

#[test]
fn a_finished_log_leaves_the_view_after_its_time_and_the_objects_stay() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let (log, open) = (daemon.open("app.log"), daemon.open("open.log"));
        daemon.append(log, "one\n");
        daemon.append(open, "one\n");
        daemon.close(log);
        daemon.flush().await;
        world.clock.jump_forward(DAY - Duration::from_secs(1));
        daemon.retire();
        assert!(daemon.stat("app.log").is_some());
        daemon.pass(Duration::from_secs(2)).await;
        daemon.retire();
        assert!(daemon.stat("app.log").is_none());
        assert!(daemon.stat("open.log").is_some(), "it is open");
        assert_eq!(daemon.parts.disk.namespace.logs().len(), 1);
        assert_delivered(&world, "app.log", &["one\n"]);

        let log = daemon.open("app.log");
        daemon.append(log, "two\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n", "two\n"]);
    });
}

#[test]
fn a_log_that_s3_has_not_is_never_retired() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Server));
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.close(log);
        world.clock.jump_forward(DAY * 7);
        daemon.retire();
        assert!(daemon.stat("app.log").is_some());
        daemon.seal_all();
        daemon.sealed().await;
        daemon.retire();
        assert!(daemon.stat("app.log").is_some());
        world.bucket.heal();
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
    });
}

#[test]
fn opening_a_log_that_has_just_been_retired_has_the_name_looked_up_again() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.close(log);
        daemon.flush().await;
        world.clock.jump_forward(DAY);
        daemon.retire();
        // The kernel still believes the name for a second, and opens the node.
        let opened = daemon.fs.open(log.id, WRITE, ONCE);
        assert!(matches!(opened, Err(FsError::Stale)), "{opened:?}");
    });
}

#[test]
fn a_log_is_sealed_within_one_interval_also_when_the_clock_is_set_back() {
    for back in [Duration::ZERO, DAY] {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            let log = daemon.open("app.log");
            daemon.append(log, "one\n");
            world.clock.jump_back(back);
            daemon.pass(Duration::from_secs(301)).await;
            daemon.until("it arrived", |parts| parts.disk.unsent() == 0).await;
            let waited = world.bucket.calls().len();
            assert!(waited > 0);
            assert_delivered(&world, "app.log", &["one\n"]);
            let passed = logsinkfs::types::clock::Clock::monotonic(&*world.clock);
            assert!(passed < Monotonic::after_start(Duration::from_secs(310)), "{passed:?}");
        });
    }
}

#[test]
fn a_closed_log_is_sealed_when_it_is_quiet_and_three_times_at_most_in_a_row() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let mut text = String::new();
        for n in 0..20 {
            let log = daemon.open("app.log");
            let line = format!("{n}\n");
            daemon.append(log, &line);
            daemon.close(log);
            text.push_str(&line);
            daemon.pass(Duration::from_secs(6)).await;
        }
        daemon.until("it arrived", |parts| parts.disk.unsent() == 0).await;
        assert_delivered(&world, "app.log", &[&text]);
        // Three early ones, and one by the interval, or two when its end lies within.
        let objects = segments(&world).len();
        assert!((4..=6).contains(&objects), "{objects} objects for 20 lines");
    });
}

#[test]
fn while_a_segment_is_unsent_the_next_one_grows_up_to_the_size() {
    run(async {
        let mut world = World::new();
        world.settings.spool.segmenting.rules.size = 4096;
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Throttled));
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..100 {
            daemon.append(log, &line);
            daemon.pass(Duration::from_secs(300)).await;
        }
        world.bucket.heal();
        daemon.flush().await;
        let segments = segments(&world);
        let lengths: Vec<_> = segments.values().map(|(name, _)| name.length).collect();
        // The first by the interval, then full ones of whole lines, and the rest.
        assert!(lengths[0] <= 200, "{lengths:?}");
        assert_eq!(lengths[1..lengths.len() - 1], [4000, 4000], "{lengths:?}");
        assert_delivered(&world, "app.log", &[&line.repeat(100)]);
    });
}

#[test]
fn asking_once_for_a_seal_makes_one_object_however_fast_the_log_grows() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "0\n");
        daemon.seal_all();
        let mut progress = daemon.parts.queues.progress.subscribe();
        for n in 1..50 {
            // Whenever something was sealed or confirmed, there is a line more.
            let _ = tokio::time::timeout(Duration::from_secs(1), progress.changed()).await;
            daemon.append(log, format!("{n}\n"));
        }
        let objects = segments(&world).len();
        assert!(objects <= 2, "{objects} objects");
        daemon.flush().await;
        assert_eq!(generations(&world).len(), 1);
    });
}

#[test]
fn fsync_to_s3_returns_when_what_was_written_is_uploaded() {
    run(async {
        let mut world = World::new();
        world.settings.fsync = FsyncLevel::S3;
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        answer(daemon.fs.fsync(log.handle)).await.unwrap();
        assert_delivered(&world, "app.log", &["one\n"]);
        world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Server));
        daemon.append(log, "two\n");
        let refused = answer(daemon.fs.fsync(log.handle)).await;
        assert!(matches!(refused, Err(FsError::TimedOut)), "{refused:?}");
    });
}

#[test]
fn fsync_to_s3_fails_when_what_was_written_had_to_be_quarantined() {
    run(async {
        let mut world = World::new();
        world.settings.fsync = FsyncLevel::S3;
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 1, Fault::Before(Kind::Exists));
        daemon.append(log, "one\n");
        let refused = answer(daemon.fs.fsync(log.handle)).await;
        assert!(matches!(refused, Err(FsError::Lost)), "{refused:?}");
        daemon.append(log, "two\n");
        answer(daemon.fs.fsync(log.handle)).await.unwrap();
    });
}

#[test]
fn local_only_files_never_reach_the_bucket() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let local = daemon.open("app.log.gz");
        let written = answer(daemon.fs.write(local.handle, 3, b"local", ONCE)).await.unwrap();
        assert_eq!(written, 5);
        assert_eq!(daemon.read(local.id).await.unwrap(), b"\0\0\0local");
        let image = daemon.shut_down().await;
        let daemon = world.boot_from(&image);
        let found = daemon.stat("app.log.gz").unwrap();
        assert_eq!(daemon.read(found.id).await.unwrap(), b"\0\0\0local");
        daemon.flush().await;
        daemon.unlink("app.log.gz");
        daemon.emptied().await;
        assert!(segments(&world).is_empty());
    });
}

/// What the bucket has, by stream.
fn texts(world: &World) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let mut texts: Vec<_> = generations(world).into_iter().map(|g| (g.stream, text(g.bytes))).collect();
    texts.sort();
    texts
}

fn of(stream: &str, text: &str) -> (String, String) {
    (stream.to_owned(), text.to_owned())
}

#[test]
fn a_file_that_is_filled_under_a_temporary_name_adds_to_the_stream_of_its_name() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        for temporary in ["sedAb3xYz", "web/.app.log.Xy12ab", "tmp.kVtW5cQz9D", "app.log.inprogress"] {
            let log = daemon.open(temporary);
            daemon.append(log, format!("{temporary}\n"));
            daemon.rename(temporary, "app.log").await;
            daemon.append(log, "later\n");
        }
        daemon.flush().await;
        let mut found = texts(&world);
        assert!(found.iter().all(|(stream, _)| stream == "app.log"), "{found:?}");
        found.retain(|(_, text)| text.ends_with("\nlater\n"));
        assert_eq!(found.len(), 4);
    });
}

#[test]
fn a_log_that_is_put_in_the_place_of_another_goes_on_in_its_stream() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let old = daemon.open("app.log");
        daemon.append(old, "old\n");
        let new = daemon.open("edited");
        daemon.append(new, "new\n");
        daemon.rename("edited", "app.log").await;
        // Its place is free, and its stream is known.
        daemon.rename("app.log", "app.log.1").await;
        let third = daemon.open("third");
        daemon.append(third, "third\n");
        daemon.rename("third", "app.log").await;
        let image = daemon.crash();
        let daemon = world.boot_from(&image);
        daemon.flush().await;
        let expected = ["new\n", "old\n", "third\n"].map(|text| of("app.log", text));
        assert_eq!(texts(&world), expected);
    });
}

#[test]
fn a_rename_leaves_a_log_in_its_stream_when_it_is_rotated_or_sealed() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        // A name that rotation gives, and that has been a stream.
        let copied = daemon.open("app.log.1");
        daemon.append(copied, "copied\n");
        let log = daemon.open("app.log");
        daemon.append(log, "rotated\n");
        daemon.rename("app.log", "app.log.1").await;
        daemon.rename("app.log.1", "app.log.2").await;
        let log = daemon.open("x.tmp");
        daemon.append(log, "sealed\n");
        daemon.flush().await;
        daemon.append(log, "later\n");
        daemon.rename("x.tmp", "x.log").await;
        // Nothing has that name, nor had.
        let log = daemon.open("one.log");
        daemon.append(log, "one\n");
        daemon.rename("one.log", "two.log").await;
        daemon.flush().await;
        let expected = [
            of("app.log", "rotated\n"),
            of("app.log.1", "copied\n"),
            of("one.log", "one\n"),
            of("x.tmp", "sealed\nlater\n"),
        ];
        assert_eq!(texts(&world), expected);
    });
}

#[test]
fn a_local_file_becomes_a_log_with_all_its_bytes_by_the_name_that_it_gets() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        for (excluded, name) in [("app.log.gz", "app.log"), ("web/web.pid", "web/web.log")] {
            let local = daemon.open(excluded);
            answer(daemon.fs.write(local.handle, 0, b"onX\n", ONCE)).await.unwrap();
            answer(daemon.fs.write(local.handle, 2, b"e", ONCE)).await.unwrap();
            daemon.rename(excluded, name).await;
            daemon.append(local, "two\n");
            assert_eq!(daemon.read(local.id).await.unwrap(), b"one\ntwo\n");
            assert_eq!(daemon.parts.disk.namespace.local_files(), (0, 0));
            assert_eq!(daemon.parts.disk.budget.used(), daemon.parts.disk.unsent());
            daemon.close(local);
            let again = daemon.open(name);
            daemon.append(again, "three\n");
            daemon.close(again);
        }
        let image = daemon.crash();
        let daemon = world.boot_from(&image);
        daemon.flush().await;
        let expected = ["app.log", "web/web.log"].map(|name| of(name, "one\ntwo\nthree\n"));
        assert_eq!(texts(&world), expected);
    });
}

#[test]
fn a_second_name_makes_a_log_as_a_rename_does() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        for (first, second) in [("app.log.gz", "app.log"), ("x.tmp", "x.log")] {
            let file = daemon.open(first);
            answer(daemon.fs.write(file.handle, 0, b"one\n", ONCE)).await.unwrap();
            daemon.fs.link(file.id, NodeId::ROOT, second.as_bytes(), ONCE).unwrap();
            daemon.unlink(first);
            daemon.append(file, "two\n");
            daemon.close(file);
        }
        daemon.flush().await;
        assert_eq!(texts(&world), ["app.log", "x.log"].map(|name| of(name, "one\ntwo\n")));
    });
}

#[test]
fn a_log_renamed_to_an_excluded_name_still_goes_to_its_stream() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.rename("app.log", "app.log.gz").await;
        let new = daemon.open("app.log");
        daemon.append(new, "two\n");
        daemon.flush().await;
        let mut texts: Vec<_> = generations(&world).into_iter().map(|g| (g.stream, g.bytes)).collect();
        texts.sort();
        let stream = || "app.log".to_owned();
        assert_eq!(texts, [(stream(), b"one\n".to_vec()), (stream(), b"two\n".to_vec())]);
    });
}
