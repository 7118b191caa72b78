//! How fast the daemon catches up after an outage, beside the bare AWS SDK: the same bytes in objects of the same size
//! over the same number of connections, in turns within one run. The bucket stores in memory, since S3's disks are not
//! ours.
//!
//! `cargo bench --bench catchup -- --rounds 5 --objects 24 --kib 65536` `cargo bench --bench catchup -- --rounds 5
//! --objects 2000 --kib 20`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use common::{Bucket, CONNECTIONS, Spread, argument, own_cpu};

/// Who is measured.
const NAMES: [&str; 2] = ["bare SDK", "daemon"];

fn main() {
    let (rounds, objects) = (argument("rounds", 5), argument("objects", 24));
    // Whole lines: the beginning of one would wait for its end.
    let bytes = argument("kib", 65_536) * 1024 / 200 * 200;
    let runtime = common::runtime();
    let text: Vec<u8> = (0..bytes / 200).flat_map(|n| format!("{n:0199}\n").into_bytes()).collect();
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut cpu: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let all = (objects * bytes) as f64 / 1e6;
    for round in 0..rounds {
        // Each round begins with the other.
        for which in [round % 2, 1 - round % 2] {
            let scratch = common::scratch();
            let dir = scratch.path().canonicalize().unwrap();
            let bucket = tempfile::tempdir_in("/dev/shm").unwrap();
            let (took, used) = match which {
                0 => by_sdk(&runtime, &dir, bucket.path(), &text, objects),
                _ => by_daemon(&dir, bucket.path(), &text, objects),
            };
            eprintln!("round {round}: {} took {took:?}", NAMES[which]);
            rates[which].push(all / took.as_secs_f64());
            cpu[which].push(used);
        }
    }
    println!("| {objects} objects of {} KiB | MB/s | CPU s |", bytes / 1024);
    println!("|---|---|---|");
    for (which, name) in NAMES.iter().enumerate() {
        let rate = Spread::of(rates[which].iter().copied());
        println!("| {name} | {rate} | {} |", Spread::of(cpu[which].iter().copied()));
    }
    let ratios = rates[1].iter().zip(&rates[0]).map(|(daemon, sdk)| daemon / sdk);
    println!("\ndaemon / bare SDK: {}", Spread::of(ratios));
}

fn by_sdk(
    runtime: &tokio::runtime::Runtime,
    dir: &Path,
    bucket: &Path,
    text: &[u8],
    objects: usize,
) -> (Duration, f64) {
    let files: Vec<PathBuf> = (0..objects).map(|n| dir.join(format!("{n:06}.log"))).collect();
    for file in &files {
        fs::write(file, text).unwrap();
    }
    rustix::fs::sync();
    let bucket = Bucket::start(bucket);
    let client = common::client(&bucket);
    let before = own_cpu();
    let begin = Instant::now();
    runtime.block_on(async {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        let mut puts = tokio::task::JoinSet::new();
        for file in files {
            let (client, place) = (client.clone(), places.clone().acquire_owned().await.unwrap());
            puts.spawn(async move {
                let key = file.file_name().unwrap().to_string_lossy().into_owned();
                let body = ByteStream::from_path(&file).await.unwrap();
                let put = client.put_object().bucket("logs").key(key).if_none_match("*").body(body);
                put.send().await.unwrap();
                drop(place);
            });
        }
        while let Some(put) = puts.join_next().await {
            put.unwrap();
        }
    });
    (begin.elapsed(), own_cpu() - before)
}

fn by_daemon(dir: &Path, stored: &Path, text: &[u8], objects: usize) -> (Duration, f64) {
    let address = Bucket::start(stored).end();
    // A bucket that nothing has come to yet, at an address where nobody answers.
    let bucket = Bucket::listen(stored, &address);
    let flags = ["--compression", "none", "--spool-max", "20GiB", "--view", "live"];
    let idle = ["--rotate-idle", "0s", "--write-path", "daemon"];
    let daemon = bucket.mount(&dir.join("mnt"), &dir.join("spool"), &[&flags[..], &idle].concat());
    // Registered: what follows is the backlog's.
    while bucket.stored(".logsinkfs") == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    bucket.end();
    let logs: Vec<PathBuf> = (0..objects).map(|n| dir.join(format!("mnt/{n:06}.log"))).collect();
    for log in &logs {
        fs::write(log, text).unwrap();
    }
    rustix::fs::sync();
    // Sealed, and tried in vain; the next try may be 20 s away.
    std::thread::sleep(Duration::from_secs(5));
    // Each log has a folder of its own. Looking through thousands of them would cost what the daemon could use.
    let folders = || fs::metadata(stored).unwrap().nlink();
    let before = folders();
    let arrived = || folders() - before;
    let _bucket = Bucket::listen(stored, &address);
    while arrived() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (begin, before) = (Instant::now(), daemon.cpu());
    while arrived() < objects as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // All is in the bucket, which is where the SDK's time ends; asking each log is not the daemon's work.
    let took = begin.elapsed();
    while logs.iter().any(|log| common::unsent(log) > 0) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = daemon.cpu() - before;
    assert_eq!(daemon.terminate(), 0, "everything is uploaded");
    (took, used)
}
