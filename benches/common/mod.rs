//! What the benchmarks share: processes that end with the benchmark, mounts that go with them, and
//! figures as medians with their spread.

#![allow(dead_code, reason = "each benchmark uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program under test, built with the benchmark's profile.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_logsinkfs");

/// A child process; ended, and its mount taken away, when dropped.
pub struct Process {
    child: Child,
    mount: Option<PathBuf>,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and its children: a mount is served by a child of the one that is started.
    fn all(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        std::iter::once(pid).chain(children).collect()
    }

    /// CPU seconds that the processes have used.
    pub fn cpu(&self) -> f64 {
        self.all().into_iter().map(Process::cpu_of).sum()
    }

    fn cpu_of(pid: u32) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| after.split_whitespace().nth(field).and_then(|t| t.parse().ok());
        let (user, system): (f64, f64) = (ticks(11).unwrap_or(0.0), ticks(12).unwrap_or(0.0));
        (user + system) / 100.0
    }

    /// A line of /proc/PID/status in KiB, of all processes together: `VmRSS`, `VmHWM`, `RssAnon`.
    pub fn memory(&self, field: &str) -> u64 {
        self.all().into_iter().map(|pid| Process::memory_of(pid, field)).sum()
    }

    fn memory_of(pid: u32, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap_or("");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }

    /// Sets the peak of the resident memory back (proc(5), clear_refs).
    pub fn reset_peak(&self) {
        for pid in self.all() {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
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

/// An embedded bucket in a process of its own.
pub struct Bucket {
    pub process: Process,
    pub dir: PathBuf,
    endpoint: String,
    id: String,
    secret: String,
}

impl Bucket {
    pub fn start(dir: &Path) -> Bucket {
        fs::create_dir_all(dir).unwrap();
        let mut child =
            Command::new(PROGRAM).arg("bucket").arg(dir).stdout(Stdio::piped()).spawn().unwrap();
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
        let mut child = Command::new(PROGRAM)
            .args(["mount", "--foreground", "--log-level", "error", "--force-path-style"])
            .args(["--endpoint-url", &self.endpoint, "--region", "us-east-1", "--spool-dir"])
            .arg(spool)
            .args(flags)
            .arg("s3://logs")
            .arg(point)
            .env("AWS_ACCESS_KEY_ID", &self.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("serving"), "the mount does not serve: {line}");
        Process { child, mount: Some(point.to_owned()) }
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
        let process = Process { child, mount: Some(point.to_owned()) };
        for _ in 0..200 {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            if mounts.contains(&format!(" {} fuse", point.display())) {
                return Some(process);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("s3fs did not mount");
    }
}

/// A directory that goes with the benchmark; a worker that is not root gets in.
pub fn scratch() -> tempfile::TempDir {
    let searchable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tempfile::Builder::new()
        .permissions(searchable)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
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
