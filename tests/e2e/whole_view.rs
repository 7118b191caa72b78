//! Whole files that are only in the bucket, in a mount that writes: one read-only file each, the newest version, until
//! somebody opens it for writing.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::Signal;

use test_harness::files::{await_bytes, await_names, binary, errno, names};
use test_harness::planted::{FilePlanter, Form, Planter, ago, at};
use test_harness::process::program;
use test_harness::{Answer, Bucket, Mount, Rig, eventually};

/// Looked for again soon, so that the tests need not wait for it.
const SOON: [&str; 2] = ["--metadata-ttl=1s", "--negative-metadata-ttl=1s"];

fn write_over(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// What a program says that is run in the mount.
fn run(mount: &Mount, name: &str, args: &[&str]) -> String {
    let output = Command::new(program(name)).args(args).current_dir(&mount.plan.point).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// `heap.hprof` of two versions; the newest is given.
fn plant(bucket: &Bucket, path: &str, form: Form) -> Vec<u8> {
    let mut planter = FilePlanter { form, ..FilePlanter::new(bucket, path, "web-1") };
    let newest = binary(300_001, 1);
    planter.put(at("2024-02-01T08:00:00"), b"the first version");
    planter.put(ago(20), &newest);
    newest
}

#[test]
fn a_whole_file_is_its_newest_version_and_programs_meet_it_alone() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        plant(&bucket, &format!("web/{form:?}.hprof"), form);
    }
    FilePlanter::new(&bucket, "web/a%20b.db", "web-1").put(ago(10), b"odd");
    FilePlanter::new(&bucket, "web/empty", "web-1").put(ago(10), b"");
    let mount = rig.mount_bucket_view(&[]);
    let shown = ["Gzip.hprof", "Plain.hprof", "Zstd.hprof", "a b.db", "empty"];
    eventually("the directory", || mount.path("web").is_dir().then_some(()));
    await_names(&mount.path("web"), &shown);
    let newest = binary(300_001, 1);
    for name in &shown[..3] {
        let path = mount.path(&format!("web/{name}"));
        await_bytes(&path, &newest);
        let stat = fs::metadata(&path).unwrap();
        assert!(stat.is_file() && stat.len() == newest.len() as u64, "{name}");
        let (file, mut middle) = (File::open(&path).unwrap(), vec![0; 1000]);
        file.read_exact_at(&mut middle, 222_222).unwrap();
        assert_eq!(middle, newest[222_222..223_222], "{name}");
        assert_eq!(file.read_at(&mut middle, newest.len() as u64).unwrap(), 0);
    }
    await_bytes(&mount.path("web/a b.db"), b"odd");
    await_bytes(&mount.path("web/empty"), b"");
    let found = run(&mount, "find", &["web", "-type", "f", "-printf", "%f %s\n"]);
    let mut sizes: Vec<_> = found.lines().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, ["Gzip.hprof 300001", "Plain.hprof 300001", "Zstd.hprof 300001", "a b.db 3", "empty 0"]);
    // The versions are found by name.
    assert_eq!(names(&mount.path("web/Plain.hprof.files")).len(), 2);
    mount.stop();
}

#[test]
fn of_one_name_a_live_file_wins_then_a_directory_then_a_whole_file_then_a_log_then_an_object() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for name in ["live", "dir", "whole", "object"] {
        bucket.put(&format!("team/{name}"), b"object\n");
        FilePlanter::new(&bucket, name, "web-1").put(ago(60), b"whole\n");
    }
    for name in ["live", "dir", "whole"] {
        Planter::new(&bucket, name, "web-1").put(ago(60), b"log\n");
    }
    bucket.put("team/dir/old.txt", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    write_over(&mount.path("live"), b"live\n");
    await_names(&mount.plan.point, &["dir", "live", "object", "whole"]);
    for (name, text) in [("live", "live\n"), ("dir/old.txt", "stored\n"), ("whole", "whole\n"), ("object", "whole\n")] {
        await_bytes(&mount.path(name), text.as_bytes());
    }
    mount.stop();
}

#[test]
fn folders_of_somebody_else_make_no_file_and_hide_none() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    bucket.put("team/page.files/style.css", b"css");
    bucket.put("team/app.log.files/notes.txt", b"mine");
    Planter::new(&bucket, "app.log", "web-1").put(ago(10), b"of the log\n");
    bucket.put("team/old.files/x", b"x");
    bucket.put("team/old", b"stored\n");
    bucket.put("team/dir/sub.files/x", b"x");
    let mount = rig.mount_bucket_view(&[]);
    await_bytes(&mount.path("app.log"), b"of the log\n");
    await_bytes(&mount.path("old"), b"stored\n");
    assert_eq!(fs::metadata(mount.path("page")).unwrap_err().kind(), ErrorKind::NotFound);
    await_names(&mount.plan.point, &["app.log", "dir", "old"]);
    assert_eq!(fs::read(mount.path("page.files/style.css")).unwrap(), b"css");
    await_names(&mount.path("dir"), &[]);
    write_over(&mount.path("dir/made.log"), b"live\n");
    fs::remove_file(mount.path("dir/made.log")).unwrap();
    fs::remove_dir(mount.path("dir")).unwrap();
    mount.stop();
}

#[test]
fn another_version_shows_soon_and_who_has_the_one_before_open_keeps_it() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = FilePlanter::new(&bucket, "heap.hprof", "web-1");
    let (first, second) = (binary(200_000, 1), binary(150_000, 1));
    planter.put(ago(20), &first);
    let mount = rig.mount_bucket_view(&SOON);
    let path = mount.path("heap.hprof");
    await_bytes(&path, &first);
    let reader = File::open(&path).unwrap();
    let mut head = vec![0; 1000];
    reader.read_exact_at(&mut head, 0).unwrap();
    planter.put(ago(10), &second);
    await_bytes(&path, &second);
    assert_eq!(fs::metadata(&path).unwrap().len(), second.len() as u64);
    let mut kept = Vec::new();
    (&reader).read_to_end(&mut kept).unwrap();
    assert!(kept == first && reader.metadata().unwrap().len() == first.len() as u64);
    drop(reader);
    mount.stop();
}

#[test]
fn one_that_is_opened_for_writing_begins_anew_and_one_that_is_removed_stays_away() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let stored = plant(&bucket, "heap.hprof", Form::Gzip);
    let before = bucket.keys();
    let mut mount = rig.mount_bucket_view(&[]);
    let path = mount.path("heap.hprof");
    await_bytes(&path, &stored);
    write_over(&path, b"live");
    assert_eq!(fs::read(&path).unwrap(), b"live");
    assert_eq!(names(&mount.plan.point), ["heap.hprof"]);
    mount.flush();
    fs::remove_file(&path).unwrap();
    let is_gone = |mount: &Mount| {
        mount.daemon.signal(Signal::HUP);
        eventually("the versions", || mount.path("heap.hprof.files").is_dir().then_some(()));
        assert_eq!(names(&mount.plan.point), Vec::<String>::new());
        assert_eq!(fs::metadata(mount.path("heap.hprof")).unwrap_err().kind(), ErrorKind::NotFound);
    };
    is_gone(&mount);
    mount.kill_worker();
    is_gone(&mount);
    mount.crash();
    mount.start_again();
    is_gone(&mount);
    mount.stop();
    assert!(before.iter().all(|key| bucket.keys().contains(key)), "nothing is deleted");
}

#[test]
fn one_that_is_finished_shows_from_the_bucket() {
    let rig = Rig::embedded();
    let mount = rig.mount_bucket_view(&["--retire-after", "1s", "--rotate-idle", "100ms", "--metadata-ttl=600s"]);
    let path = mount.path("heap.hprof");
    // A file of the bucket cannot be changed.
    let is_stored = |path: &Path| {
        eventually("the stored version", || {
            (fs::set_permissions(path, PermissionsExt::from_mode(0o600)).err()?.raw_os_error() == Some(1)).then_some(())
        });
    };
    for version in [binary(1000, 1), binary(500, 1)] {
        write_over(&path, &version);
        assert_eq!(fs::read(&path).unwrap(), version);
        is_stored(&path);
        await_bytes(&path, &version);
    }
    // Also under a name that was removed here, and that it got after it was stored under another.
    write_over(&path, &binary(100, 1));
    fs::remove_file(&path).unwrap();
    let begun = mount.path("begun.hprof");
    write_over(&begun, &binary(700, 1));
    mount.flush();
    fs::rename(begun, &path).unwrap();
    write_over(&path, &binary(701, 1));
    is_stored(&path);
    await_bytes(&path, binary(701, 1));
    mount.stop();
}

#[test]
fn a_whole_file_of_the_bucket_cannot_be_changed() {
    let rig = Rig::embedded();
    let stored = plant(&rig.bucket(), "web/heap.hprof", Form::Gzip);
    let mount = rig.mount_bucket_view(&[]);
    let path = mount.path("web/heap.hprof");
    await_bytes(&path, &stored);
    write_over(&mount.path("live.hprof"), b"live");
    assert_eq!(errno(fs::rename(&path, mount.path("web/other"))), Errno::PERM);
    assert_eq!(errno(fs::rename(mount.path("live.hprof"), &path)), Errno::PERM);
    assert_eq!(errno(fs::set_permissions(&path, PermissionsExt::from_mode(0o600))), Errno::PERM);
    assert_eq!(errno(fs::remove_file(&path)), Errno::PERM);
    assert_eq!(errno(fs::hard_link(&path, mount.path("link"))), Errno::PERM);
    assert_eq!(errno(fs::remove_dir(mount.path("web"))), Errno::NOTEMPTY);
    let script = "import os\ntry: os.truncate('web/heap.hprof', 0)\nexcept PermissionError as e: print(e.errno)";
    assert_eq!(run(&mount, "python3", &["-c", script]), "1\n");
    assert!(fs::read(&path).unwrap() == stored);
    mount.stop();
}

#[test]
fn a_reader_whose_worker_is_killed_reads_no_other_version() {
    let rig = Rig::embedded();
    let stored = plant(&rig.bucket(), "heap.hprof", Form::Gzip);
    let mount = rig.mount_bucket_view(&[]);
    let path = mount.path("heap.hprof");
    await_bytes(&path, &stored);
    let file = File::open(&path).unwrap();
    let mut bytes = vec![0; 1000];
    file.read_exact_at(&mut bytes, 1000).unwrap();
    mount.kill_worker();
    assert_eq!(errno(file.read_at(&mut bytes, 200_000)), Errno::STALE);
    assert_eq!(file.metadata().unwrap().len(), stored.len() as u64);
    await_bytes(&path, &stored);
    drop(file);
    mount.stop();
}

#[test]
fn one_whose_versions_cannot_be_had_is_listed_and_not_found_and_keeps_nobody_from_writing() {
    let rig = Rig::embedded();
    let stored = plant(&rig.bucket(), "heap.hprof", Form::Gzip);
    let gate = rig.gate();
    gate.rule(|seen| {
        let of_file = seen.target.contains("list-type") && seen.target.contains("files");
        if of_file { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass }
    });
    let mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    await_names(&mount.plan.point, &["heap.hprof"]);
    let path = mount.path("heap.hprof");
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), ErrorKind::NotFound);
    write_over(&mount.path("other.hprof"), b"live");
    assert_eq!(fs::read(mount.path("other.hprof")).unwrap(), b"live");
    gate.open();
    await_bytes(&path, &stored);
    mount.stop();
}

#[test]
fn the_versions_of_a_directory_of_whole_files_cost_one_list_each_and_then_none() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for file in 0..40 {
        plant(&bucket, &format!("web/heap-{file:02}.hprof"), Form::Gzip);
    }
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).with(&["--metadata-ttl", "600s"]).start();
    let list = || {
        let listed = run(&mount, "ls", &["-l", "web"]);
        (listed.lines().filter(|line| line.contains(" 300001 ")).count() == 40).then_some(listed)
    };
    let listed = eventually("all files with their sizes", list);
    let lists = gate.lists();
    // Beside that of each file, the root and the directory, each of which may have been asked for again.
    assert!((42..=46).contains(&lists), "{lists} LISTs");
    assert_eq!(list().unwrap(), listed);
    assert_eq!(gate.lists(), lists, "a second `ls -l` asks nothing");
    mount.stop();
}
