//! What an append costs: 200-byte lines, one write(2) each, to a plain file on the spool's file system, to
//! a live file, and to a file of an s3fs mount of the same bucket (when s3fs is installed), in
//! turns within one run. Prints lines a second, percentiles of a write, and CPU of the daemon.
//!
//! `cargo bench --bench append -- --rounds 5 --lines 50000 --writers 1`

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

use common::{Bucket, Process, Spread, argument};

struct Target<'a> {
    name: &'static str,
    dir: PathBuf,
    daemon: Option<&'a Process>,
    rounds: Vec<Round>,
}

struct Round {
    lines_a_second: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    cpu_a_million: f64,
}

fn main() {
    let (rounds, lines) = (argument("rounds", 5), argument("lines", 50_000));
    let (writers, size) = (argument("writers", 1), argument("size", 200));
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let daemon = bucket.mount(&dir("mnt"), &dir("spool"), &[]);
    let s3fs = bucket.mount_s3fs(&dir("s3fs"), &dir(""));

    std::fs::create_dir(dir("plain")).unwrap();
    let target = |name, dir, daemon| Target { name, dir, daemon, rounds: Vec::new() };
    let mut targets = vec![
        target("plain file", dir("plain"), None),
        target("logsinkfs", dir("mnt"), Some(&daemon)),
    ];
    if let Some(s3fs) = &s3fs {
        targets.push(target("s3fs", dir("s3fs"), Some(s3fs)));
    }
    for round in 0..=rounds {
        for target in &mut targets {
            let measured = measure(target, round, lines, writers, size);
            // The first round warms up.
            if round > 0 {
                target.rounds.push(measured);
            }
        }
    }
    println!(
        "{writers} writer(s), {lines} lines of {size} bytes each, {rounds} rounds; median (min-max)"
    );
    println!(
        "| | lines/s | of plain | p50 us | p99 us | p99.9 us | daemon CPU s a million lines |"
    );
    println!("|---|---|---|---|---|---|---|");
    for target in &targets {
        let column = |of: fn(&Round) -> f64| Spread::of(target.rounds.iter().map(of));
        let plain = targets[0].rounds.iter();
        let ratio =
            target.rounds.iter().zip(plain).map(|(r, p)| r.lines_a_second / p.lines_a_second);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            target.name,
            column(|r| r.lines_a_second),
            Spread::of(ratio),
            column(|r| r.p50),
            column(|r| r.p99),
            column(|r| r.p999),
            column(|r| r.cpu_a_million),
        );
    }
}

fn measure(target: &Target<'_>, round: usize, lines: usize, writers: usize, size: usize) -> Round {
    let cpu = target.daemon.map_or(0.0, Process::cpu);
    let begin = Instant::now();
    let mut nanos: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let path = target.dir.join(format!("round-{round}-{writer}.log"));
                scope.spawn(move || append(&path, lines, size))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let total = (lines * writers) as f64;
    nanos.sort_unstable();
    let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    let spent = target.daemon.map_or(0.0, Process::cpu) - cpu;
    Round {
        lines_a_second: total / seconds,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        cpu_a_million: spent / total * 1e6,
    }
}

/// Appends lines; gives the time of each write in ns. The file is not closed within the time: closing
/// an s3fs file uploads it.
fn append(path: &Path, lines: usize, size: usize) -> Vec<u64> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    let nanos = (0..lines)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&line).unwrap();
            begin.elapsed().as_nanos() as u64
        })
        .collect();
    std::mem::forget(file);
    nanos
}
