//! The program on other kernels than the tester's: those of Debian's releases, each booted in a machine of its own.
//!
//! `guest/init.sh` makes mounts there and has writers and daemons killed; the tests look at what it brought back: what
//! each writer says it wrote, what the daemons said, and the bucket. Everything is fetched by apt into
//! `target/kernels`, and nothing is installed. On a machine that cannot fetch it, and has not fetched it before, the
//! tests are skipped and say so.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test ends at the first surprise")]

mod harness;

use harness::debian::{Kernel, Missing};
use harness::guest::{Results, boot};
use test_harness::journal::Ledger;
use test_harness::s3::root;

/// What a program is told by a mount whose daemon died: the second for a request that was under way.
const DEAD: [&str; 2] = ["Transport endpoint is not connected", "Software caused connection abort"];

/// What Linux 6.9 brought: the kernel writes into the spool itself, and sends again what a worker has left unanswered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Before6_9,
    Since6_9,
}

#[test]
fn linux_6_1_of_which_the_daemon_writes_and_a_dead_worker_ends_the_mount() {
    check("bookworm", "6.1.", Kind::Before6_9);
}

#[test]
fn linux_6_12_which_writes_itself_and_waits_for_another_worker() {
    check("trixie", "6.12.", Kind::Since6_9);
}

#[test]
fn the_newest_linux_which_writes_itself_and_waits_for_another_worker() {
    check("sid", "", Kind::Since6_9);
}

/// Boots the kernel of a suite of Debian, whose release begins so, and looks at what came back.
fn check(suite: &str, version: &str, kind: Kind) {
    let results = match Kernel::of(suite) {
        Ok(kernel) => boot(&kernel),
        Err(Missing(why)) => {
            return eprintln!("SKIPPED: the kernel of {suite} was not tried: {why}");
        }
    };
    let release = results.text("release");
    println!("Linux {release}");
    assert!(release.starts_with(version));
    for path in ["auto", "daemon"] {
        look_at(&results, path, kind);
    }
}

/// What the program says, which docs/KUBERNETES.md has too.
fn documented(message: &str) -> &str {
    let text = std::fs::read_to_string(root().join("docs/KUBERNETES.md")).unwrap();
    assert!(text.contains(message), "docs/KUBERNETES.md does not say {message:?}");
    message
}

fn look_at(results: &Results, path: &str, kind: Kind) {
    let said = |file: &str, message: &str| {
        let text = results.text(&format!("{path}/{file}"));
        assert!(text.contains(documented(message)), "{path}/{file} lacks {message:?}:\n{text}");
    };
    let code = |file: &str| results.text(&format!("{path}/{file}.code"));
    let wrote = |name: &str| Ledger::read(&results.path(&format!("{path}/{name}.journal")));
    let is_told = |file: &str| {
        let text = results.text(&format!("{path}/{file}"));
        assert!(DEAD.iter().any(|dead| text.contains(documented(dead))), "{path}/{file}: {text}");
    };
    let (_server, bucket) = results.bucket(&format!("{path}/"));

    // The last step of all.
    assert_eq!(code("recover"), "0\n", "{}", results.text(&format!("{path}/recover.err")));

    let kernel_writes = kind == Kind::Since6_9 && path == "auto";
    let writes =
        if kernel_writes { "write path: the kernel writes into the spool itself" } else { "the daemon writes" };
    said("first.err", writes);

    // Three starts with `>`, each killed.
    let mut restarted = wrote("restarted-1");
    restarted.add(wrote("restarted-2"));
    restarted.add(wrote("restarted-3"));
    assert_eq!(restarted.failed, 0);
    restarted.assert_in(&bucket.lines("restarted.log"));
    assert_eq!(bucket.generations("restarted.log").len(), 3, "each start began the log anew");

    // The worker killed under a writer: three times, or once.
    let (mut app, last) = (wrote("app-1"), wrote("app-3"));
    if kind == Kind::Since6_9 {
        assert!(app.count() >= 400, "it wrote on after each kill: {}", app.count());
        let served = results.text(&format!("{path}/first.err"));
        assert_eq!(served.matches("the new worker serves").count(), 3, "{served}");
        assert!(!results.path(&format!("{path}/refused")).exists(), "a mkdir(2) failed");
    } else {
        is_told("app-1.err");
        said("first.err", "this kernel cannot send requests again");
        said("first.err", "and this kernel cannot hand its requests to another");
        assert_eq!(code("first"), "1\n");
        app.add(wrote("app-2"));
    }

    // All killed, and mounted again.
    is_told("all-killed.err");
    said("third.err", "a mount whose daemon died is there; it is unmounted");
    if kernel_writes {
        assert_eq!(app.failed, 0, "an open log that the kernel writes outlives its daemon");
    }
    app.add(last);

    // All killed once more, and recovered.
    app.assert_in(&bucket.lines("app.log"));
    assert_eq!(bucket.generations("app.log").len(), 1, "whoever appends goes on with the log");
}
