//! The commands that read without a mount (`cat`, `tail`, `ls`), run as a user would.

use std::process::Command;

use super::process::command;
use super::rig::{PREFIX, Rig};
use super::s3::{Access, logsinkfs};

/// A command that reads, not started yet.
pub fn reading(rig: &Rig, access: &Access, name: &str, path: &str, args: &[&str]) -> Command {
    let mut command = command(logsinkfs());
    command.env_clear().env("HOME", rig.dir.path().join("home"));
    access.env(&mut command);
    command.args([name, "--endpoint-url", &access.endpoint, "--force-path-style"]);
    command.args(args).arg(format!("s3://{}/{PREFIX}{path}", access.bucket));
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub fn read_by(rig: &Rig, access: &Access, name: &str, path: &str, args: &[&str]) -> (i32, String, String) {
    let output = reading(rig, access, name, path, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs it to its good end.
#[track_caller]
pub fn read(rig: &Rig, name: &str, path: &str, args: &[&str]) -> String {
    let (code, out, said) = read_by(rig, &rig.access, name, path, args);
    assert_eq!(code, 0, "{said}");
    out
}
