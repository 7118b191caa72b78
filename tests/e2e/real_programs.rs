//! The programs that people log with, each writing into a mount as it comes.
//!
//! Every scenario gives the lines that its program wrote; the stage compares them with the bucket. Lines are unique, so
//! a line that is lost, doubled or torn shows by name.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use test_harness::process::{Proc, command, program};
use test_harness::s3::script;
use test_harness::{Ledger, Rig, Run, Stage, eventually, programs, scenario};

/// Copies that rotation makes of a log in the mount are logs as well today, where their names are not excluded. That is
/// to change: copies are to be found by their content and to stay out of the bucket, and these are to go.
const COPIED: fn(&str) -> bool = |stream| stream == "app.log.1";
const COMPRESSED: fn(&str) -> bool = |stream| stream.ends_with(".gz");

/// Lets a program write, meets the middle of the scenario, and lets it write on.
fn run(stage: &mut Stage, name: &str, command: Command) -> Ledger {
    let mut run = Run::start(&stage.rig, name, command);
    run.await_more(600);
    stage.midway();
    run.await_more(600);
    run.finish()
}

fn python_logging(stage: &mut Stage, handler: &str) -> Ledger {
    let mut python = programs::python("python_logging.py");
    python.arg(handler).arg(stage.mount.path("app.log"));
    run(stage, handler, python)
}

scenario!(python_file_handler);
fn python_file_handler(stage: &mut Stage) -> Ledger {
    python_logging(stage, "file")
}

scenario!(python_rotating_file_handler);
fn python_rotating_file_handler(stage: &mut Stage) -> Ledger {
    let ledger = python_logging(stage, "rotating");
    assert!(stage.mount.path("app.log.3").exists(), "the handler rotated and kept its copies");
    assert!(!stage.mount.path("app.log.4").exists(), "the handler deleted what is old");
    ledger
}

scenario!(python_timed_rotating_file_handler);
fn python_timed_rotating_file_handler(stage: &mut Stage) -> Ledger {
    let mut python = programs::python("python_logging.py");
    python.arg("timed").arg(stage.mount.path("app.log"));
    let mut run = Run::start(&stage.rig, "timed", python);
    run.await_more(300);
    stage.midway();
    let rotated = stage.mount.plan.point.clone();
    eventually("two rotated files by time", || (files(&rotated) >= 3).then_some(()));
    run.await_more(300);
    run.finish()
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

scenario!(a_shell_loop_that_opens_and_closes_for_each_line);
fn a_shell_loop_that_opens_and_closes_for_each_line(stage: &mut Stage) -> Ledger {
    let mut shell = command(program("sh"));
    shell.arg(script("shell_loop.sh")).arg(stage.mount.path("app.log"));
    run(stage, "shell", shell)
}

scenario!(glog_style_files_with_a_link_to_the_newest);
fn glog_style_files_with_a_link_to_the_newest(stage: &mut Stage) -> Ledger {
    let mut python = programs::python("glog_style.py");
    python.arg(&stage.mount.plan.point);
    let ledger = run(stage, "glog", python);
    let newest = std::fs::read_link(stage.mount.path("app.INFO")).unwrap();
    let through_the_link = std::fs::read(stage.mount.path("app.INFO")).unwrap();
    let itself = std::fs::read(stage.mount.plan.point.join(newest)).unwrap();
    assert_eq!(through_the_link, itself);
    stage.streams_are_files("app.host.");
    ledger
}

scenario!(log4j2_rolling_with_gzip_and_delete);
fn log4j2_rolling_with_gzip_and_delete(stage: &mut Stage) -> Ledger {
    let java = programs::java("log4j2", &stage.mount.plan.point);
    stage.beside = COMPRESSED;
    run(stage, "log4j2", java)
}

/// Runs the real logrotate once over a log, whatever the time since the last rotation.
fn logrotate(rig: &Rig, log: &Path, directives: &str) {
    let config = rig.local("logrotate.conf");
    let text = format!("{} {{\n rotate 3\n {directives}\n}}\n", log.display());
    std::fs::write(&config, text).unwrap();
    let mut rotate = command(program("logrotate"));
    rotate.arg("--force").arg("--state").arg(rig.local("logrotate.state")).arg(&config);
    Proc::start("logrotate", rotate).success();
}

/// A writer under three rotations, one of them right after the middle of the scenario.
fn rotated(stage: &mut Stage, directives: &dyn Fn(&Run) -> String) -> Ledger {
    let mut writer = programs::python("plain_writer.py");
    writer.arg(stage.mount.path("app.log"));
    let mut run = Run::start(&stage.rig, "writer", writer);
    for rotation in 0..4 {
        run.await_more(250);
        if rotation == 2 {
            stage.midway();
            run.await_more(50);
        }
        logrotate(&stage.rig, &stage.mount.path("app.log"), &format!("su root root\n {}", directives(&run)));
    }
    run.await_more(250);
    run.finish()
}

fn hang_up(run: &Run) -> String {
    let pid = run.process.pid().as_raw_nonzero();
    format!("postrotate\n kill -HUP {pid}\n endscript")
}

scenario!(logrotate_with_create);
fn logrotate_with_create(stage: &mut Stage) -> Ledger {
    let ledger = rotated(stage, &|run| format!("create 0640 root root\n {}", hang_up(run)));
    assert!(stage.mount.path("app.log.3").exists());
    ledger
}

scenario!(logrotate_with_compress);
fn logrotate_with_compress(stage: &mut Stage) -> Ledger {
    let directives = "create 0640 root root\n compress\n delaycompress";
    let ledger = rotated(stage, &|run| format!("{directives}\n {}", hang_up(run)));
    stage.beside = COMPRESSED;
    assert!(stage.mount.path("app.log.2.gz").exists());
    ledger
}

scenario!(logrotate_with_copytruncate);
fn logrotate_with_copytruncate(stage: &mut Stage) -> Ledger {
    // On a local disk the lines between the copy and the truncation are lost; here none are.
    let ledger = rotated(stage, &|_| "copytruncate".to_owned());
    stage.beside = COPIED;
    assert!(stage.mount.path("app.log.3").exists());
    ledger
}

#[test]
fn logrotate_with_maxage_keeps_a_log_that_was_begun_long_ago_and_written_now() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let log = mount.path("app.log");
    std::fs::write(&log, "old\n").unwrap();
    let ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().append(true).open(&log).unwrap().set_modified(ago).unwrap();
    File::options().append(true).open(&log).unwrap().write_all(b"new\n").unwrap();
    logrotate(&rig, &log, "su root root\n maxage 1\n create 0644 root root");
    // The second rotation looks at the ages of what the first one has renamed.
    std::fs::write(&log, "newest\n").unwrap();
    logrotate(&rig, &log, "su root root\n maxage 1\n create 0644 root root");
    assert_eq!(std::fs::read_to_string(mount.path("app.log.2")).unwrap(), "old\nnew\n");
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log"), ["old", "new", "newest"]);
}

#[test]
fn logrotate_in_a_set_group_id_folder_keeps_the_group() {
    const GAMES: u32 = 60;
    let rig = Rig::embedded();
    let mount = rig.mount(&["--allow-other", "--dir-mode", "0755"]);
    let (folder, log) = (mount.path("web"), mount.path("web/app.log"));
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, None, Some(GAMES)).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o2775)).unwrap();
    let mut writer = programs::python("plain_writer.py");
    writer.arg(&log);
    let mut run = Run::start(&rig, "writer", writer);
    run.await_more(200);
    assert_eq!(std::fs::metadata(&log).unwrap().gid(), GAMES, "a new file has the folder's group");
    logrotate(&rig, &log, &format!("su root games\n create\n {}", hang_up(&run)));
    run.await_more(200);
    for name in ["web/app.log", "web/app.log.1"] {
        assert_eq!(std::fs::metadata(mount.path(name)).unwrap().gid(), GAMES, "{name}");
    }
    let ledger = run.finish();
    mount.stop();
    ledger.assert_in_order(&rig.bucket().lines("web/app.log"));
}
