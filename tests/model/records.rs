//! Records of nodes: a change is a line, the last whole one of a node counts, a file of many lines is replaced. And
//! that nobody waits for the disk's durability but who asked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::watch::watch;
use logsinkfs::fs::SetAttr;
use logsinkfs::types::ids::NodeId;

use super::check::assert_delivered;
use super::daemon::{BY, Daemon, Log, ONCE, World, answer, run};
use super::image::Image;

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
        let record = "records";
        let before = daemon.image().bytes(record).len();
        daemon.rename("app.log", "app.log.1").await;
        let image = daemon.crash();
        let after = image.clone().bytes(record).len();
        assert!(after > before);
        for len in [before, before + 1, before + 2, before + 90, after - 2, after - 1, after] {
            let mut cut = image.clone();
            cut.bytes(record).truncate(len);
            let mut ended = cut.clone();
            ended.bytes(record).push(b'\n');
            let (whole, nearly) = (len == after, len >= after - 1);
            let torn = len > before && !nearly;
            let images = [
                (cut.clone(), whole, false),
                (ended.clone(), nearly, torn),
                (cut.after_reboot(), whole, false),
                (ended.after_reboot(), nearly, false),
            ];
            for (image, done, keeps) in images {
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
fn the_records_do_not_grow_however_often_they_change() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let logs = ["app.log", "dir/other.log", "gone.log"].map(|name| daemon.open(name));
        daemon.close(logs[2]);
        daemon.unlink("gone.log");
        let path = daemon.dir().join("records");
        let mut longest = 0;
        for n in 0..9000 {
            let set = SetAttr { mode: Some(n % 0o777), ..SetAttr::default() };
            daemon.fs.setattr(logs[0].id, None, set, ONCE).unwrap();
            longest = longest.max(std::fs::metadata(&path).unwrap().len());
            if n % 10 == 0 {
                daemon.parts.disk.namespace.do_chores();
            }
        }
        assert!((1 << 20..(1 << 20) + 8192).contains(&longest), "{longest}");
        let image = daemon.crash();
        let daemon = world.boot_from(&image);
        assert_eq!(daemon.stat("app.log").unwrap().mode, 8999 % 0o777);
        assert!(daemon.stat("dir/other.log").is_some() && daemon.stat("gone.log").is_none());
        assert!(image.names("").iter().all(|name| name != "records.new"), "nothing else is left");
    });
}

#[test]
fn changes_go_on_while_the_records_are_written_anew_and_none_is_lost_by_a_kill() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let logs: Vec<_> = (0..300).map(|n| daemon.open(&format!("{n}.log"))).collect();
        for n in 0..3000 {
            let set = SetAttr { mode: Some(n % 0o777), ..SetAttr::default() };
            daemon.fs.setattr(logs[0].id, None, set, ONCE).unwrap();
        }
        assert!(daemon.parts.disk.namespace.has_chores());
        let (fs, dir) = (daemon.fs.clone(), daemon.dir().to_owned());
        let (name, images) = (Mutex::new(0), Arc::<Mutex<Vec<_>>>::default());
        let found = images.clone();
        // As another thread would, whenever it can.
        watch(move |point| {
            if !point.starts_with("records: written anew") {
                return;
            }
            let mut n = name.lock().unwrap();
            *n += 1;
            let made = fs.mkdir(NodeId::ROOT, format!("dir-{n}").as_bytes(), BY, ONCE);
            made.unwrap();
            fs.unlink(NodeId::ROOT, format!("{n}.log").as_bytes(), ONCE).unwrap();
            found.lock().unwrap().push((*n, Image::take(&dir)));
        });
        daemon.parts.disk.namespace.do_chores();
        watch(|_| ());
        daemon.parts.disk.namespace.do_chores();
        let last = (2, daemon.crash());
        let images = std::mem::take(&mut *images.lock().unwrap());
        assert_eq!(images.len(), 2);
        for (n, image) in images.into_iter().chain([last]) {
            let daemon = world.recover(&image).unwrap();
            for n in 1..=n {
                assert!(daemon.stat(&format!("dir-{n}")).is_some(), "{n}");
                assert!(daemon.stat(&format!("{n}.log")).is_none(), "{n}");
            }
            assert_eq!(daemon.stat("0.log").unwrap().mode, 2999 % 0o777);
            assert!((3..300).all(|n| daemon.stat(&format!("{n}.log")).is_some()));
            assert!(daemon.image().names("quarantine").is_empty());
        }
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
            "records: they have reached the disk",
            "seal: the name is durable",
            "store: written, not yet under its name",
            "seal: the marker is durable",
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
                let _ = done.send(parts.disk.namespace.attr(NodeId::ROOT).is_ok());
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
fn what_a_power_cut_leaves_is_what_was_there_at_some_moment() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let names = ["app.log.1", "app.log"];
        let logs = names.map(|name| (daemon.open(name), name));
        for (log, name) in logs {
            daemon.append(log, format!("{name}\n"));
            fsync(&daemon, log).await;
        }
        let begin = daemon.image().bytes("records").len();
        daemon.rename("app.log.1", "app.log.2").await;
        daemon.rename("app.log", "app.log.1").await;
        daemon.open("app.log");
        let image = daemon.crash();
        let text = image.clone().bytes("records").clone();
        let lines: Vec<_> = text[begin..].split_inclusive(|byte| *byte == b'\n').collect();
        let mut at = begin;
        let mut seen = BTreeSet::new();
        for line in lines {
            // A page in the middle never reached the disk, later ones did.
            let mut image = image.clone().after_reboot();
            image.bytes("records")[at..at + line.len() / 2].fill(0);
            at += line.len();
            let daemon = world.recover(&image).unwrap();
            let mut shown = Vec::new();
            for name in ["app.log", "app.log.1", "app.log.2"] {
                if let Some(attr) = daemon.stat(name) {
                    let text = daemon.read(attr.id).await.unwrap();
                    shown.push((name, String::from_utf8(text).unwrap()));
                }
            }
            let text = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
            let moments = [
                (vec!["app.log", "app.log.1"], text(&["app.log\n", "app.log.1\n"])),
                (vec!["app.log", "app.log.2"], text(&["app.log\n", "app.log.1\n"])),
                (vec!["app.log.1", "app.log.2"], text(&["app.log\n", "app.log.1\n"])),
            ];
            let shown: (Vec<_>, Vec<_>) = shown.into_iter().unzip();
            let moment = moments.iter().position(|moment| *moment == shown);
            seen.insert(moment.unwrap_or_else(|| panic!("{shown:?}")));
            assert!(daemon.image().names("quarantine").is_empty());
        }
        assert_eq!(seen.len(), 3);
    });
}

#[test]
fn a_damaged_record_takes_none_along_that_had_reached_the_disk() {
    run(async {
        for rebooted in [false, true] {
            let world = World::new();
            let daemon = world.boot();
            let log = daemon.open("first.log");
            let first = daemon.image().bytes("records").len();
            daemon.rename("first.log", "second.log").await;
            let second = daemon.image().bytes("records").len();
            for n in 0..3 {
                let other = daemon.open(&format!("{n}.log"));
                fsync(&daemon, other).await;
            }
            daemon.append(log, "line\n");
            let mut image = daemon.crash();
            image.bytes("records")[first..second - 1].fill(b'x');
            let image = if rebooted { image.after_reboot() } else { image };
            let daemon = world.recover(&image).unwrap();
            let found = ["first.log", "0.log", "1.log"].map(|name| daemon.stat(name).is_some());
            assert_eq!(found, [true; 3], "rebooted: {rebooted}");
            assert_eq!(daemon.image().names("quarantine"), ["records"]);
            let daemon = world.recover(&daemon.crash()).unwrap();
            assert_eq!(daemon.image().names("quarantine"), ["records"], "it is found once");
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
        watch(move |point| *count.lock().unwrap() += u32::from(point == "records: they have reached the disk"));
        daemon.rename("dir/a.log", "dir/d.log").await;
        daemon.unlink("dir/b.log");
        daemon.rename("x.log", "y.log").await;
        for expected in [1, 1] {
            answer(daemon.fs.fsync(handle)).await.unwrap();
            assert_eq!(*synced.lock().unwrap(), expected);
        }
        watch(|_| ());
    });
}

#[test]
fn an_empty_log_that_is_removed_leaves_nothing() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.close(log);
        daemon.unlink("app.log");
        assert!(world.recover(&daemon.image_in_place()).unwrap().stat("app.log").is_none());
        daemon.emptied().await;
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
