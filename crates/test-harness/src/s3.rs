//! The S3 servers that the scenarios run against, each a process of its own.
//!
//! Owns: start, address and credentials of a server. Two kinds, so that an error of the program's own server cannot
//! hide the same error of its client: the embedded bucket (`logsinkfs bucket`) and moto, which shares no code with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::process::{Proc, command};

/// The program under test.
///
/// Cargo and nextest say where they have built it:
/// <https://doc.rust-lang.org/cargo/reference/environment-variables.html>.
pub fn logsinkfs() -> &'static str {
    static PATH: LazyLock<String> =
        LazyLock::new(|| std::env::var("CARGO_BIN_EXE_logsinkfs").expect("cargo test says where the program is"));
    &PATH
}

/// Which server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `logsinkfs bucket DIR`.
    Embedded,
    /// `moto_server` of PyPI.
    Moto,
}

/// How to reach a bucket, whoever serves it.
#[derive(Clone, Debug)]
pub struct Access {
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    pub key_id: String,
    pub secret: String,
}

impl Access {
    /// The same bucket behind another address.
    pub fn at(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// The environment by which the AWS SDK finds these credentials, and nothing else. An empty key id or region stands
    /// for a machine that has none.
    pub fn env(&self, command: &mut Command) {
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        if !self.region.is_empty() {
            command.env("AWS_REGION", &self.region);
        }
        if !self.key_id.is_empty() {
            command.env("AWS_ACCESS_KEY_ID", &self.key_id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        }
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    pub access: Access,
    process: Proc,
}

impl Server {
    /// Starts a server that stores below `dir` and listens on a port of its own choice.
    pub fn start(kind: Kind, dir: &Path) -> Self {
        Self::listen(kind, dir, "127.0.0.1:0")
    }

    /// Starts a server at a given address: one that comes late, or comes back.
    pub fn listen(kind: Kind, dir: &Path, address: &str) -> Self {
        let command = match kind {
            Kind::Embedded => embedded(dir, address),
            Kind::Moto => moto(address, &[]),
        };
        Self::ready(kind, command)
    }

    /// Starts moto with objects already in its bucket: `(key, size)`, made inside the server because ten thousand
    /// requests would be the slowest step of the suite.
    pub fn moto_with(objects: &Path) -> Self {
        Self::ready(Kind::Moto, moto("127.0.0.1:0", &[objects]))
    }

    /// Starts moto with the roles and the bucket of this folder; gives what it tells of them.
    pub fn moto_with_identity(folder: &Path) -> (Self, serde_json::Value) {
        let mut command = moto_program("moto_identity.py");
        command.arg(folder);
        Self::telling(Kind::Moto, command)
    }

    fn ready(kind: Kind, command: Command) -> Self {
        Self::telling(kind, command).0
    }

    fn telling(kind: Kind, command: Command) -> (Self, serde_json::Value) {
        let mut process = Proc::start(&format!("{kind:?} bucket"), command);
        let (access, told) = process.await_stdout("its address as JSON", |line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
            let access = Access {
                endpoint: text("endpoint")?,
                bucket: text("bucket")?,
                region: text("region")?,
                key_id: text("access_key_id")?,
                secret: text("secret_access_key")?,
            };
            Some((access, value))
        });
        (Self { access, process }, told)
    }

    /// Ends the server at once, as a failing node would.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

fn embedded(dir: &Path, address: &str) -> Command {
    let mut command = command(logsinkfs());
    command.arg("bucket").arg(dir).args(["--listen", address]);
    command
}

fn moto(address: &str, more: &[&Path]) -> Command {
    let mut command = moto_program("moto_bucket.py");
    command.arg(address).args(more);
    command
}

fn moto_program(name: &str) -> Command {
    let mut command = command(venv("python3"));
    command.arg(script(name));
    command
}

/// The folder of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

/// A program of the Python environment that tests/setup.sh makes.
pub fn venv(program: &str) -> PathBuf {
    let path = root().join("target/venv/bin").join(program);
    assert!(path.exists(), "{} is missing: run tests/setup.sh first", path.display());
    path
}

/// A program file of the tests.
pub fn script(name: &str) -> PathBuf {
    root().join("tests/e2e/programs").join(name)
}
