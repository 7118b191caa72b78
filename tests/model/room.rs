//! Little room: what S3 has makes place for what is appended, and reads come back from the bucket as they were written.

use std::time::Duration;

use logsinkfs::format::naming::Form;
use logsinkfs::fs::SetAttr;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::time::{FileTime, Utc};

use super::check::{assert_delivered, plain, segments};
use super::daemon::{ONCE, World, run};
use super::faulty::{Fault, Op};
use super::memory::Object;

/// A world whose spool takes 64 KiB, in segments of 4 KiB.
pub fn small(form: Form) -> World {
    let mut world = World::new();
    world.settings.spool.segmenting.form = form;
    world.settings.spool.segmenting.rules.size = 4096;
    world.settings.spool.limits.max = Some(64 << 10);
    world
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{n:099}\n")).collect()
}

#[test]
fn a_small_spool_takes_a_log_of_any_size_and_reads_come_back_from_the_bucket() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        run(async {
            let world = small(form);
            let daemon = world.boot();
            let log = daemon.open("app.log");
            // Ten times what the spool takes.
            for n in 0..160 {
                daemon.append(log, lines(n * 40, n * 40 + 40));
                daemon.flush().await;
            }
            let text = lines(0, 6400);
            assert_delivered(&world, "app.log", &[&text]);
            assert!(daemon.image().files(".reclaimed").len() > 140);
            let gets = world.bucket.calls_of(Op::Get, "").len();
            assert_eq!(daemon.read(log.id).await.unwrap(), text.as_bytes());
            assert!(world.bucket.calls_of(Op::Get, "").len() > gets);
            for (name, object) in segments(&world).into_values() {
                assert_eq!(name.form, form);
                assert_eq!(plain(&name, &object).len() as u64, name.length);
            }

            let daemon = world.boot_from(&daemon.crash());
            let log = daemon.open("app.log");
            daemon.append(log, lines(6400, 6440));
            daemon.flush().await;
            let text = lines(0, 6440);
            assert_eq!(daemon.read(log.id).await.unwrap(), text.as_bytes());
            assert_delivered(&world, "app.log", &[&text]);
        });
    }
}

#[test]
fn a_time_that_is_set_while_room_is_given_back_holds() {
    run(async {
        let world = small(Form::Gzip);
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        let modified = || daemon.fs.getattr(log.id).unwrap().times.modified;
        let (written, file) = (modified(), daemon.log(log).file().unwrap());
        // A hole in a file is a write for the kernel, until the file's time is put back.
        let before = daemon.log(log).metadata().unwrap().1.modified().unwrap();
        file.set_modified(before + Duration::from_secs(1)).unwrap();
        assert_eq!(modified(), written);
        let set = FileTime::new(1_000_000_000, 5);
        let asked = SetAttr { modified: Some(set), ..SetAttr::default() };
        daemon.fs.setattr(log.id, None, asked, ONCE).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(modified(), set);
        daemon.append(log, "two\n");
        assert_ne!(modified(), set);
    });
}

#[test]
fn giving_room_back_is_no_write_for_those_who_look_at_the_time() {
    run(async {
        let world = small(Form::Gzip);
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.pass(Duration::from_secs(1)).await;
        daemon.append(log, "one\n");
        daemon.flush().await;
        let before = daemon.fs.getattr(log.id).unwrap().times.modified;
        assert_eq!(before, Utc::from_name("20261123T083001.000000Z").unwrap().into());
        assert_eq!(daemon.reclaim_all(), 4);
        assert_eq!(daemon.fs.getattr(log.id).unwrap().times.modified, before);
    });
}

#[test]
fn a_full_spool_refuses_and_loses_nothing_that_it_has_accepted() {
    run(async {
        let world = small(Form::Gzip);
        let daemon = world.boot();
        let log = daemon.open("app.log");
        world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Unreachable));
        let mut accepted = 0;
        let refused = loop {
            match daemon.try_append(log, lines(accepted, accepted + 40).as_bytes()) {
                Ok(()) => accepted += 40,
                Err(e) => break e,
            }
        };
        assert!(matches!(refused, FsError::NoSpace), "{refused}");
        assert_eq!(accepted, 480, "64 KiB less the reserve: there is nobody to leave anything to");
        world.bucket.heal();
        daemon.flush().await;
        daemon.append(log, lines(accepted, accepted + 40));
        daemon.flush().await;
        assert_delivered(&world, "app.log", &[&lines(0, accepted + 40)]);
    });
}

#[test]
fn truncated_and_removed_logs_give_their_room_back() {
    run(async {
        let world = small(Form::Plain);
        let daemon = world.boot();
        let free = daemon.fs.statfs().free;
        let (first, second) = (daemon.open("a.log"), daemon.open("b.log"));
        daemon.append(first, lines(0, 100));
        daemon.append(second, lines(0, 100));
        assert_eq!(daemon.fs.statfs().free, free - 20_000);
        daemon.truncate(first);
        daemon.unlink("b.log");
        daemon.close(second);
        daemon.flush().await;
        daemon.until("the room is free again", |parts| parts.disk.budget.capacity().free == free).await;
        let daemon = world.boot_from(&daemon.crash());
        assert_eq!(daemon.fs.statfs().free, free, "the next start counts the same");
    });
}

#[test]
fn a_replaced_object_is_never_read_as_the_log() {
    run(async {
        let world = small(Form::Plain);
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "ours\n");
        daemon.flush().await;
        daemon.reclaim_all();
        let key = segments(&world).pop_first().unwrap().0;
        for other in [&b"them\n"[..], b"longer than it was", b""] {
            world.bucket.inner().plant(&key, Object::foreign(other));
            let refused = daemon.read(log.id).await;
            assert!(matches!(refused, Err(FsError::Damaged(_))), "{refused:?}");
        }
    });
}
