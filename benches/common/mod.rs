//! What the benchmarks share: processes that end with the benchmark, mounts that go with them, and figures as medians
//! with their spread.

#![allow(dead_code, reason = "each benchmark uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tokio::runtime::Runtime;

/// The program under test, built with the benchmark's profile.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_logsinkfs");

/// A child process; ended, and its mount taken away, when dropped.
pub struct Process {
    child: Child,
    mount: Option<PathBuf>,
}

impl Process {
    /// Starts the program's `mount` and waits until it serves.
    pub fn mounting(mut command: Command, point: &Path) -> Process {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("serving"), "the mount does not serve: {line}");
        Process { child, mount: Some(point.to_owned()) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and those that it started: a mount is a keeper and a worker.
    fn family(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    /// CPU seconds that the processes have used.
    pub fn cpu(&self) -> f64 {
        let of = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let ticks = |field: usize| -> f64 {
                after.split_whitespace().nth(field).and_then(|t| t.parse().ok()).unwrap_or(0.0)
            };
            (ticks(11) + ticks(12)) / 100.0
        };
        self.family().into_iter().map(of).sum()
    }

    /// A line of /proc/PID/status in KiB, of all processes: `VmRSS`, `VmHWM`, `RssAnon`.
    pub fn memory(&self, field: &str) -> u64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|l| l.starts_with(field)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
        };
        self.family().into_iter().map(of).sum()
    }

    /// Sets the peak of the resident memory back (proc(5), clear_refs).
    pub fn reset_peak(&self) {
        for pid in self.family() {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        }
    }

    /// Puts all threads of the processes on a core.
    pub fn pin(&self, core: usize) {
        for pid in self.family() {
            pin(&pid.to_string(), core);
        }
    }

    /// Ends it as a user would and waits.
    pub fn terminate(mut self) -> i32 {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mount) = &self.mount {
            let _ = Command::new("umount").arg("-l").arg(mount).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder on the build's disk; the worker of a mount is another user and has to get through.
pub fn scratch() -> tempfile::TempDir {
    scratch_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// An embedded bucket in a process of its own.
pub struct Bucket {
    pub process: Process,
    pub dir: PathBuf,
    pub endpoint: String,
    pub id: String,
    pub secret: String,
}

impl Bucket {
    pub fn start(dir: &Path) -> Bucket {
        Bucket::listen(dir, "127.0.0.1:0")
    }

    /// Ends it; gives the address, at which it can come back.
    pub fn end(self) -> String {
        let address = self.endpoint.trim_start_matches("http://").to_owned();
        self.process.terminate();
        address
    }

    pub fn listen(dir: &Path, address: &str) -> Bucket {
        fs::create_dir_all(dir).unwrap();
        let mut server = Command::new(PROGRAM);
        server.arg("bucket").arg(dir).args(["--listen", address]);
        let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Bucket {
            endpoint: text("endpoint"),
            id: text("access_key_id"),
            secret: text("secret_access_key"),
            process: Process { child, mount: None },
            dir: dir.to_owned(),
        }
    }

    /// Bytes of all objects below a prefix.
    pub fn stored(&self, prefix: &str) -> u64 {
        size_of(&self.dir.join(prefix))
    }

    /// Mounts it with logsinkfs.
    pub fn mount(&self, point: &Path, spool: &Path, flags: &[&str]) -> Process {
        fs::create_dir_all(point).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["mount", "--foreground", "--log-level", "error", "--force-path-style"])
            .args(["--endpoint-url", &self.endpoint, "--region", "us-east-1", "--spool-dir"])
            .arg(spool)
            .args(flags)
            .arg("s3://logs")
            .arg(point)
            // Nothing is dropped because the disk is nearly full.
            .env("LOGSINKFS_SPOOL_MIN_FREE", "0")
            .env("AWS_ACCESS_KEY_ID", &self.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret);
        Process::mounting(command, point)
    }

    /// Mounts it with s3fs, when that is installed.
    pub fn mount_s3fs(&self, point: &Path, scratch: &Path) -> Option<Process> {
        Command::new("s3fs").arg("--version").stdout(Stdio::null()).status().ok()?;
        fs::create_dir_all(point).unwrap();
        let passwd = scratch.join("passwd-s3fs");
        fs::write(&passwd, format!("{}:{}\n", self.id, self.secret)).unwrap();
        fs::set_permissions(&passwd, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let child = Command::new("s3fs")
            .arg("logs")
            .arg(point)
            .arg("-f")
            .args(["-o", &format!("url={}", self.endpoint)])
            .args(["-o", "use_path_request_style"])
            .args(["-o", &format!("passwd_file={}", passwd.display())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(mounted(child, point))
    }

    /// Mounts it with rclone, when that is installed, with its cache of whole files for writing.
    pub fn mount_rclone(&self, point: &Path, cache: &Path) -> Option<Process> {
        Command::new("rclone").arg("version").stdout(Stdio::null()).status().ok()?;
        fs::create_dir_all(point).unwrap();
        let child = Command::new("rclone")
            .args(["mount", ":s3:logs", "--vfs-cache-mode", "writes", "--s3-provider", "Other"])
            .args(["--s3-endpoint", &self.endpoint, "--s3-force-path-style", "--cache-dir"])
            .arg(cache)
            .arg(point)
            .env("RCLONE_S3_ACCESS_KEY_ID", &self.id)
            .env("RCLONE_S3_SECRET_ACCESS_KEY", &self.secret)
            .env("RCLONE_S3_REGION", "us-east-1")
            // rclone 1.60 does not start with it.
            .env_remove("AWS_CA_BUNDLE")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(mounted(child, point))
    }
}

/// Passes requests on after a delay, answers at once. What a client sends together is a request: all of them here wait
/// for the answer before they ask again.
pub fn proxy(upstream: &str, delay: Duration) -> String {
    let upstream = upstream.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&upstream).unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (answers, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pass(client, server, delay));
            std::thread::spawn(move || pass(answers, to, Duration::ZERO));
        }
    });
    endpoint
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut bytes = vec![0; 256 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        std::thread::sleep(delay);
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The bare SDK.
pub fn client(bucket: &Bucket) -> Client {
    let credentials = Credentials::new(&bucket.id, &bucket.secret, None, None, "the benchmark");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&bucket.endpoint)
        .force_path_style(true)
        .credentials_provider(credentials)
        .build();
    Client::from_conf(config)
}

/// A folder that the worker of a mount, another user, can get through.
pub fn scratch_in(dir: &Path) -> tempfile::TempDir {
    let scratch = tempfile::tempdir_in(dir).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(scratch.path(), mode).unwrap();
    scratch
}

/// Waits for a mount that another program makes.
fn mounted(child: Child, point: &Path) -> Process {
    let process = Process { child, mount: Some(point.to_owned()) };
    for _ in 0..200 {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        if mounts.contains(&format!(" {} fuse", point.display())) {
            return process;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} was not mounted", point.display());
}

/// Puts a process, or this thread (`self`), on a core, all its threads included.
pub fn pin(pid: &str, core: usize) {
    let own = std::process::id().to_string();
    let pid = if pid == "self" { &own } else { pid };
    let mut taskset = Command::new("taskset");
    taskset.args(["-a", "-p", "-c", &core.to_string(), pid]);
    taskset.stdout(Stdio::null()).status().unwrap();
}

/// What the program has under way at once.
pub const CONNECTIONS: usize = 8;

/// What the SDK runs on.
pub fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap()
}

/// Ranged GETs in order, as many at once as the program has.
pub async fn get_all(client: &Client, mut ranges: impl Iterator<Item = (String, Range<u64>)>) {
    let mut under_way = VecDeque::new();
    loop {
        while under_way.len() < CONNECTIONS
            && let Some((key, Range { start, end })) = ranges.next()
        {
            let get = client.get_object().bucket("logs").key(key);
            let get = get.range(format!("bytes={start}-{}", end - 1));
            under_way.push_back(tokio::spawn(async move {
                get.send().await.unwrap().body.collect().await.unwrap().into_bytes().len()
            }));
        }
        let Some(next) = under_way.pop_front() else { return };
        assert!(next.await.unwrap() > 0);
    }
}

/// Bytes of a log that S3 does not have.
pub fn unsent(path: &Path) -> u64 {
    let mut value = [0; 32];
    let len = rustix::fs::getxattr(path, "user.logsinkfs.unsent", &mut value).unwrap();
    std::str::from_utf8(&value[..len]).unwrap().parse().unwrap()
}

/// Bytes of all files below a directory.
pub fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(m) if m.is_dir() => size_of(&entry.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The figures of many latencies: a histogram with 64 steps an octave, so that none is off by more than 1 %.
#[derive(Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; 64 * 40], max: Duration::ZERO }
    }
}

impl Latencies {
    pub fn add(&mut self, took: Duration) {
        let step = (took.as_nanos().max(1) as f64).log2() * 64.0;
        self.counts[(step as usize).min(64 * 40 - 1)] += 1;
        self.max = self.max.max(took);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Microseconds below which this part of them is.
    pub fn part(&self, part: f64) -> f64 {
        let mut left = (self.count() as f64 * part) as u64;
        let at = self.counts.iter().position(|count| {
            let here = left < *count;
            left -= (*count).min(left);
            here
        });
        2f64.powf((at.unwrap_or(0) as f64 + 0.5) / 64.0) / 1000.0
    }

    /// Microseconds of the longest.
    pub fn max(&self) -> f64 {
        self.max.as_secs_f64() * 1e6
    }
}

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks = |field: usize| after.split_whitespace().nth(field).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The peak of this process's resident memory in KiB.
pub fn own_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sets that peak back (proc(5), clear_refs).
pub fn reset_own_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A number given as `--NAME N` on the command line.
pub fn argument(name: &str, default: usize) -> usize {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|a| *a == format!("--{name}"));
    at.and_then(|i| args.get(i + 1)).and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Median, smallest and largest.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Spread { median: values[values.len() / 2], min: values[0], max: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 10.0 { 3 } else { 0 };
        write!(f, "{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.min, self.max)
    }
}
