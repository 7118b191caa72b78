//! Live files: what the operations of an application do at the mount.
//!
//! One test per promise. Where a promise is about what arrives, the daemon is stopped (which uploads everything) and
//! the bucket is read with another client.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, XattrFlags};
use rustix::io::Errno;

use test_harness::process::{Proc, command, program};
use test_harness::{Mount, Rig, eventually};

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// Opened for writing as `>` does, but without the truncation.
fn write_only(path: &Path) -> File {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap()
}

fn errno(result: std::io::Result<impl Sized>) -> Option<i32> {
    result.map(drop).expect_err("this operation must fail").raw_os_error()
}

/// An extended attribute.
fn attribute(path: &Path, name: &str) -> Result<String, Errno> {
    let mut value = [0; 1024];
    let len = rustix::fs::getxattr(path, name, &mut value[..])?;
    Ok(String::from_utf8(value[..len].to_vec()).unwrap())
}

/// Stops the daemon and gives the content of a stream, all its generations one after the other.
fn stored(rig: &Rig, mount: Mount, stream: &str) -> String {
    mount.stop();
    String::from_utf8(rig.bucket().content(stream)).unwrap()
}

#[test]
fn a_write_is_read_back_at_once_and_arrives() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"one\n").unwrap();
    assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"one\n");
    file.write_all(b"two\n").unwrap();
    assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"one\ntwo\n");
    assert_eq!(file.metadata().unwrap().len(), 8);
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "one\ntwo\n");
}

#[test]
fn strict_append_refuses_a_write_elsewhere() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--strict-append"]);
    let file = write_only(&mount.path("app.log"));
    file.write_all_at(b"first\n", 0).unwrap();
    assert_eq!(errno(file.write_at(b"again\n", 0)), Some(Errno::INVAL.raw_os_error()));
    file.write_all_at(b"second\n", 6).unwrap();
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "first\nsecond\n");
}

#[test]
fn strict_append_takes_what_is_appended_beside_one_for_whom_the_kernel_writes() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--strict-append"]);
    let path = mount.path("app.log");
    let mut one = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let mut two = OpenOptions::new().read(true).append(true).open(&path).unwrap();
    writeln!(one, "of the generation before").unwrap();
    // From here on the kernel counts otherwise than the log: both have it open.
    two.set_len(0).unwrap();
    for number in 0..50 {
        writeln!(one, "one {number}").unwrap();
        writeln!(two, "two {number}").unwrap();
    }
    let expected: String = (0..50).map(|n| format!("one {n}\ntwo {n}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    drop((one, two));
    mount.stop();
}

#[test]
fn two_writers_of_one_file_never_overwrite_each_other() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut one = write_only(&mount.path("app.log"));
    let mut two = write_only(&mount.path("app.log"));
    for number in 0..50 {
        writeln!(one, "one {number}").unwrap();
        writeln!(two, "two {number}").unwrap();
    }
    drop((one, two));
    let expected: String = (0..50).map(|n| format!("one {n}\ntwo {n}\n")).collect();
    assert_eq!(stored(&rig, mount, "app.log"), expected);
}

#[test]
fn opening_with_truncation_starts_a_new_generation_and_loses_nothing() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "old\n").unwrap();
    let mut file = File::create(mount.path("app.log")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    file.write_all(b"new\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "new\n");
    drop(file);
    mount.stop();
    let generations: Vec<_> = rig.bucket().generations("app.log").into_values().collect();
    assert_eq!(generations, [b"old\n", b"new\n"]);
}

#[test]
fn truncation_to_nothing_under_an_open_writer_loses_nothing() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = write_only(&mount.path("app.log"));
    for round in 0..5 {
        writeln!(file, "round {round}").unwrap();
        file.set_len(0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"");
    }
    file.write_all(b"end\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "end\n");
    drop(file);
    mount.stop();
    let generations: Vec<_> = rig.bucket().generations("app.log").into_values().collect();
    assert_eq!(generations.len(), 6);
    assert_eq!(generations.concat(), b"round 0\nround 1\nround 2\nround 3\nround 4\nend\n");
}

#[test]
fn truncation_to_the_same_size_does_nothing_and_to_another_is_refused() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"12345\n").unwrap();
    file.set_len(6).unwrap();
    let refused = Some(Errno::PERM.raw_os_error());
    assert_eq!(errno(file.set_len(3)), refused);
    assert_eq!(errno(file.set_len(100)), refused);
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "12345\n");
}

#[test]
fn fallocate_keeps_the_size_or_is_refused() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let file = append(&mount.path("app.log"));
    (&file).write_all(b"12345\n").unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6);
    // EINVAL and never "not supported", which makes the C library write zeros instead.
    let grow = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20);
    assert_eq!(grow, Err(Errno::INVAL));
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "12345\n");
}

#[test]
fn a_reading_map_shows_the_content() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "mapped\n").unwrap();
    let mut python = command(program("python3"));
    let map = "import mmap,sys; f=open(sys.argv[1],'rb'); \
               assert mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)[:]==b'mapped\\n'";
    python.args(["-c", map]).arg(mount.path("app.log"));
    Proc::start("python3", python).success();
    assert_eq!(stored(&rig, mount, "app.log"), "mapped\n");
}

#[test]
fn a_renamed_file_goes_on_into_the_stream_it_was_created_for() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"before\n").unwrap();
    fs::rename(mount.path("app.log"), mount.path("app.log.1")).unwrap();
    assert!(!mount.path("app.log").exists());
    file.write_all(b"after\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log.1")).unwrap(), "before\nafter\n");
    fs::write(mount.path("app.log"), "next\n").unwrap();
    drop(file);
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.streams().into_iter().collect::<Vec<_>>(), ["app.log"]);
    // A generation gets its number at its first seal, so the two may come in either order.
    let mut generations: Vec<_> = bucket.generations("app.log").into_values().collect();
    generations.sort();
    assert_eq!(generations, [b"before\nafter\n".to_vec(), b"next\n".to_vec()]);
}

#[test]
fn a_file_that_is_renamed_over_still_arrives() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("old.log"), "replaced\n").unwrap();
    fs::write(mount.path("new.log"), "replacing\n").unwrap();
    fs::rename(mount.path("new.log"), mount.path("old.log")).unwrap();
    assert_eq!(fs::read_to_string(mount.path("old.log")).unwrap(), "replacing\n");
    mount.stop();
    let bucket = rig.bucket();
    let mut lines = bucket.lines("old.log");
    lines.sort();
    assert_eq!(lines, ["replaced", "replacing"], "it takes the stream of the log that it replaces");
    assert_eq!(bucket.streams().len(), 1);
}

#[test]
fn a_renamed_directory_takes_its_live_files_along() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::create_dir(mount.path("web")).unwrap();
    let mut file = append(&mount.path("web/app.log"));
    file.write_all(b"one\n").unwrap();
    fs::rename(mount.path("web"), mount.path("shop")).unwrap();
    file.write_all(b"two\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("shop/app.log")).unwrap(), "one\ntwo\n");
    assert!(!mount.path("web").exists());
    drop(file);
    assert_eq!(stored(&rig, mount, "web/app.log"), "one\ntwo\n");
}

#[test]
fn two_linked_names_are_one_file() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    fs::hard_link(mount.path("app.log"), mount.path("same.log")).unwrap();
    file.write_all(b"line\n").unwrap();
    let (one, two) = (fs::metadata(mount.path("app.log")), fs::metadata(mount.path("same.log")));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    fs::remove_file(mount.path("app.log")).unwrap();
    file.write_all(b"more\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("same.log")).unwrap(), "line\nmore\n");
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "line\nmore\n");
}

#[test]
fn an_unlinked_file_still_takes_writes_and_all_of_it_arrives() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"before\n").unwrap();
    fs::remove_file(mount.path("app.log")).unwrap();
    assert!(!mount.path("app.log").exists());
    file.write_all(b"after\n").unwrap();
    let mut next = append(&mount.path("app.log"));
    next.write_all(b"next\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "next\n");
    drop((file, next));
    mount.stop();
    let mut generations: Vec<_> = rig.bucket().generations("app.log").into_values().collect();
    generations.sort();
    assert_eq!(generations, [b"before\nafter\n".to_vec(), b"next\n".to_vec()]);
}

#[test]
fn unlinking_deletes_nothing_from_the_bucket() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1s"]);
    fs::write(mount.path("app.log"), "kept\n").unwrap();
    let bucket = rig.bucket();
    eventually("the segment in the bucket", || (bucket.segments("app.log").len() == 1).then_some(()));
    fs::remove_file(mount.path("app.log")).unwrap();
    assert_eq!(stored(&rig, mount, "app.log"), "kept\n");
}

#[test]
fn directories_are_made_listed_and_removed() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::create_dir_all(mount.path("a/b")).unwrap();
    fs::write(mount.path("a/b/app.log"), "line\n").unwrap();
    let names = |dir: &str| {
        let entries = fs::read_dir(mount.path(dir)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names("a"), ["b"]);
    assert_eq!(names("a/b"), ["app.log"]);
    let full = fs::remove_dir(mount.path("a/b")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_file(mount.path("a/b/app.log")).unwrap();
    fs::remove_dir(mount.path("a/b")).unwrap();
    assert_eq!(names("a"), [""; 0]);
    let missing = fs::read_dir(mount.path("a/b")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(stored(&rig, mount, "a/b/app.log"), "line\n");
}

#[test]
fn a_listing_shows_each_of_many_files_once() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let expected: Vec<String> = (0..500).map(|n| format!("app-{n:03}.log")).collect();
    expected.iter().for_each(|name| fs::write(mount.path(name), "x\n").unwrap());
    let entries = fs::read_dir(&mount.plan.point).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, expected);
    mount.stop();
    assert_eq!(rig.bucket().all_segments().len(), 500);
}

#[test]
fn a_symbolic_link_leads_to_its_target() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    std::os::unix::fs::symlink("app-1.log", mount.path("app.log")).unwrap();
    fs::write(mount.path("app.log"), "through the link\n").unwrap();
    assert_eq!(fs::read_link(mount.path("app.log")).unwrap(), Path::new("app-1.log"));
    assert_eq!(fs::read_to_string(mount.path("app-1.log")).unwrap(), "through the link\n");
    fs::remove_file(mount.path("app.log")).unwrap();
    assert_eq!(stored(&rig, mount, "app-1.log"), "through the link\n");
}

#[test]
fn exclusive_creation_has_one_winner() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let new = || OpenOptions::new().write(true).create_new(true).open(mount.path("app.log"));
    new().unwrap().write_all(b"winner\n").unwrap();
    assert_eq!(new().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(stored(&rig, mount, "app.log"), "winner\n");
}

#[test]
fn a_file_open_for_both_reads_anywhere_and_appends() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let path = mount.path("app.log");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all(b"0123456789\n").unwrap();
    let mut middle = [0; 4];
    file.read_exact_at(&mut middle, 3).unwrap();
    assert_eq!(&middle, b"3456");
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"end\n").unwrap();
    assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 15);
    assert_eq!(file.read(&mut middle).unwrap(), 0);
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "0123456789\nend\n");
}

#[test]
fn a_synchronous_writer_and_fsync_succeed() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut options = OpenOptions::new();
    options.append(true).create(true).custom_flags(rustix::fs::OFlags::SYNC.bits() as i32);
    let mut file = options.open(mount.path("app.log")).unwrap();
    file.write_all(b"synchronous\n").unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    File::open(&mount.plan.point).unwrap().sync_all().unwrap();
    drop(file);
    assert_eq!(stored(&rig, mount, "app.log"), "synchronous\n");
}

#[test]
fn fsync_returns_after_the_upload_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--fsync", "s3"]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"one\n").unwrap();
    file.sync_data().unwrap();
    assert_eq!(rig.bucket().content("app.log"), b"one\n");
    file.write_all(b"two\n").unwrap();
    file.sync_all().unwrap();
    assert_eq!(rig.bucket().content("app.log"), b"one\ntwo\n");
}

#[test]
fn mode_owner_times_and_attributes_are_kept() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let path = mount.path("app.log");
    fs::write(&path, "line\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(&path).unwrap().set_modified(long_ago).unwrap();
    rustix::fs::setxattr(&path, "user.team", b"shop", XattrFlags::CREATE).unwrap();
    let seen = fs::metadata(&path).unwrap();
    assert_eq!((seen.mode() & 0o7777, seen.uid(), seen.gid()), (0o640, 1234, 4321));
    assert_eq!(seen.modified().unwrap(), long_ago);
    let mut value = [0; 16];
    assert_eq!(rustix::fs::getxattr(&path, "user.team", &mut value[..]), Ok(4));
    assert_eq!(&value[..4], b"shop");
    for name in ["system.posix_acl_access", "security.selinux"] {
        let of_the_system = rustix::fs::getxattr(&path, name, &mut value[..]);
        assert_eq!(of_the_system, Err(Errno::OPNOTSUPP), "`ls -l` asks once, not for each file");
    }
    rustix::fs::removexattr(&path, "user.team").unwrap();
    assert_eq!(rustix::fs::getxattr(&path, "user.team", &mut value[..]), Err(Errno::NODATA));
    mount.stop();
}

#[test]
fn attributes_tell_what_has_been_uploaded() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1s"]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let told = || attribute(&mount.path("app.log"), "user.logsinkfs.last_key").ok();
    let bucket = rig.bucket();
    eventually("the key of the segment among the attributes", || {
        let key = bucket.segments("app.log").first()?.key.clone();
        told().is_some_and(|told| told.ends_with(&key)).then_some(())
    });
    mount.stop();
}

#[test]
fn attributes_of_the_mount_itself_are_answered_and_hinder_no_copy() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let path = mount.path("app.log");
    fs::write(&path, "line\n").unwrap();
    rustix::fs::setxattr(&path, "user.team", b"shop", XattrFlags::CREATE).unwrap();
    let mut names = [0; 256];
    let len = rustix::fs::listxattr(&path, &mut names[..]).unwrap();
    assert_eq!(&names[..len], b"user.team\0");
    assert_eq!(attribute(&path, "user.logsinkfs.stream").as_deref(), Ok("app.log"));
    let refused = rustix::fs::setxattr(&path, "user.logsinkfs.unsent", b"0", XattrFlags::empty());
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
    let refused = rustix::fs::removexattr(&path, "user.logsinkfs.unsent");
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
    let mut copy = command(program("cp"));
    let copied = rig.local("copy.log");
    copy.arg("--preserve=xattr").args([&path, &copied]);
    Proc::start("cp", copy).success();
    assert_eq!(attribute(&copied, "user.team").as_deref(), Ok("shop"));
    mount.stop();
}

#[test]
fn excluded_names_are_ordinary_local_files() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    for name in ["app.pid", "app.log.lck", ".app.log.swp", "app.log~"] {
        let path = mount.path(name);
        fs::write(&path, "0123456789").unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.write_all_at(b"AB", 2).unwrap();
        file.set_len(6).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "01AB45", "{name}");
        assert!(attribute(&path, "user.logsinkfs.local").unwrap().starts_with("excluded by *"));
    }
    fs::write(mount.path("other.pid"), "7").unwrap();
    let (_, said) = mount.terminate();
    assert_eq!(said.matches("*.pid").count(), 1, "once for each glob: {said}");
    assert!(said.contains("path=app.pid"), "{said}");
    assert!(said.contains("stopped; S3 has everything but 5 files (25 B)"), "{said}");
    assert!(rig.bucket().streams().is_empty());
}

#[test]
fn a_name_that_rotation_makes_is_no_reason_to_stay_local() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    // What java.util.logging, winston, Logback and rotatelogs write into.
    let names = ["app.log.0", "app.log.1", "app.log.12", "core.log", "app.log.gz", "app.hprof.log"];
    for name in names {
        fs::write(mount.path(name), format!("{name}\n")).unwrap();
        assert_eq!(attribute(&mount.path(name), "user.logsinkfs.local"), Err(Errno::NODATA));
    }
    mount.stop();
    let bucket = rig.bucket();
    for name in names {
        assert_eq!(bucket.content(name), format!("{name}\n").as_bytes());
    }
}

#[test]
fn a_program_that_goes_on_after_a_truncation_is_not_blamed() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = write_only(&mount.path("app.log"));
    file.write_all(b"before\n").unwrap();
    File::create(mount.path("app.log")).unwrap();
    file.write_all(b"after\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "after\n");
    drop(file);
    let (_, said) = mount.terminate();
    assert!(!said.contains("elsewhere than at the end"), "{said}");
}

#[test]
fn further_globs_can_be_excluded() {
    let rig = Rig::embedded();
    for (glob, uploaded) in [("*.db", vec!["app.log", "app.pid"]), ("+*.db", vec!["app.log"])] {
        let mount = rig.mount(&["--exclude", glob]);
        for name in ["state.db", "app.log", "app.pid"] {
            fs::write(mount.path(name), "line\n").unwrap();
        }
        mount.stop();
        let segments = rig.bucket().all_segments();
        let streams: BTreeSet<_> = segments.iter().map(|s| s.stream.as_str()).collect();
        assert_eq!(streams.into_iter().collect::<Vec<_>>(), uploaded, "{glob}");
        segments.iter().for_each(|segment| rig.bucket().delete(&segment.key));
        fs::remove_dir_all(rig.dir.path().join("spool-a")).unwrap();
    }
}

#[test]
fn the_free_space_is_that_of_the_spool_budget() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--spool-max", "64MiB"]);
    let free = || {
        let seen = rustix::fs::statvfs(&mount.plan.point).unwrap();
        // A part of the budget is kept for making objects, so it is less than what was given.
        assert!((32 << 20..=64 << 20).contains(&(seen.f_blocks * seen.f_frsize)));
        seen.f_bavail * seen.f_frsize
    };
    let before = free();
    fs::write(mount.path("app.log"), vec![b'x'; 4 << 20]).unwrap();
    let after = free();
    assert!(after + (4 << 20) <= before, "{before} bytes free before, {after} after 4 MiB");
    mount.stop();
}

#[test]
fn tail_follows_a_growing_file() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = append(&mount.path("app.log"));
    file.write_all(b"first\n").unwrap();
    let mut follow = command(program("tail"));
    follow.args(["-n", "+1", "-f"]).arg(mount.path("app.log"));
    let mut tail = Proc::start("tail", follow);
    for line in ["second", "third"] {
        writeln!(file, "{line}").unwrap();
        tail.await_stdout(line, |said| (said == line).then_some(()));
    }
    drop((tail, file));
    assert_eq!(stored(&rig, mount, "app.log"), "first\nsecond\nthird\n");
}

#[test]
fn files_copied_by_the_usual_tools_arrive_whole() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let source = rig.local("source");
    let text: String = (0..40_000).map(|n| format!("line {n} of a copied file\n")).collect();
    fs::write(&source, &text).unwrap();
    for (name, tool) in [
        ("cp.log", "cp \"$0\" \"$1\""),
        ("cat.log", "cat \"$0\" > \"$1\""),
        ("dd.log", "dd if=\"$0\" of=\"$1\" bs=4k oflag=append conv=notrunc status=none"),
        ("tee.log", "tee -a \"$1\" < \"$0\" > /dev/null"),
    ] {
        let mut shell = command(program("sh"));
        shell.args(["-c", tool]).arg(&source).arg(mount.path(name));
        Proc::start(tool, shell).success();
        assert_eq!(fs::read_to_string(mount.path(name)).unwrap(), text, "{tool}");
    }
    mount.stop();
    for name in ["cp.log", "cat.log", "dd.log", "tee.log"] {
        assert_eq!(rig.bucket().content(name), text.as_bytes(), "{name}");
    }
}

#[test]
fn the_mount_denies_devices_setuid_and_execution() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = mount.plan.point.to_str().unwrap();
    let entry = table.lines().find(|line| line.contains(point)).unwrap();
    for option in ["nosuid", "nodev", "noexec", "default_permissions"] {
        assert!(entry.contains(option), "{option} in {entry}");
    }
    mount.stop();
}

#[test]
fn what_was_reclaimed_is_read_back_from_the_bucket() {
    let rig = Rig::embedded();
    // Twice the room of the spool passes through, so most of it must be reclaimed.
    let mount = rig.mount(&["--spool-max", "8MiB", "--rotate-size", "256KiB"]);
    let path = mount.path("app.log");
    let mut file = append(&path);
    let mut expected = Vec::new();
    let bucket = rig.bucket();
    for round in 0..16 {
        let chunk: String = (0..8192).map(|n| format!("round {round:02} line {n:05} {:>108}\n", "-")).collect();
        file.write_all(chunk.as_bytes()).unwrap();
        expected.extend_from_slice(chunk.as_bytes());
        eventually("the upload to keep up", || {
            let stored: u64 = bucket.segments("app.log").iter().map(|s| s.length).sum();
            (stored + (2 << 20) > expected.len() as u64).then_some(())
        });
    }
    assert!(expected.len() > 16 << 20);
    let mut read = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == expected, "{} bytes read back of {}", read.len(), expected.len());
    drop(file);
    mount.stop();
    assert!(rig.bucket().content("app.log") == expected);
}

#[test]
fn an_empty_file_makes_no_object() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    File::create(mount.path("app.log")).unwrap();
    File::create(mount.path("app.log")).unwrap().set_len(0).unwrap();
    fs::remove_file(mount.path("app.log")).unwrap();
    File::create(mount.path("other.log")).unwrap();
    mount.stop();
    assert!(rig.bucket().all_segments().is_empty());
}

#[test]
fn names_of_any_bytes_arrive() {
    use std::os::unix::ffi::OsStrExt;
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let names: [&[u8]; 5] = [b"caf\xe9.log", b"two\nlines.log", b"back\\slash.log", b"-rf", b"x.segments"];
    for name in names {
        let path = mount.plan.point.join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, name).unwrap();
        assert_eq!(fs::read(&path).unwrap(), name);
    }
    mount.stop();
    let bucket = rig.bucket();
    let streams = bucket.streams();
    assert_eq!(streams.len(), names.len(), "{streams:?}");
    let mut arrived: Vec<_> = streams.iter().map(|stream| bucket.content(stream)).collect();
    arrived.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(arrived, expected);
}

#[test]
fn a_file_belongs_to_the_user_who_creates_it() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--allow-other", "--dir-mode", "0777"]);
    let mut shell = command(program("setpriv"));
    shell.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    shell.args(["sh", "-c", "umask 027; echo line > \"$0\""]).arg(mount.path("app.log"));
    Proc::start("a shell of nobody", shell).success();
    let seen = fs::metadata(mount.path("app.log")).unwrap();
    assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o777), (65534, 65534, 0o640));
    assert_eq!(stored(&rig, mount, "app.log"), "line\n");
}
