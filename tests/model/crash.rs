//! A daemon is killed between two steps on the disk, wherever that is, and another one starts from what it left: each
//! byte arrives once, offsets have no gap, and recovering twice gives what once gives.

use std::collections::BTreeSet;
use std::time::Duration;

use logsinkfs::format::naming::Form;
use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::types::bucket_error::Kind;

use super::check::{assert_delivered, generations, segments};
use super::daemon::{Daemon, World, run};
use super::faulty::{Fault, Gate, Op};
use super::image::Image;
use super::memory::Objects;

/// Starts from an image, appends a line to the log, and has everything uploaded.
async fn go_on(world: &World, image: &Image, path: &str, line: &str) -> Daemon {
    let daemon = world.boot_from(image);
    let log = daemon.open(path);
    daemon.append(log, line);
    daemon.flush().await;
    daemon
}

#[test]
fn killed_after_an_append() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        let image = daemon.crash();
        go_on(&world, &image, "app.log", "two\n").await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);
    });
}

#[test]
fn killed_while_a_log_is_made() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        daemon.open("app.log");
        let mut made = daemon.crash();
        // The steps of making a log: the spool file, the record.
        let mut with_file = made.clone();
        with_file.bytes("records").clear();
        let mut with_record_begun = made.clone();
        let begun = made.bytes("records").len() - 20;
        with_record_begun.bytes("records").truncate(begun);
        for image in [with_file, with_record_begun] {
            let daemon = world.recover(&image).unwrap();
            assert!(daemon.stat("app.log").is_none(), "nobody was told of it");
            assert!(daemon.image().names("quarantine").is_empty());
            assert!(daemon.image().names("nodes").is_empty());
        }
        let daemon = world.recover(&made).unwrap();
        assert!(daemon.stat("app.log").is_some());
    });
}

#[test]
fn killed_while_a_range_is_sealed() {
    run(async {
        let world = World::new();
        world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.seal_all();
        daemon.sealed().await;
        let sealed = daemon.crash();
        world.bucket.heal();
        let marker = sealed.file(".sealed");
        let mut half = sealed.clone();
        half.rename(&marker, marker.with_extension("new"));
        half.bytes(marker.with_extension("new")).truncate(7);
        go_on(&world, &half, "app.log", "two\n").await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);

        let world = World::new();
        go_on(&world, &sealed, "app.log", "two\n").await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);
        assert_eq!(segments(&world).len(), 2, "the sealed range keeps its end");
    });
}

#[test]
fn killed_before_and_after_the_put_is_carried_out() {
    for applied in [false, true] {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            let log = daemon.open("app.log");
            let gate = Gate::closed();
            let fault = if applied { Fault::HeldAfter } else { Fault::HeldBefore };
            world.bucket.script(Op::Put, ".segments/", 1, fault(gate.clone()));
            daemon.append(log, "one\n");
            daemon.seal_all();
            gate.reached(1).await;
            let image = daemon.crash();
            assert_eq!(segments(&world).len(), usize::from(applied));
            let daemon = go_on(&world, &image, "app.log", "two\n").await;
            assert_delivered(&world, "app.log", &["one\ntwo\n"]);
            assert!(daemon.image().names("quarantine").is_empty());
        });
    }
}

#[test]
fn a_put_of_the_daemon_before_may_arrive_late() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        let gate = Gate::closed();
        world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldBefore(gate.clone()));
        daemon.append(log, "one\n");
        daemon.seal_all();
        gate.reached(1).await;
        let image = daemon.image();
        // The request of the killed daemon is still on its way when the next one has started.
        let next = world.boot_from(&image);
        let late = Gate::closed();
        world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldBefore(late.clone()));
        late.reached(1).await;
        gate.open();
        daemon.flush().await;
        late.open();
        next.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        assert!(next.image().names("quarantine").is_empty());
    });
}

#[test]
fn killed_after_the_confirmation() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.flush().await;
        let image = daemon.crash();
        let puts = world.bucket.calls_of(Op::Put, ".segments/").len();
        let daemon = world.boot_from(&image);
        daemon.flush().await;
        assert_eq!(world.bucket.calls_of(Op::Put, ".segments/").len(), puts, "nothing is sent again");
        let image = daemon.crash();
        go_on(&world, &image, "app.log", "two\n").await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);
    });
}

/// An image in which a generation of several segments has ended and all are confirmed but the last one, whose PUT was
/// carried out, with what the bucket has at that moment; and the image after that was confirmed too and all markers are
/// gone.
async fn ended_generations(world: &mut World) -> (Image, Objects, Image) {
    world.settings.spool.segmenting.rules.size = 1024;
    let daemon = world.boot();
    let log = daemon.open("app.log");
    let line = |n: usize| format!("{n:04} {}\n", "x".repeat(500));
    for n in 0..6 {
        daemon.append(log, line(n));
        daemon.flush().await;
    }
    let gate = Gate::closed();
    daemon.append(log, "the last of the first\n");
    world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldAfter(gate.clone()));
    daemon.truncate(log);
    daemon.append(log, "second\n");
    gate.reached(1).await;
    let (before, stored) = (daemon.image(), world.bucket.inner().objects());
    gate.open();
    daemon.flush().await;
    (before, stored, daemon.crash())
}

#[test]
fn killed_in_the_middle_of_the_removal_of_markers() {
    run(async {
        let mut world = World::new();
        let (before, stored, after) = ended_generations(&mut world).await;
        let expected: Vec<_> = generations(&world).into_iter().map(|g| g.bytes).collect();
        // The steps: the last marker is confirmed, the record forgets the old base, the stream's number is remembered,
        // the markers go one by one from the front, the bytes are punched.
        let mut image = before.clone();
        let mut images = vec![image.clone()];
        let last = image.file(".sending");
        image.rename(&last, last.with_extension("confirmed"));
        images.push(image.clone());
        *image.bytes("records") = after.clone().bytes("records").clone();
        images.push(image.clone());
        *image.bytes("numbers") = after.clone().bytes("numbers").clone();
        images.push(image.clone());
        for marker in image.files(".confirmed") {
            image.remove(marker);
            images.push(image.clone());
        }
        assert!(images.len() > 9, "{} states", images.len());
        for (state, image) in images.iter().enumerate() {
            world.bucket.inner().set_back(&stored);
            let daemon = world.boot_from(image);
            daemon.flush().await;
            let log = daemon.open("app.log");
            assert_eq!(daemon.read(log.id).await.unwrap(), b"second\n", "in state {state}");
            let found: Vec<_> = generations(&world).into_iter().map(|g| g.bytes).collect();
            assert_eq!(found, expected, "in state {state}");
            assert!(daemon.image().names("quarantine").is_empty(), "in state {state}");
        }
    });
}

#[test]
fn killed_while_a_finished_log_is_removed() {
    run(async {
        let mut world = World::new();
        world.settings.spool.segmenting.rules.idle = Duration::from_secs(3600);
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.flush().await;
        daemon.unlink("app.log");
        let mut unlinked = daemon.image();
        daemon.close(log);
        daemon.emptied().await;
        let only_unlinked = unlinked.clone();
        let mut after = daemon.crash();
        *unlinked.bytes("numbers") = after.bytes("numbers").clone();
        // The steps: the number is remembered, the record is gone, then the files are, in any order.
        let mut image = unlinked.clone();
        *image.bytes("records") = after.bytes("records").clone();
        let mut images = vec![only_unlinked, unlinked, image.clone()];
        for end in [".data", ".confirmed"] {
            image.remove(image.file(end));
            images.push(image.clone());
        }
        let stored = world.bucket.inner().objects();
        for image in images {
            world.bucket.inner().set_back(&stored);
            let daemon = world.boot_from(&image);
            daemon.emptied().await;
            assert!(daemon.stat("app.log").is_none());
            assert!(daemon.image().names("nodes").is_empty());
            let log = daemon.open("app.log");
            daemon.append(log, "two\n");
            daemon.flush().await;
            let found = generations(&world);
            assert_eq!(found[0].bytes, b"one\n");
            assert_eq!(found[1].number.0, 2, "a number is never given twice");
        }
    });
}

#[test]
fn killed_in_the_middle_of_a_rename_over_another_log() {
    // Whichever of the two was made first.
    for first in ["app.log", "next.log"] {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            daemon.open(first);
            let (old, new) = (daemon.open("app.log"), daemon.open("next.log"));
            daemon.append(old, "old\n");
            daemon.append(new, "new\n");
            daemon.rename("next.log", "app.log").await;
            let after = daemon.crash();
            // The new name is written down before the replaced log loses it.
            let mut between = after.clone();
            let records = between.bytes("records");
            let lines: Vec<_> = records.split_inclusive(|byte| *byte == b'\n').collect();
            *records = lines[..lines.len() - 1].concat();
            for image in [between, after] {
                let world = World::new();
                let daemon = world.recover(&image).unwrap();
                assert!(daemon.stat("next.log").is_none());
                assert_eq!(daemon.stat("app.log").unwrap().id, new.id);
                let daemon = world.start(daemon);
                daemon.flush().await;
                // Nothing of it was sealed: it takes the stream of the log that it replaces.
                let found = generations(&world).into_iter().map(|g| (g.stream, g.bytes));
                let expected = ["old\n", "new\n"].map(|text| ("app.log".into(), text.into()));
                assert_eq!(found.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
            }
        });
    }
}

#[test]
fn killed_while_a_segment_is_reclaimed() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.flush().await;
        let mut marked = daemon.image();
        let marker = marked.file(".confirmed");
        marked.rename(&marker, marker.with_extension("reclaimed"));
        daemon.reclaim_all();
        let mut punched = daemon.crash();
        let data = punched.file(".data");
        assert_eq!(punched.bytes(data), b"\0\0\0\0");
        for image in [marked, punched] {
            let daemon = world.boot_from(&image);
            let log = daemon.open("app.log");
            assert_eq!(daemon.read(log.id).await.unwrap(), b"one\n");
        }
    });
}

#[test]
fn the_key_and_the_bytes_of_a_sealed_range_outlive_other_settings_and_a_clock_set_back() {
    for applied in [false, true] {
        run(async {
            let mut world = World::new();
            let daemon = world.boot();
            let log = daemon.open("app.log");
            let gate = Gate::closed();
            let fault = if applied { Fault::HeldAfter } else { Fault::HeldBefore };
            world.bucket.script(Op::Put, ".segments/", 1, fault(gate.clone()));
            daemon.append(log, "one\n");
            daemon.seal_all();
            gate.reached(1).await;
            let key = world.bucket.calls_of(Op::Put, ".segments/").remove(0).key;
            let image = daemon.crash();

            world.settings.spool.segmenting.form = Form::Zstd;
            world.settings.spool.segmenting.partition = PartitionTemplate::parse("%Y").unwrap();
            world.settings.spool.writer_name = "another".into();
            world.clock.jump_back(Duration::from_secs(7 * 24 * 3600));
            let daemon = go_on(&world, &image, "app.log", "two\n").await;
            assert_delivered(&world, "app.log", &["one\ntwo\n"]);
            let segments = segments(&world);
            assert_eq!(segments[&key].0.form, Form::Gzip);
            let (_, (next, _)) = segments.into_iter().find(|(k, _)| *k != key).unwrap();
            assert_eq!((next.form, next.partition.as_str()), (Form::Zstd, "2026"));
            assert!(daemon.image().names("quarantine").is_empty());
        });
    }
}

#[test]
fn recovering_twice_gives_what_once_gives() {
    run(async {
        let mut world = World::new();
        let (before, _, after) = ended_generations(&mut world).await;
        let mut shorter = before.clone();
        let data = shorter.file(".data");
        shorter.bytes(&data).truncate(100);
        let mut foreign = after.clone();
        foreign.write("nodes/x", b"foreign");
        for image in [before.clone(), after, shorter, foreign, before.after_reboot()] {
            let once = world.recover(&image).unwrap().image();
            let twice = world.recover(&once).unwrap().image();
            assert_eq!(once.without_identity(), twice.without_identity());
        }
    });
}

#[test]
fn a_spool_of_an_earlier_version_is_taken_over_as_it_was() {
    run(async {
        let mut world = World::new();
        let (before, stored, after) = ended_generations(&mut world).await;
        let expected: Vec<_> = generations(&world).into_iter().map(|g| g.bytes).collect();
        let whole = world.bucket.inner().objects();
        for (image, stored) in [(before, stored), (after, whole)] {
            world.bucket.inner().set_back(&stored);
            let daemon = world.boot_from(&image.of_an_earlier_version());
            daemon.flush().await;
            let log = daemon.open("app.log");
            assert_eq!(daemon.read(log.id).await.unwrap(), b"second\n");
            let found: Vec<_> = generations(&world).into_iter().map(|g| g.bytes).collect();
            assert_eq!(found, expected);
            let image = daemon.image();
            assert!(image.names("quarantine").is_empty());
            assert!(image.files("node.json").is_empty());
        }
    });
}

#[test]
fn an_orderly_stop_leaves_nothing_unsent() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let logs = [daemon.open("a.log"), daemon.open("b.log")];
        daemon.append(logs[0], "one\n");
        daemon.append(logs[1], "two");
        let image = daemon.shut_down().await;
        assert_delivered(&world, "a.log", &["one\n"]);
        assert_delivered(&world, "b.log", &["two"]);
        assert!(image.files(".sealed").is_empty());
        go_on(&world, &image, "b.log", " goes on\n").await;
        assert_delivered(&world, "b.log", &["two goes on\n"]);
    });
}
