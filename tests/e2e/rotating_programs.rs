//! Programs that rotate their log themselves, each by another scheme of names.
//!
//! A stream is the log that a name stands for: what is renamed goes on in the stream that it was born in, and what is
//! created under a name of its own is a stream of its own. So how many streams a program makes depends on its scheme.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use test_harness::stage::assert_quiet;
use test_harness::{Ledger, Rig, Run, Stage, eventually, programs, scenario};

/// Lets a program write, meets the middle of the scenario, and lets it write on until it has so many files.
fn run(stage: &mut Stage, name: &str, command: Command, files: usize) -> Ledger {
    let mut run = Run::start(&stage.rig, name, command);
    run.await_more(600);
    stage.midway();
    run.await_more(600);
    let folder = &stage.mount.plan.point;
    let counted = || fs::read_dir(folder).unwrap().count();
    eventually(&format!("{files} files"), || (counted() >= files).then_some(()));
    run.finish()
}

scenario!(java_util_logging_with_a_count);
fn java_util_logging_with_a_count(stage: &mut Stage) -> Ledger {
    // The newest is always app.log.0, and the others come from it by rename.
    stage.streams = ["app.log.0".to_owned()].into();
    let java = programs::java("util", &stage.mount.plan.point);
    let ledger = run(stage, "util", java, 3);
    assert!(stage.mount.path("app.log.2").exists());
    ledger
}

scenario!(logback_by_size_and_date unbroken);
fn logback_by_size_and_date(stage: &mut Stage) -> Ledger {
    let java = programs::java("logback", &stage.mount.plan.point);
    let ledger = run(stage, "logback", java, 3);
    stage.streams_are_files("app-");
    ledger
}

scenario!(winston_daily_rotate_file_by_size unbroken);
fn winston_daily_rotate_file_by_size(stage: &mut Stage) -> Ledger {
    let mut node = programs::node("winston_program.js");
    node.arg(&stage.mount.plan.point);
    let ledger = run(stage, "winston", node, 3);
    stage.streams_are_files("app-");
    ledger
}

scenario!(rotatelogs_in_a_circle unbroken);
fn rotatelogs_in_a_circle(stage: &mut Stage) -> Ledger {
    // Each of the three is truncated when its turn comes again.
    stage.streams = ["app.log", "app.log.1", "app.log.2"].map(str::to_owned).into();
    let log = stage.mount.path("app.log");
    let args: [&OsStr; 4] = ["-n".as_ref(), "3".as_ref(), log.as_ref(), "20K".as_ref()];
    run(stage, "circle", programs::piped_into("rotatelogs", &args), 3)
}

scenario!(rotatelogs_by_size unbroken);
fn rotatelogs_by_size(stage: &mut Stage) -> Ledger {
    let log = stage.mount.path("app.log");
    let args: [&OsStr; 2] = [log.as_ref(), "20K".as_ref()];
    // Each name ends in the second in which the file was begun.
    let ledger = run(stage, "size", programs::piped_into("rotatelogs", &args), 2);
    stage.streams_are_files("app.log.");
    ledger
}

scenario!(svlogd unbroken);
fn svlogd(stage: &mut Stage) -> Ledger {
    stage.streams = ["current".to_owned()].into();
    stage.beside = |stream| stream == "config";
    fs::write(stage.mount.path("config"), "s20000\nn3\n").unwrap();
    let folder = stage.mount.plan.point.clone();
    // The configuration, a lock, the newest file and three that were renamed.
    run(stage, "svlogd", programs::piped_into("svlogd", &[folder.as_ref()]), 6)
}

scenario!(loguru_by_size);
fn loguru_by_size(stage: &mut Stage) -> Ledger {
    let mut loguru = programs::venv_python("loguru_program.py");
    loguru.arg(stage.mount.path("app.log"));
    run(stage, "loguru", loguru, 4)
}

scenario!(concurrent_log_handler_in_four_processes unbroken);
fn concurrent_log_handler_in_four_processes(stage: &mut Stage) -> Ledger {
    let process = |number| {
        let mut python = programs::venv_python("python_logging.py");
        python.arg("concurrent").arg(stage.mount.path("app.log"));
        Run::start(&stage.rig, &format!("process-{number}"), python)
    };
    let mut runs: Vec<Run> = (0..4).map(process).collect();
    runs.iter_mut().for_each(|run| run.await_more(150));
    stage.midway();
    runs.iter_mut().for_each(|run| run.await_more(150));
    let mut ledger = Ledger::default();
    runs.into_iter().for_each(|run| ledger.add(run.finish()));
    assert!(stage.mount.path("app.log.3").exists(), "it rotated");
    ledger
}

/// Side by side on one mount, each in a folder of its own.
#[test]
fn ten_programs_leave_nothing_to_complain_of() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let folder = |name: &str| {
        let folder = mount.path(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let with = |mut command: Command, args: &[&OsStr]| {
        command.args(args);
        command
    };
    let mut commands = Vec::new();
    for handler in ["file", "rotating", "timed", "concurrent"] {
        let log = folder(handler).join("app.log");
        let python = programs::venv_python("python_logging.py");
        commands.push((handler, with(python, &[handler.as_ref(), log.as_ref()])));
    }
    commands.push(("util", programs::java("util", &folder("util"))));
    let loguru = programs::venv_python("loguru_program.py");
    commands.push(("loguru", with(loguru, &[folder("loguru").join("app.log").as_ref()])));
    let winston = programs::node("winston_program.js");
    commands.push(("winston", with(winston, &[folder("winston").as_ref()])));
    let glog = programs::python("glog_style.py");
    commands.push(("glog", with(glog, &[folder("glog").as_ref()])));
    let log = folder("rotatelogs").join("app.log");
    commands.push(("rotatelogs", programs::piped_into("rotatelogs", &[log.as_ref(), "20K".as_ref()])));
    let svlogd = folder("svlogd");
    fs::write(svlogd.join("config"), "s20000\nn3\n").unwrap();
    commands.push(("svlogd", programs::piped_into("svlogd", &[svlogd.as_ref()])));

    let started = commands.into_iter().map(|(name, command)| Run::start(&rig, name, command));
    let mut runs: Vec<Run> = started.collect();
    runs.iter_mut().for_each(|run| run.await_more(300));
    let mut ledger = Ledger::default();
    runs.into_iter().for_each(|run| ledger.add(run.finish()));
    assert_quiet(&mount.stop_and_tell());
    let bucket = rig.bucket();
    let mut found = Vec::new();
    for stream in bucket.streams() {
        if stream == "svlogd/config" {
            continue;
        }
        let lines = bucket.lines(&stream);
        ledger.assert_each_in_order(&stream, &lines);
        found.extend(lines);
    }
    ledger.assert_in(&found);
}
