//! An application that starts again and again under the same file name.

use std::process::Command;

use test_harness::process::{command, program};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Kind, Ledger, Mount, Rig, Run, programs};

/// A shell that redirects as start scripts do and becomes the program.
fn redirected(mount: &Mount, redirection: &str) -> Command {
    let writer = programs::python("plain_writer.py");
    let mut shell = command(program("sh"));
    shell.arg("-c").arg(format!("exec \"$@\" {redirection} \"$LOG\"")).arg("sh");
    // `setpriv` comes first in every command of the harness, and the shell is under it already.
    shell.args(writer.get_args().skip(3));
    shell.env("LOG", mount.path("app.log"));
    shell
}

/// Ten starts, once for each write path.
fn ten_starts(kind: Kind, redirection: &str, crash: bool) {
    for write_path in [KERNEL, DAEMON] {
        ten_starts_by(write_path, kind, redirection, crash);
    }
}

/// Ten starts, each killed in the middle of its writing. The daemon may be killed as well.
fn ten_starts_by(write_path: &str, kind: Kind, redirection: &str, crash: bool) {
    let rig = Rig::new(kind);
    let mut mount = rig.mount(&["--rotate-size", "32KiB", "--write-path", write_path]);
    let mut ledger = Ledger::default();
    for start in 0..10 {
        let mut run = Run::start(&rig, &format!("run{start}"), redirected(&mount, redirection));
        run.await_more(200);
        if crash && start % 3 == 1 {
            // The program's open file dies with the mount, and the program with its file.
            mount.crash();
            ledger.add(run.kill());
            mount.start_again();
        } else {
            ledger.add(run.kill());
        }
    }
    mount.stop();
    let (bucket, starts) = (rig.bucket(), 10);
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, starts);
    ledger.assert_in_order(&found);
}

#[test]
fn every_line_of_ten_starts_that_truncate_is_kept() {
    ten_starts(Kind::Embedded, ">", false);
}

#[test]
fn every_line_of_ten_starts_that_truncate_is_kept_on_moto() {
    ten_starts(Kind::Moto, ">", false);
}

#[test]
fn every_line_of_ten_starts_that_append_is_kept() {
    ten_starts(Kind::Embedded, ">>", false);
}

#[test]
fn every_line_of_ten_starts_that_append_is_kept_on_moto() {
    ten_starts(Kind::Moto, ">>", false);
}

#[test]
fn every_line_of_ten_truncating_starts_is_kept_when_the_daemon_is_killed_among_them() {
    ten_starts(Kind::Embedded, ">", true);
}

#[test]
fn every_line_of_ten_appending_starts_is_kept_when_the_daemon_is_killed_among_them() {
    ten_starts(Kind::Embedded, ">>", true);
}
