//! The two commands of the program as a user types them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::bad_input::fails;
use test_harness::mount::{Plan, is_mounted};
use test_harness::process::Proc;
use test_harness::rig::PREFIX;
use test_harness::s3::{Kind, Server};
use test_harness::{Bucket, Rig, eventually};

/// Every process whose command line names this folder, which only this test knows.
pub fn processes_of(folder: &Path) -> Vec<Pid> {
    let name = folder.to_str().unwrap().as_bytes();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let ours = all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(name.len()).any(|window| window == name)
    });
    ours.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A port that takes connections and never answers.
struct Silent {
    endpoint: String,
    _listener: TcpListener,
}

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { endpoint: format!("http://{}", listener.local_addr().unwrap()), _listener: listener }
    }
}

/// A daemon that went into the background; no `Proc` holds it.
pub struct Background<'a>(pub &'a Path);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        for pid in processes_of(self.0) {
            let _ = kill_process(pid, Signal::KILL);
        }
        test_harness::mount::clear(self.0);
    }
}

/// The command line of a daemon that goes to the background.
fn without_foreground(plan: &Plan) -> Command {
    let with_foreground = plan.command();
    let mut command = Command::new("setpriv");
    for (name, value) in with_foreground.get_envs() {
        command.env(name, value.unwrap());
    }
    command.env_remove("RUST_BACKTRACE");
    command.args(with_foreground.get_args().filter(|arg| *arg != "--foreground"));
    command
}

/// What S3 says to the first request is seen by whoever mounts, with what to do and where the log goes on.
#[test]
fn what_s3_says_at_first_is_told_before_the_command_returns() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(404, "NoSuchBucket");
    let silent = Silent::new();
    for (name, endpoint, words) in [
        ("refused", &gate.endpoint, ["NoSuchBucket", "create the bucket"]),
        ("silent", &silent.endpoint, ["S3 has not answered", "goes into the spool"]),
    ] {
        let plan = rig.plan(name).through(endpoint).with(&["--shutdown-timeout", "0s"]);
        let _background = Background(&plan.point);
        let mut mount = Proc::start("logsinkfs", without_foreground(&plan));
        assert_eq!(mount.wait().code(), Some(0));
        let (log, said) = (mount.last_words(), mount.said().join("\n"));
        words.iter().for_each(|word| assert!(log.contains(word), "{word:?} in {log}"));
        let place = format!("the log goes on in {}/logsinkfs.log", plan.spool.display());
        assert!(said.contains(&place), "{said}");
        fs::write(plan.point.join("app.log"), "line\n").unwrap();
    }
}

/// There is nothing that a reader mount could show, or do later.
#[test]
fn a_reader_mount_that_may_not_read_fails() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    for (code, status, words) in [
        ("NoSuchBucket", 404, ["NoSuchBucket", "create the bucket"]),
        ("AccessDenied", 403, ["AccessDenied", "s3:ListBucket"]),
    ] {
        gate.refuse(status, code);
        fails(rig.plan_reader(&[]).through(&gate.endpoint), &words);
    }
    let nobody = rig.plan_reader(&[]).through("http://127.0.0.1:1");
    fails(nobody, &["127.0.0.1:1", "check --endpoint-url"]);
}

#[test]
fn the_command_returns_once_the_mount_serves() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let _background = Background(&plan.point);
    Proc::start("logsinkfs", without_foreground(&plan)).success();
    assert!(is_mounted(&plan.point), "the mount serves when the command has returned");
    fs::write(plan.point.join("app.log"), "line\n").unwrap();
    let daemons = processes_of(&plan.point);
    assert!(!daemons.is_empty(), "a daemon serves in the background");
    for pid in daemons {
        kill_process(pid, Signal::TERM).unwrap();
    }
    eventually("the daemon to end", || processes_of(&plan.point).is_empty().then_some(()));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn an_unmount_from_outside_ends_the_daemon_and_loses_nothing() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    rustix::mount::unmount(&mount.plan.point, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.stderr());
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_mount_that_is_made_again_at_once_is_not_taken_away_by_the_one_before() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    for round in 1..=5 {
        let mut before = plan.clone().start();
        fs::write(before.path("app.log"), format!("before {round}\n")).unwrap();
        rustix::mount::unmount(&plan.point, rustix::mount::UnmountFlags::empty()).unwrap();
        // Takes the spool over, if the one before has not uploaded everything yet.
        let again = plan.clone().start();
        let code = before.daemon.wait().code();
        let left = before.daemon.stderr().contains("the next mount goes on with it");
        assert_eq!(code, Some(if left { 3 } else { 0 }), "{}", before.daemon.stderr());
        assert!(is_mounted(&plan.point), "the mount was taken away in round {round}");
        fs::write(again.path("app.log"), format!("again {round}\n")).unwrap();
        again.stop();
    }
    assert_eq!(rig.bucket().lines("app.log").len(), 10);
}

#[test]
fn a_mount_that_is_made_again_takes_over_what_the_one_before_cannot_send() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "1h"]);
    let mut before = plan.clone().start();
    fs::write(before.path("app.log"), "before\n").unwrap();
    rustix::mount::unmount(&plan.point, rustix::mount::UnmountFlags::empty()).unwrap();
    let again = plan.clone().start();
    assert_eq!(before.daemon.wait().code(), Some(3), "{}", before.daemon.stderr());
    before.daemon.await_stderr("the next mount goes on with it");
    assert_eq!(fs::read_to_string(again.path("app.log")).unwrap(), "before\n");
    fs::OpenOptions::new().append(true).open(again.path("app.log")).unwrap();
    gate.open();
    again.stop();
    assert_eq!(rig.bucket().content("app.log"), b"before\n");
}

#[test]
fn every_flag_has_a_twin_in_the_environment_and_the_flag_wins() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").env("LOGSINKFS_COMPRESSION", "zstd").env("LOGSINKFS_WRITER_ID", "twin");
    let mount = plan.with(&["--writer-id", "flag"]).start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let segment = rig.bucket().segments("app.log").remove(0);
    assert_eq!(segment.suffix, "log.zst");
    assert!(segment.writer.starts_with("flag-"), "{}", segment.writer);
}

#[test]
fn a_prefix_needs_no_slash_at_its_end() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    plan.source = plan.source.trim_end_matches('/').to_owned();
    let mount = plan.start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    assert!(rig.bucket().segments("app.log")[0].key.starts_with(PREFIX));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_whole_bucket_can_be_mounted() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    plan.source = format!("s3://{}", rig.access.bucket);
    let mount = plan.start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    assert_eq!(Bucket::new(&rig.access, "").content("app.log"), b"line\n");
}

#[test]
fn a_folder_serves_as_a_bucket_that_any_client_can_read() {
    let rig = Rig::embedded();
    let folder = rig.local("my bucket");
    let mut plan = rig.plan("a");
    plan.source = format!("file://{}", folder.display());
    let mount = plan.start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let server = Server::start(Kind::Embedded, &folder);
    assert_eq!(Bucket::new(&server.access, "").content("app.log"), b"line\n");
}

#[test]
fn files_and_directories_have_the_owner_and_mode_that_were_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let rig = Rig::embedded();
    rig.bucket().put("team/web/old.txt", b"stored\n");
    let flags = ["--uid", "1234", "--gid", "4321", "--file-mode", "0640", "--dir-mode", "0750"];
    let mount = rig.mount_bucket_view(&flags);
    // A cold look-up waits for S3 only so long.
    eventually("the object", || mount.path("web/old.txt").exists().then_some(()));
    let (dir, file) = (fs::metadata(mount.path("web")), fs::metadata(mount.path("web/old.txt")));
    let (dir, file) = (dir.unwrap(), file.unwrap());
    assert_eq!((dir.uid(), dir.gid(), dir.mode() & 0o777), (1234, 4321, 0o750));
    assert_eq!((file.uid(), file.gid()), (1234, 4321));
    mount.stop();
}
