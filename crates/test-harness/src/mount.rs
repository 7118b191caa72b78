//! One mount of the program, from its command line to its certain end.
//!
//! Owns: the daemon's process and the mount point; both are gone when this is dropped, also after a panic and after
//! `kill -9`. Does not own: the bucket, and the spool, which outlives the mount on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use super::process::{Proc, command, kill_stranger};
use super::s3::Access;

/// Everything that a start of the daemon needs; the same plan may be started again.
#[derive(Clone)]
pub struct Plan {
    pub program: PathBuf,
    pub access: Access,
    pub source: String,
    pub point: PathBuf,
    pub spool: PathBuf,
    pub home: PathBuf,
    pub flags: Vec<String>,
    /// Reads alone, and has no spool.
    pub reader: bool,
    /// Added last, over the credentials.
    pub env: Vec<(String, String)>,
}

impl Plan {
    /// Adds flags.
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a copy of the program, which the test may then replace on disk.
    pub fn with_copy_of_program(mut self, path: &Path) -> Self {
        std::fs::copy(&self.program, path).unwrap();
        self.program = path.to_owned();
        self
    }

    /// Reaches the same bucket through another address.
    pub fn through(mut self, endpoint: &str) -> Self {
        self.access = self.access.at(endpoint);
        self
    }

    /// The program with the way to the bucket, and nothing of the tester's own environment in it.
    fn program(&self, name: &str) -> Command {
        let mut command = command(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.home)
            .env("RUST_BACKTRACE", "1")
            // Nothing is dropped because the tester's disk is nearly full.
            .env("LOGSINKFS_SPOOL_MIN_FREE", "0");
        self.access.env(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg(name);
        if self.source.starts_with("s3:") {
            command.arg("--force-path-style");
            if !self.access.endpoint.is_empty() {
                command.args(["--endpoint-url", &self.access.endpoint]);
            }
        }
        command
    }

    /// The command line.
    pub fn command(&self) -> Command {
        let mut command = self.program("mount");
        command.arg("--foreground");
        if self.reader {
            command.arg("--read-only")
        } else {
            command.arg("--spool-dir").arg(&self.spool)
        };
        command.args(&self.flags).arg(&self.source).arg(&self.point);
        command
    }

    /// Starts `logsinkfs recover` for these spools, which may be of any prefix of the bucket.
    pub fn recover(&self, flags: &[&str], spools: &[&Path]) -> Proc {
        let bucket = self.source.trim_start_matches("s3://").split('/').next().unwrap();
        let source = format!("s3://{bucket}");
        self.recover_of(&[&["--source", &source], flags].concat(), spools)
    }

    /// The same, without a word about whose spools are meant.
    pub fn recover_of(&self, flags: &[&str], spools: &[&Path]) -> Proc {
        let mut command = self.program("recover");
        command.args(flags).args(spools);
        Proc::start("recover", command)
    }

    /// Starts the daemon and waits until the mount serves.
    pub fn start(self) -> Mount {
        let command = self.command();
        self.start_as(command)
    }

    /// Starts the daemon by another command line that leads to it.
    pub fn start_as(self, command: Command) -> Mount {
        guard_bare(&self.point, true);
        let mut mount = Mount { daemon: Proc::start("logsinkfs", command), plan: self };
        mount.await_serving();
        mount
    }

    /// Starts a keeper that waits for somebody else's worker, with the socket for that.
    pub fn hold(self, socket: &Path) -> Mount {
        let socket = socket.to_str().unwrap();
        let plan = self.with(&["--hold", "--keeper-socket", socket]);
        guard_bare(&plan.point, true);
        let mut mount = Mount { daemon: Proc::start("keeper", plan.command()), plan };
        let line = format!("logsinkfs: holding {}", mount.plan.point.display());
        mount.daemon.await_stdout("that it holds", |said| (said == line).then_some(()));
        mount
    }

    /// Starts a worker for the keeper that listens at this socket.
    pub fn try_attach(self, socket: &Path) -> Proc {
        let plan = self.with(&["--attach", "--keeper-socket", socket.to_str().unwrap()]);
        Proc::start("worker", plan.command())
    }

    /// The same; waits until it serves.
    pub fn attach(self, socket: &Path) -> Proc {
        let mut worker = self.try_attach(socket);
        worker.await_stdout("that it serves", |said| said.starts_with("logsinkfs: serving").then_some(()));
        worker
    }

    /// Starts a daemon that must refuse, and gives its exit code and what it said. Touches the mount point only where
    /// it serves by mistake: a mount of another daemon may be there.
    pub fn refused(self) -> (i32, String) {
        let mut daemon = Proc::start("logsinkfs", self.command());
        let status = super::eventually("the daemon to refuse", || {
            if daemon.has_said("logsinkfs: serving") {
                daemon.kill();
                clear(&self.point);
                panic!("it serves instead of refusing {:?} {}", self.flags, self.source);
            }
            daemon.poll()
        });
        (status.code().expect("an exit code, not a signal"), daemon.last_words())
    }
}

/// A mount that serves.
pub struct Mount {
    pub plan: Plan,
    pub daemon: Proc,
}

impl Mount {
    /// A path inside the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.plan.point.join(name)
    }

    fn await_serving(&mut self) {
        let line = format!("logsinkfs: serving {}", self.plan.point.display());
        self.daemon.await_stdout("that it serves", |said| (said == line).then_some(()));
    }

    /// `kill -9` of keeper and worker; the dead mount stays behind.
    pub fn crash(&mut self) {
        let workers = self.daemon.children();
        // The keeper first: it would start another worker.
        self.daemon.kill();
        workers.into_iter().for_each(kill_stranger);
    }

    /// The worker that serves.
    pub fn worker(&self) -> Pid {
        super::eventually("one worker", || {
            let workers = self.daemon.children();
            (workers.len() == 1).then(|| workers[0])
        })
    }

    /// `kill -9` of the worker alone; the keeper starts another.
    pub fn kill_worker(&self) {
        kill_stranger(self.worker());
    }

    /// `kill -9` of the worker, if there is one at this moment, serving or about to.
    pub fn try_kill_worker(&self) -> Option<()> {
        self.daemon.children().first().map(|worker| kill_stranger(*worker))
    }

    /// Starts the daemon again with the same command line.
    pub fn start_again(&mut self) {
        self.daemon = Proc::start("logsinkfs", self.plan.command());
        self.await_serving();
    }

    /// Has everything uploaded.
    pub fn flush(&self) {
        let mut asked = command(&self.plan.program);
        asked.arg("flush").arg(&self.plan.point);
        Proc::start("flush", asked).success();
    }

    /// Waits until S3 has nearly all of the logs, however long that takes, as long as it goes on: a long outage leaves
    /// more than a busy machine sends within the time that a stop has.
    pub fn await_sent(&self) {
        let unsent_of = |log: PathBuf| {
            let mut value = [0; 32];
            let len = rustix::fs::getxattr(&log, "user.logsinkfs.unsent", &mut value[..]).ok()?;
            std::str::from_utf8(&value[..len]).ok()?.parse::<u64>().ok()
        };
        let unsent = || -> u64 {
            let logs = std::fs::read_dir(&self.plan.point).unwrap().flatten();
            logs.filter_map(|log| unsent_of(log.path())).sum()
        };
        let mut left = u64::MAX;
        while left > 64 * 1024 {
            let less = || Some(unsent()).filter(|unsent| *unsent < left);
            left = super::eventually("more of the backlog to be sent", less);
        }
    }

    /// SIGTERM, after which everything that was accepted is in the bucket and nothing was quarantined.
    pub fn stop(self) {
        self.stop_and_tell();
    }

    /// The same; gives the daemon's log.
    pub fn stop_and_tell(self) -> String {
        let spool = self.plan.spool.clone();
        let (code, said) = self.terminate();
        assert_eq!(code, 0, "the daemon left data behind:\n{said}");
        assert_eq!(quarantined(&spool), Vec::<String>::new(), "quarantined in the spool:\n{said}");
        said
    }

    /// The same, of a mount that has given something up; gives the daemon's log, and how many bytes it says these were.
    pub fn stop_without_all(self) -> (String, u64) {
        let spool = self.plan.spool.clone();
        let (code, said) = self.terminate();
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("that were dropped: ") && !said.contains("S3 has everything"), "{said}");
        assert_eq!(quarantined(&spool), Vec::<String>::new(), "quarantined in the spool:\n{said}");
        (said, dropped(&spool))
    }

    /// SIGTERM; gives the exit code and what the daemon said.
    pub fn terminate(mut self) -> (i32, String) {
        self.daemon.signal(Signal::TERM);
        let status = self.daemon.wait();
        let code = status.code().unwrap_or_else(|| panic!("died of {status}"));
        assert!(!is_mounted(&self.plan.point), "the mount outlives its daemon");
        (code, self.daemon.last_words())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.daemon.reap();
        clear(&self.plan.point);
        guard_bare(&self.plan.point, false);
    }
}

/// What a daemon put into the quarantine of its spool, beside the list of what was dropped.
pub fn quarantined(spool: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(spool.join("quarantine")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "given-up").collect()
}

/// Bytes on a spool's list of what was dropped.
pub fn dropped(spool: &Path) -> u64 {
    let list = std::fs::read_to_string(spool.join("quarantine/given-up")).unwrap_or_default();
    let ranges = list.lines().filter(|line| !line.is_empty());
    let bytes = ranges.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes"].as_u64());
    bytes.map(Option::unwrap).sum()
}

/// Whether a file system is mounted exactly here.
pub fn is_mounted(point: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == point))
}

/// Takes away whatever is mounted exactly here.
pub fn clear(point: &Path) {
    while is_mounted(point) && rustix::mount::unmount(point, UnmountFlags::DETACH).is_ok() {}
}

/// Makes the bare mount point immutable, so that a program that slips in between a crash and the next mount gets an
/// error instead of writing beside the bucket. Not every file system knows the flag; where it is unknown that moment is
/// merely unguarded.
fn guard_bare(point: &Path, guarded: bool) {
    if is_mounted(point) {
        return;
    }
    let Ok(dir) = rustix::fs::open(point, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
        return;
    };
    if let Ok(mut flags) = rustix::fs::ioctl_getflags(&dir) {
        flags.set(IFlags::IMMUTABLE, guarded);
        let _ = rustix::fs::ioctl_setflags(&dir, flags);
    }
}
