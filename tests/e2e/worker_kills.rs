//! The worker killed -9 again and again under programs that append, truncate, rename and read, while S3 comes and goes:
//! none of them sees an error, and no line is lost, doubled or torn. `KILLS=1000` makes a long row of it.

#![allow(clippy::disallowed_methods, reason = "the longest write is reported, by the machine's clock")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use test_harness::process::{Proc, command};
use test_harness::{Answer, Gate, Ledger, Mount, Rig, eventually};

/// What all writers share: whether to go on, what was written, the longest that a write took.
#[derive(Default)]
struct Torture {
    over: AtomicBool,
    lines: Mutex<Ledger>,
    /// Steps that needed the worker.
    served: AtomicUsize,
    longest: Mutex<Vec<(String, Duration)>>,
}

impl Torture {
    /// Has a program make its steps until the end. None of them fails.
    fn run(&self, name: &str, mut step: impl FnMut(&mut dyn FnMut(&mut File))) {
        let (mut written, mut longest) = (Vec::new(), Duration::ZERO);
        while !self.over.load(Ordering::Relaxed) {
            step(&mut |file| {
                let line = format!("{name} {:06} {}", written.len(), "x".repeat(written.len() % 90));
                let begin = Instant::now();
                file.write_all(format!("{line}\n").as_bytes()).unwrap();
                longest = longest.max(begin.elapsed());
                written.push(line);
            });
        }
        self.lines.lock().unwrap().add(Ledger::written(written));
        self.longest.lock().unwrap().push((name.to_owned(), longest));
    }
}

fn append_to(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Appends with O_APPEND, and looks at the file now and then.
fn appender(torture: &Torture, mount: &Mount) {
    let path = mount.path("shared.log");
    let mut file = append_to(&path);
    let mut size = 0;
    torture.run("appender", |write| {
        write(&mut file);
        let now = fs::metadata(&path).unwrap().size();
        assert!(now > size, "it shrank from {size} to {now}");
        size = now;
    });
}

/// Writes without O_APPEND, where its last write ended, whatever else is in the file by then.
fn plain(torture: &Torture, mount: &Mount) {
    let path = mount.path("plain.log");
    let mut file = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
    let mut beside = append_to(&path);
    torture.run("plain", |write| {
        write(&mut file);
        write(&mut beside);
    });
}

/// Starts its log again and again.
fn truncater(torture: &Torture, mount: &Mount) {
    let path = mount.path("truncated.log");
    let mut file = append_to(&path);
    torture.run("truncater", |write| {
        for _ in 0..20 {
            write(&mut file);
        }
        file.set_len(0).unwrap();
        torture.served.fetch_add(1, Ordering::Relaxed);
        assert_eq!(fs::metadata(&path).unwrap().size(), 0);
    });
}

/// Moves its log away, makes names of all kinds and takes them away.
fn renamer(torture: &Torture, mount: &Mount) {
    let path = |name: &str| mount.path(&format!("renamed/{name}"));
    fs::create_dir(mount.path("renamed")).unwrap();
    let mut n = 0;
    torture.run("renamer", |write| {
        n += 1;
        let mut file = OpenOptions::new().create_new(true).append(true).open(path("a.log")).unwrap();
        for _ in 0..10 {
            write(&mut file);
        }
        fs::hard_link(path("a.log"), path("link")).unwrap();
        fs::rename(path("a.log"), path("a.log.old")).unwrap();
        write(&mut file);
        fs::create_dir(path("dir")).unwrap();
        std::os::unix::fs::symlink("a.log.old", path("dir/symlink")).unwrap();
        assert_eq!(fs::metadata(path("dir/symlink")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
        fs::remove_file(path("dir/symlink")).unwrap();
        fs::remove_dir(path("dir")).unwrap();
        fs::remove_file(path("link")).unwrap();
        file.sync_all().unwrap();
        fs::remove_file(path("a.log.old")).unwrap();
        write(&mut file);
        assert_eq!(fs::read_dir(mount.path("renamed")).unwrap().count(), 0, "round {n}");
    });
}

/// Lets S3 be away, lose answers and be there, in turns.
pub fn weather(gate: &Gate, day: usize) {
    match day % 4 {
        1 => gate.refuse(503, "SlowDown"),
        2 => gate.rule(|seen| if seen.stores_a_segment() { Answer::LoseReply } else { Answer::Pass }),
        _ => gate.open(),
    }
}

fn torture(write_path: &str) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint);
    let mut mount = plan.with(&["--rotate-size", "64KiB", "--write-path", write_path]).start();
    File::create(mount.path("shared.log")).unwrap();
    let followed = rig.local("followed");
    let mut tail = command("sh");
    tail.args(["-c", "exec tail -f -s 0.05 -n +1 \"$0\" > \"$1\""]);
    tail.arg(mount.path("shared.log")).arg(&followed);
    let tail = Proc::start("tail", tail);
    // A hundred show a fault of the design, and take two minutes where a compiler has the machine; a thousand look for
    // one that is rare.
    let kills: usize = std::env::var("KILLS").map_or(100, |kills| kills.parse().unwrap());
    let torture = Torture::default();
    let programs = [appender, plain, truncater, renamer];
    std::thread::scope(|scope| {
        let end = scopeguard(&torture);
        for program in programs {
            let (torture, mount) = (&torture, &mount);
            scope.spawn(move || program(torture, mount));
        }
        for kill in 0..kills {
            // Three of four serve again before they are killed, some only just; the others are killed whatever they do.
            // All at moments without a pattern.
            let seen = torture.served.load(Ordering::Relaxed);
            if kill % 4 != 0 {
                eventually("the mount to go on", || (torture.served.load(Ordering::Relaxed) > seen).then_some(()));
            }
            std::thread::sleep(Duration::from_millis(rand(kill) % 200));
            if kill % 10 == 0 {
                weather(&gate, kill / 10);
            }
            let _ = mount.try_kill_worker();
        }
        gate.open();
        drop(end);
    });
    let size = fs::metadata(mount.path("shared.log")).unwrap().size();
    eventually("tail to have read all", || (fs::metadata(&followed).unwrap().size() == size).then_some(()));
    drop(tail);
    let shown = fs::read_to_string(&followed).unwrap();
    assert!(mount.daemon.poll().is_none(), "the keeper ended");
    mount.await_sent();
    mount.stop();
    let lines = torture.lines.into_inner().unwrap();
    let (bucket, longest) = (rig.bucket(), torture.longest.into_inner().unwrap());
    let found = bucket.all_lines();
    println!("{kills} kills, {} lines, longest write {longest:?}", lines.count());
    lines.report(&bucket, &found, kills);
    lines.assert_in(&found);
    assert_eq!(shown, String::from_utf8(bucket.content("shared.log")).unwrap());
}

/// Moments that are the same in each run, spread without a pattern (splitmix64).
fn rand(n: usize) -> u64 {
    let mut z = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ends the writers, also when the test fails.
fn scopeguard(torture: &Torture) -> impl Drop + '_ {
    struct End<'a>(&'a Torture);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
    End(torture)
}

#[test]
fn nobody_notices_while_the_kernel_writes() {
    torture("passthrough");
}

#[test]
fn nobody_notices_while_the_daemon_writes() {
    torture("daemon");
}

#[test]
fn what_is_open_stays_open() {
    let rig = Rig::embedded();
    let stored = "x".repeat(300_000);
    rig.bucket().put("team/old/dir/object.txt", stored.as_bytes());
    let mount = rig.mount_bucket_view(&[]);
    let open = |name: &str| OpenOptions::new().read(true).append(true).create(true).open(mount.path(name)).unwrap();
    let (mut log, mut local, mut gone) = (open("app.log"), open("app.pid"), open("gone.log"));
    gone.write_all(b"one\n").unwrap();
    fs::remove_file(mount.path("gone.log")).unwrap();
    for n in 0..500 {
        File::create(mount.path(&format!("{n:03}.log"))).unwrap();
    }
    let mut listing = fs::read_dir(&mount.plan.point).unwrap();
    let mut names: Vec<_> = listing.by_ref().take(100).map(|e| e.unwrap().file_name()).collect();
    let mut object = File::open(mount.path("old/dir/object.txt")).unwrap();
    let mut text = vec![0; 1000];
    object.read_exact(&mut text).unwrap();
    let inside = File::open(mount.path("old/dir")).unwrap();
    let mut shell = command("sh");
    shell.args(["-c", "cd \"$0\" && while [ ! -e \"$1\" ]; do sleep 0.05; done; ls; cat object.txt | wc -c"]);
    shell.arg(mount.path("old/dir")).arg(rig.local("go"));
    let mut shell = Proc::start("shell", shell);
    let lock = OpenOptions::new().create_new(true).write(true).open(mount.path("app.lock")).unwrap();
    eventually("the shell to be there", || {
        let cwd = fs::read_link(format!("/proc/{}/cwd", shell.pid().as_raw_nonzero())).ok()?;
        (cwd == mount.path("old/dir")).then_some(())
    });

    mount.kill_worker();

    log.write_all(b"after\n").unwrap();
    local.write_all(b"17").unwrap();
    gone.write_all(b"two\n").unwrap();
    gone.sync_all().unwrap();
    assert_eq!((log.metadata().unwrap().size(), local.metadata().unwrap().size()), (6, 2));
    assert_eq!((gone.metadata().unwrap().size(), gone.metadata().unwrap().nlink()), (8, 0));
    object.read_to_end(&mut text).unwrap();
    assert_eq!(text.len(), stored.len());
    let within = rustix::fs::openat(&inside, "object.txt", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    assert_eq!(File::from(within.unwrap()).metadata().unwrap().size(), 300_000);
    names.extend(listing.map(|entry| entry.unwrap().file_name()));
    names.sort();
    // What `gone.log` had was uploaded when it was unlinked, perhaps while the directory was read.
    names.retain(|name| name != "gone.log.segments");
    let shown = names.len();
    names.dedup();
    assert_eq!((shown, names.len()), (504, 504), "500, app.log, app.pid, app.lock and old, once");
    let again = OpenOptions::new().create_new(true).write(true).open(mount.path("app.lock"));
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    drop(lock);
    fs::write(rig.local("go"), "").unwrap();
    shell.await_stdout("the object", |line| (line == "object.txt").then_some(()));
    shell.await_stdout("its size", |line| (line.trim() == "300000").then_some(()));
    shell.success();
    drop((log, local, gone, object, inside));
    mount.stop();
    assert_eq!(rig.bucket().lines("gone.log"), ["one", "two"]);
}
