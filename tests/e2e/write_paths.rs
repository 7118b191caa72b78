//! Who writes into the spool: the kernel where it can, the daemon where it must, and both into one file; on the file
//! systems that spools are on.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use test_harness::disk::Disk;
use test_harness::process::{Proc, command, program};
use test_harness::{Ledger, Mount, Rig, Run, eventually, programs};

const PASSTHROUGH: &str = "the kernel writes";

fn append_to(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Reads and writes that a process has made, as the kernel counts them (proc(5), io).
fn system_calls(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("sysc"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Whether the worker has a part in the writes of a program.
fn worker_writes(mount: &mut Mount, file: &mut File) -> bool {
    let worker = mount.worker().as_raw_nonzero().get();
    let before = system_calls(worker);
    for n in 0..2000 {
        writeln!(file, "line {n}").unwrap();
    }
    system_calls(worker) - before >= 2000
}

#[test]
fn the_kernel_writes_what_is_appended_and_the_daemon_what_is_not() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    mount.daemon.await_stderr(PASSTHROUGH);
    let mut appender = append_to(&mount.path("app.log"));
    assert!(!worker_writes(&mut mount, &mut appender));
    let mut other = OpenOptions::new().write(true).open(mount.path("app.log")).unwrap();
    // Elsewhere than at the end it cannot be written in place any more.
    assert_eq!(other.write(b"x").unwrap_err().raw_os_error(), Some(22));
    mount.daemon.await_told(&["elsewhere than at the end of this log", "app.log"], 1);
    other.seek(SeekFrom::End(0)).unwrap();
    assert!(worker_writes(&mut mount, &mut other));
    assert!(!worker_writes(&mut mount, &mut appender));
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap().lines().count(), 6000);
    drop((appender, other));
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log").len(), 6000);
}

#[test]
fn the_daemon_writes_when_it_is_told_to() {
    let rig = Rig::embedded();
    for flags in [&["--write-path", "daemon"][..], &["--when-full", "block"], &["--when-full", "error"]] {
        let mut mount = rig.mount(flags);
        mount.daemon.await_stderr("the daemon writes");
        let mut appender = append_to(&mount.path("app.log"));
        assert!(worker_writes(&mut mount, &mut appender));
        drop(appender);
        mount.stop();
    }
}

#[test]
fn writers_of_all_kinds_add_to_one_file_and_a_reader_sees_all() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "16KiB"]);
    let path = mount.path("app.log");
    let mut reader = File::options().read(true).append(true).create(true).open(&path).unwrap();
    let ledger = std::thread::scope(|scope| {
        let path = &path;
        let write = |name: &'static str, options: OpenOptions| {
            let mut file = options.open(path).unwrap();
            // Who does not append goes on where its own last write ended.
            file.write_all(format!("{name} begins\n").as_bytes()).unwrap();
            scope.spawn(move || {
                let lines = (0..3000).map(|n| {
                    let line = format!("{name} {n}");
                    file.write_all(format!("{line}\n").as_bytes()).unwrap();
                    line
                });
                let begins = std::iter::once(format!("{name} begins"));
                Ledger::written(begins.chain(lines).collect::<Vec<_>>())
            })
        };
        let (append, write_only) = (File::options().append(true).clone(), File::options().write(true).clone());
        let both = File::options().read(true).append(true).clone();
        let writers = [write("plain", write_only), write("append", append), write("both", both)];
        let mut all = Ledger::default();
        writers.into_iter().for_each(|writer| all.add(writer.join().unwrap()));
        all
    });
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    ledger.assert_in(&text.lines().map(str::to_owned).collect::<Vec<_>>());
    drop(reader);
    mount.stop();
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

/// Two programs append such lines to a log; meanwhile something else is done again and again. Gives the lines.
fn while_two_write(
    path: &Path,
    lines: usize,
    line: impl Fn(&str, usize) -> String + Sync,
    mut again: impl FnMut(),
) -> Ledger {
    File::create(path).unwrap();
    std::thread::scope(|scope| {
        let write = |name: &'static str| {
            let line = &line;
            scope.spawn(move || {
                let mut file = append_to(path);
                let written = (0..lines).map(|n| {
                    let line = line(name, n);
                    file.write_all(format!("{line}\n").as_bytes()).unwrap();
                    line
                });
                Ledger::written(written.collect::<Vec<_>>())
            })
        };
        let writers = [write("one"), write("two")];
        while writers.iter().any(|writer| !writer.is_finished()) {
            again();
        }
        let mut all = Ledger::default();
        writers.into_iter().for_each(|writer| all.add(writer.join().unwrap()));
        all
    })
}

#[test]
fn a_truncation_under_writers_at_full_speed_loses_nothing() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "1MiB"]);
    let path = mount.path("app.log");
    let mut truncated = 0;
    let ledger = while_two_write(
        &path,
        40_000,
        |name, n| format!("{name} {n}"),
        || {
            // Each makes an object.
            if fs::metadata(&path).unwrap().len() > 10_000 && truncated < 200 {
                File::create(&path).unwrap();
                truncated += 1;
            }
        },
    );
    mount.stop();
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

/// Each beginning registers another spool file with the kernel, while the one before is still to be let go.
#[test]
fn a_log_that_begins_anew_again_and_again_is_open_each_time() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let path = mount.path("app.log");
    for n in 0..500 {
        // std does not offer this combination.
        let anew = OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::WRONLY;
        let mut file = File::from(rustix::fs::open(&path, anew, Mode::RUSR | Mode::WUSR).unwrap());
        writeln!(file, "{n}").unwrap();
    }
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log").len(), 500);
}

/// Lines that cross pages, which file systems write one by one: a truncation falls between two lines all the same.
fn truncated_between_writes(disk: impl FnOnce(&Path) -> Disk, write_path: &str) {
    let rig = Rig::embedded();
    let disk = disk(&rig.local("disk"));
    let mut plan = rig.plan("a").with(&["--write-path", write_path]);
    plan.spool = disk.path.join("spool");
    let mount = plan.start();
    let path = mount.path("app.log");
    let line = |name: &str, n| {
        // Else it would have ended after a few truncations.
        std::thread::sleep(Duration::from_micros(100));
        format!("{name} {n} {}", name.repeat(8000))
    };
    let ledger = while_two_write(&path, 600, line, || drop(File::create(&path).unwrap()));
    mount.stop();
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_truncation_falls_between_two_writes_on_ext4() {
    truncated_between_writes(|path| Disk::image(path, "ext4", 64), "passthrough");
}

#[test]
fn a_truncation_falls_between_two_writes_on_xfs() {
    truncated_between_writes(|path| Disk::image(path, "xfs", 320), "passthrough");
}

#[test]
fn a_truncation_falls_between_two_writes_in_memory() {
    truncated_between_writes(|path| Disk::new(path, 64), "passthrough");
}

#[test]
fn a_truncation_falls_between_two_writes_of_the_daemon() {
    truncated_between_writes(|path| Disk::image(path, "ext4", 64), "daemon");
}

#[test]
fn what_the_kernel_wrote_is_sealed_by_size_and_time_while_it_is_open() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "8KiB", "--rotate-interval", "1s"]);
    let mut file = append_to(&mount.path("app.log"));
    let bucket = rig.bucket();
    for n in 0..2000 {
        writeln!(file, "line {n}").unwrap();
    }
    eventually("all of it in the bucket", || (bucket.lines("app.log").len() == 2000).then_some(()));
    // Quiet, and then one line more: nobody tells the daemon.
    writeln!(file, "line 2000").unwrap();
    eventually("the last line", || (bucket.lines("app.log").len() == 2001).then_some(()));
    mount.stop();
}

/// The kernel answers EIO to a request that it copies to a page which is not there while the worker is killed.
#[test]
fn requests_are_read_into_memory_that_is_there() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--write-path", "daemon"]);
    // The threads that read requests make their buffers when they begin.
    eventually("buffers with pages", || {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", mount.worker().as_raw_nonzero())).unwrap();
        let lines = |field| {
            let lines = smaps.lines().filter_map(move |line| line.strip_prefix(field));
            lines.map(|kibibytes| kibibytes.trim_end_matches("kB").trim().parse::<u64>().unwrap())
        };
        // fuser's buffers have 16 MiB and a page, nothing else that can be written is as large, and neighbours count as
        // one.
        let rights = smaps.lines().filter_map(|line| line.split_whitespace().nth(1));
        let rights = rights.filter(|rights| rights.len() == 4 && rights.ends_with(['p', 's']));
        let writable = rights.map(|rights| rights == "rw-p");
        let areas = writable.zip(lines("Size:").zip(lines("Rss:")));
        let buffers = areas.filter(|(writable, (size, _))| *writable && *size > 16 << 10);
        let resident: Vec<_> = buffers.map(|(_, (size, resident))| (size / (16 << 10), resident)).collect();
        let all = !resident.is_empty() && resident.iter().all(|(buffers, resident)| *resident >= buffers * 256);
        all.then_some(())
    });
    mount.stop();
}

#[test]
fn a_spool_on_a_layered_file_system_is_written_by_the_daemon() {
    let rig = Rig::embedded();
    let disk = Disk::overlay(&rig.local("layered"));
    let mut plan = rig.plan("a");
    plan.spool = disk.path.join("spool");
    let (code, said) = plan.clone().with(&["--write-path", "passthrough"]).refused();
    assert_eq!(code, 1);
    assert!(said.contains("stack"), "{said}");
    let mut mount = plan.start();
    mount.daemon.await_told(&["the daemon writes", "stack"], 1);
    let mut appender = append_to(&mount.path("app.log"));
    assert!(worker_writes(&mut mount, &mut appender));
    drop(appender);
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log").len(), 2000);
}

/// A scenario in short on a spool's file system: both ways of writing, a worker's end, the end of all.
fn spool_on(disk: impl FnOnce(&Path) -> Disk) {
    let rig = Rig::embedded();
    let disk = disk(&rig.local("disk"));
    let mut plan = rig.plan("a").with(&["--rotate-size", "16KiB", "--write-path", "passthrough"]);
    plan.spool = disk.path.join("spool");
    let mut mount = plan.start();
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "writer", writer);
    run.await_more(200);
    mount.kill_worker();
    run.await_more(200);
    File::create(mount.path("app.log")).unwrap();
    let mut other = append_to(&mount.path("app.log"));
    writeln!(other, "beside").unwrap();
    run.await_more(200);
    mount.crash();
    let mut ledger = run.kill();
    ledger.ok("beside");
    mount.start_again();
    mount.stop();
    ledger.assert_in(&rig.bucket().all_lines());
}

#[test]
fn a_spool_on_ext4() {
    spool_on(|path| Disk::image(path, "ext4", 64));
}

#[test]
fn a_spool_on_xfs() {
    // mkfs.xfs makes nothing smaller than 300 MiB.
    spool_on(|path| Disk::image(path, "xfs", 320));
}

#[test]
fn a_spool_in_memory() {
    spool_on(|path| Disk::new(path, 64));
}

#[test]
fn what_a_program_writes_after_the_daemons_end_is_uploaded_by_the_next() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "writer", writer);
    run.await_more(100);
    mount.crash();
    // The kernel goes on writing for it, while nobody serves and afterwards.
    run.await_more(100);
    mount.start_again();
    run.await_more(100);
    let path = mount.path("app.log");
    let size = || fs::metadata(&path).unwrap().len();
    let before = size();
    eventually("the file to grow", || (size() > before).then_some(()));
    let ledger = run.finish();
    assert_eq!(ledger.failed, 0);
    mount.stop();
    let bucket = rig.bucket();
    ledger.assert_in_order(&bucket.lines("app.log"));
    assert_eq!(bucket.generations("app.log").len(), 1, "one generation, before and after");
}

#[test]
fn an_unlinked_file_of_a_dead_mount_is_kept_until_its_program_ends() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&["--rotate-idle", "100ms"]);
    let mut file = append_to(&mount.path("app.log"));
    writeln!(file, "one").unwrap();
    fs::remove_file(mount.path("app.log")).unwrap();
    mount.crash();
    mount.start_again();
    writeln!(file, "two").unwrap();
    drop(file);
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log"), ["one", "two"]);
}

#[test]
fn an_asynchronous_write_without_o_append_overwrites_a_whole_file_where_the_daemon_writes() {
    let rig = Rig::embedded();
    let (appended, overwritten) = ("a line\nA LINE\n", "A LINE\n");
    for write_path in ["daemon", "passthrough"] {
        let mount = rig.mount(&["--write-path", write_path]);
        let name = format!("{write_path}.log");
        let mut python = command(program("python3"));
        python.arg("tests/e2e/programs/asynchronous.py").arg(mount.path(&name));
        Proc::start("python3", python).success();
        let found = fs::read_to_string(mount.path(&name)).unwrap();
        // Linux 6.18 overwrites where it writes itself; nobody is asked, and it stays a log.
        assert!(found == overwritten || write_path == "passthrough" && found == appended, "{found}");
        mount.stop();
        let is_log = !rig.bucket().segments(&name).is_empty();
        assert_eq!(is_log, write_path == "passthrough");
        assert!(!is_log || rig.bucket().content(&name) == found.as_bytes());
    }
}
