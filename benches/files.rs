//! What files cost that are no logs. Rotations by copy and truncation, beside the same log that is truncated without a
//! copy: the daemon's CPU, and whether any copy was stored. And one large whole file, written through the mount and
//! uploaded when it is closed: speed, memory, requests.
//!
//! `cargo bench --bench files -- --count 10 --mib 1024 --size 10240`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Bucket, Process, argument};

const MIB: usize = 1 << 20;

fn main() {
    let (rotations, mib) = (argument("count", 10), argument("mib", 1024));
    println!("| {rotations} rotations of {mib} MiB | daemon's CPU s | s a rotation | copies local | stored MiB |");
    println!("|---|---|---|---|---|");
    for copies in [false, true] {
        rotate(rotations, mib, copies);
    }
    whole(argument("size", 10 * 1024));
}

fn rotate(rotations: usize, mib: usize, copies: bool) {
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let mount = bucket.mount(&dir("mount"), &dir("spool"), &["--compression", "none", "--rotate-idle", "1s"]);
    let mut log = OpenOptions::new().append(true).create(true).open(dir("mount/app.log")).unwrap();
    let (cpu, begin) = (mount.cpu(), Instant::now());
    for rotation in 0..rotations {
        for n in 0..mib {
            log.write_all(&lines(rotation * mib + n)).unwrap();
        }
        if copies {
            fs::copy(dir("mount/app.log"), dir(&format!("mount/app.log-{rotation}"))).unwrap();
        } else {
            // The same reads.
            std::io::copy(&mut File::open(dir("mount/app.log")).unwrap(), &mut std::io::sink()).unwrap();
        }
        log.set_len(0).unwrap();
    }
    drop(log);
    await_sent(&bucket, rotations * mib);
    // Every copy is judged by then.
    std::thread::sleep(Duration::from_secs(5));
    let (cpu, took) = (mount.cpu() - cpu, begin.elapsed().as_secs_f64());
    let names = fs::read_dir(dir("mount")).unwrap().map(|entry| entry.unwrap().path());
    let kept = names.filter(|path| kind(path) == "copy").count();
    let stored = bucket.stored("") / MIB as u64;
    let what = if copies { "copied and truncated" } else { "truncated" };
    println!("| {what} | {cpu:.1} | {:.2} | {kept} | {stored} |", took / rotations as f64);
    mount.terminate();
}

/// A MiB of lines, of which none is like another.
fn lines(n: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(MIB + 128);
    let mut line = 0;
    while text.len() < MIB {
        writeln!(text, "2026-11-28T12:00:00.000Z INFO block {n:08} line {line:08} of a log that is rotated by copying")
            .unwrap();
        line += 1;
    }
    text.truncate(MIB - 1);
    text.push(b'\n');
    text
}

fn kind(path: &Path) -> String {
    let mut value = [0; 32];
    let read = rustix::fs::getxattr(path, "user.logsinkfs.kind", &mut value[..]);
    read.map_or_else(|_| String::new(), |read| String::from_utf8_lossy(&value[..read]).into_owned())
}

fn await_sent(bucket: &Bucket, mib: usize) {
    let begin = Instant::now();
    while bucket.stored("") < (mib * MIB) as u64 {
        assert!(begin.elapsed() < Duration::from_secs(600), "{} of {mib} MiB stored", bucket.stored("") / MIB as u64);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn whole(mib: usize) {
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let max = format!("{}MiB", mib + mib / 5);
    let flags = ["--compression", "none", "--rotate-idle", "1s", "--spool-max", &max, "--whole-max", &max];
    let mount = bucket.mount(&dir("mount"), &dir("spool"), &flags);
    let block = lines(0);
    println!("\n| a whole file of {mib} MiB, spool of {max} | MiB/s | keeper and worker, peak MiB |");
    println!("|---|---|---|");
    let rate = |begin: Instant| mib as f64 / begin.elapsed().as_secs_f64();
    let peak = |mount: &Process| mount.memory("VmHWM") / 1024;
    let begin = Instant::now();
    let mut file = File::create(dir("mount/heap.hprof")).unwrap();
    for _ in 0..mib {
        file.write_all(&block).unwrap();
    }
    println!("| written through the mount | {:.0} | {} |", rate(begin), peak(&mount));
    let begin = Instant::now();
    drop(file);
    await_sent(&bucket, mib);
    println!("| closed, sealed and uploaded | {:.0} | {} |", rate(begin), peak(&mount));
    mount.terminate();
}
