//! The reader mount: a log as one file, as real programs see it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::Signal;

use test_harness::disk::Disk;
use test_harness::files::{append, names};
use test_harness::planted::{Form, Planter, ago, at};
use test_harness::process::{Proc, command, program};
use test_harness::{Answer, Kind, Mount, Rig, eventually};

/// Believed for so long that the tests need not wait for it to be asked again.
const SOON: &str = "--metadata-ttl=1s";
/// Nothing is asked again unless a signal says so.
const NEVER: &str = "--metadata-ttl=indefinite";

/// Runs a program to its end; gives its exit code and what it printed.
fn run(name: &str, args: &[&str], paths: &[&Path]) -> (i32, String) {
    let output = Command::new(program(name)).args(args).args(paths).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

/// Has the mount forget what it knows until it shows what it is to show.
fn refreshed(mount: &Mount, what: &str, look: impl Fn() -> bool) {
    eventually(what, || {
        mount.daemon.signal(Signal::HUP);
        look().then_some(())
    });
}

/// A writer mount that seals soon after each close.
fn writer(rig: &Rig, name: &str, flags: &[&str]) -> Mount {
    let soon = ["--rotate-idle", "100ms", "--rotate-interval", "1s"];
    rig.plan(name).with(&soon).with(flags).start()
}

#[test]
fn a_log_that_is_written_grows_under_tail_f() {
    let rig = Rig::embedded();
    let writing = writer(&rig, "a", &[]);
    let reading = rig.read(&[SOON]);
    fs::create_dir(writing.path("web")).unwrap();
    append(&writing.path("web/app.log"), "first\n");
    let log = reading.path("web/app.log");
    eventually("the log in the reader mount", || fs::read(&log).is_ok_and(|bytes| bytes == b"first\n").then_some(()));
    let mut tail = command(program("tail"));
    tail.args(["-n", "+1", "-s", "0.1", "-f"]).arg(&log);
    let mut tail = Proc::start("tail", tail);
    for line in ["second", "third"] {
        append(&writing.path("web/app.log"), &format!("{line}\n"));
        tail.await_stdout(line, |said| (said == line).then_some(()));
    }
    tail.kill();
    assert_eq!(tail.said(), ["first", "second", "third"]);
    assert_eq!(text(&log), "first\nsecond\nthird\n", "and cat sees no old end");
    assert_eq!(names(&reading.path("web")), ["app.log", "app.log.segments"]);
    writing.stop();
    reading.stop();
}

/// Two writers, one after the other, with restarts and a crash, read as one file.
fn all_runs_are_one_file(kind: Kind) {
    let rig = Rig::new(kind);
    let mut expected = Vec::new();
    for name in ["a", "b"] {
        let mut writing = writer(&rig, name, &[]);
        for run in 0..4 {
            let lines: String = (0..200).map(|n| format!("{name} {run} {n}\n")).collect();
            let log = writing.path("app.log");
            match run % 2 {
                0 => fs::write(&log, &lines).unwrap(),
                _ => append(&log, &lines),
            }
            expected.push(lines);
            if run == 2 {
                writing.crash();
                writing.start_again();
            }
        }
        writing.stop();
    }
    let reading = rig.read(&[]);
    let log = reading.path("app.log");
    assert_eq!(text(&log), expected.concat());
    assert_eq!(fs::metadata(&log).unwrap().len(), expected.concat().len() as u64);
    reading.stop();
}

#[test]
fn restarts_truncations_and_two_writers_are_one_file() {
    all_runs_are_one_file(Kind::Embedded);
}

#[test]
fn restarts_truncations_and_two_writers_are_one_file_on_moto() {
    all_runs_are_one_file(Kind::Moto);
}

#[test]
fn programs_read_it_like_any_file() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    let whole = rig.local("whole");
    let mut copy = File::create(&whole).unwrap();
    for (n, form) in [Form::Gzip, Form::Zstd, Form::Plain, Form::Gzip].into_iter().enumerate() {
        planter.form = form;
        let line = |i| format!("{n} {i} {:x}\n", (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lines: String = (0..40_000).map(line).collect();
        planter.put(ago(40 - n as i64), lines.as_bytes());
        copy.write_all(lines.as_bytes()).unwrap();
    }
    let mount = rig.read(&[]);
    let log = mount.path("app.log");
    assert_eq!(run("cmp", &[], &[&log, &whole]), (0, String::new()));
    for (name, args) in [
        ("wc", &["-lc"][..]),
        ("grep", &["-c", "7f"]),
        ("tail", &["-n", "100"]),
        ("tail", &["-c", "+5000001"]),
        ("head", &["-n", "60000"]),
        ("less", &["-F", "-X"]),
        ("sha256sum", &[]),
    ] {
        let strip =
            |(code, said): (i32, String), path: &Path| (code, said.replace(&path.display().to_string(), "FILE"));
        let of = |path: &Path| strip(run(name, args, &[path]), path);
        assert_eq!(of(&log), of(&whole), "{name} {args:?}");
    }
    let mapped = "import mmap,sys\n\
                  with open(sys.argv[1],'rb') as f:\n\
                  \x20m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)\n\
                  \x20print(len(m),m[-30:],m[3000000:3000050])";
    let python = |path: &Path| run("python3", &["-c", mapped], &[path]);
    assert_eq!(python(&log), python(&whole), "through a mapping");
    mount.stop();
}

#[test]
fn writers_are_merged_by_time_whatever_their_clocks_do_to_their_own_order() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut a = Planter::new(&bucket, "app.log", "a-1");
    let mut b = Planter::new(&bucket, "app.log", "b-1");
    a.put(ago(50), b"a1\n");
    b.put(ago(45), b"b1\nb-with");
    // The clock of a jumps back by an hour and a half.
    a.put(ago(130), b"a2\n");
    b.put(ago(40), b"out end\n");
    a.truncate();
    a.put(ago(30), b"a3 without end");
    b.put(ago(20), b"b3\n");
    let mount = rig.read(&[]);
    let expected = "a1\na2\nb1\nb-without end\na3 without end\nb3\n";
    assert_eq!(text(&mount.path("app.log")), expected);
    mount.stop();
}

#[test]
fn what_is_missing_leaves_a_line_that_says_so_and_with_strict_an_error() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    // As by a lifecycle rule: what the first segments held has expired.
    planter.skip(ago(100), b"expired\n");
    planter.put(ago(90), b"one\n");
    let deleted = planter.put(ago(80), b"deleted by hand\n");
    bucket.delete(&deleted);
    planter.put(ago(70), b"two\n");
    planter.drop(ago(60), 1000);
    planter.put(ago(50), b"three\n");
    let expected = "one\n\
                    logsinkfs: 16 bytes are missing here: 12..28 of generation 1 of web-1\n\
                    two\n\
                    logsinkfs: 1000 bytes are dropped here: 32..1032 of generation 1 of web-1\n\
                    three\n";
    let mount = rig.read(&[]);
    assert_eq!(text(&mount.path("app.log")), expected);
    assert_eq!(fs::metadata(mount.path("app.log")).unwrap().len(), expected.len() as u64);
    mount.stop();
    let strict = rig.read(&["--strict"]);
    let file = File::open(strict.path("app.log")).unwrap();
    let mut begin = [0; 4];
    file.read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(&begin, b"one\n", "what comes before the gap is read");
    let failed = file.read_at(&mut begin, 4).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(Errno::IO.raw_os_error()));
    strict.stop();
}

#[test]
fn what_is_damaged_keeps_its_length_and_what_follows_its_place() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    let line = "a line that will be lost\n";
    planter.put(ago(90), b"one\n");
    let broken = planter.put(ago(80), line.repeat(100).as_bytes());
    planter.put(ago(70), b"two\n");
    let gone = planter.put(ago(60), line.repeat(100).as_bytes());
    planter.put(ago(50), b"three\n");
    bucket.put(&broken, b"somebody else's bytes");
    let mount = rig.read(&[NEVER]);
    let log = mount.path("app.log");
    let len = fs::metadata(&log).unwrap().len();
    assert_eq!(len, 14 + 200 * line.len() as u64, "by the names alone");
    bucket.delete(&gone);
    let read = text(&log);
    assert_eq!(read.len() as u64, len);
    let kept: Vec<&str> = read.lines().filter(|line| !line.trim().is_empty()).collect();
    let damage = |line: &str| line.starts_with("logsinkfs: bytes cannot be read here:");
    assert_eq!((kept[0], kept[2], kept[4]), ("one", "two", "three"), "{kept:?}");
    assert!(damage(kept[1]) && damage(kept[3]), "{kept:?}");
    assert!(kept[1].contains("4..2504") && kept[3].contains("its object is gone"), "{kept:?}");
    let (code, said) = run("grep", &["-c", "^two$"], &[&log]);
    assert_eq!((code, said.trim()), (0, "1"));
    mount.stop();
    let strict = rig.read(&["--strict"]);
    let failed = fs::read(strict.path("app.log")).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(Errno::IO.raw_os_error()));
    strict.stop();
}

#[test]
fn a_full_cache_is_done_without() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    let lines: String = (0..200_000).map(|n| format!("line {n} of a program\n")).collect();
    planter.put(ago(50), lines.as_bytes());
    planter.put(ago(40), b"the end\n");
    let disk = Disk::new(&rig.local("cache"), 1);
    let mount = rig.read(&["--cache-dir", disk.path.to_str().unwrap()]);
    let log = mount.path("app.log");
    assert_eq!(text(&log), format!("{lines}the end\n"));
    let (code, said) = run("tail", &["-n", "2"], &[&log]);
    assert_eq!((code, said.as_str()), (0, "line 199999 of a program\nthe end\n"));
    mount.daemon.await_stderr("are read without the cache");
    mount.stop();
}

#[test]
fn slices_of_a_day_an_hour_and_a_minute_however_old() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "web/app.log", "web-1");
    for (time, line) in [
        ("2019-03-01T23:59:00", "before\n"),
        ("2019-03-02T08:14:59", "fourteen\n"),
        ("2019-03-02T08:15:00", "fifteen\n"),
        ("2019-03-02T08:16:00", "sixteen\n"),
        ("2019-03-02T23:00:00", "twenty-three\n"),
        ("2019-03-03T00:00:00", "next day\n"),
    ] {
        planter.put(at(time), line.as_bytes());
    }
    bucket.put("team/web/app.log@2019-03-03", b"a real name\n");
    let mount = rig.read(&[]);
    let slice = |time: &str| text(&mount.path(&format!("web/app.log@{time}")));
    // With the segment that was under way when the span began, if it began in the partition before.
    assert_eq!(slice("2019-03-02"), "before\nfourteen\nfifteen\nsixteen\ntwenty-three\n");
    assert_eq!(slice("2019-03-02T08"), "fourteen\nfifteen\nsixteen\n");
    assert_eq!(slice("2019-03-02T08:15"), "fourteen\nfifteen\n");
    assert_eq!(slice("2019-03-02T08:15:00"), "fourteen\nfifteen\n");
    assert_eq!(slice("2019-03-03"), "a real name\n");
    assert_eq!(slice("2019-03-03T00"), "twenty-three\nnext day\n");
    assert_eq!(slice("2018"), "");
    assert_eq!(text(&mount.path("web/app.log")), "", "nothing of the last 24 hours");
    for nothing in ["web/app.log@yesterday", "web/app.log@2019-13-01", "web/other.log@2019"] {
        assert!(!mount.path(nothing).exists(), "{nothing}");
    }
    let listed = ["app.log", "app.log.segments", "app.log@2019-03-03"];
    assert_eq!(names(&mount.path("web")), listed, "slices are not listed");
    mount.stop();
    let all = rig.read(&["--since", "all"]);
    assert!(text(&all.path("web/app.log")).ends_with("twenty-three\nnext day\n"));
    all.stop();
    let since = rig.read(&["--since", "2019-03-02T09"]);
    assert_eq!(text(&since.path("web/app.log")), "sixteen\ntwenty-three\nnext day\n");
    since.stop();
}

#[test]
fn what_was_read_keeps_its_offset_and_takes_its_place_in_time_when_opened_anew() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut a = Planter::new(&bucket, "app.log", "a-1");
    let mut b = Planter::new(&bucket, "app.log", "b-1");
    a.put(ago(50), b"a1\n");
    a.put(ago(30), b"a2\n");
    let mount = rig.read(&[NEVER]);
    let log = mount.path("app.log");
    let mut file = File::open(&log).unwrap();
    let mut read = String::new();
    file.read_to_string(&mut read).unwrap();
    assert_eq!(read, "a1\na2\n");
    b.put(ago(40), b"b came late\n");
    let len = || fs::metadata(&log).unwrap().len();
    refreshed(&mount, "what came late", || len() == 18);
    file.read_to_string(&mut read).unwrap();
    assert_eq!(read, "a1\na2\nb came late\n", "it goes on where it was");
    let mut again = vec![0; 6];
    file.read_exact_at(&mut again, 0).unwrap();
    assert_eq!(again, b"a1\na2\n");
    assert_eq!(text(&log), read, "the same for who opens it meanwhile");
    drop(file);
    refreshed(&mount, "the order of time", || text(&log) == "a1\nb came late\na2\n");
    mount.stop();
}

#[test]
fn names_are_what_they_are_in_the_mounts_that_write() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let writing = writer(&rig, "a", &[]);
    let odd = ["with space.log", "100%.log", "日本語 ログ.log", "a@2019.log", "tab\there.log"];
    fs::create_dir(writing.path("dir of mine")).unwrap();
    for name in odd {
        append(&writing.path("dir of mine").join(name), name);
    }
    writing.stop();
    for name in ["a", "a/b", "x//y", "../up", "new\nline", "plain.txt", "dir of mine/other's"] {
        bucket.put(&format!("team/{name}"), name.as_bytes());
    }
    bucket.put("team/plain.txt.segments/not a segment", b"foreign\n");
    let mount = rig.read(&[]);
    for name in odd {
        assert_eq!(text(&mount.path("dir of mine").join(name)), name);
    }
    assert_eq!(text(&mount.path("dir of mine/other's")), "dir of mine/other's");
    assert_eq!(text(&mount.path("new\nline")), "new\nline");
    assert_eq!(text(&mount.path("a/b")), "a/b");
    assert_eq!(text(&mount.path("plain.txt")), "", "the log hides the object");
    assert_eq!(text(&mount.path("plain.txt.segments/not a segment")), "foreign\n");
    assert!(!mount.path(".logsinkfs").exists());
    let shown = ["a", "dir of mine", "new\nline", "plain.txt", "plain.txt.segments", "x"];
    assert_eq!(names(&mount.plan.point), shown);
    let point = mount.plan.point.to_str().unwrap();
    let (code, _) = run("find", &[point, "-type", "f", "-newermt", "2000-01-01"], &[]);
    assert_eq!(code, 0);
    mount.stop();
}

#[test]
fn the_objects_of_a_log_are_beside_it_as_they_are_stored() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    let key = planter.put(ago(10), "line\n".repeat(1000).as_bytes());
    let mount = rig.read(&[]);
    let raw = mount.path(key.strip_prefix("team/").unwrap());
    assert_eq!(fs::read(&raw).unwrap(), bucket.get(&key).bytes);
    let (code, said) = run("zcat", &[], &[&raw]);
    assert_eq!((code, said.len()), (0, 5000));
    mount.stop();
}

#[test]
fn nothing_can_be_changed_and_the_end_is_an_end() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    Planter::new(&bucket, "app.log", "web-1").put(ago(10), b"line\n");
    bucket.put("team/notes.txt", b"notes\n");
    let keys = bucket.keys();
    let gate = rig.gate();
    let mut mount = rig.plan_reader(&[]).through(&gate.endpoint).start();
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    };
    for name in ["app.log", "notes.txt"] {
        let path = mount.path(name);
        refused(OpenOptions::new().append(true).open(&path).map(drop));
        refused(fs::write(&path, "x"));
        refused(fs::remove_file(&path));
        refused(fs::rename(&path, mount.path("other")));
        refused(fs::set_permissions(&path, PermissionsExt::from_mode(0o600)));
    }
    refused(fs::write(mount.path("new"), "x"));
    refused(fs::create_dir(mount.path("dir")));
    refused(fs::remove_dir(mount.path("app.log.segments")));
    let meta = fs::metadata(mount.path("app.log")).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o440);
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let read_only = format!(" {} fuse.logsinkfs ro,", mount.plan.point.display());
    assert!(table.contains(&read_only), "the kernel refuses: {table}");
    // Made writable by somebody, it refuses by itself.
    rustix::mount::mount_remount(&mount.plan.point, MountFlags::NOSUID, "").unwrap();
    refused(OpenOptions::new().append(true).open(mount.path("app.log")).map(drop));
    refused(fs::write(mount.path("new"), "x"));
    refused(fs::create_dir(mount.path("dir")));
    refused(fs::remove_file(mount.path("notes.txt")));
    refused(fs::set_permissions(mount.path("app.log"), PermissionsExt::from_mode(0o600)));
    let (code, _) = run("umount", &[], &[&mount.plan.point]);
    assert_eq!(code, 0);
    assert_eq!(mount.daemon.wait().code(), Some(0));
    assert!(gate.seen().iter().all(|seen| seen.method == "GET"), "{:?}", gate.seen());
    assert_eq!(bucket.keys(), keys, "nothing was written");
}

#[test]
fn what_is_known_is_shown_while_s3_is_away_and_the_rest_when_it_is_back() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    planter.put(ago(10), b"known\n");
    bucket.put("team/dir/x", b"x");
    let gate = rig.gate();
    let mount = rig.plan_reader(&[SOON]).through(&gate.endpoint).start();
    let log = mount.path("app.log");
    assert_eq!(text(&log), "known\n");
    gate.always(Answer::Refuse(403, "AccessDenied", None));
    planter.put(ago(5), b"came meanwhile\n");
    let before = gate.hits();
    eventually("a request that fails", || {
        let size = fs::metadata(&log).unwrap().len();
        assert_eq!(size, 6, "what is known is told all the while");
        (gate.hits() > before).then_some(())
    });
    assert_eq!(text(&log), "known\n", "unpacked already, and listed");
    assert!(names(&mount.plan.point).contains(&"app.log".to_owned()));
    let failed = fs::read_dir(mount.path("dir")).and_then(|mut dir| dir.next().transpose());
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    gate.open();
    eventually("what came meanwhile", || (text(&log) == "known\ncame meanwhile\n").then_some(()));
    eventually("the directory", || fs::read(mount.path("dir/x")).ok());
    mount.stop();
}

#[test]
fn options_of_the_other_kind_of_mount_are_refused() {
    let rig = Rig::embedded();
    let refused = |flags: &[&str], why: &str| {
        let (code, said) = rig.plan_reader(flags).refused();
        assert_eq!(code, 2, "{flags:?}: {said}");
        assert!(said.contains(why), "{flags:?}: {said}");
    };
    refused(&["--spool-dir", "/nowhere"], "--spool-dir");
    refused(&["--stream-map", "a=b"], "--stream-map");
    refused(&["--no-keeper"], "--no-keeper");
    refused(&["--since", "noon"], "is no time");
    for flag in ["--since=1h", "--strict", "--cache-dir=/tmp", "--cache-max=1MiB"] {
        let (code, said) = rig.plan("a").with(&[flag]).refused();
        assert_eq!(code, 2, "{flag}: {said}");
        assert!(said.contains("--read-only"), "{flag}: {said}");
    }
    let (code, said) = rig.plan_reader(&["--cache-dir", "/proc"]).refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("--cache-dir"), "{said}");
}

#[test]
fn an_ordinary_user_reads_from_the_background_and_unmounts() {
    const NOBODY: u32 = 65_534;
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    Planter::new(&bucket, "app.log", "web-1").put(ago(10), b"line\n");
    let mut plan = rig.plan_reader(&[]).with_copy_of_program(&rig.local("logsinkfs"));
    plan.home = rig.local("home of nobody");
    fs::create_dir(&plan.home).unwrap();
    for path in [&plan.home, &plan.point] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // Every distribution lets all users open /dev/fuse; a bare kernel does not.
    let device = rig.local("fuse");
    let number = rustix::fs::makedev(10, 229);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &device, kind, 0o666.into(), number).unwrap();
    fs::set_permissions(&device, PermissionsExt::from_mode(0o666)).unwrap();
    let become_user = "mount --bind \"$1\" /dev/fuse; shift; \
                       exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\"";
    let session = "point=$1; shift; \"$@\"; grep \"$point fuse.logsinkfs ro,\" /proc/mounts; \
                   test \"$(cat \"$point/app.log\")\" = line; fusermount3 -u \"$point\"";
    let mut outer = command(program("unshare"));
    outer.args(["--mount", "--", "/bin/sh", "-ec", become_user, "sh"]).arg(&device);
    outer.args(["/bin/sh", "-ec", session, "sh"]).arg(&plan.point);
    let inner = plan.command();
    outer.env_clear().envs(inner.get_envs().map(|(name, value)| (name, value.unwrap())));
    // Behind `setpriv --pdeathsig KILL --`, which would end what stays in the background.
    outer.args(inner.get_args().skip(3).filter(|arg| *arg != "--foreground"));
    Proc::start("a user's session", outer).success();
    let logs = plan.home.join(".local/state/logsinkfs");
    eventually("its last words in its log", || {
        let log = fs::read_dir(&logs).ok()?.flatten().next()?.path();
        fs::read_to_string(log).ok()?.contains("unmounted").then_some(())
    });
}
