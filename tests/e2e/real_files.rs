//! Real programs meet whole files and copies: rotation that copies, dumps of the JVM, databases, archives, and what
//! tries to break them. Where it can be, the same is done beside the mount on a local disk, and compared.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use test_harness::files::{self, attribute, names};
use test_harness::gate::Answer;
use test_harness::process::{Proc, command, program};
use test_harness::stage::{DAEMON, KERNEL, assert_quiet};
use test_harness::{Ledger, Mount, Rig, Run, eventually, programs};

/// Closed files are sealed soon.
pub(super) const SOON: [&str; 2] = ["--rotate-idle", "200ms"];

/// Unless it is killed, a worker serves from beginning to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Worker {
    Lives,
    IsKilled,
}

/// Stops the mount and insists that the bucket has each of its files as the mount showed it: a log as a
/// generation of its stream, a whole file as its latest version, a copy not at all.
pub(super) fn stop_and_compare(rig: &Rig, mount: Mount) -> String {
    let shown = files::below(&mount.plan.point);
    let kinds: Vec<_> = shown
        .keys()
        .map(|name| {
            let path = mount.path(name);
            (attribute(&path, "kind").unwrap(), attribute(&path, "stream"))
        })
        .collect();
    let told = mount.stop_and_tell();
    let bucket = rig.bucket();
    for ((name, bytes), (kind, stream)) in shown.iter().zip(kinds) {
        let whole = rig.bucket().versions(name);
        let stored = match (kind.as_str(), whole.last()) {
            ("excluded", _) => continue,
            (_, Some((key, stored))) => {
                assert!(!key.contains("partial"), "{key}");
                stored.clone()
            }
            ("copy", None) => continue,
            // Also what was not judged yet when it was asked.
            (_, None) => {
                let stream = stream.unwrap_or_else(|| name.clone());
                let mut generations = bucket.generations(&stream).into_values();
                generations.find(|stored| stored == bytes).unwrap_or_default()
            }
        };
        let lengths = (stored.len(), bytes.len());
        assert!(stored == *bytes || kind == "log" && is_copy(&shown, name), "{name} ({kind}): {lengths:?} bytes");
    }
    told
}

/// Whether another file has the same bytes, or those that are compressed in this one, so that it may have been found to
/// be a copy in the end.
fn is_copy(shown: &BTreeMap<String, Vec<u8>>, name: &str) -> bool {
    let packed = [".gz", ".bz2", ".xz", ".zst"].iter().find_map(|end| name.strip_suffix(end));
    if packed.is_some_and(|original| shown.contains_key(original)) {
        return true;
    }
    shown.iter().any(|(other, bytes)| other != name && *bytes == shown[name])
}

/// Runs a shell script in a folder; gives what it printed, with its exit code.
fn shell(rig: &Rig, folder: &Path, text: &str) -> Vec<String> {
    let mut shell = command(program("bash"));
    shell.args(["-c", text]).current_dir(folder).env("HOME", rig.local("home"));
    shell.env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    let mut run = Proc::start("bash", shell);
    let code = run.wait().code();
    let mut said = run.said();
    said.extend(run.last_words().lines().map(str::to_owned));
    said.push(format!("exit code {code:?}"));
    said
}

/// Runs a script in the mount and beside it on a local disk: it says the same, and succeeds.
fn same(rig: &Rig, mount: &Mount, text: &str) {
    let beside = rig.local("beside");
    fs::create_dir_all(&beside).unwrap();
    let here = shell(rig, &mount.plan.point, text);
    assert_eq!(here, shell(rig, &beside, text), "in the mount, and on a local disk: {text}");
    assert_eq!(here.last().unwrap(), "exit code Some(0)", "{here:?}");
}

/// The same, with both write paths, the worker killed now and then; the files are the same and in the bucket.
fn same_everywhere(scripts: &[&str]) {
    for (write_path, worker) in [(KERNEL, Worker::Lives), (DAEMON, Worker::IsKilled), (KERNEL, Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        for text in scripts {
            std::thread::scope(|scope| {
                let run = scope.spawn(|| same(&rig, &mount, text));
                if worker == Worker::IsKilled {
                    mount.kill_worker();
                }
                run.join().unwrap();
            });
        }
        let (here, beside) = (files::below(&mount.plan.point), files::below(&rig.local("beside")));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&here), names(&beside), "{write_path}");
        for (name, bytes) in &here {
            assert!(*bytes == beside[name], "{name} differs from the one on a local disk ({write_path})");
        }
        stop_and_compare(&rig, mount);
    }
}

/// Starts logrotate, which copies and truncates a log.
pub(super) fn rotate(rig: &Rig, log: &Path, directives: &str) -> Proc {
    let config = rig.local("logrotate.conf");
    let text = format!("{} {{\n su root root\n rotate 3\n copytruncate\n {directives}\n}}\n", log.display());
    fs::write(&config, text).unwrap();
    let mut rotate = command(program("logrotate"));
    rotate.arg("--force").arg("--state").arg(rig.local("logrotate.state")).arg(&config);
    Proc::start("logrotate", rotate)
}

/// A writer that goes on under ten rotations by logrotate; gives what the daemon said.
fn copytruncate(write_path: &str, worker: Worker, directives: &str) -> String {
    let rig = Rig::embedded();
    let mount = rig.mount(&[&SOON[..], &["--write-path", write_path, "--rotate-size", "32KiB"]].concat());
    let log = mount.path("app.log");
    let mut writer = programs::python("plain_writer.py");
    writer.arg(&log);
    let mut run = Run::start(&rig, "writer", writer);
    for rotation in 0..10 {
        run.await_more(300);
        let more =
            directives.replace("ROTATION", &rotation.to_string()).replace("MOUNT", mount.plan.point.to_str().unwrap());
        let rotate = rotate(&rig, &log, &more);
        if worker == Worker::IsKilled {
            mount.kill_worker();
        }
        rotate.success();
    }
    run.await_more(300);
    let ledger = run.finish();
    let told = mount.stop_and_tell();
    let bucket = rig.bucket();
    let whole: Vec<_> = bucket.keys().into_iter().filter(|key| key.contains(".files/")).collect();
    assert_eq!(whole, [""; 0]);
    assert_eq!(bucket.streams().into_iter().collect::<Vec<_>>(), ["app.log"]);
    ledger.assert_in_order(&bucket.lines("app.log"));
    assert!(ledger.count() > 3000 && ledger.failed == 0);
    told
}

macro_rules! copytruncate {
    ($($name:ident $directives:literal)+) => { $(
        mod $name {
            use super::{KERNEL, Worker, copytruncate};

            #[test]
            fn the_kernel_writes() {
                copytruncate(KERNEL, Worker::Lives, $directives);
            }

            #[test]
            fn the_worker_is_killed_at_each_rotation() {
                copytruncate(KERNEL, Worker::IsKilled, $directives);
            }
        }
    )+ };
}

copytruncate! {
    copytruncate_plain ""
    copytruncate_with_dates "dateext\n dateformat -%Y%m%d-ROTATION"
    copytruncate_with_compress "compress"
    copytruncate_with_compress_and_delaycompress "compress\n delaycompress"
    copytruncate_into_another_folder "olddir MOUNT/old\n createolddir 0755 root root"
    copytruncate_by_size "maxsize 1k"
    copytruncate_with_xz_and_dates_into_another_folder
        "compress\n compresscmd /usr/bin/xz\n compressext .xz\n dateext\n dateformat -%Y%m%d-ROTATION\n olddir MOUNT/old\n createolddir 0755 root root"
}

#[test]
fn copytruncate_leaves_nothing_to_complain_of() {
    assert_quiet(&copytruncate(DAEMON, Worker::Lives, ""));
    assert_quiet(&copytruncate(KERNEL, Worker::Lives, "compress"));
}

#[test]
fn a_core_of_a_process_arrives_whole() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let mut sleep = command(program("sleep"));
    sleep.arg("1000");
    let sleep = Proc::start("sleep", sleep);
    let pid = sleep.pid().as_raw_nonzero().to_string();
    let mut gcore = command(program("gcore"));
    gcore.arg("-o").arg(mount.path("core")).arg(&pid);
    Proc::start("gcore", gcore).success();
    let name = format!("core.{pid}");
    assert!(fs::metadata(mount.path(&name)).unwrap().len() > 10_000);
    stop_and_compare(&rig, mount);
    assert!(rig.bucket().versions(&name)[0].1.starts_with(b"\x7fELF"));
}

#[test]
fn a_core_that_the_kernel_writes_arrives_whole() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '/']) {
        eprintln!("not tried: the kernel of this machine writes no core into the directory of its process: {pattern}");
        return;
    }
    for (write_path, worker) in [(KERNEL, Worker::Lives), (DAEMON, Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        let mut shell = command(program("bash"));
        shell.args(["-c", "ulimit -c unlimited; echo ready; exec sleep 1000"]).current_dir(&mount.plan.point);
        let mut sleep = Proc::start("sleep", shell);
        let comm = format!("/proc/{}/comm", sleep.pid().as_raw_nonzero());
        eventually("sleep", || (fs::read_to_string(&comm).unwrap() == "sleep\n").then_some(()));
        sleep.signal(Signal::SEGV);
        if worker == Worker::IsKilled {
            mount.kill_worker();
        }
        assert!(std::os::unix::process::ExitStatusExt::core_dumped(&sleep.wait()));
        let name = names(&mount.plan.point).remove(0);
        assert!(fs::metadata(mount.path(&name)).unwrap().len() > 10_000, "{name}");
        stop_and_compare(&rig, mount);
        assert!(rig.bucket().versions(&name)[0].1.starts_with(b"\x7fELF"));
    }
}

/// Each way in which fio writes: what it wrote, it reads back and compares, and it is what the bucket gets.
#[test]
fn files_that_fio_writes_at_random_arrive_whole() {
    for (write_path, worker) in [(KERNEL, Worker::Lives), (DAEMON, Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        let mut fio = command(program("fio"));
        fio.arg("--directory").arg(&mount.plan.point).current_dir(rig.local(""));
        fio.args(["--size=4m", "--bs=4k", "--rw=randwrite", "--verify=crc32c", "--end_fsync=1"]);
        for (name, options) in [
            ("psync", &["--ioengine=psync"][..]),
            ("pvsync2", &["--ioengine=pvsync2", "--fallocate=none"]),
            ("direct", &["--ioengine=psync", "--direct=1"]),
            ("libaio", &["--ioengine=libaio", "--iodepth=8"]),
            ("mmap", &["--ioengine=mmap", "--fallocate=truncate"]),
        ] {
            fio.arg(format!("--name={name}")).args(options);
        }
        let mut fio = Proc::start("fio", fio);
        eventually("a file", || (!names(&mount.plan.point).is_empty()).then_some(()));
        if worker == Worker::IsKilled {
            mount.kill_worker();
        }
        assert!(fio.wait().success(), "{}\n{}", fio.said().join("\n"), fio.last_words());
        stop_and_compare(&rig, mount);
        for name in ["psync", "pvsync2", "direct", "libaio", "mmap"] {
            let versions = rig.bucket().versions(&format!("{name}.0.0"));
            assert_eq!(versions.last().map(|(_, bytes)| bytes.len()), Some(4 << 20), "{name} ({write_path})");
        }
    }
}

#[test]
fn applications_whose_logs_pm2_rotates_have_each_line_once() {
    for (compress, worker) in [("false", Worker::Lives), ("true", Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--rotate-size", "32KiB"]);
        let mut node = programs::node("pm2_apps.js");
        node.arg(&mount.plan.point).args(["7", compress]).arg(rig.local("pm2"));
        let mut run = Run::start(&rig, "pm2", node);
        let rotations = || names(&mount.plan.point).iter().filter(|name| name.contains("__")).count();
        for files in [7, 14, 21] {
            eventually(&format!("{files} copies"), || (rotations() >= files).then_some(()));
            if worker == Worker::IsKilled {
                mount.kill_worker();
            }
            run.await_more(700);
        }
        let ledger = run.finish();
        let last = |n: usize| fs::read(mount.path(&format!("app-{n}-out.log"))).unwrap();
        let last: Vec<_> = (0..7).map(last).collect();
        mount.stop();
        let bucket = rig.bucket();
        let whole: Vec<_> = bucket.keys().into_iter().filter(|key| key.contains(".files/")).collect();
        assert_eq!(whole, [""; 0]);
        let copies: Vec<_> = bucket.streams().into_iter().filter(|name| name.contains("__")).collect();
        eprintln!("stored copies: {copies:?}");
        // Node.js may have read a log, and closed it, before it begins the copy. If the worker dies in between, nobody
        // knows that it was read, and the copy is stored too.
        assert!(copies.is_empty() || worker == Worker::IsKilled && copies.len() <= 3, "{copies:?}");
        for copy in copies {
            let original = bucket.content(&format!("{}.log", copy.split("__").next().unwrap()));
            let copy = bucket.content(&copy);
            assert!(original.windows(copy.len()).any(|part| part == copy));
        }
        for (n, last) in last.iter().enumerate() {
            let stored = bucket.content(&format!("app-{n}-out.log"));
            assert!(stored.ends_with(last), "application {n}");
            let run = format!("pm2-app-{n} ");
            let expected = ledger.order().filter(|line| line.starts_with(&run));
            let expected: String = expected.flat_map(|line| [line, "\n"]).collect();
            assert!(stored.len() > 30_000 && expected.as_bytes().starts_with(&stored), "application {n}");
        }
    }
}

#[test]
fn sqlite_works() {
    let wal = "set -e; sqlite3 wal.db 'pragma journal_mode=wal; create table t(n); insert into t values(1); vacuum;'; \
        sqlite3 wal.db 'insert into t select value from generate_series(1,1000)' '.backup copy.db'; \
        (for n in 1 2 3 4 5; do sqlite3 wal.db '.timeout 20000' 'insert into t values(7)'; done) & \
        for n in 1 2 3 4 5; do sqlite3 wal.db '.timeout 20000' 'insert into t values(8)'; done; wait; \
        sqlite3 wal.db 'select sum(n) from t; pragma integrity_check'; sqlite3 copy.db 'select sum(n) from t; pragma integrity_check'";
    let delete = "set -e; sqlite3 delete.db 'create table t(n); begin; insert into t values(1); rollback; insert into t values(2)'; \
        sqlite3 delete.db 'pragma journal_mode=truncate; insert into t values(3)'; sqlite3 delete.db \
            'pragma journal_mode=persist; insert into t values(4); vacuum'; \
        sqlite3 delete.db 'select sum(n) from t; pragma integrity_check'; sqlite3 delete.db '.dump' > dump.sql";
    for (write_path, worker) in [(KERNEL, Worker::Lives), (DAEMON, Worker::IsKilled), (KERNEL, Worker::IsKilled)] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        for text in [wal, delete] {
            std::thread::scope(|scope| {
                let run = scope.spawn(|| same(&rig, &mount, text));
                if worker == Worker::IsKilled {
                    mount.kill_worker();
                }
                run.join().unwrap();
            });
        }
        stop_and_compare(&rig, mount);
        for name in ["wal.db", "copy.db", "delete.db"] {
            fs::write(rig.local(name), &rig.bucket().versions(name).last().unwrap().1).unwrap();
            let said = shell(
                &rig,
                &rig.local(""),
                &format!("sqlite3 {name} 'pragma integrity_check; select count(*) > 1 from t'"),
            );
            assert_eq!(said, ["ok", "1", "exit code Some(0)"], "{name}");
        }
    }
}

#[test]
fn archives_are_made_and_added_to() {
    same_everywhere(&[
        "seq 1000 > one.txt; seq 2000 > two.txt; touch -d @1000000000 *.txt; cp -a two.txt three.txt",
        "zip -qX a.zip one.txt && zip -qX a.zip two.txt && unzip -tq a.zip",
        "tar cf a.tar one.txt && tar rf a.tar two.txt && tar tf a.tar; tar c one.txt two.txt | gzip -n > b.tar.gz; gzip -t b.tar.gz",
        "gzip -nk one.txt; xz -k one.txt; bzip2 -k one.txt; zstd -q one.txt -o one.txt.zst; zstd -qt one.txt.zst; xz -t one.txt.xz",
        "python3 -c \"import zipfile as z
for mode in 'wa':
    with z.ZipFile('p.zip', mode) as f: f.writestr(z.ZipInfo('in-' + mode), 'x' * 5000)
print(z.ZipFile('p.zip').testzip(), z.ZipFile('p.zip').namelist())\"",
    ]);
}

#[test]
fn programs_that_copy_and_change_files_find_what_they_would_on_a_local_disk() {
    same_everywhere(&[
        "seq 1000 > one; seq 2000 > two; cp -a one one.a; cp --sparse=always two two.s; install -m 600 two inst; md5sum *",
        "dd if=two of=one conv=notrunc bs=100 seek=2 count=3 status=none; md5sum one",
        "sort -r -o two two; md5sum two; sed -i s/1/ONE/ two; md5sum two",
        "split -n 3 two part.; cat part.* | md5sum; truncate -s 5000 new.bin; truncate -s 100 new.bin; truncate -s +7 new.bin; stat -c %s new.bin",
        "seq 3000 > secret; shred -u secret; ls secret 2>/dev/null; echo",
        "mkdir from; seq 100 > from/a; seq 200 > from/b; head -c 100000 /dev/zero > from/zero; rsync -a from/ to/; seq 300 > from/b; rsync -a --checksum from/ to/; diff -r from to",
        "rsync -a --inplace two rs; rsync -a --inplace one rs; seq 5000 > grown; rsync -a --append grown rs2; seq 6000 > grown; rsync -a --append grown rs2; md5sum rs rs2",
    ]);
}

#[test]
fn programs_of_python_that_keep_data_in_files_work() {
    same_everywhere(&[
        "python3 -c \"import shelve
s = shelve.open('shelf'); s['a'] = list(range(1000)); s.close()
s = shelve.open('shelf'); s['b'] = 2; s['a'] = 3; s.close()
s = shelve.open('shelf'); print(s['a'], s['b'], sorted(s)); s.close()\"",
        "python3 -c \"import dbm.dumb as d
for n in range(5):
    s = d.open('dumb'); s['key%d' % n] = 'v' * 1000; s['key0'] = 'w' * n; s.close()
s = d.open('dumb'); print(len(s), s['key0']); s.close()\"",
        "python3 -c \"
with open('video.mp4', 'wb') as f:
    f.write(b'....' + b'\\0' * 36)
    for n in range(1000): f.write(b'frame %d' % n)
    size = f.tell(); f.seek(0); f.write(size.to_bytes(4, 'big')); f.seek(20); f.write(b'moov')\"",
        "python3 -c \"import mmap
f = open('mapped', 'w+b'); f.truncate(10000); m = mmap.mmap(f.fileno(), 0); m[:4] = b'abcd'; m[9000:9004] = b'wxyz'; m.flush(); m.close()\"",
    ]);
}

#[test]
fn git_works() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        let text = "set -e; export GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000; \
            git init -q -b main repo; cd repo; git config user.email a@example.com; git config user.name a; \
            for n in 1 2 3 4 5; do seq $n 200 > file$n; git add .; git commit -qm $n; done; \
            git gc -q; git checkout -q -b other HEAD~2; seq 7 > seven; git add .; git commit -qm seven; \
            git merge -q -m merged main; \
            git fsck --no-progress; git log --format=%H; git status --short; cd ..; \
            git clone -q repo clone; cd clone; git fsck --no-progress; git log --format=%H | wc -l; git status --short";
        same(&rig, &mount, text);
        mount.kill_worker();
        same(&rig, &mount, "cd repo; git fsck --no-progress; git status --short");
        mount.stop();
    }
}

/// Runs the program of odd files in a folder; gives what it said.
fn odd_files(folder: &Path) -> Vec<String> {
    let mut python = programs::python("odd_files.py");
    python.arg(folder);
    let mut run = Proc::start("odd_files", python);
    assert!(run.wait().success(), "{}", run.last_words());
    run.said()
}

#[test]
fn odd_files_are_as_on_a_local_disk() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        let beside = rig.local("beside");
        fs::create_dir(&beside).unwrap();
        assert_eq!(odd_files(&mount.plan.point), odd_files(&beside), "{write_path}");
        assert!(files::below(&mount.plan.point) == files::below(&beside), "{write_path}");
        stop_and_compare(&rig, mount);
    }
}

#[test]
fn odd_files_outlive_the_workers() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let beside = rig.local("beside");
    fs::create_dir(&beside).unwrap();
    let expected = odd_files(&beside);
    let mut python = programs::python("odd_files.py");
    python.arg(&mount.plan.point);
    let mut run = Proc::start("odd_files", python);
    for step in expected.iter().step_by(2) {
        let step = step.split(' ').next().unwrap();
        run.await_stdout(step, |said| said.starts_with(step).then_some(()));
        mount.kill_worker();
    }
    assert!(run.wait().success(), "{}", run.last_words());
    let said = run.said();
    assert_eq!(said, expected);
    assert!(files::below(&mount.plan.point) == files::below(&beside));
    stop_and_compare(&rig, mount);
}

#[test]
fn what_is_appended_to_a_whole_file_is_there_once_when_the_worker_is_killed() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let mut writer = programs::python("plain_writer.py");
        writer.arg(mount.path("app.hprof"));
        let mut run = Run::start(&rig, "writer", writer);
        for _ in 0..6 {
            run.await_more(100);
            mount.kill_worker();
        }
        let ledger: Ledger = run.finish();
        mount.stop();
        let bytes = rig.bucket().versions("app.hprof").remove(0).1;
        let lines: Vec<_> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        ledger.assert_in_order(&lines);
    }
}

#[test]
fn a_log_is_opened_and_read_while_others_come_and_go() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    fs::write(mount.path("app.log"), "a line\n").unwrap();
    let come_and_go = |name: &str, bytes: &[u8]| {
        for _ in 0..50 {
            fs::write(mount.path(name), bytes).unwrap();
            fs::remove_file(mount.path(name)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let others = [scope.spawn(|| come_and_go("empty", b"")), scope.spawn(|| come_and_go("other", b"a line\n"))];
        while !others.iter().all(|other| other.is_finished()) {
            assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"a line\n");
        }
    });
    mount.stop();
}

fn zip(text: &str) -> Vec<u8> {
    [b"PK\x03\x04", text.as_bytes()].concat()
}

#[test]
fn a_thousand_small_archives_and_a_log_survive_an_outage_and_the_end_of_everything() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.rule(|_| Answer::Refuse(503, "SlowDown", None));
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&SOON).start();
    fs::create_dir(mount.path("zips")).unwrap();
    let name = |n: usize| format!("zips/{n}.zip");
    for n in 0..500 {
        fs::write(mount.path(&name(n)), zip(&n.to_string())).unwrap();
    }
    let mut log = OpenOptions::new().append(true).create(true).open(mount.path("app.log")).unwrap();
    (0..1000).for_each(|n| writeln!(log, "line {n}").unwrap());
    same(&rig, &mount, "[ ! -e app.log ] || cp app.log app.log.1");
    log.set_len(0).unwrap();
    (1000..2000).for_each(|n| writeln!(log, "line {n}").unwrap());
    let open = File::create(mount.path("open.hprof")).unwrap();
    open.write_all_at(b"half", 1 << 20).unwrap();
    mount.kill_worker();
    for n in 500..1000 {
        fs::write(mount.path(&name(n)), zip(&n.to_string())).unwrap();
    }
    mount.crash();
    drop((log, open));
    mount.start_again();
    gate.open();
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.lines("app.log"), (0..2000).map(|n| format!("line {n}")).collect::<Vec<_>>());
    assert_eq!(bucket.streams().into_iter().collect::<Vec<_>>(), ["app.log"]);
    let keys = bucket.keys();
    for n in 0..1000 {
        let here: Vec<_> = keys.iter().filter(|key| key.contains(&format!("/{}.files/", name(n)))).collect();
        assert_eq!(here.len(), 1, "{n}");
        assert!(!here[0].contains("partial"), "{here:?}");
    }
    let half = rig.bucket().versions("open.hprof");
    assert!(half.len() == 1 && half[0].0.contains("partial") && half[0].1.len() == (1 << 20) + 4);
}

#[test]
fn a_file_that_is_renamed_or_changed_while_it_is_sent_arrives_as_it_was_and_as_it_is() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&SOON).start();
    gate.rule(|seen| {
        let is_whole = seen.target.contains(".files/");
        if is_whole { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass }
    });
    for name in ["renamed.hprof", "changed.hprof", "replaced.hprof", "removed.hprof"] {
        fs::write(mount.path(name), format!("{name} as it was")).unwrap();
    }
    gate.await_hits(4);
    mount.kill_worker();
    fs::rename(mount.path("renamed.hprof"), mount.path("new-name.hprof")).unwrap();
    OpenOptions::new().write(true).open(mount.path("changed.hprof")).unwrap().write_all_at(b"CHANGED", 0).unwrap();
    fs::write(mount.path("other.hprof"), "other").unwrap();
    fs::rename(mount.path("other.hprof"), mount.path("replaced.hprof")).unwrap();
    fs::remove_file(mount.path("removed.hprof")).unwrap();
    gate.open();
    mount.stop();
    let bytes = |name: &str| {
        rig.bucket().versions(name).into_iter().map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect::<Vec<_>>()
    };
    let renamed: Vec<_> = [bytes("renamed.hprof"), bytes("new-name.hprof")].concat();
    assert_eq!(renamed, ["renamed.hprof as it was"]);
    assert_eq!(bytes("changed.hprof").last().unwrap(), "CHANGED.hprof as it was");
    assert_eq!(bytes("replaced.hprof").last().unwrap(), "other");
}

#[test]
fn a_spool_that_is_full_refuses_whole_files_and_keeps_what_it_has() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let gate = rig.gate();
        gate.rule(|_| Answer::Refuse(503, "SlowDown", None));
        let flags = ["--write-path", write_path, "--spool-max", "64MiB", "--rotate-size", "1MiB"];
        let mount = rig.plan("a").through(&gate.endpoint).with(&SOON).with(&flags).start();
        let file = File::create(mount.path("big.hprof")).unwrap();
        let part = vec![7; 1 << 20];
        let written = (0..200).take_while(|n| match file.write_all_at(&part, n << 20) {
            Ok(()) => true,
            Err(e) => {
                assert_eq!(e.raw_os_error(), Some(28), "{e}");
                false
            }
        });
        let written = written.count();
        assert!((1..64).contains(&written), "{written}");
        mount.kill_worker();
        // What does not make it larger is written, and logs go on.
        file.write_all_at(b"HEAD", 0).unwrap();
        fs::write(mount.path("app.log"), "a line\n").unwrap();
        drop(file);
        gate.open();
        let shown: PathBuf = mount.path("big.hprof");
        assert!(fs::metadata(&shown).unwrap().len() >= (written as u64) << 20);
        stop_and_compare(&rig, mount);
    }
}

#[test]
fn a_whole_file_has_the_name_that_it_has_in_the_end() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1h"]);
    fs::write(mount.path("x.zip"), zip("moved")).unwrap();
    fs::create_dir(mount.path("folder")).unwrap();
    fs::rename(mount.path("x.zip"), mount.path("folder/y.zip")).unwrap();
    fs::rename(mount.path("folder"), mount.path("folder2")).unwrap();
    fs::write(mount.path("a.hprof"), "linked").unwrap();
    fs::hard_link(mount.path("a.hprof"), mount.path("b.hprof")).unwrap();
    fs::remove_file(mount.path("a.hprof")).unwrap();
    mount.stop();
    let names: Vec<_> = ["x.zip", "folder/y.zip", "folder2/y.zip", "a.hprof", "b.hprof"]
        .into_iter()
        .filter(|name| !rig.bucket().versions(name).is_empty())
        .collect();
    assert_eq!(names, ["folder2/y.zip", "b.hprof"]);
}

#[test]
fn a_log_without_lines_that_is_compressed_is_no_file_of_its_own() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    shell(&rig, &mount.plan.point, ": > app.log; mv app.log app.log.1; : > app.log; gzip app.log.1");
    assert!(mount.path("app.log.1.gz").exists());
    mount.stop();
    assert_eq!(rig.bucket().versions("app.log.1.gz"), []);
}

#[test]
fn what_was_copied_from_a_log_that_is_changed_before_it_is_sent_is_stored() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1h", "--write-path", DAEMON]);
    let text = "seq 1000 > app.log; cp app.log app.log.1; printf X | dd of=app.log conv=notrunc bs=1 status=none";
    shell(&rig, &mount.plan.point, text);
    mount.stop();
    // The log is a whole file now, so that nothing else has these lines.
    assert_eq!(rig.bucket().lines("app.log.1"), (1..=1000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    assert!(rig.bucket().versions("app.log")[0].1.starts_with(b"X\n2\n"));
}

/// Stops the mount; gives the names of the streams and whole files that the bucket has.
fn stored(rig: &Rig, mount: Mount) -> Vec<String> {
    mount.stop();
    let bucket = rig.bucket();
    let keys = bucket.keys().into_iter();
    let mut names: Vec<_> =
        keys.filter_map(|key| Some(key.strip_prefix("team/")?.split_once(".files/")?.0.to_owned())).collect();
    names.extend(bucket.streams());
    names
}

#[test]
fn a_copy_that_is_made_again_stays_one_and_lets_the_mount_stop() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&[&SOON[..], &["--write-path", write_path]].concat());
        let run = |text: &str| assert_eq!(shell(&rig, &mount.plan.point, text), ["exit code Some(0)"], "{text}");
        run(
            "seq 3000 > app.log; cp app.log c1; cp app.log c1; gzip -c app.log > c2.gz; gzip -c app.log > c2.gz; cp app.log c3",
        );
        for copy in ["c1", "c2.gz", "c3"] {
            eventually("a copy", || (attribute(&mount.path(copy), "kind")? == "copy").then_some(()));
        }
        run("cp app.log c4; mv c4 c1; : > app.log; seq 3001 4000 > app.log; cp app.log c3; mv c3 c5; cp c5 c6; rm c5");
        mount.kill_worker();
        run("gzip -c app.log > c2.gz; xz -k app.log; xz -kf app.log");
        assert_eq!(stored(&rig, mount), ["app.log"], "{write_path}");
        assert_eq!(rig.bucket().lines("app.log"), (1..=4000).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn copies_of_many_logs_that_are_made_at_once_stay_local() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let text = "for n in $(seq 40); do seq $n 300 > $n.log; done; python3 -c \"import gzip
sources = [open('%d.log' % n, 'rb') for n in range(1, 21)]
copies = [gzip.open('%d.log.1.gz' % n, 'wb') for n in range(1, 21)]
for source, copy in zip(sources, copies): copy.write(source.read())
for file in sources + copies: file.close()\"; seq 21 40 | xargs -P 16 -I{} cp {}.log {}.log.1";
    assert_eq!(shell(&rig, &mount.plan.point, text), ["exit code Some(0)"]);
    let mut names = stored(&rig, mount);
    names.sort_by_key(|name| name.trim_end_matches(".log").parse::<u32>().ok());
    assert_eq!(names, (1..=40).map(|n| format!("{n}.log")).collect::<Vec<_>>());
}

#[test]
fn a_log_and_its_copy_may_be_opened_at_the_same_moment() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let logs: Vec<_> = (0..8).map(|n| format!("{n}.log")).collect();
    logs.iter().for_each(|log| fs::write(mount.path(log), format!("{log}\n").repeat(20_000)).unwrap());
    let all = std::sync::Barrier::new(2 * logs.len());
    for round in 0..50 {
        std::thread::scope(|scope| {
            for log in &logs {
                let (all, mount) = (&all, &mount);
                let (opened, file) = std::sync::mpsc::channel();
                let (copied, end) = std::sync::mpsc::channel::<()>();
                scope.spawn(move || {
                    all.wait();
                    opened.send(File::open(mount.path(log)).unwrap()).unwrap();
                    // The thread lives on, as those of a pool do.
                    assert!(end.recv().is_err());
                });
                scope.spawn(move || {
                    let _copied = copied;
                    all.wait();
                    let mut copy = File::create(mount.path(&format!("copy{round}-{log}"))).unwrap();
                    std::io::copy(&mut file.recv().unwrap(), &mut copy).unwrap();
                });
            }
        });
    }
    assert_eq!(stored(&rig, mount), logs);
}

#[test]
fn a_copy_that_is_made_again_after_its_log_was_truncated_is_stored_neither_before_nor_after() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    for n in 0..5 {
        let text = format!("mkdir {n}; cd {n}; seq 3000 > app.log; cp app.log c");
        shell(&rig, &mount.plan.point, &text);
        eventually("a copy", || (attribute(&mount.path(&format!("{n}/c")), "kind")? == "copy").then_some(()));
        let text = format!("cd {n}; cp app.log c; : > app.log; seq 3001 4000 > app.log; cp app.log c; mv c d; rm d");
        shell(&rig, &mount.plan.point, &text);
    }
    assert_eq!(stored(&rig, mount), (0..5).map(|n| format!("{n}/app.log")).collect::<Vec<_>>());
}
