//! Records of nodes: a change is a line, the last whole one counts, a file of many lines is replaced. And
//! that nobody waits for the disk's durability but who asked for it.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logsinkfs::core::SetAttr;
use logsinkfs::local::crash_point::watch;
use logsinkfs::values::ids::NodeId;

use super::check::assert_delivered;
use super::daemon::{Daemon, Log, ONCE, World, answer, run};

/// A hang, not a slow machine.
const HANG: Duration = Duration::from_secs(30);

async fn fsync(daemon: &Daemon, log: Log) {
    answer(daemon.fs.fsync(log.handle)).await.unwrap();
}

#[test]
fn a_change_that_did_not_end_leaves_the_one_before() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "one\n");
        let record = daemon.image().file("/node.json");
        let before = daemon.image().bytes(&record).len();
        daemon.rename("app.log", "app.log.1").await;
        let image = daemon.crash();
        let after = image.clone().bytes(&record).len();
        assert!(after > before);
        for len in [before, before + 1, before + 2, before + 90, after - 2, after - 1, after] {
            let mut cut = image.clone();
            cut.bytes(&record).truncate(len);
            // Of the line feeds at its ends nothing depends.
            let (begun, done) = (len > before + 1, len >= after - 1);
            let torn = begun && !done;
            let mut damaged = cut.clone();
            damaged.bytes(&record).push(b'\n');
            let images = [
                (cut.clone(), false),
                (damaged.clone(), torn),
                (cut.after_reboot(), false),
                (damaged.after_reboot(), false),
            ];
            for (image, keeps) in images {
                let world = World::new();
                let daemon = world.boot_from(&image);
                let there = ["app.log", "app.log.1"].map(|name| daemon.stat(name).is_some());
                assert_eq!(there, [!done, done], "{len} of {after} bytes");
                let kept = daemon.image().names("quarantine").len();
                assert_eq!(kept, usize::from(keeps), "{len} of {after} bytes");
                // What was lost can be made again, and lasts.
                if !done {
                    daemon.rename("app.log", "app.log.1").await;
                }
                let daemon = world.boot_from(&daemon.crash());
                assert!(daemon.stat("app.log.1").is_some(), "{len} of {after} bytes");
                daemon.flush().await;
                assert_delivered(&world, "app.log", &["one\n"]);
            }
        }
    });
}

#[test]
fn a_record_does_not_grow_however_often_it_changes() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        let mut longest = 0;
        for mode in 0..3000 {
            let set = SetAttr { mode: Some(mode % 0o777), ..SetAttr::default() };
            daemon.fs.setattr(log.id, None, set, ONCE).unwrap();
            let path = daemon.life(log).folder().join("node.json");
            longest = longest.max(std::fs::metadata(path).unwrap().len());
        }
        assert!((64 << 10..80 << 10).contains(&longest), "{longest}");
        let image = daemon.crash();
        let daemon = world.boot_from(&image);
        assert_eq!(daemon.stat("app.log").unwrap().mode, 2999 % 0o777);
        assert_eq!(image.names(&format!("nodes/{}", log.id)).len(), 2, "nothing else is left");
    });
}

#[test]
fn nobody_waits_for_the_disk_of_another() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        // Each of these places is behind an fsync, or between two.
        let behind_an_fsync = [
            "seal: the data is durable",
            "durable: a record",
            "seal: the name is durable",
            "store: written, not yet under its name",
            "seal: the marker is durable",
            "record: written anew, not yet under its name",
            "record: written anew",
            "forget: the number is remembered",
        ];
        let passed: Arc<Mutex<BTreeMap<&str, u32>>> = Arc::default();
        let (seen, parts) = (passed.clone(), daemon.parts.clone());
        watch(move |point| {
            if !behind_an_fsync.contains(&point) {
                return;
            }
            *seen.lock().unwrap().entry(point).or_default() += 1;
            let (done, answered) = channel();
            let parts = parts.clone();
            std::thread::spawn(move || {
                let _ = done.send(parts.namespace.attr(NodeId::ROOT).is_ok());
            });
            let answered = answered.recv_timeout(HANG);
            assert_eq!(answered, Ok(true), "stat waits at `{point}`");
        });
        let log = daemon.open("dir/app.log");
        daemon.append(log, "one\n");
        fsync(&daemon, log).await;
        daemon.flush().await;
        daemon.truncate(log);
        daemon.append(log, "two\n");
        daemon.flush().await;
        watch(|_| ());
        let passed = passed.lock().unwrap();
        assert_eq!(passed.len(), behind_an_fsync.len(), "{passed:?}");
    });
}

#[test]
fn a_rename_that_a_power_cut_took_back_is_known_from_who_has_the_name_now() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let names = ["app.log.2", "app.log.1", "app.log"];
        let logs = names.map(|name| (daemon.open(name), name));
        for (log, name) in logs {
            daemon.append(log, format!("{name}\n"));
            fsync(&daemon, log).await;
        }
        let mut before = daemon.image();
        for (from, to) in
            [("app.log.2", "app.log.3"), ("app.log.1", "app.log.2"), ("app.log", "app.log.1")]
        {
            daemon.rename(from, to).await;
        }
        let new = daemon.open("app.log");
        daemon.append(new, "new\n");
        fsync(&daemon, new).await;
        let after = daemon.crash();
        // Of the three that nobody synced, a power cut takes back any.
        for taken in 0..8 {
            let mut image = after.clone().after_reboot();
            for (_, (log, _)) in logs.iter().enumerate().filter(|(n, _)| taken & (1 << n) != 0) {
                let record = image.file(&format!("{}/node.json", log.id));
                *image.bytes(&record) = before.bytes(&record).clone();
            }
            let expected = [
                ("app.log.3", "app.log.2\n"),
                ("app.log.2", "app.log.1\n"),
                ("app.log.1", "app.log\n"),
                ("app.log", "new\n"),
            ];
            // And what was known from another's claim lasts without that.
            let mut daemon = world.recover(&image).unwrap();
            for unlink_first in [false, true] {
                for (name, text) in
                    expected.iter().filter(|(n, _)| !unlink_first || *n != "app.log")
                {
                    let found = daemon.stat(name).unwrap_or_else(|| panic!("{name} of {taken:b}"));
                    assert_eq!(daemon.read(found.id).await.unwrap(), text.as_bytes(), "{name}");
                }
                if !unlink_first {
                    daemon.unlink("app.log");
                    daemon = world.recover(&daemon.crash()).unwrap();
                }
            }
        }
    });
}

#[test]
fn an_fsync_of_a_directory_keeps_what_was_renamed_and_removed_in_it() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let logs = ["dir/a.log", "dir/b.log", "dir/c.log", "x.log"].map(|name| daemon.open(name));
        for log in logs {
            daemon.append(log, "line\n");
            fsync(&daemon, log).await;
        }
        let (dir, _) = daemon.place("dir/a.log");
        let handle = daemon.fs.opendir(dir, ONCE).unwrap();
        let synced: Arc<Mutex<u32>> = Arc::default();
        let count = synced.clone();
        watch(move |point| *count.lock().unwrap() += u32::from(point == "durable: a record"));
        daemon.rename("dir/a.log", "dir/d.log").await;
        daemon.unlink("dir/b.log");
        daemon.rename("x.log", "y.log").await;
        for expected in [2, 2] {
            answer(daemon.fs.fsync(handle)).await.unwrap();
            assert_eq!(*synced.lock().unwrap(), expected);
        }
        watch(|_| ());
    });
}

#[test]
fn an_empty_log_that_is_removed_is_gone_at_once() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.close(log);
        daemon.unlink("app.log");
        assert_eq!(daemon.image_in_place().names("nodes"), Vec::<String>::new());
    });
}

#[test]
fn a_name_that_was_used_once_leaves_no_file_in_the_spool() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let mut before = None;
        for n in 0..40 {
            let name = format!("app-{n}.log");
            let log = daemon.open(&name);
            daemon.append(log, "line\n");
            daemon.unlink(&name);
            daemon.close(log);
            daemon.emptied().await;
            let files: Vec<_> = daemon.image().0.into_keys().collect();
            assert_eq!(*before.get_or_insert_with(|| files.clone()), files);
        }
        let daemon = world.boot_from(&daemon.crash());
        let log = daemon.open("app-7.log");
        daemon.append(log, "again\n");
        daemon.flush().await;
        assert_delivered(&world, "app-7.log", &["line\n", "again\n"]);
    });
}
