//! The edges of what fits: many logs, many prefixes, few descriptors, long lines, long names, a full disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::full::assert_accounted;
use crate::power_cut::boot_again;
use test_harness::disk::Disk;
use test_harness::mount::quarantined;
use test_harness::process::{command, program};
use test_harness::s3::Server;
use test_harness::{Ledger, Mount, Rig, eventually, rig};

fn append_to(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

#[test]
fn ten_thousand_live_files_are_open_and_what_is_written_arrives() {
    let rig = Rig::embedded();
    // As many as a container has unless somebody asks for more.
    let mount = with_descriptors(&rig, "auto", "1024:20000");
    let name = |n: usize| format!("{}/{n}.log", n % 100);
    for dir in 0..100 {
        fs::create_dir(mount.path(&dir.to_string())).unwrap();
    }
    let mut open: Vec<File> = (0..10_000).map(|n| append_to(&mount.path(&name(n)))).collect();
    // Each hundredth is written, so that the test is not one of PUTs.
    let written = || (0..10_000).step_by(100);
    for n in written() {
        writeln!(open[n], "line of {n}").unwrap();
    }
    mount.kill_worker();
    for n in written() {
        writeln!(open[n], "another of {n}").unwrap();
    }
    drop(open);
    mount.stop();
    let lines = written().flat_map(|n| [format!("line of {n}"), format!("another of {n}")]);
    let bucket = rig.bucket();
    let text: Vec<u8> = bucket.all_segments().iter().flat_map(|s| bucket.bytes(s)).collect();
    let found: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    Ledger::written(lines).assert_in(&found);
}

#[test]
fn a_bucket_that_a_thousand_mounts_write_to_is_shown_and_written() {
    let dir = rig::folder();
    let list = dir.path().join("objects");
    let mut objects = String::new();
    for n in 0..1_000 {
        let writer = format!("pod-{n:04}-abcdefgh");
        objects += &format!("300\tteam/.logsinkfs/writers/{writer}/00000001.json\n");
        for hour in 0..10 {
            let offset = hour * 1000;
            let log = format!("team/ns-{}/pod-{n:04}/app.log.segments", n % 20);
            let name = format!("20261123T{hour:02}1502.123456Z_{writer}_00000001_{offset:015}_000000001000");
            objects += &format!("200\t{log}/dt=2026-11-23/hour={hour:02}/{name}.log.gz\n");
        }
    }
    fs::write(&list, objects).unwrap();
    let rig = Rig::with(dir, Server::moto_with(&list));
    let mount = rig.mount_bucket_view(&[]);
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(mount.path(path)).unwrap();
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    eventually("all namespaces", || (names("").len() == 20).then_some(()));
    eventually("all pods of one", || (names("ns-7").len() == 50).then_some(()));
    eventually("its log", || mount.path("ns-7/pod-0007/app.log.segments").exists().then_some(()));
    fs::create_dir(mount.path("ns-7/pod-new")).unwrap();
    writeln!(append_to(&mount.path("ns-7/pod-new/app.log")), "one more").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("ns-7/pod-new/app.log"), b"one more\n");
}

/// A mount whose daemon may have so many descriptors open: as it is started, and at most.
fn with_descriptors(rig: &Rig, write_path: &str, limits: &str) -> Mount {
    let plan = rig.plan("a").with(&["--write-path", write_path]);
    let inner = plan.command();
    let mut limited = command(program("prlimit"));
    limited.arg(format!("--nofile={limits}")).arg("--").arg(inner.get_program());
    limited.args(inner.get_args()).env_clear();
    limited.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    plan.start_as(limited)
}

fn descriptors_run_out(write_path: &str) {
    let rig = Rig::embedded();
    let mount = with_descriptors(&rig, write_path, "96:96");
    let (mut open, mut refused) = (Vec::new(), 0);
    for n in 0..300 {
        let mut options = OpenOptions::new();
        match options.append(true).create(true).open(mount.path(&format!("{n:03}.log"))) {
            Ok(file) => open.push((n, file)),
            Err(e) => {
                assert_eq!(e.raw_os_error(), Some(Errno::NFILE.raw_os_error()), "{e}");
                refused += 1;
            }
        }
    }
    println!("{} logs open, {refused} refused", open.len());
    let mut accepted = Vec::new();
    for (n, file) in &mut open {
        for part in 0..3 {
            if writeln!(file, "{n} {part}").is_ok() {
                accepted.push(format!("{n} {part}"));
            }
        }
    }
    assert!(accepted.len() > 50, "{}", accepted.len());
    drop(open);
    // With the logs closed there are descriptors again.
    writeln!(append_to(&mount.path("after.log")), "after").unwrap();
    accepted.push("after".to_owned());
    mount.stop();
    Ledger::written(accepted).assert_in(&rig.bucket().all_lines());
}

#[test]
fn a_daemon_without_descriptors_refuses_and_loses_nothing() {
    descriptors_run_out("daemon");
}

#[test]
fn a_daemon_without_descriptors_loses_nothing_that_the_kernel_wrote() {
    descriptors_run_out("passthrough");
}

fn long_line(write_path: &str) {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--write-path", write_path, "--compression", "zstd"]);
    let mut line: Vec<u8> = (0..100 << 20).map(|n: u32| b'a' + (n / 977 % 26) as u8).collect();
    line.push(b'\n');
    let mut file = append_to(&mount.path("app.log"));
    file.write_all(b"before\n").unwrap();
    file.write_all(&line).unwrap();
    file.write_all(b"after\n").unwrap();
    drop(file);
    mount.stop();
    let found = rig.bucket().content("app.log");
    assert_eq!(found.len(), line.len() + 13);
    assert!(found[7..].starts_with(&line) && found.ends_with(b"\nafter\n"));
}

#[test]
fn a_line_of_a_hundred_mebibytes_arrives() {
    long_line("daemon");
}

#[test]
fn a_line_of_a_hundred_mebibytes_that_the_kernel_writes_arrives() {
    long_line("passthrough");
}

#[test]
fn names_as_long_and_odd_as_the_kernel_takes_them_arrive() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--partition", ""]);
    let names: Vec<Vec<u8>> = vec![
        [&[b'n'; 251][..], b".log"].concat(),
        // Each of these takes three bytes in a key.
        [&[0xff; 251][..], b".log"].concat(),
        [&[b'\n'; 200][..], b"\"'`$(x).log"].concat(),
        "😀".repeat(62).into_bytes(),
        b"a\"b.log".to_vec(),
        b" ".to_vec(),
        b"~x".to_vec(),
    ];
    for name in &names {
        let path = mount.plan.point.join(OsStr::from_bytes(name));
        writeln!(append_to(&path), "line").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"line\n");
    }
    let too_long = mount.path(&"n".repeat(256));
    let refused = File::create(too_long).unwrap_err().raw_os_error();
    assert_eq!(refused, Some(Errno::NAMETOOLONG.raw_os_error()));
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.streams().len(), names.len());
    for stream in bucket.streams() {
        assert_eq!(bucket.content(&stream), b"line\n", "{stream}");
    }
}

#[test]
fn a_key_of_all_the_bytes_that_s3_takes_arrives_and_one_more_is_refused() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--partition", ""]);
    let dir = mount.path(&"d".repeat(250));
    let mut deep = dir.join("e".repeat(250)).join("f".repeat(250));
    fs::create_dir_all(&deep).unwrap();
    // The longest name that is taken makes the longest key.
    let longest = (1..250).rev().find(|len| {
        let path = deep.join("g".repeat(*len));
        let taken = OpenOptions::new().append(true).create(true).open(&path);
        taken.is_ok_and(|mut file| writeln!(file, "line").is_ok())
    });
    deep.push("g".repeat(longest.expect("a name that is taken")));
    mount.stop();
    let segments = rig.bucket().all_segments();
    let longest = segments.iter().map(|segment| segment.key.len()).max().unwrap();
    println!("the longest key has {longest} bytes");
    // Numbers of many digits must still fit.
    assert!((1000..=1024).contains(&longest), "{longest}");
}

/// A stranger fills the disk under a log of which S3 takes nothing, until writes are refused.
fn a_stranger_fills_the_disk(flags: &[&str]) -> u64 {
    let rig = Rig::embedded();
    let disk = Disk::image(&rig.local("disk"), "ext4", 64);
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let mut plan = rig.plan("a").through(&gate.endpoint).with(flags);
    plan.spool = disk.path.join("spool");
    let mount = plan.with(&["--rotate-size", "1MiB", "--spool-min-free", "0"]).start();
    let mut file = append_to(&mount.path("app.log"));
    let mut stranger = None;
    let mut accepted = Vec::new();
    let (mut refused, mut line) = (0, 0);
    while refused < 3 {
        line += 1;
        assert!(line < 100_000, "64 MiB took more than that");
        if line == 2_000 {
            stranger = Some(disk.fill());
        }
        let text = format!("line {line:06} {}\n", "f".repeat(1_000));
        match file.write(text.as_bytes()) {
            // The last one may be short, as on any full disk; what it counts is accepted.
            Ok(written) => accepted.extend_from_slice(&text.as_bytes()[..written]),
            Err(e) => {
                assert_eq!(e.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
                refused += 1;
            }
        }
    }
    // A full disk outlives the worker, and another one serves on it.
    mount.kill_worker();
    let log = mount.path("app.log");
    eventually("a worker to serve on the full disk", || File::open(&log).ok());
    stranger.unwrap().set_len(0).unwrap();
    gate.open();
    eventually("the file to take lines again", || file.write_all(b"again\n").ok());
    accepted.extend_from_slice(b"again\n");
    drop(file);
    let spool = mount.plan.spool.clone();
    let (code, said) = mount.terminate();
    let dropped = assert_accounted(&rig, "app.log", &accepted);
    assert_eq!(code, if dropped > 0 { 3 } else { 0 }, "{said}");
    assert_eq!(quarantined(&spool), Vec::<String>::new(), "{said}");
    dropped
}

#[test]
fn a_disk_that_a_stranger_fills_refuses_and_loses_nothing() {
    assert_eq!(a_stranger_fills_the_disk(&["--when-full", "error"]), 0);
}

#[test]
fn a_disk_that_a_stranger_fills_leaves_no_silent_gap_where_the_kernel_writes() {
    a_stranger_fills_the_disk(&["--write-path", "passthrough"]);
}

#[test]
fn a_daemon_starts_without_a_free_block_also_where_it_has_something_to_record() {
    let rig = Rig::embedded();
    let disk = Disk::image(&rig.local("disk"), "ext4", 64);
    let mut plan = rig.plan("a").with(&["--spool-min-free", "0", "--rotate-idle", "1h"]);
    plan.spool = disk.path.join("spool");
    let mut mount = plan.start();
    let log = mount.path("app.log");
    let mut file = append_to(&log);
    // Its record as it is to be does not fit into the block that it has.
    rustix::fs::fsetxattr(&file, "user.note", &[b'n'; 2_500], rustix::fs::XattrFlags::empty()).unwrap();
    file.write_all(b"whole\nhal").unwrap();
    file.sync_all().unwrap();
    mount.crash();
    drop(file);
    boot_again(&mount.plan.spool);
    fs::remove_file(mount.plan.spool.join("ballast")).unwrap();
    let stranger = disk.fill();

    // What power took the end of is followed by another generation.
    mount.start_again();
    assert_eq!(fs::read(&log).unwrap(), b"");
    stranger.set_len(0).unwrap();
    // It is recorded as soon as there is room, and begins no second time.
    eventually("room for the record", || File::open(&log).ok()?.sync_all().ok());
    mount.crash();
    mount.start_again();
    assert_eq!(fs::read(&log).unwrap(), b"");
    append_to(&log).write_all(b"next\n").unwrap();
    mount.stop();
    let bucket = rig.bucket();
    let texts: Vec<_> = bucket.segments("app.log").iter().map(|s| bucket.bytes(s)).collect();
    assert_eq!(texts, [&b"whole\nhal"[..], b"next\n"]);
}

#[test]
fn logs_that_are_removed_or_replaced_one_after_the_other_leave_no_word_in_the_log() {
    let rig = Rig::embedded();
    // Each is sealed and sent for itself, and several end at once.
    let mount = rig.mount(&["--rotate-idle", "100ms"]);
    for n in 0..400 {
        let path = mount.path(&format!("{}.log", n % 7));
        writeln!(append_to(&path), "line {n}").unwrap();
        match n % 3 {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::rename(&path, mount.path("replaced.log")).unwrap(),
            _ => drop(append_to(&mount.path(&format!("empty-{n}.log")))),
        }
    }
    (2..400).step_by(3).for_each(|n| fs::remove_file(mount.path(&format!("empty-{n}.log"))).unwrap());
    let (code, said) = mount.terminate();
    assert_eq!(code, 0);
    let loud: Vec<_> = said.lines().filter(|l| l.contains("ERROR") || l.contains(" WARN ")).collect();
    let expected = |line: &&str| !line.contains("so often that each time makes a small object");
    let loud: Vec<_> = loud.into_iter().filter(expected).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    let bucket = rig.bucket();
    let text: Vec<u8> = bucket.all_segments().iter().flat_map(|s| bucket.bytes(s)).collect();
    let found: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    Ledger::written((0..400).map(|n| format!("line {n}"))).assert_in(&found);
}
