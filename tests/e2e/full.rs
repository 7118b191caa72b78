//! A spool that is full while S3 is away, as it is unless somebody asks for something else: programs go on, the log
//! that floods loses its oldest lines, and the bucket says which.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use test_harness::disk::Disk;
use test_harness::{Mount, Rig, eventually};

fn append(mount: &Mount, name: &str, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(mount.path(name)).unwrap();
    for line in text.split_inclusive('\n') {
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn numbered(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("line {n:06} {}\n", "f".repeat(1_000))).collect()
}

/// Compares the one generation of a stream with what was written: each byte is in an object, or in the range of a mark,
/// and in one of them only. Gives how many bytes were dropped.
pub fn assert_accounted(rig: &Rig, stream: &str, written: &[u8]) -> u64 {
    let part = |range: Range<usize>| written[range].to_vec();
    assert_accounted_as(rig, stream, written.len() as u64, part)
}

/// The same for more than is kept in memory: `written` gives the bytes of a range.
fn assert_accounted_as(rig: &Rig, stream: &str, len: u64, written: impl Fn(Range<usize>) -> Vec<u8>) -> u64 {
    let bucket = rig.bucket();
    let mut segments = bucket.segments(stream);
    segments.sort_by_key(|segment| (segment.generation, segment.offset));
    let (mut end, mut dropped) = (0, 0);
    for segment in segments {
        assert_eq!((segment.generation, segment.offset), (1, end), "{}", segment.key);
        let range = end as usize..(end + segment.length) as usize;
        if segment.suffix == "dropped" {
            let mark = bucket.get(&segment.key);
            assert!(mark.bytes.is_empty(), "{} has bytes", segment.key);
            assert_eq!(mark.metadata["length"], segment.length.to_string());
            assert_eq!(mark.metadata["stream"], stream);
            dropped += segment.length;
        } else {
            let bytes = bucket.bytes(&segment);
            assert!(bytes == written(range), "{} holds other bytes", segment.key);
        }
        end += segment.length;
    }
    assert_eq!(end, len, "the end of {stream}");
    dropped
}

/// Bytes that a directory takes.
fn size_on_disk(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        // What is there may go while it is looked at.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_on_disk(&entry.path()),
            metadata => metadata.map_or(0, |m| m.blocks() * 512),
        }
    });
    sizes.sum()
}

fn flood(midway: impl FnOnce(&mut Mount)) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--spool-max", "8MiB"]);
    let mut mount = plan.with(&["--rotate-size", "256KiB"]).start();
    append(&mount, "audit.log", "quiet\n");
    append(&mount, "dump.log", &numbered(0, 15_000));
    midway(&mut mount);
    append(&mount, "dump.log", &numbered(15_000, 25_000));
    append(&mount, "audit.log", "and complete\n");
    // The kernel took it all at once; the daemon follows.
    eventually("the spool to be within its limit", || (size_on_disk(&mount.plan.spool) < 9 << 20).then_some(()));
    gate.open();
    mount.await_sent();
    let (said, listed) = mount.stop_without_all();
    assert!(said.contains("dump.log"), "{said}");
    assert_eq!(rig.bucket().content("audit.log"), b"quiet\nand complete\n");
    let dropped = assert_accounted(&rig, "dump.log", numbered(0, 25_000).as_bytes());
    assert_eq!(listed, dropped, "the spool's list is that of the bucket");
    assert!(dropped > 16 << 20, "25 MB do not fit into 8 MiB: {dropped}");
}

#[test]
fn a_program_that_floods_goes_on_and_a_quiet_log_stays_whole() {
    flood(|_| {});
}

#[test]
fn what_was_dropped_is_marked_also_by_the_daemon_after_a_kill() {
    flood(|mount| {
        mount.crash();
        mount.start_again();
    });
}

/// A dump of so many MiB, or of as many as `DUMP_MIB` says, is eight times what the spool takes while S3 is away: a
/// quiet log beside it stays whole.
#[test]
fn a_dump_does_not_push_a_quiet_log_out() {
    const LINE: u64 = 1024;
    let mib: u64 = std::env::var("DUMP_MIB").map_or(256, |mib| mib.parse().unwrap());
    let lines =
        |from: u64, to: u64| -> Vec<u8> { (from..to).flat_map(|n| format!("{n:01023}\n").into_bytes()).collect() };
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let room = format!("{}MiB", mib / 8);
    let flags = ["--spool-max", &room, "--spool-min-free", "0", "--compression", "none"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&flags).start();
    let open = |name: &str| OpenOptions::new().append(true).create(true).open(mount.path(name)).unwrap();
    let (mut audit, mut dump) = (open("audit.log"), open("dump.log"));
    for part in 0..mib {
        dump.write_all(&lines(part * LINE, (part + 1) * LINE)).unwrap();
        writeln!(audit, "after {part} MiB").unwrap();
    }
    drop((audit, dump));
    gate.open();
    mount.await_sent();
    let (_, listed) = mount.stop_without_all();
    let whole: String = (0..mib).map(|part| format!("after {part} MiB\n")).collect();
    assert_eq!(rig.bucket().content("audit.log"), whole.as_bytes());
    let dropped = assert_accounted_as(&rig, "dump.log", mib << 20, |range| {
        let (from, to) = (range.start as u64 / LINE, (range.end as u64).div_ceil(LINE));
        let text = lines(from, to);
        text[range.start - (from * LINE) as usize..][..range.len()].to_vec()
    });
    assert_eq!(listed, dropped, "the spool's list is that of the bucket");
    println!("{mib} MiB dumped, {} of them dropped", dropped >> 20);
    assert!(dropped > (mib << 20) / 2, "{dropped}");
}

#[test]
fn a_disk_that_a_stranger_fills_stops_nobody() {
    let rig = Rig::embedded();
    let disk = Disk::image(&rig.local("disk"), "ext4", 64);
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let flags = ["--write-path", "daemon", "--rotate-size", "256KiB", "--spool-min-free", "0"];
    let mut plan = rig.plan("a").through(&gate.endpoint).with(&flags);
    plan.spool = disk.path.join("spool");
    let mount = plan.start();
    append(&mount, "audit.log", "quiet\n");
    // Not to the last byte: whoever takes what the daemon drops as fast as it does leaves it nothing.
    let _stranger = disk.fill_but(8 << 20);
    append(&mount, "dump.log", &numbered(0, 25_000));
    append(&mount, "audit.log", "and complete\n");
    gate.open();
    let (_, listed) = mount.stop_without_all();
    assert_eq!(rig.bucket().content("audit.log"), b"quiet\nand complete\n");
    let dropped = assert_accounted(&rig, "dump.log", numbered(0, 25_000).as_bytes());
    assert_eq!(listed, dropped, "the spool's list is that of the bucket");
    assert!(dropped > 12 << 20, "17 MB more came than the disk had left: {dropped}");
}
