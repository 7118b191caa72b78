//! The bucket as a directory: what `--view bucket` shows beside the live files, and what `--view live` does not even
//! ask for.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Signal;

use test_harness::files::{append, await_names, errno, names};
use test_harness::process::{Proc, command, program};
use test_harness::rig::folder;
use test_harness::s3::Server;
use test_harness::{Mount, Rig, eventually};

/// Waits until a stored object is found, for the same reason.
fn await_stored(mount: &Mount, name: &str) -> PathBuf {
    let path = mount.path(name);
    eventually(&format!("{name:?} in the mount"), || path.exists().then_some(()));
    path
}

#[test]
fn stored_objects_stand_beside_live_files() {
    let rig = Rig::embedded();
    rig.bucket().put("team/web/old.txt", b"stored\n");
    rig.bucket().put("elsewhere/secret.txt", b"not below the prefix\n");
    let mount = rig.mount_bucket_view(&[]);
    await_stored(&mount, "web/old.txt");
    append(&mount.path("web/app.log"), "live\n");
    append(&mount.path("top.log"), "live\n");
    await_names(&mount.plan.point, &["top.log", "web"]);
    await_names(&mount.path("web"), &["app.log", "old.txt"]);
    assert_eq!(fs::read_to_string(mount.path("web/old.txt")).unwrap(), "stored\n");
    assert_eq!(fs::metadata(mount.path("web/old.txt")).unwrap().len(), 7);
    mount.stop();
    assert_eq!(rig.bucket().content("web/app.log"), b"live\n");
}

#[test]
fn what_is_stored_is_shown_to_owner_and_group_alone() {
    let rig = Rig::embedded();
    rig.bucket().put("team/auth.txt", b"secret\n");
    let mount = rig.mount_bucket_view(&["--allow-other"]);
    let stored = await_stored(&mount, "auth.txt");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&mount.plan.point), mode(&stored)), (0o750, 0o640));
    let mut other = command(program("setpriv"));
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"]).arg(&stored);
    let mut other = Proc::start("cat as nobody", other);
    assert!(!other.wait().success());
    other.await_stderr("Permission denied");
    mount.stop();
}

#[test]
fn a_large_object_is_read_at_any_place() {
    let rig = Rig::embedded();
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(|n| [(n % 251) as u8, (n % 13) as u8]).collect();
    rig.bucket().put("team/large.bin", &bytes);
    let mount = rig.mount_bucket_view(&[]);
    let file = File::open(await_stored(&mount, "large.bin")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
    for at in [9_999_000_usize, 0, 5_000_001, 1_234_567] {
        let mut piece = [0; 1000];
        file.read_exact_at(&mut piece, at as u64).unwrap();
        assert!(piece[..] == bytes[at..at + 1000], "1000 bytes at {at}");
    }
    assert_eq!(file.read_at(&mut [0; 10], bytes.len() as u64).unwrap(), 0);
    let mut all = Vec::new();
    (&file).read_to_end(&mut all).unwrap();
    assert!(all == bytes, "{} bytes read of {}", all.len(), bytes.len());
    drop(file);
    mount.stop();
}

#[test]
fn ten_thousand_entries_cost_ten_listings_and_then_none() {
    let dir = folder();
    let objects = dir.path().join("objects");
    let lines: String = (0..10_000).map(|n| format!("{}\tteam/many/object-{n:05}\n", n % 97)).collect();
    fs::write(&objects, lines).unwrap();
    let rig = Rig::with(dir, Server::moto_with(&objects));
    let gate = rig.gate();
    let plan = rig.plan_bucket_view().through(&gate.endpoint).with(&["--metadata-ttl", "600s"]);
    let mount = plan.start();
    let list = || {
        let mut ls = std::process::Command::new(program("ls"));
        let output = ls.arg("-l").arg(mount.path("many")).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    // The first line is the total; name and size of each entry come from the listing.
    let cold = eventually("all entries", || list().filter(|text| text.lines().count() == 10_001));
    for number in [0, 999, 1_000, 5_432, 9_999] {
        let name = format!("object-{number:05}");
        let line = cold.lines().find(|line| line.ends_with(&name)).unwrap();
        let size = line.split_whitespace().nth(4).unwrap();
        assert_eq!(size, (number % 97).to_string(), "{line}");
    }
    let listings = gate.lists();
    // Ten pages, and up to three to find the directory itself.
    assert!((10..=13).contains(&listings), "{listings} listings");
    assert_eq!(list().unwrap(), cold);
    assert_eq!(gate.lists(), listings, "a second `ls -l` asks nothing");
    assert_eq!(gate.seen().iter().filter(|seen| seen.method == "HEAD").count(), 0);
    assert_eq!(fs::read(mount.path("many/object-00096")).unwrap(), [b'x'; 96]);
    mount.stop();
}

#[test]
fn what_was_replaced_is_seen_after_sighup_also_by_the_next_worker() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    bucket.put("team/a.txt", b"1");
    let mount = rig.mount_bucket_view(&["--metadata-ttl", "indefinite"]);
    let path = await_stored(&mount, "a.txt");
    let size = || fs::metadata(&path).unwrap().len();
    let replaced_by = |bytes: &[u8]| {
        // By now the kernel knows name and size, and asks nobody.
        let before = fs::read(&path).unwrap().len() as u64;
        assert_eq!(size(), before);
        bucket.put("team/a.txt", bytes);
        assert_eq!(size(), before);
        mount.daemon.signal(Signal::HUP);
        eventually("the new size", || (size() == bytes.len() as u64).then_some(()));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    };
    replaced_by(b"22");
    mount.kill_worker();
    replaced_by(b"333");
    mount.stop();
}

#[test]
fn the_live_view_asks_s3_for_nothing_but_stores() {
    let rig = Rig::embedded();
    rig.bucket().put("team/stored.txt", b"another tenant's\n");
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--rotate-idle", "1s"]).start();
    fs::create_dir(mount.path("web")).unwrap();
    append(&mount.path("web/app.log"), "line\n");
    assert_eq!(names(&mount.plan.point), ["web"]);
    let hidden = fs::read(mount.path("stored.txt")).unwrap_err();
    assert_eq!(hidden.kind(), ErrorKind::NotFound);
    let bucket = rig.bucket();
    eventually("the segment", || (!bucket.segments("web/app.log").is_empty()).then_some(()));
    assert_eq!(fs::read_to_string(mount.path("web/app.log")).unwrap(), "line\n");
    fs::remove_file(mount.path("web/app.log")).unwrap();
    mount.stop();
    let others: Vec<_> = gate.seen().into_iter().filter(|seen| seen.method != "PUT").collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_live_file_hides_the_object_of_its_name_and_leaves_it_alone() {
    let rig = Rig::embedded();
    rig.bucket().put("team/app.log", b"left by another program\n");
    let mount = rig.mount_bucket_view(&[]);
    let path = await_stored(&mount, "app.log");
    let mut reader = File::open(&path).unwrap();
    append(&path, "live\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "live\n");
    assert_eq!(names(&mount.plan.point).iter().filter(|name| *name == "app.log").count(), 1);
    let mut old = String::new();
    reader.read_to_string(&mut old).unwrap();
    assert_eq!(old, "left by another program\n", "an old reader keeps the object");
    drop(reader);
    fs::remove_file(&path).unwrap();
    assert!(!path.exists(), "the object does not come back into view");
    assert!(!names(&mount.plan.point).contains(&"app.log".to_owned()));
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.get("team/app.log").bytes, b"left by another program\n");
    assert_eq!(bucket.content("app.log"), b"live\n");
}

#[test]
fn a_truncating_open_of_a_stored_name_makes_a_live_file() {
    let rig = Rig::embedded();
    rig.bucket().put("team/app.log", b"left by another program\n");
    let mount = rig.mount_bucket_view(&[]);
    fs::write(await_stored(&mount, "app.log"), "live\n").unwrap();
    fs::rename(mount.path("app.log"), mount.path("app.log.1")).unwrap();
    assert!(!mount.path("app.log").exists(), "the object does not come back into view");
    fs::write(mount.path("app.log"), "next\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log.1")).unwrap(), "live\n");
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.get("team/app.log").bytes, b"left by another program\n");
    let mut lines = bucket.lines("app.log");
    lines.sort();
    assert_eq!(lines, ["live", "next"]);
}

#[test]
fn stored_objects_cannot_be_changed() {
    let rig = Rig::embedded();
    rig.bucket().put("team/stored.txt", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    let stored = await_stored(&mount, "stored.txt");
    append(&mount.path("app.log"), "live\n");
    let refused = Errno::PERM;
    assert_eq!(errno(fs::rename(&stored, mount.path("other.txt"))), refused);
    assert_eq!(errno(fs::rename(mount.path("app.log"), &stored)), refused);
    assert_eq!(errno(fs::set_permissions(&stored, PermissionsExt::from_mode(0o600))), refused);
    assert_eq!(errno(fs::remove_file(&stored)), refused);
    let mut python = command(program("python3"));
    let truncate = "import errno,os,sys\n\
                    try: os.truncate(sys.argv[1], 0)\n\
                    except OSError as e: sys.exit(e.errno != errno.EPERM)\n\
                    sys.exit(1)";
    python.args(["-c", truncate]).arg(&stored);
    Proc::start("truncate", python).success();
    assert_eq!(fs::read_to_string(&stored).unwrap(), "stored\n");
    mount.stop();
    assert_eq!(rig.bucket().get("team/stored.txt").bytes, b"stored\n");
}

#[test]
fn the_folder_of_the_program_itself_is_hidden() {
    let rig = Rig::embedded();
    let mount = rig.mount_bucket_view(&[]);
    let bucket = rig.bucket();
    eventually("the writer's registration", || {
        bucket.keys().iter().any(|key| key.starts_with("team/.logsinkfs/")).then_some(())
    });
    assert!(names(&mount.plan.point).is_empty());
    assert!(!mount.path(".logsinkfs").exists());
    mount.stop();
}

#[test]
fn an_uploaded_segment_can_be_read_in_the_mount() {
    let rig = Rig::embedded();
    let mount = rig.mount_bucket_view(&["--rotate-idle", "1s", "--partition", "", "--compression", "none"]);
    append(&mount.path("app.log"), "line\n");
    let folder = mount.path("app.log.segments");
    let found = eventually("the segment in the mount", || {
        fs::read_dir(&folder).ok()?.flatten().next().map(|entry| entry.path())
    });
    assert_eq!(fs::read_to_string(found).unwrap(), "line\n");
    mount.stop();
}

#[test]
fn live_files_answer_alone_while_s3_is_away() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "ServiceUnavailable");
    let mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    fs::create_dir(mount.path("web")).unwrap();
    append(&mount.path("web/app.log"), "line\n");
    assert_eq!(names(&mount.path("web")), ["app.log"]);
    assert_eq!(fs::read_to_string(mount.path("web/app.log")).unwrap(), "line\n");
    gate.open();
    mount.stop();
    assert_eq!(rig.bucket().content("web/app.log"), b"line\n");
}

#[test]
fn odd_keys_neither_break_the_view_nor_lead_out_of_it() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let deep = format!("{}end.txt", "d123456789/".repeat(90));
    let long = "n".repeat(300);
    let shown = ["plain.txt", "100%+ &=?.txt", "ünï/日本 語.txt", "tab\tname", "dir/in it.txt", &deep];
    let odd = ["a", "a/b", "dir/", "x//y", "../escape", "./dot", "x/../../up", "..", "new\nline", &long];
    for name in shown.iter().chain(&odd) {
        bucket.put(&format!("team/{name}"), name.as_bytes());
    }
    let mount = rig.mount_bucket_view(&[]);
    for name in shown {
        let path = await_stored(&mount, name);
        assert_eq!(fs::read_to_string(path).unwrap(), name, "read through the mount");
    }
    assert!(mount.path("a").exists());
    // A whole walk ends, and finds every ordinary object exactly once.
    eventually("a walk that finds every ordinary object", || {
        let mut walk = std::process::Command::new(program("find"));
        let walk = walk.arg(&mount.plan.point).args(["-type", "f", "-print0"]).output().unwrap();
        let walk = String::from_utf8(walk.stdout).unwrap();
        let times = |name: &&str| {
            let path = mount.path(name);
            walk.split_terminator('\0').filter(|found| Path::new(found) == path).count()
        };
        let times: Vec<usize> = shown.iter().map(times).collect();
        assert!(times.iter().all(|times| *times <= 1), "{shown:?} were found {times:?} times");
        times.iter().all(|times| *times == 1).then_some(())
    });
    append(&mount.path("app.log"), "still alive\n");
    mount.stop();
    assert_eq!(bucket.content("app.log"), b"still alive\n");
}
