//! What a long stream costs: memory of the daemon at rest and while 1 GiB goes through, its CPU, bytes sent for each
//! byte appended, and what one more line costs on a log of 100 MiB.
//!
//! `cargo bench --bench stream -- --mib 1024`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use common::{Bucket, argument, unsent};

fn main() {
    let mib = argument("mib", 1024);
    println!(
        "| compression | at rest MiB | peak MiB | peak without file pages MiB | CPU s | bytes sent a byte appended | one line more on 100 MiB sends |"
    );
    println!("|---|---|---|---|---|---|---|");
    for compression in ["none", "gzip", "zstd"] {
        let scratch = common::scratch();
        let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
        let bucket = Bucket::start(&dir("bucket"));
        let flags = ["--compression", compression, "--spool-max", "20GiB"];
        let daemon = bucket.mount(&dir("mnt"), &dir("spool"), &flags);
        let rest = daemon.memory("VmRSS");
        daemon.reset_peak();
        let (cpu, begin) = (daemon.cpu(), Instant::now());
        let anon = append(&dir("mnt/stream.log"), mib << 20, || daemon.memory("RssAnon"));
        append(&dir("mnt/small.log"), 100 << 20, || 0);
        settle(&dir("mnt/stream.log"), &dir("mnt/small.log"));
        let (peak, spent) = (daemon.memory("VmHWM"), daemon.cpu() - cpu);
        let seconds = begin.elapsed().as_secs_f64();
        let appended = ((mib + 100) << 20) as f64;
        let sent = (bucket.stored("stream.log.segments") + bucket.stored("small.log.segments")) as f64;
        let before = bucket.stored("small.log.segments");
        let line = append(&dir("mnt/small.log"), 200, || 0);
        settle(&dir("mnt/stream.log"), &dir("mnt/small.log"));
        let one = bucket.stored("small.log.segments") - before;
        assert_eq!(line, 0);
        println!(
            "| {compression} | {:.1} | {:.1} | {:.1} | {spent:.2} of {seconds:.1} | {:.4} | {one} |",
            rest as f64 / 1024.0,
            peak as f64 / 1024.0,
            anon as f64 / 1024.0,
            sent / appended,
        );
        assert_eq!(daemon.terminate(), 0, "everything is uploaded");
    }
}

/// Appends log-like lines up to a size; gives the largest of what `watch` saw meanwhile.
fn append(path: &Path, bytes: usize, watch: impl Fn() -> u64) -> u64 {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let (mut written, mut number, mut most) = (0, 0u64, 0);
    while written < bytes {
        number += 1;
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = format!(
            "2026-11-23T08:15:02.{:06} INFO request {number} id={id:016x} path=/api/v1/items/{} status=200 bytes={} took={}us agent=",
            number % 1_000_000,
            id % 9973,
            id % 65_536,
            id % 100_000
        );
        let line = format!("{text:a<199}\n");
        file.write_all(line.as_bytes()).unwrap();
        written += line.len();
        if number % 4096 == 0 {
            most = most.max(watch());
        }
    }
    most
}

/// Waits until the files say that nothing of them is unsent.
fn settle(a: &Path, b: &Path) {
    for path in [a, b] {
        while unsent(path) > 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
