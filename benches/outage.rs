//! What an outage of S3 costs: latency of appends before, during and after it, memory of the daemon while the backlog
//! grows, and how long it takes to catch up while programs write on.
//!
//! `cargo bench --bench outage -- --minutes 10 --lines 5000 --logs 1000`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Bucket, Latencies, Process, argument, unsent};

/// How often a writer that is paced looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Programs that log at a steady pace into many logs.
struct Load {
    logs: Vec<(PathBuf, File)>,
    a_tick: usize,
    line: u64,
    failed: u64,
}

impl Load {
    /// Writes for a while, or until `done` says so once a second.
    fn run(&mut self, time: Duration, mut done: impl FnMut(&Load) -> bool) -> (Latencies, Duration) {
        let (begin, mut latencies) = (Instant::now(), Latencies::default());
        let mut next = begin;
        let mut look = begin + Duration::from_secs(1);
        while begin.elapsed() < time {
            for _ in 0..self.a_tick {
                let at = (self.line % self.logs.len() as u64) as usize;
                let line = format!("{:0199}\n", self.line);
                let start = Instant::now();
                let written = self.logs[at].1.write(line.as_bytes());
                latencies.add(start.elapsed());
                self.failed += u64::from(!matches!(written, Ok(200)));
                self.line += 1;
            }
            if Instant::now() > look {
                look += Duration::from_secs(1);
                if done(self) {
                    break;
                }
            }
            next += TICK;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        (latencies, begin.elapsed())
    }

    fn unsent(&self) -> u64 {
        self.logs.iter().map(|(path, _)| unsent(path)).sum()
    }
}

fn row(what: &str, latencies: &Latencies, took: Duration, daemon: &Process, unsent: u64) {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| latencies.part(part));
    println!(
        "| {what} | {:.0} | {} | {p50:.1} | {p99:.1} | {p999:.0} | {:.0} | {:.1} | {:.1} |",
        took.as_secs_f64(),
        latencies.count(),
        latencies.max(),
        daemon.memory("VmHWM") as f64 / 1024.0,
        unsent as f64 / 1048576.0
    );
    daemon.reset_peak();
}

fn main() {
    let (minutes, lines) = (argument("minutes", 10), argument("lines", 5000));
    let outage = Duration::from_secs(60 * minutes as u64);
    println!("| | s | lines | p50 us | p99 us | p99.9 us | longest us | daemon's peak MiB | unsent MiB |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let daemon = bucket.mount(&dir("mnt"), &dir("spool"), &["--spool-max", "20GiB", "--rotate-interval", "30s"]);
    let open = |n: usize| {
        let path = dir("mnt").join(format!("{n:04}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        (path, file)
    };
    let logs = (0..argument("logs", 1000)).map(open).collect();
    let a_tick = lines * TICK.as_millis() as usize / 1000;
    let mut load = Load { logs, a_tick, line: 0, failed: 0 };
    // Two intervals, so that as much is unsent as there always is.
    let quiet = Duration::from_secs(60).max(outage / 10);
    let (before, took) = load.run(quiet, |_| false);
    let usual = load.unsent();
    row("before", &before, took, &daemon, usual);
    let address = bucket.end();
    let (during, took) = load.run(outage, |_| false);
    let backlog = load.unsent();
    row("without S3", &during, took, &daemon, backlog);
    let bucket = Bucket::listen(&dir("bucket"), &address);
    // Caught up: no more is unsent than before.
    let mut left = backlog;
    let (after, took) = load.run(outage, |load| {
        left = load.unsent();
        left <= usual + usual / 5
    });
    row("catching up", &after, took, &daemon, left);
    let (later, took) = load.run(quiet, |_| false);
    row("after", &later, took, &daemon, load.unsent());
    println!("\n{} of {} writes failed", load.failed, load.line);
    println!("p50 without S3 to before: {:.3}", during.part(0.5) / before.part(0.5));
    println!("p99 without S3 to before: {:.3}", during.part(0.99) / before.part(0.99));
    assert_eq!(daemon.terminate(), 0, "everything is uploaded");
    let found = count_lines(&bucket);
    println!("{} lines written, {found} found in the bucket", load.line);
}

/// Lines of all objects, as another client reads them.
fn count_lines(bucket: &Bucket) -> u64 {
    let count = std::process::Command::new("sh")
        .arg("-c")
        .arg("find \"$0\" -type f -name '*.log.gz' -print0 | xargs -0 cat | zcat | wc -l")
        .arg(&bucket.dir)
        .output()
        .unwrap();
    String::from_utf8(count.stdout).unwrap().trim().parse().unwrap_or(0)
}
