//! From a sealed range to an object: what a reply means, whom an object under our key belongs to, and what an outage
//! costs.

use std::time::Duration;

use logsinkfs::format::naming::Form;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::clock::Clock;

use super::check::{assert_delivered, generations, segments};
use super::daemon::{World, run};
use super::faulty::{Fault, Gate, Op};
use super::memory::Object;

/// The keys of segments that were asked for with PUT, in order.
fn puts(world: &World) -> Vec<String> {
    world.bucket.calls_of(Op::Put, ".segments/").into_iter().map(|call| call.key).collect()
}

#[test]
fn every_byte_arrives_once_and_the_object_is_what_its_key_says() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("web/app.log");
        daemon.append(log, "one\n");
        daemon.flush().await;
        daemon.append(log, "two\nthree");
        daemon.flush().await;
        assert_delivered(&world, "web/app.log", &["one\ntwo\nthree"]);
        assert_eq!(daemon.read(log.id).await.unwrap(), b"one\ntwo\nthree");
    });
}

#[test]
fn a_lost_reply_is_recognised_as_our_own_earlier_success() {
    for kind in [Kind::Unreachable, Kind::Server, Kind::Throttled] {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            let log = daemon.open("app.log");
            world.bucket.script(Op::Put, ".segments/", 1, Fault::After(kind));
            daemon.append(log, "one\n");
            daemon.flush().await;
            assert_delivered(&world, "app.log", &["one\n"]);
            assert_eq!(puts(&world).len(), 2, "the lost one and the one that is refused");
            assert!(daemon.image().names("quarantine").is_empty());
        });
    }
}

#[test]
fn a_foreign_object_under_the_key_is_never_overwritten_and_the_rest_goes_on() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        let gate = Gate::closed();
        world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldBefore(gate.clone()));
        daemon.append(log, "ours\n");
        daemon.seal_all();
        gate.reached(1).await;
        let key = puts(&world).remove(0);
        world.bucket.inner().plant(&key, Object::foreign(b"theirs"));
        gate.open();
        daemon.until("it is quarantined", |parts| parts.disk.unsent() == 0).await;
        daemon.append(log, "and the rest\n");
        daemon.flush().await;

        let objects = world.bucket.inner().objects();
        assert_eq!(objects[&key], Object::foreign(b"theirs"));
        let rest = segments(&world).into_values().find(|(name, _)| name.offset == 5).unwrap();
        assert_eq!(rest.0.length, 13);
        assert_eq!(daemon.read(log.id).await.unwrap(), b"ours\nand the rest\n");
        let mut image = daemon.image();
        let kept = image.file(".sealed");
        assert!(kept.starts_with("quarantine"), "{kept:?}");
        assert_eq!(image.bytes(&kept), b"ours\n");
        let note = String::from_utf8(image.bytes(kept.with_added_extension("json")).clone()).unwrap();
        assert!(note.contains(&key), "the note beside it names the key: {note}");
    });
}

#[test]
fn different_content_after_a_lost_reply_is_a_conflict_too() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        let gate = Gate::closed();
        world.bucket.script(Op::Put, ".segments/", 1, Fault::Before(Kind::Unreachable));
        world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldBefore(gate.clone()));
        daemon.append(log, "ours\n");
        daemon.seal_all();
        gate.reached(1).await;
        let key = puts(&world).remove(0);
        world.bucket.inner().plant(&key, Object::foreign(b"theirs"));
        gate.open();
        daemon.until("it is quarantined", |parts| parts.disk.unsent() == 0).await;
        assert_eq!(world.bucket.inner().objects()[&key], Object::foreign(b"theirs"));
        assert_eq!(daemon.image().files(".quarantined").len(), 1);
    });
}

#[test]
fn looking_denied_counts_as_our_own_success() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 1, Fault::After(Kind::Unreachable));
        world.bucket.script(Op::Head, "", usize::MAX, Fault::Before(Kind::Denied));
        daemon.append(log, "one\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        assert!(daemon.image().names("quarantine").is_empty());
    });
}

#[test]
fn a_conflicting_conditional_write_is_tried_again() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 3, Fault::Before(Kind::Busy));
        daemon.append(log, "one\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        assert_eq!(puts(&world).len(), 4);
    });
}

#[test]
fn a_busy_answer_to_a_put_that_arrived_is_our_own_success() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 1, Fault::After(Kind::Busy));
        daemon.append(log, "one\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        assert!(daemon.image().names("quarantine").is_empty());
    });
}

#[test]
fn nothing_is_uploaded_before_the_registration() {
    run(async {
        let world = World::new();
        let gate = Gate::closed();
        world.bucket.script(Op::Put, "/writers/", 1, Fault::HeldBefore(gate.clone()));
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        daemon.seal_all();
        gate.reached(1).await;
        daemon.sealed().await;
        daemon.pass(Duration::from_secs(3600)).await;
        assert!(puts(&world).is_empty());
        gate.open();
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        let calls = world.bucket.calls();
        let registered = calls.iter().rposition(|call| call.key.contains("/writers/")).unwrap();
        let first = calls.iter().position(|call| call.key.contains(".segments/")).unwrap();
        assert!(registered < first, "{calls:?}");
    });
}

#[test]
fn a_lost_reply_to_the_registration_keeps_the_writer() {
    for lost in 1..=2 {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            let before = daemon.parts.disk.spool.identity();
            world.bucket.script(Op::Put, "/writers/", lost, Fault::After(Kind::Unreachable));
            let log = daemon.open("app.log");
            daemon.append(log, "one\n");
            daemon.flush().await;
            assert_eq!(daemon.parts.disk.spool.identity(), before);
            assert_delivered(&world, "app.log", &["one\n"]);
        });
    }
}

#[test]
fn a_server_that_ignores_conditions_is_noticed_and_every_put_is_preceded_by_a_head() {
    run(async {
        let world = World::new();
        world.bucket.ignore_conditions();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        for text in ["one\n", "two\n", "three\n"] {
            daemon.append(log, text);
            daemon.flush().await;
        }
        assert_delivered(&world, "app.log", &["one\ntwo\nthree\n"]);
        let calls: Vec<_> = world.bucket.calls();
        let calls: Vec<_> = calls.into_iter().filter(|c| c.key.contains(".segments/")).collect();
        assert_eq!(calls.len(), 6);
        for pair in calls.chunks(2) {
            assert_eq!((pair[0].op, pair[1].op), (Op::Head, Op::Put));
            assert_eq!(pair[0].key, pair[1].key);
        }

        // A lost reply and a foreign object are told apart as well, by the HEAD alone.
        world.bucket.script(Op::Put, ".segments/", 1, Fault::After(Kind::Unreachable));
        daemon.append(log, "four\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\ntwo\nthree\nfour\n"]);
        assert!(daemon.image().names("quarantine").is_empty());
    });
}

/// Nobody wakes the uploader for a gate that was closed at one look at the clock and open at the next.
#[test]
fn a_gate_that_opens_between_two_looks_at_the_clock_is_seen() {
    run(async {
        let world = World::new();
        // Longer than the first waits, all of which are below 250 ms.
        world.clock.slow_down(Duration::from_millis(300));
        world.bucket.script(Op::Put, ".logsinkfs/", 3, Fault::Before(Kind::Throttled));
        let daemon = world.boot();
        daemon.append(daemon.open("app.log"), "line\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["line\n"]);
    });
}

#[test]
fn an_outage_costs_few_tries_and_everything_arrives_afterwards() {
    run(async {
        let mut world = World::new();
        world.settings.spool.segmenting.rules.size = 1024;
        // Plain bodies need no part of the reserve, which would bound the tries as well.
        world.settings.spool.segmenting.form = Form::Plain;
        let daemon = world.boot();
        let logs: Vec<_> = (0..20).map(|n| daemon.open(&format!("{n:02}.log"))).collect();
        daemon.append(logs[0], "before\n");
        daemon.flush().await;
        let before = world.bucket.calls().len();
        world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
        let line = |n: usize| format!("{n:09} {}\n", "x".repeat(89));
        for n in 0..50 {
            for log in &logs {
                daemon.append(*log, line(n));
            }
            daemon.pass(Duration::from_secs(60)).await;
        }
        let tries = world.bucket.calls().len() - before;
        // At most eight are under way when it begins; then the gate lets one through each time, and the waits are 20 s
        // long in the end, never less than half of it.
        assert!(tries < 8 + 8 + 3000 / 10, "{tries} tries in 50 minutes");
        assert!(tries > 3000 / 20, "S3's return would be noticed late: {tries} tries");

        world.bucket.heal();
        daemon.flush().await;
        let text: String = (0..50).map(line).collect();
        for n in 1..20 {
            assert_delivered(&world, &format!("{n:02}.log"), &[&text]);
        }
        assert_delivered(&world, "00.log", &[&format!("before\n{text}")]);
    });
}

#[test]
fn an_outage_with_more_segments_than_the_reserve_holds_bodies_ends() {
    run(async {
        let mut world = World::new();
        // DiskBudget for one body at a time: the others wait for it with their tasks begun.
        world.settings.spool.segmenting.rules.size = 1024;
        let daemon = world.boot();
        let logs: Vec<_> = (0..4).map(|n| daemon.open(&format!("{n}.log"))).collect();
        world.bucket.script(Op::Put, ".segments/", 5, Fault::Before(Kind::Unreachable));
        for log in &logs {
            daemon.append(*log, "line\n");
        }
        daemon.flush().await;
        for n in 0..4 {
            assert_delivered(&world, &format!("{n}.log"), &["line\n"]);
        }
    });
}

#[test]
fn a_stream_that_may_not_be_written_does_not_keep_the_others_from_s3() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        world.bucket.script(Op::Put, "secret.log", usize::MAX, Fault::Before(Kind::Denied));
        let secret = daemon.open("secret.log");
        daemon.append(secret, "hidden\n");
        daemon.seal_all();
        daemon.sealed().await;
        daemon.pass(Duration::from_secs(60)).await;
        for n in 0..20 {
            let log = daemon.open(&format!("{n}.log"));
            daemon.append(log, "line\n");
        }
        daemon.seal_all();
        daemon.until("all but one have arrived", |parts| parts.disk.unsent() == 7).await;
        assert_eq!(generations(&world).len(), 20);
        world.bucket.heal();
        daemon.flush().await;
        assert_delivered(&world, "secret.log", &["hidden\n"]);
    });
}

#[test]
fn a_spool_that_fails_after_the_put_does_not_make_our_own_object_a_conflict() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        let gate = Gate::closed();
        world.bucket.script(Op::Put, ".segments/", 1, Fault::HeldAfter(gate.clone()));
        daemon.append(log, "one\n");
        daemon.seal_all();
        gate.reached(1).await;
        // Something has the name that the marker gets next.
        let sealed = daemon.image().file(".sending");
        let nodes = daemon.parts.disk.spool.nodes().to_owned();
        let taken = nodes.join(sealed.file_name().unwrap()).with_extension("confirmed");
        std::fs::create_dir_all(taken.join("x")).unwrap();
        gate.open();
        let log = daemon.log(log);
        daemon.until("the step failed", |_| log.state().last_error().is_some()).await;
        std::fs::remove_dir_all(&taken).unwrap();
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
        assert!(daemon.image().names("quarantine").is_empty());
        assert_eq!(daemon.image().files(".confirmed").len(), 1);
    });
}

#[test]
fn bytes_changed_behind_our_back_after_the_seal_are_never_uploaded_silently() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        daemon.flush().await;
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 1, Fault::Before(Kind::Unreachable));
        let gate = Gate::closed();
        world.bucket.script(Op::Put, "first.log", 1, Fault::HeldBefore(gate.clone()));
        daemon.append(log, "line one\n");
        daemon.seal_all();
        daemon.sealed().await;
        let image = daemon.crash();

        let daemon = world.recover(&image).unwrap();
        let log = daemon.open("app.log");
        daemon.scribble(log, 5, b"ONE");
        let daemon = world.start(daemon);
        daemon.append(log, "line two\n");
        daemon.flush().await;
        let found = generations(&world);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].offset, &found[0].bytes[..]), (9, &b"line two\n"[..]));
        let mut image = daemon.image();
        let kept = image.file(".sealed");
        assert_eq!(image.bytes(kept), b"line ONE\n");
    });
}

#[test]
fn what_waits_for_its_next_try_is_tried_at_once_when_the_daemon_stops() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        daemon.flush().await;
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", 8, Fault::Before(Kind::Refused));
        daemon.append(log, "one\n");
        daemon.seal_all();
        daemon.until("it waits long", |_| puts(&world).len() == 8).await;
        let before = world.clock.monotonic();
        daemon.shut_down().await;
        assert!(world.clock.monotonic().since(before) < Duration::from_secs(5));
        assert_delivered(&world, "app.log", &["one\n"]);
    });
}
