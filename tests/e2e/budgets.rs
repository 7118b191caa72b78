//! What one program takes: of a spool that one first-level folder fills while S3 is away and nothing may be dropped,
//! the others have their share; who walks through a bucket of any size does not fill the memory.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use logsinkfs::fs::surplus::NODES_MAX;
use rustix::fs::statvfs;

use test_harness::gate::Gate;
use test_harness::{Mount, Rig, eventually};

const MIB: u64 = 1 << 20;

/// A mount with two folders whose spool takes 7 MiB of logs and 2 MiB of local files, S3 being away.
fn full_by(rig: &Rig, when_full: &str) -> (Gate, Mount) {
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let flags = ["--when-full", when_full, "--spool-max", "8MiB", "--rotate-size", "256KiB"];
    let mount = rig.plan("mount").through(&gate.endpoint).with(&flags).start();
    for folder in ["hog", "quiet"] {
        fs::create_dir(mount.path(folder)).unwrap();
    }
    (gate, mount)
}

fn append_to(mount: &Mount, name: &str) -> File {
    OpenOptions::new().append(true).create(true).open(mount.path(name)).unwrap()
}

fn line(n: usize) -> String {
    format!("line {n:06} {}\n", "b".repeat(1_000))
}

/// Appends lines until one is refused; gives what was accepted.
fn fill(mount: &Mount, name: &str) -> String {
    let (mut file, mut accepted) = (append_to(mount, name), String::new());
    for n in 0..20_000 {
        match file.write(line(n).as_bytes()) {
            Ok(written) => accepted.push_str(&line(n)[..written]),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::StorageFull);
                return accepted;
            }
        }
    }
    panic!("20 MB do not fit into 8 MiB");
}

/// Appends 700 KiB, each line of which is taken at once; gives it.
fn go_on(mount: &Mount, name: &str) -> String {
    let (mut file, text) = (append_to(mount, name), (0..700).map(line).collect::<String>());
    text.split_inclusive('\n').for_each(|line| file.write_all(line.as_bytes()).unwrap());
    text
}

#[test]
fn a_folder_that_fills_the_spool_is_refused_and_the_others_write_on() {
    let rig = Rig::embedded();
    let (gate, mut mount) = full_by(&rig, "error");
    let hogs = fill(&mount, "hog/app.log");
    assert_eq!(fill(&mount, "hog/other.log"), "");
    let first = go_on(&mount, "quiet/app.log");
    // Counted from the spool: a kill makes nobody equal.
    mount.crash();
    mount.start_again();
    assert_eq!(fill(&mount, "hog/app.log"), "");
    let second = go_on(&mount, "quiet/app.log");
    // There is a last byte for them, too.
    let third = fill(&mount, "quiet/other.log");
    gate.open();
    eventually("the folder to be taken lines of again", || {
        append_to(&mount, "hog/other.log").write_all(b"again\n").ok()
    });
    mount.stop();
    let bucket = rig.bucket();
    assert!(bucket.content("hog/app.log") == hogs.as_bytes());
    assert_eq!(bucket.content("hog/other.log"), b"again\n");
    assert!(bucket.content("quiet/app.log") == (first + &second).as_bytes());
    assert!(bucket.content("quiet/other.log") == third.as_bytes());
}

#[test]
fn a_folder_that_fills_the_spool_waits_and_the_others_do_not() {
    let rig = Rig::embedded();
    let (gate, mount) = full_by(&rig, "block");
    let text: String = (0..12_000).map(line).collect();
    let waits = AtomicBool::new(true);
    let quiet = std::thread::scope(|scope| {
        let hog = scope.spawn(|| {
            let mut file = append_to(&mount, "hog/app.log");
            text.split_inclusive('\n').for_each(|line| file.write_all(line.as_bytes()).unwrap());
            waits.store(false, Ordering::Release);
        });
        eventually("the folder to have what it gets", || {
            let room = statvfs(mount.path(".")).unwrap();
            (room.f_bavail * room.f_frsize < 7 * MIB / 4 + (8 << 10)).then_some(())
        });
        let quiet = go_on(&mount, "quiet/app.log") + &go_on(&mount, "quiet/app.log");
        assert!(waits.load(Ordering::Acquire) && rig.bucket().all_segments().is_empty());
        gate.open();
        hog.join().unwrap();
        quiet
    });
    mount.stop();
    assert!(rig.bucket().content("hog/app.log") == text.as_bytes());
    assert!(rig.bucket().content("quiet/app.log") == quiet.as_bytes());
}

#[test]
fn a_folder_that_fills_the_room_of_local_files_leaves_a_share_to_the_others() {
    let rig = Rig::embedded();
    let (gate, mut mount) = full_by(&rig, "error");
    let hogs = fill(&mount, "hog/app.pid");
    let (log, local) = (go_on(&mount, "quiet/app.log"), "quiet/app.pid");
    fs::write(mount.path(local), &log[..100_000]).unwrap();
    mount.crash();
    mount.start_again();
    assert_eq!(fill(&mount, "hog/other.pid"), "");
    fs::write(mount.path(local), &log[..300_000]).unwrap();
    // What becomes a log is a log's, and so is its room.
    fs::rename(mount.path("hog/app.pid"), mount.path("hog/app.log")).unwrap();
    assert!(fill(&mount, "hog/other.pid").len() as u64 > MIB);
    fs::remove_file(mount.path("hog/other.pid")).unwrap();
    assert!(fill(&mount, "hog/another.pid").len() as u64 > MIB);
    assert!(fs::read(mount.path(local)).unwrap() == log.as_bytes()[..300_000]);
    gate.open();
    mount.stop();
    assert!(rig.bucket().content("hog/app.log") == hogs.as_bytes());
    assert!(rig.bucket().content("quiet/app.log") == log.as_bytes());
}

/// Walks through twice as many stored objects as the kernel may know; few of them are remembered, and all goes on that
/// is in use.
fn walk(rig: &Rig, mount: &Mount) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(18)) {
        return println!("SKIPPED: Linux {release} cannot be asked to forget");
    }
    let folders = (2 * NODES_MAX).div_ceil(1_000);
    let each = |top: PathBuf| {
        let folders = (0..folders).map(move |n| top.join(format!("{n:03}")));
        folders.flat_map(|folder| (0..1_000).map(move |n| folder.join(format!("{n:03}.txt"))))
    };
    for object in each(rig.dir.path().join("bucket/team/stored")) {
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(object, "stored").unwrap();
    }
    let top = mount.path("stored");
    // What was never asked for may show a moment later.
    let find = |path: &Path| eventually("the bucket to answer", || fs::metadata(path).ok());
    let number = |path: &Path| find(path).ino();
    for name in ["000/000.txt", "001/000.txt"] {
        find(&top.join(name));
    }
    let mut open = File::open(top.join("000/000.txt")).unwrap();
    let mut shell = Command::new("sh")
        .args(["-c", "read go; pwd -P; cat 000.txt"])
        .current_dir(top.join("001"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let known: Vec<_> = each(top.clone()).map(|path| (number(&path), path)).collect();
    // A node that was forgotten is another one when it is looked up again.
    eventually("the kernel to forget what was looked at first", || {
        let known = known.iter().step_by(10).skip(1);
        let still = known.filter(|(node, path)| number(path) == *node).count();
        (still * 10 <= NODES_MAX).then_some(())
    });
    assert_eq!(number(&top.join("000/000.txt")), known[0].0);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    shell.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((text + &said), format!("stored{}\nstored", top.join("001").display()));
}

#[test]
fn who_walks_through_a_large_bucket_does_not_fill_the_memory() {
    let rig = Rig::embedded();
    let mount = rig.mount_bucket_view(&[]);
    walk(&rig, &mount);
    mount.stop();
}

#[test]
fn who_walks_through_a_large_bucket_does_not_fill_a_reader_mount() {
    let rig = Rig::embedded();
    let mount = rig.read(&[]);
    walk(&rig, &mount);
    mount.stop();
}
