//! Stopping, and S3 being away: what is uploaded, what stays, and what the exit code says.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use test_harness::rig::folder;
use test_harness::s3::{Kind, Server};
use test_harness::{Ledger, Rig, Run, eventually, programs};

#[test]
fn a_stop_uploads_files_that_are_still_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let rig = Rig::embedded();
        let mut mount = rig.mount(&[]);
        let mut file = fs::File::create(mount.path("app.log")).unwrap();
        file.write_all(b"line\nwithout an end").unwrap();
        mount.daemon.signal(signal);
        assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.stderr());
        assert_eq!(rig.bucket().content("app.log"), b"line\nwithout an end");
        drop(file);
    }
}

#[test]
fn a_stop_under_full_load_loses_no_line_that_was_accepted() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").with(&["--rotate-size", "64KiB"]);
    let mount = plan.clone().with(&["--shutdown-timeout", "3s"]).start();
    let start = |name: &str| {
        let mut writer = programs::python("plain_writer.py");
        writer.arg(mount.path(name)).env("FLOOD", "10000000");
        Run::start(&rig, name, writer)
    };
    let mut runs: Vec<Run> = ["a.log", "b.log"].map(start).into();
    runs.iter_mut().for_each(|run| run.await_more(1_000));
    // The writers go on until the mount is gone under them, so something may stay in the spool.
    let (code, said) = mount.terminate();
    assert!(code == 0 || code == 3, "{code}: {said}");
    let mut ledger = Ledger::default();
    runs.into_iter().for_each(|run| ledger.add(run.kill()));
    plan.with(&["--shutdown-timeout", "60s"]).start().stop();
    let bucket = rig.bucket();
    let found = bucket.all_lines();
    ledger.report(&bucket, &found, 1);
    ledger.assert_in(&found);
}

#[test]
fn what_cannot_be_uploaded_stays_and_the_exit_code_says_so() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "ServiceUnavailable");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "1s"]);
    let mount = plan.clone().start();
    fs::write(mount.path("app.log"), "patient\n").unwrap();
    let (code, said) = mount.terminate();
    assert_eq!(code, 3, "{said}");
    let spool = plan.spool.display().to_string();
    assert!(said.contains(&spool), "where the data is: {said}");
    gate.open();
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"patient\n");
}

#[test]
fn a_second_signal_ends_the_wait() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "ServiceUnavailable");
    // Longer than the test may take: only the second signal can end it.
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "600s"]);
    let mut mount = plan.clone().start();
    fs::write(mount.path("app.log"), "patient\n").unwrap();
    mount.daemon.signal(Signal::TERM);
    eventually("the mount to be detached", || (!test_harness::mount::is_mounted(&mount.plan.point)).then_some(()));
    // One that comes within a moment is the same wish.
    let ended = eventually("the end", || {
        mount.daemon.signal(Signal::TERM);
        mount.daemon.poll()
    });
    assert_eq!(ended.code(), Some(3), "{}", mount.daemon.stderr());
    let said = mount.daemon.last_words();
    assert!(said.contains("why=\"a second signal came\""), "{said}");
    drop(mount);
    gate.open();
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"patient\n");
}

/// timeout(1) signals its child and then the group, a service manager every process of a service, and whoever unmounts
/// first may signal after it.
#[test]
fn signals_that_come_together_are_one() {
    for (keeper, unmount) in [(true, false), (false, false), (true, true)] {
        let rig = Rig::embedded();
        let gate = rig.gate();
        gate.refuse(503, "ServiceUnavailable");
        let flags: &[&str] = if keeper { &[] } else { &["--no-keeper"] };
        let mut mount = rig.plan("a").through(&gate.endpoint).with(flags).start();
        fs::write(mount.path("app.log"), "patient\n").unwrap();
        if unmount {
            rustix::mount::unmount(mount.path(""), rustix::mount::UnmountFlags::empty()).unwrap();
            mount.daemon.await_stderr("unmounted: stopping");
        }
        mount.daemon.signal(Signal::TERM);
        mount.daemon.signal(Signal::INT);
        gate.await_hits(3);
        gate.open();
        assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.stderr());
        assert_eq!(rig.bucket().content("app.log"), b"patient\n");
    }
}

/// Refuses every request for a while, under which an application must notice nothing.
fn outage(status: u16, code: &'static str) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--rotate-size", "16KiB"]).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    let mut expected = String::new();
    let bucket = rig.bucket();
    for phase in ["before", "during", "after"] {
        match phase {
            "during" => gate.refuse(status, code),
            _ => gate.open(),
        }
        let text: String = (0..1_000).map(|n| format!("{phase} {n:04} {}\n", "o".repeat(50))).collect();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_data().unwrap();
        expected.push_str(&text);
        if phase == "during" {
            let seen = gate.seen().len();
            eventually("a try that is refused", || (gate.seen().len() > seen).then_some(()));
        }
    }
    eventually("the upload to catch up by itself", || {
        let stored: u64 = bucket.segments("app.log").iter().map(|s| s.length).sum();
        (stored + (16 << 10) >= expected.len() as u64).then_some(())
    });
    drop(file);
    mount.stop();
    assert_eq!(bucket.content("app.log"), expected.as_bytes());
}

#[test]
fn a_spool_without_room_refuses_writes_and_keeps_what_it_took() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--spool-max", "8MiB"]);
    let mount = plan.with(&["--when-full", "error", "--rotate-size", "256KiB"]).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    let line = |n: usize| format!("line {n:06} {}\n", "s".repeat(1_000));
    let mut accepted = Vec::new();
    let refused = (0..20_000).find_map(|n| match file.write(line(n).as_bytes()) {
        Ok(written) => {
            accepted.extend_from_slice(&line(n).as_bytes()[..written]);
            None
        }
        Err(error) => Some(error),
    });
    let refused = refused.expect("20 MB do not fit into 8 MiB");
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
    gate.open();
    eventually("the file to take lines again", || file.write_all(b"again\n").ok());
    accepted.extend_from_slice(b"again\n");
    drop(file);
    mount.stop();
    assert!(rig.bucket().content("app.log") == accepted);
}

#[test]
fn a_writer_waits_for_room_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--spool-max", "8MiB"]);
    let mount = plan.with(&["--when-full", "block", "--rotate-size", "256KiB"]).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    let text: String = (0..16_000).map(|n| format!("line {n:06} {}\n", "w".repeat(1_000))).collect();
    let (sent, total) = (AtomicUsize::new(0), text.len());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in text.split_inclusive('\n') {
                file.write_all(line.as_bytes()).unwrap();
                sent.fetch_add(line.len(), Ordering::Relaxed);
            }
        });
        // Most of the room is taken; the rest of the text cannot fit before S3 is back.
        eventually("the spool to fill", || (sent.load(Ordering::Relaxed) > 4 << 20).then_some(()));
        assert!(total > 12 << 20 && rig.bucket().all_segments().is_empty());
        gate.open();
    });
    drop(file);
    mount.stop();
    assert!(rig.bucket().content("app.log") == text.as_bytes());
}

#[test]
fn throttling_is_waited_out() {
    outage(503, "SlowDown");
}

#[test]
fn a_denial_is_waited_out() {
    outage(403, "AccessDenied");
}

#[test]
fn a_server_error_is_waited_out() {
    outage(500, "InternalError");
}

#[test]
fn a_mount_starts_without_s3_and_catches_up() {
    let dir = folder();
    let server = Server::start(Kind::Embedded, &dir.path().join("bucket"));
    let address = server.access.endpoint.trim_start_matches("http://").to_owned();
    let mut rig = Rig::with(dir, server);
    rig.server.take().unwrap().kill();
    let mount = rig.mount(&["--rotate-idle", "1s"]);
    fs::write(mount.path("app.log"), "written without S3\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "written without S3\n");
    let late = Server::listen(Kind::Embedded, &rig.dir.path().join("bucket"), &address);
    rig.access = late.access.clone();
    let bucket = rig.bucket();
    eventually("the segment", || (!bucket.segments("app.log").is_empty()).then_some(()));
    mount.stop();
    assert_eq!(bucket.content("app.log"), b"written without S3\n");
    rig.server = Some(late);
}
