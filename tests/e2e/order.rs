//! Logs that are rotated by rename, again and again, are read in the order in which they were written.

use std::fs;
use std::time::Duration;

use test_harness::process::Proc;
use test_harness::reading::{read, reading};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Answer, Mount, Rig, Run, programs};

/// Sealed and uploaded while they are written, in many rounds.
const BUSY: [&str; 4] = ["--rotate-idle", "10ms", "--rotate-interval", "1s"];
const STREAMS: usize = 20;
const LINES: usize = 8;

fn names() -> Vec<String> {
    (0..STREAMS).map(|n| format!("s{n:02}/app.log")).collect()
}

fn expected() -> String {
    (0..LINES).map(|line| format!("line {line}\n")).collect()
}

/// Each line of each log into a file of its own, which is then renamed; of the renamed ones two are kept.
fn rotate_all(mount: &Mount, lines: std::ops::Range<usize>) {
    for line in lines {
        for log in names().iter().map(|name| mount.path(name)) {
            let rotated = |by: usize| log.with_extension(format!("log.{by}"));
            fs::create_dir_all(log.parent().unwrap()).unwrap();
            if line > 2 {
                fs::remove_file(rotated(line - 3)).unwrap();
            }
            if line > 0 {
                fs::rename(&log, rotated(line - 1)).unwrap();
            }
            fs::write(&log, format!("line {line}\n")).unwrap();
        }
    }
}

fn assert_in_order(rig: &Rig) {
    assert_eq!(rig.bucket().streams(), names().into_iter().collect(), "renamed files stay in their stream");
    let reader = rig.read(&[]);
    for name in &names() {
        assert_eq!(read(rig, "cat", name, &[]), expected(), "cat {name}");
        assert_eq!(read(rig, "tail", name, &["-n", "1"]), format!("line {}\n", LINES - 1), "{name}");
        assert_eq!(fs::read_to_string(reader.path(name)).unwrap(), expected(), "a reader's {name}");
    }
    reader.stop();
}

#[test]
fn rotated_logs_are_read_in_order_after_a_flush() {
    let rig = Rig::embedded();
    let mount = rig.mount(&BUSY);
    rotate_all(&mount, 0..LINES);
    mount.flush();
    assert_in_order(&rig);
    mount.stop();
}

#[test]
fn rotated_logs_are_read_in_order_after_kills_and_a_stop() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&BUSY);
    rotate_all(&mount, 0..3);
    mount.kill_worker();
    rotate_all(&mount, 3..5);
    mount.crash();
    mount.start_again();
    rotate_all(&mount, 5..LINES);
    mount.stop();
    assert_in_order(&rig);
}

/// A real handler rotates while its daemon is killed over and over.
#[test]
fn a_log_is_read_in_order_however_often_it_is_rotated_and_its_daemon_killed() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mut mount = rig.mount(&["--rotate-size", "32KiB", "--write-path", write_path]);
        let mut python = programs::python("python_logging.py");
        python.arg("rotating").arg(mount.path("app.log"));
        let mut run = Run::start(&rig, "rotating", python);
        for round in 1..=9 {
            run.await_more(150);
            if round % 3 != 0 {
                mount.kill_worker();
                continue;
            }
            let _ = fs::remove_file(programs::back(&rig));
            mount.crash();
            mount.start_again();
            fs::write(programs::back(&rig), "").unwrap();
        }
        run.await_more(150);
        let ledger = run.finish();
        mount.stop();
        let shown: Vec<String> = read(&rig, "cat", "app.log", &[]).lines().map(str::to_owned).collect();
        ledger.assert_in_order(&shown);
    }
}

/// Starts `tail -f` of a log, and waits until it shows this line.
fn follow(rig: &Rig, name: &str, line: &str) -> Proc {
    let follow = reading(rig, &rig.access, "tail", name, &["-f", "-s", "100ms"]);
    let mut tail = Proc::start("tail -f", follow);
    tail.await_stdout(line, |said| (said == line).then_some(()));
    tail
}

/// Waits for the last line of a log; insists that all were shown in their order.
fn assert_followed(mut tail: Proc) {
    let last = format!("line {}", LINES - 1);
    tail.await_stdout("the last line", |said| (said == last).then_some(()));
    tail.kill();
    assert_eq!(tail.said().join("\n") + "\n", expected());
}

#[test]
fn followers_see_rotated_logs_in_order() {
    let rig = Rig::embedded();
    let mount = rig.mount(&BUSY);
    rotate_all(&mount, 0..2);
    mount.flush();
    let tails: Vec<Proc> = names()[..4].iter().map(|name| follow(&rig, name, "line 1")).collect();
    for line in 2..LINES {
        rotate_all(&mount, line..line + 1);
        mount.flush();
    }
    tails.into_iter().for_each(assert_followed);
    mount.stop();
}

#[test]
fn a_follower_waits_for_what_is_uploaded_late() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&BUSY).start();
    rotate_all(&mount, 0..2);
    mount.flush();
    let tail = follow(&rig, &names()[0], "line 1");
    // Long enough for the follower to have seen all others.
    let late = |target: &str| target.contains("s00/") && target.contains("_00000004_");
    gate.rule(move |seen| if late(&seen.target) { Answer::Delay(Duration::from_secs(2)) } else { Answer::Pass });
    rotate_all(&mount, 2..LINES);
    mount.flush();
    assert_followed(tail);
    mount.stop();
}
