//! What an append costs: lines of one write(2) each, to a plain file on the spool's file system, to live files of two
//! mounts (one whose files the kernel writes, one whose files the daemon writes), and to files of an s3fs and an rclone
//! mount of the same bucket (where those are installed), in turns within one run. Prints lines a second, percentiles of
//! a write, and CPU of writer and daemon.
//!
//! `cargo bench --bench append -- --rounds 5 --lines 50000 --writers 1 --size 200 --cores 0`
//!
//! `--cores 0` leaves writers and daemons where the scheduler puts them, `1` pins all to one core, `2` the writers to
//! one and the daemons to another. `--quick 1` leaves out the mounts of others.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{Bucket, Process, Spread, argument, pin};

struct Target<'a> {
    name: &'static str,
    dir: PathBuf,
    daemon: Option<&'a Process>,
    /// Fast ones write more, so that each is measured for a comparable time.
    lines: usize,
    rounds: Vec<Round>,
}

struct Round {
    lines_a_second: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    writer_cpu: f64,
    daemon_cpu: f64,
}

fn main() {
    let (rounds, lines) = (argument("rounds", 5), argument("lines", 50_000));
    let (writers, size) = (argument("writers", 1), argument("size", 200));
    let (cores, quick) = (argument("cores", 0), argument("quick", 0) > 0);
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let mount = |name: &str, path: &str| {
        let flags = ["--write-path", path];
        bucket.mount(&dir(name), &dir(&format!("{name}-spool")), &flags)
    };
    let (kernel, daemon) = (mount("kernel", "passthrough"), mount("daemon", "daemon"));
    let s3fs = bucket.mount_s3fs(&dir("s3fs"), &dir("")).filter(|_| !quick);
    let rclone = bucket.mount_rclone(&dir("rclone"), &dir("rclone-cache")).filter(|_| !quick);

    std::fs::create_dir(dir("plain")).unwrap();
    let target = |name, dir, daemon, lines| Target { name, dir, daemon, lines, rounds: Vec::new() };
    let fast = lines * argument("fast", 10);
    let mut targets = vec![
        target("plain file", dir("plain"), None, fast),
        target("logsinkfs, passthrough", dir("kernel"), Some(&kernel), fast),
        target("logsinkfs, daemon", dir("daemon"), Some(&daemon), lines),
    ];
    if let Some(s3fs) = &s3fs {
        targets.push(target("s3fs", dir("s3fs"), Some(s3fs), lines));
    }
    if let Some(rclone) = &rclone {
        targets.push(target("rclone", dir("rclone"), Some(rclone), lines / 4));
    }
    if cores > 0 {
        pin("self", 0);
        targets.iter().filter_map(|t| t.daemon).for_each(|daemon| daemon.pin(cores - 1));
    }
    for round in 0..=rounds {
        // Each round begins with another target: what one leaves to be compressed and sent is under way while the next
        // is measured.
        for at in 0..targets.len() {
            let at = (at + round) % targets.len();
            let target = &mut targets[at];
            let measured = measure(target, round, writers, size);
            // The first round warms up.
            if round > 0 {
                target.rounds.push(measured);
            }
        }
    }
    report(&targets, &format!("{writers} writer(s), {size} bytes a line, {rounds} rounds"));
}

fn report(targets: &[Target<'_>], what: &str) {
    println!("{what}; median (min-max)");
    println!("| | lines/s | of plain | p50 us | p99 us | p99.9 us | writer, daemon CPU s a million lines |");
    println!("|---|---|---|---|---|---|---|");
    for target in targets {
        let column = |of: fn(&Round) -> f64| Spread::of(target.rounds.iter().map(of));
        let plain = targets[0].rounds.iter();
        let ratio = target.rounds.iter().zip(plain).map(|(r, p)| r.lines_a_second / p.lines_a_second);
        println!(
            "| {} | {} | {} | {} | {} | {} | {}, {} |",
            target.name,
            column(|r| r.lines_a_second),
            Spread::of(ratio),
            column(|r| r.p50),
            column(|r| r.p99),
            column(|r| r.p999),
            column(|r| r.writer_cpu),
            column(|r| r.daemon_cpu),
        );
    }
}

fn measure(target: &Target<'_>, round: usize, writers: usize, size: usize) -> Round {
    let (cpu, lines) = (target.daemon.map_or(0.0, Process::cpu), target.lines);
    let begin = Instant::now();
    let measured: Vec<(Vec<u64>, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let path = target.dir.join(format!("round-{round}-{writer}.log"));
                scope.spawn(move || append(&path, lines, size))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let millions = (lines * writers) as f64 / 1e6;
    let writer_cpu: f64 = measured.iter().map(|(_, cpu)| cpu).sum();
    let mut nanos: Vec<u64> = measured.into_iter().flat_map(|(nanos, _)| nanos).collect();
    nanos.sort_unstable();
    let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    let spent = target.daemon.map_or(0.0, Process::cpu) - cpu;
    Round {
        lines_a_second: millions * 1e6 / seconds,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        writer_cpu: writer_cpu / millions,
        daemon_cpu: spent / millions,
    }
}

/// Appends lines; gives the time of each write in ns and the CPU seconds of all. The file is not closed within the
/// time: closing a file of s3fs or rclone uploads it.
fn append(path: &Path, lines: usize, size: usize) -> (Vec<u64>, f64) {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    let mut nanos = vec![0; lines];
    let before = cpu();
    for nanos in &mut nanos {
        let begin = Instant::now();
        file.write_all(&line).unwrap();
        *nanos = begin.elapsed().as_nanos() as u64;
    }
    let spent = cpu() - before;
    std::mem::forget(file);
    (nanos, spent)
}

/// CPU seconds of this thread (the first number of proc(5)'s schedstat, in ns).
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}
