//! What looking at a bucket costs: `ls -l` and `find` of one large directory, cold and warm, with a delay added to each
//! request, beside s3fs and rclone (where they are installed), a local directory and the bare listing; and a large
//! object read from the start to the end, beside the bare AWS SDK's ranged GETs over as many connections.
//!
//! `cargo bench --bench listing -- --objects 10000 --delay 50 --rounds 5 --mib 1024` `cargo bench --bench listing --
//! --objects 100000 --delay 50 --rounds 1 --mib 0`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use common::{Bucket, CONNECTIONS, Process, Spread, argument, client, get_all, proxy, scratch_in};
use tokio::runtime::Runtime;

/// What the daemon asks for at once.
const PART: u64 = 2 << 20;
/// How long anybody may take to show a directory, in seconds.
const PATIENCE: &str = "300";
/// What `cat` reads at once.
const STEP: usize = 128 << 10;

fn main() {
    let (objects, rounds) = (argument("objects", 10_000), argument("rounds", 3));
    let delay = Duration::from_millis(argument("delay", 50) as u64);
    let mib = argument("mib", 1024);
    let runtime = common::runtime();
    let scratch = common::scratch();
    let dir = scratch.path().canonicalize().unwrap();
    let mut bucket = Bucket::start(&dir.join("bucket"));
    let proxy = proxy(&bucket.endpoint, delay);
    if objects > 0 {
        populate(&runtime, &dir, &client(&bucket), objects);
    }
    if mib > 0 {
        fill(&runtime, &dir, &client(&bucket), mib);
        println!("| {mib} MiB read on | MB/s | beside the SDK |\n|---|---|---|");
        reads(&runtime, &dir, &bucket, (mib, rounds, "no delay"));
    }
    bucket.endpoint = proxy;
    if mib > 0 {
        reads(&runtime, &dir, &bucket, (mib, rounds, &format!("{delay:?} a request")));
    }
    if objects > 0 {
        listings(&runtime, &dir, &bucket, (objects, rounds));
    }
}

fn name(n: usize) -> String {
    format!("20261123T081502.{n:06}Z_web-1-abcdefgh_1_0000000000.log.gz")
}

/// Stores the objects, and as many local files.
fn populate(runtime: &Runtime, dir: &Path, client: &Client, objects: usize) {
    runtime.block_on(async {
        let mut puts = tokio::task::JoinSet::new();
        for n in 0..objects {
            if puts.len() == 4 * CONNECTIONS {
                puts.join_next().await.unwrap().unwrap();
            }
            let put = client.put_object().bucket("logs").key(format!("many/{}", name(n)));
            let put = put.body(ByteStream::from_static(b"a line\n"));
            puts.spawn(async move { drop(put.send().await.unwrap()) });
        }
        while let Some(put) = puts.join_next().await {
            put.unwrap();
        }
    });
    let local = dir.join("local");
    fs::create_dir(&local).unwrap();
    (0..objects).for_each(|n| fs::write(local.join(name(n)), b"a line\n").unwrap());
}

fn listings(runtime: &Runtime, dir: &Path, bucket: &Bucket, (objects, rounds): (usize, usize)) {
    println!("\n| {objects} objects | `ls -l` cold s | warm s | `find` cold s | warm s |");
    println!("|---|---|---|---|---|");
    let bare = (0..rounds).map(|_| list(runtime, &client(bucket), objects));
    println!("| the LIST pages alone | {} | | | |", Spread::of(bare));
    for what in ["a local directory", "logsinkfs", "s3fs", "rclone"] {
        let mut took: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            for (program, at) in [("ls", 0), ("find", 2)] {
                if took[at].contains(&f64::INFINITY) {
                    continue;
                }
                // Each cold look has a mount of its own.
                let scratch = scratch_in(dir);
                let Some((mount, many)) = mount(what, dir, scratch.path(), bucket) else { break };
                let cold = look(program, &many, objects);
                took[at].push(cold);
                // What was not seen to the end is not known.
                took[at + 1].push(if cold.is_finite() { look(program, &many, objects) } else { cold });
                drop(mount);
            }
        }
        if took[0].is_empty() {
            println!("| {what} is not installed | | | | |")
        } else {
            println!("| {what} | {} |", took.map(|t| Spread::of(t).to_string()).join(" | "))
        }
    }
}

/// A fresh mount and the directory in it; nothing when the program is not installed.
fn mount(what: &str, dir: &Path, scratch: &Path, bucket: &Bucket) -> Option<(Option<Process>, PathBuf)> {
    let point = scratch.join("mnt");
    let process = match what {
        "logsinkfs" => {
            let flags = ["--view", "bucket", "--metadata-ttl", "600s"];
            bucket.mount(&point, &scratch.join("spool"), &flags)
        }
        "s3fs" => bucket.mount_s3fs(&point, scratch)?,
        "rclone" => bucket.mount_rclone(&point, &scratch.join("cache"))?,
        _ => return Some((None, dir.join("local"))),
    };
    Some((Some(process), point.join("many")))
}

/// Seconds that all pages of the listing take without a mount.
fn list(runtime: &Runtime, client: &Client, objects: usize) -> f64 {
    let begin = Instant::now();
    let mut found = 0;
    runtime.block_on(async {
        let list = client.list_objects_v2().bucket("logs").prefix("many/").delimiter("/");
        let mut pages = list.into_paginator().send();
        while let Some(page) = pages.next().await {
            found += page.unwrap().contents().len();
        }
    });
    assert_eq!(found, objects);
    begin.elapsed().as_secs_f64()
}

/// Seconds that a program takes for a directory; infinite when it is too long.
fn look(program: &str, dir: &Path, objects: usize) -> f64 {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(program);
    match program {
        "ls" => command.arg("-l").arg(dir),
        // Its size is shown, so that each entry is looked at.
        _ => command.arg(dir).args(["-type", "f", "-size", "+0", "-printf", "%s\n"]),
    };
    let begin = Instant::now();
    let output = command.stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let took = begin.elapsed().as_secs_f64();
    if output.status.code() == Some(124) {
        return f64::INFINITY;
    }
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert!(lines >= objects, "{program} showed {lines} of {objects} in {}", dir.display());
    took
}

/// Stores one large object, of bytes that nothing between can make smaller.
fn fill(runtime: &Runtime, dir: &Path, client: &Client, mib: usize) {
    let path = dir.join("large");
    let mut file = File::create(&path).unwrap();
    let mut bytes = vec![0u8; 1 << 20];
    for n in 0..mib {
        fastrand::Rng::with_seed(n as u64).fill(&mut bytes);
        file.write_all(&bytes).unwrap();
    }
    drop(file);
    runtime.block_on(async {
        let body = ByteStream::from_path(&path).await.unwrap();
        client.put_object().bucket("logs").key("large.log").body(body).send().await.unwrap();
    });
    fs::remove_file(path).unwrap();
}

fn reads(runtime: &Runtime, dir: &Path, bucket: &Bucket, (mib, rounds, what): (usize, usize, &str)) {
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Each round begins with the other.
        for which in [round % 2, 1 - round % 2] {
            let took = match which {
                0 => read_by_sdk(runtime, &client(bucket), mib),
                _ => read_by_mount(dir, bucket, mib),
            };
            rates[which].push(mib as f64 * 1.048_576 / took);
        }
    }
    let ratios = rates[1].iter().zip(&rates[0]).map(|(mount, sdk)| mount / sdk);
    let ratios = Spread::of(ratios.collect::<Vec<_>>());
    let [sdk, mount] = rates.map(Spread::of);
    println!("| bare SDK, {what} | {sdk} | |\n| logsinkfs, {what} | {mount} | {ratios} |");
}

fn read_by_sdk(runtime: &Runtime, client: &Client, mib: usize) -> f64 {
    let begin = Instant::now();
    runtime.block_on(async {
        let parts = (0..(mib as u64) << 20).step_by(PART as usize);
        get_all(client, parts.map(|at| ("large.log".to_owned(), at..at + PART))).await;
    });
    begin.elapsed().as_secs_f64()
}

fn read_by_mount(dir: &Path, bucket: &Bucket, mib: usize) -> f64 {
    let scratch = scratch_in(dir);
    let point = scratch.path().join("mnt");
    let mount = bucket.mount(&point, &scratch.path().join("spool"), &["--view", "bucket"]);
    let mut file = File::open(point.join("large.log")).unwrap();
    let (mut bytes, mut all) = (vec![0; STEP], 0);
    let begin = Instant::now();
    while let len @ 1.. = file.read(&mut bytes).unwrap() {
        all += len;
    }
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(all, mib << 20);
    drop(file);
    drop(mount);
    took
}
