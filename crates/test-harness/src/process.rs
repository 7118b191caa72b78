//! A child process that cannot outlive its test.
//!
//! Owns: start, captured output, signals and the certain end of one process. Three nets hold it: `Drop` kills its
//! process group when the test panics; `setpriv --pdeathsig` lets the kernel kill it when the test process itself is
//! killed; a watchdog kills it when it hangs, which also frees a test that waits inside a system call on the mount that
//! this process serves. Does not own: mount points (see `mount`).

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal};

use super::wait::eventually;

/// A process older than this hangs: no test takes a third of it.
const LIFETIME: Duration = Duration::from_secs(300);
/// A long row of kills, faults or power cuts (`KILLS`, `FAULTS`, `CUTS`) takes as much longer for each.
const LIFETIME_A_KILL: Duration = Duration::from_secs(2);
/// And so does a long row of messages at random (`FUZZ_CASES`).
const LIFETIME_A_CASE: Duration = Duration::from_millis(30);

type Lines = Arc<Mutex<Vec<String>>>;

/// One running program.
pub struct Proc {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    /// Dropping it tells the watchdog that the process has ended.
    _watched: Sender<()>,
}

/// Finds a program of the system, or names the script that installs it.
pub fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not installed: run tests/setup.sh first"))
}

/// A command for `program` that dies with the thread that starts it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(self::program("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null());
    command
}

impl Proc {
    /// Starts `command`, capturing both outputs.
    pub fn start(name: &str, mut command: Command) -> Self {
        // A group of its own, so that the children of the program (nginx has some) end with it.
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let watched = watch(name.to_owned(), pid_of(&child));
        Self { name: name.to_owned(), child, stdout, stderr, _watched: watched }
    }

    /// The process id, which `setpriv` hands on to the program.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Waits for a line of standard output that `pick` accepts.
    pub fn await_stdout<T>(&mut self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        eventually(&format!("{} to print {what}", self.name), || {
            // Asked first: what a program printed before its end is in the pipe then.
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                self.said();
            }
            let found = self.stdout.lock().unwrap().iter().find_map(|line| pick(line));
            if let (None, Some(status)) = (&found, ended) {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.last_words());
            }
            found
        })
    }

    /// Waits for text on standard error.
    pub fn await_stderr(&self, text: &str) {
        eventually(&format!("{} to say {text:?} on stderr", self.name), || self.stderr().contains(text).then_some(()));
    }

    /// Waits for this many lines of standard error that have all these words; gives those that are there then.
    #[track_caller]
    pub fn await_told(&self, words: &[&str], times: usize) -> Vec<String> {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        eventually(&format!("{} to say {words:?} on stderr, {times} times", self.name), || {
            let said = self.stderr.lock().unwrap();
            let told: Vec<String> = said.iter().filter(has_all).cloned().collect();
            (told.len() >= times).then_some(told)
        })
    }

    /// What the program said so far on standard error: for a message, since more may come at any moment.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// All of standard error of a process that has ended: the reader of the pipe may be behind.
    pub fn last_words(&self) -> String {
        ended(&self.stderr);
        self.stderr()
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// How it ended, if it has ended by itself.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// All lines of standard output of a process that has ended.
    pub fn said(&self) -> Vec<String> {
        ended(&self.stdout);
        self.stdout.lock().unwrap().clone()
    }

    /// Whether a line of standard output begins like this.
    pub fn has_said(&self, start: &str) -> bool {
        self.stdout.lock().unwrap().iter().any(|line| line.starts_with(start))
    }

    /// The processes that this one started.
    pub fn children(&self) -> Vec<Pid> {
        let pid = self.pid().as_raw_nonzero();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        let numbers: Vec<i32> =
            lists.flat_map(|list| list.split(' ').filter_map(|n| n.parse().ok()).collect::<Vec<_>>()).collect();
        numbers.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// `kill -9`, and its certain end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Collects a process that has been killed already; never waits for one that lives on.
    pub fn reap(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until the program ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} to end"), || self.child.try_wait().unwrap())
    }

    /// Waits for the end and insists on success.
    pub fn success(mut self) {
        let status = self.wait();
        assert!(status.success(), "{} failed ({status}):\n{}", self.name, self.last_words());
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if matches!(self.child.try_wait(), Ok(None)) {
            self.reap();
        }
        if std::thread::panicking() {
            eprintln!("---- {} said:\n{}", self.name, self.stderr());
        }
    }
}

/// `kill -9` of a process that is not our child, and its certain end.
pub fn kill_stranger(pid: Pid) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let _ = pidfd_send_signal(&process, Signal::KILL);
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut ends, None).unwrap();
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Keeps the lines of a pipe; the thread ends with the pipe and lets go of its share then.
fn collect(pipe: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            kept.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

/// Waits until all of a pipe has been read: its thread has ended.
fn ended(lines: &Lines) {
    eventually("the end of what it prints", || (Arc::strong_count(lines) == 1).then_some(()));
}

/// Kills the process when its `Proc` still lives after [`LIFETIME`].
fn watch(name: String, pid: Pid) -> Sender<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        let asked: u32 = ["KILLS", "FAULTS", "CUTS"].into_iter().map(number).sum();
        let cases = number("FUZZ_CASES");
        let lifetime = LIFETIME + LIFETIME_A_KILL * asked + LIFETIME_A_CASE * cases;
        if receiver.recv_timeout(lifetime) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs: killed after {lifetime:?}");
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    sender
}
