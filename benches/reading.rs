//! What reading a log back costs: all of it, its first byte, and its last hundred lines, by the commands and by a
//! reader mount, beside the bare SDK's ranged GETs of the same objects over as many connections, and beside s3fs and
//! rclone (where they are installed) on one object of the same bytes.
//!
//! `cargo bench --bench reading -- --mib 512 --rounds 5 --delay 50`

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
use common::{Bucket, PROGRAM, Process, Spread, argument, client, get_all, proxy, scratch_in};
use tokio::runtime::Runtime;

/// What the program asks for at once.
const PART: u64 = 4 << 20;
/// What `cat` reads at once.
const STEP: usize = 128 << 10;

fn main() {
    let (mib, rounds) = (argument("mib", 512), argument("rounds", 5));
    let delay = Duration::from_millis(argument("delay", 50) as u64);
    let runtime = common::runtime();
    let scratch = common::scratch();
    let dir = scratch.path().canonicalize().unwrap();
    let mut bucket = Bucket::start(&dir.join("bucket"));
    for compression in ["none", "gzip"] {
        write(&dir, &bucket, compression, mib);
    }
    let delayed = proxy(&bucket.endpoint, delay);
    println!("| {mib} MiB | MB/s | beside the SDK |\n|---|---|---|");
    whole(&runtime, &dir, &bucket, (mib, rounds, "no delay"));
    bucket.endpoint = delayed;
    whole(&runtime, &dir, &bucket, (mib, rounds, &format!("{delay:?} a request")));
    ends(&dir, &bucket, rounds);
}

/// Log-like lines, through a mount, as a program writes them; uncompressed also as one object for the others.
fn write(dir: &Path, bucket: &Bucket, compression: &str, mib: usize) {
    let (point, spool) = (dir.join(format!("mnt-{compression}")), dir.join(format!("sp-{compression}")));
    let flags = ["--view", "live", "--compression", compression, "--spool-max", "20GiB"];
    let daemon = bucket.mount(&point, &spool, &flags);
    let mut files = vec![File::create(point.join(format!("{compression}.log"))).unwrap()];
    if compression == "none" {
        files.push(File::create(bucket.dir.join("large.txt")).unwrap());
    }
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..mib {
        let mut text = String::with_capacity(1 << 20);
        while text.len() < (1 << 20) - 200 {
            let (took, id) = (random.u32(..1000), random.u64(..));
            text += &format!("2026-11-23T08:15:02Z INFO GET /api/v1/items/{id:016x} 200 {took} ms part {n}\n");
        }
        text.extend(std::iter::repeat_n(' ', (1 << 20) - 1 - text.len()));
        text.push('\n');
        files.iter_mut().for_each(|file| file.write_all(text.as_bytes()).unwrap());
    }
    drop(files);
    assert_eq!(daemon.terminate(), 0, "everything is uploaded");
}

/// The program with the way to the bucket.
fn program(bucket: &Bucket, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg(args[0]).args(["--force-path-style", "--endpoint-url", &bucket.endpoint]);
    command.args(["--region", "us-east-1"]).args(&args[1..]);
    command.env("AWS_ACCESS_KEY_ID", &bucket.id).env("AWS_SECRET_ACCESS_KEY", &bucket.secret);
    command
}

fn whole(runtime: &Runtime, dir: &Path, bucket: &Bucket, (mib, rounds, what): (usize, usize, &str)) {
    let log = |name: &str| format!("s3://logs/{name}.log");
    let by_cat = |name: &str| drain(&mut program(bucket, &["cat", &log(name)]), mib);
    let by_mount = |name: &str| {
        let scratch = scratch_in(dir);
        let (mount, point) = reader_mount(scratch.path(), bucket);
        let took = read(&point.join(format!("{name}.log")), mib);
        drop(mount);
        took
    };
    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        for n in 0..rates.len() {
            // Each round begins with another.
            let which = (round + n) % rates.len();
            let took = match which {
                0 => read_by_sdk(runtime, &client(bucket), "none.log.segments/"),
                1 => by_cat("none"),
                2 => by_mount("none"),
                3 => by_cat("gzip"),
                _ => by_mount("gzip"),
            };
            rates[which].push(mib as f64 * 1.048_576 / took);
        }
    }
    let names = ["bare SDK", "`cat`", "reader mount", "`cat`, gzip", "reader mount, gzip"];
    let sdk = rates[0].clone();
    for (name, rates) in names.into_iter().zip(rates) {
        let ratios = Spread::of(rates.iter().zip(&sdk).map(|(ours, sdk)| ours / sdk));
        println!("| {name}, {what} | {} | {ratios} |", Spread::of(rates));
    }
}

/// Seconds until a command has printed so much.
fn drain(command: &mut Command, mib: usize) -> f64 {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let all = count(&mut child.stdout.take().unwrap());
    assert!(child.wait().unwrap().success());
    assert_eq!(all, mib << 20);
    begin.elapsed().as_secs_f64()
}

fn read(path: &Path, mib: usize) -> f64 {
    let begin = Instant::now();
    assert_eq!(count(&mut File::open(path).unwrap()), mib << 20);
    begin.elapsed().as_secs_f64()
}

fn count(from: &mut impl Read) -> usize {
    let (mut bytes, mut all) = (vec![0; STEP], 0);
    while let len @ 1.. = from.read(&mut bytes).unwrap() {
        all += len;
    }
    all
}

/// All objects below a prefix, in order.
fn read_by_sdk(runtime: &Runtime, client: &Client, prefix: &str) -> f64 {
    let begin = Instant::now();
    runtime.block_on(async {
        let list = client.list_objects_v2().bucket("logs").prefix(prefix).send().await.unwrap();
        let parts = list.contents().iter().flat_map(|object| {
            let (key, size) = (object.key().unwrap(), object.size().unwrap() as u64);
            let parts = (0..size).step_by(PART as usize);
            parts.map(move |at| (key.to_owned(), at..size.min(at + PART)))
        });
        get_all(client, parts).await;
    });
    begin.elapsed().as_secs_f64()
}

fn reader_mount(scratch: &Path, bucket: &Bucket) -> (Process, PathBuf) {
    let point = scratch.join("mnt");
    fs::create_dir(&point).unwrap();
    let mut command = program(bucket, &["mount", "--foreground", "--read-only", "--log-level", "error"]);
    command.arg("s3://logs").arg(&point);
    (Process::mounting(command, &point), point)
}

/// First byte and last lines, each by somebody who has just begun; a mount is made before.
fn ends(dir: &Path, bucket: &Bucket, rounds: usize) {
    println!("\n| | first byte s | `tail -n 100` s |\n|---|---|---|");
    for what in ["commands", "reader mount", "s3fs", "rclone"] {
        let mut took: [Vec<f64>; 2] = Default::default();
        for _ in 0..rounds {
            for end in [0, 1] {
                let scratch = scratch_in(dir);
                let Some((mut command, mount)) = end_of(what, scratch.path(), bucket, end == 1) else {
                    continue;
                };
                let begin = Instant::now();
                let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
                let mut stdout = child.stdout.take().unwrap();
                stdout.read_exact(&mut [0]).unwrap();
                if end == 1 {
                    let mut rest = Vec::new();
                    stdout.read_to_end(&mut rest).unwrap();
                    assert_eq!(rest.iter().filter(|byte| **byte == b'\n').count(), 100);
                }
                took[end].push(begin.elapsed().as_secs_f64());
                drop(stdout);
                child.wait().unwrap();
                drop(mount);
            }
        }
        if took[0].is_empty() {
            println!("| {what} is not installed | | |")
        } else {
            println!("| {what} | {} |", took.map(|t| Spread::of(t).to_string()).join(" | "))
        }
    }
}

/// The command that reads the beginning or the last lines, and the mount that it reads from.
fn end_of(what: &str, scratch: &Path, bucket: &Bucket, tail: bool) -> Option<(Command, Option<Process>)> {
    let point = scratch.join("mnt");
    let (mount, path) = match what {
        "commands" => {
            let args: &[&str] = if tail { &["tail", "-n", "100"] } else { &["cat"] };
            return Some((program(bucket, &[args, &["s3://logs/gzip.log"]].concat()), None));
        }
        "reader mount" => {
            let (mount, point) = reader_mount(scratch, bucket);
            (mount, point.join("gzip.log"))
        }
        "s3fs" => (bucket.mount_s3fs(&point, scratch)?, point.join("large.txt")),
        _ => (bucket.mount_rclone(&point, &scratch.join("cache"))?, point.join("large.txt")),
    };
    let mut command = Command::new(if tail { "tail" } else { "cat" });
    if tail {
        command.args(["-n", "100"]);
    }
    command.arg(path);
    Some((command, Some(mount)))
}
