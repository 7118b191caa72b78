//! `logsinkfs status` and `logsinkfs flush`: what people and scripts ask of a mount that serves.

use std::fs;
use std::io::Write;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use test_harness::files::append;
use test_harness::process::{Proc, command, program};
use test_harness::{Mount, Rig, eventually};

/// Starts a command against a mount whose keeper listens at the default place.
fn start(mount: &Mount, words: &[&str]) -> Proc {
    let mut asked = command(&mount.plan.program);
    asked.args(words).arg(&mount.plan.point);
    Proc::start(words[0], asked)
}

/// Runs it to its end; gives exit code, what it printed and what it complained of.
pub fn ask(mount: &Mount, words: &[&str]) -> (i32, String, String) {
    let mut asked = start(mount, words);
    let code = asked.wait().code().unwrap();
    (code, asked.said().join("\n"), asked.last_words())
}

pub fn status(mount: &Mount) -> Value {
    let (_, said, complaint) = ask(mount, &["status", "--json"]);
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{complaint}"))
}

#[test]
fn flush_returns_when_s3_has_everything() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    append(&mount.path("app.log"), "first\n");
    assert_eq!(ask(&mount, &["flush"]), (0, String::new(), String::new()));
    assert_eq!(rig.bucket().content("app.log"), b"first\n", "at once, and the mount serves on");
    append(&mount.path("app.log"), "second\n");
    assert_eq!(ask(&mount, &["flush"]).0, 0);
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
    mount.stop();
}

#[test]
fn what_stays_local_is_counted_and_said() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let told = |mount: &Mount| {
        let status = status(mount);
        (status["local_files"].as_u64(), status["local_bytes"].as_u64())
    };
    assert_eq!(told(&mount), (Some(0), Some(0)));
    assert!(ask(&mount, &["status"]).1.contains("stays local   nothing"));
    fs::write(mount.path("app.pid"), "1234").unwrap();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    assert_eq!(told(&mount), (Some(1), Some(4)));
    assert!(ask(&mount, &["status"]).1.contains("stays local   1 file, 4 B"));
    let said = "logsinkfs: S3 has everything but a file (4 B) that stays local";
    assert_eq!(ask(&mount, &["flush"]), (0, said.to_owned(), String::new()));
    // The next worker finds it in the spool.
    mount.kill_worker();
    assert_eq!(told(&mount), (Some(1), Some(4)));
    fs::remove_file(mount.path("app.pid")).unwrap();
    assert_eq!(told(&mount), (Some(0), Some(0)));
    mount.stop();
}

#[test]
fn flush_waits_for_what_was_there_and_no_longer() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    append(&mount.path("app.log"), "before\n");
    gate.refuse(503, "SlowDown");
    // Nobody waits: it returns during the outage, and the upload comes later.
    assert_eq!(ask(&mount, &["flush", "--no-wait"]).0, 0);
    assert_eq!(ask(&mount, &["flush", "--timeout", "100ms"]).0, 3, "S3 has not everything");
    let mut waits = start(&mount, &["flush"]);
    eventually("S3 to be away", || (status(&mount)["s3"]["up"] == false).then_some(()));
    assert!(waits.poll().is_none());
    append(&mount.path("app.log"), "after\n");
    gate.open();
    assert_eq!(waits.wait().code(), Some(0));
    let stored = rig.bucket().content("app.log");
    assert!(stored.starts_with(b"before\n"), "{stored:?}");
    mount.stop();
}

#[test]
fn a_worker_that_does_not_answer_is_said_to() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let worker = mount.worker();
    kill_process(worker, Signal::STOP).unwrap();
    let (code, _, said) = ask(&mount, &["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the worker does not answer") && said.contains("hint: "), "{said}");
    kill_process(worker, Signal::CONT).unwrap();
    assert_eq!(ask(&mount, &["status"]).0, 0);
    assert_eq!(mount.worker(), worker, "it was given time");
    mount.stop();
}

#[test]
fn status_is_answered_however_many_wait_for_s3() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waiting: Vec<Proc> = (0..20).map(|_| start(&mount, &["flush"])).collect();
    mount.daemon.await_told(&["flush requested"], 16);
    // The others are told so; how many wait does not grow without a bound.
    let refused = |flush: &mut Proc| flush.poll().is_some_and(|status| status.code() == Some(1));
    eventually("four to be refused", || {
        (waiting.iter_mut().filter_map(|flush| refused(flush).then_some(())).count() == 4).then_some(())
    });
    assert_eq!(ask(&mount, &["status"]).0, 0);
    gate.open();
    waiting.retain_mut(|flush| !refused(flush));
    assert_eq!(waiting.len(), 16);
    waiting.into_iter().for_each(Proc::success);
    mount.stop();
}

#[test]
fn a_flush_survives_the_worker_that_began_it() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waits = start(&mount, &["flush"]);
    mount.daemon.await_stderr("flush requested");
    mount.kill_worker();
    gate.open();
    assert_eq!(waits.wait().code(), Some(0), "{}", waits.stderr());
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
    mount.stop();
}

#[test]
fn flush_returns_when_what_it_waits_for_is_uploaded_and_gone() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    gate.refuse(503, "SlowDown");
    for log in (0..50).map(|n| mount.path(&format!("{n}.log"))) {
        append(&log, "line\n");
        fs::remove_file(&log).unwrap();
    }
    let mut waits = start(&mount, &["flush"]);
    mount.daemon.await_stderr("flush requested");
    gate.open();
    // As soon as S3 has a log without a name, nothing of it is left here.
    assert_eq!(waits.wait().code(), Some(0), "{}", waits.stderr());
    assert_eq!(rig.bucket().streams().len(), 50);
    mount.stop();
}

#[test]
fn status_says_what_a_mount_is_and_how_it_is() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    append(&mount.path("app.log"), "twelve bytes");
    let known = || (status(&mount)["s3"]["conditional_writes"] == "enforced").then_some(());
    eventually("the registration", known);
    let told = status(&mount);
    assert_eq!(told["mountpoint"], mount.plan.point.to_str().unwrap());
    assert_eq!((&told["ready"], &told["live_files"]), (&true.into(), &1.into()));
    assert_eq!((&told["unuploaded_bytes"], &told["s3"]["up"]), (&12.into(), &true.into()));
    gate.refuse(503, "SlowDown");
    mount.daemon.signal(Signal::USR1);
    eventually("S3 to be away", || (status(&mount)["s3"]["up"] == false).then_some(()));
    let (code, said, _) = ask(&mount, &["status"]);
    assert_eq!(code, 0, "programs can write all the same");
    for part in [": ready\n", "12 B", "away for", "SlowDown", "hint: the service asked", "live files"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    gate.open();
    mount.stop();
}

#[test]
fn an_outage_is_as_old_as_it_is_whoever_serves() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let mut mount = rig.plan("a").through(&gate.endpoint).start();
    let since = |mount: &Mount| {
        let since = || status(mount)["s3"]["away_since"].as_str().map(str::to_owned);
        eventually("S3 to be away", since)
    };
    let began = since(&mount);
    mount.kill_worker();
    assert_eq!(since(&mount), began, "for the next worker");
    mount.crash();
    mount.start_again();
    assert_eq!(since(&mount), began, "for the next daemon");
    gate.open();
    eventually("S3 to be back", || (status(&mount)["s3"]["up"] == true).then_some(()));
    mount.kill_worker();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    mount.daemon.signal(Signal::USR1);
    assert!(since(&mount) > began, "another one");
    gate.open();
    mount.stop();
}

/// The keeper of a mount may be anybody's.
#[test]
fn what_a_keeper_says_does_not_reach_the_terminal_as_it_is() {
    const KEEPER: &str = "
import json, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print('listens', flush=True)
evil = 'evil\\x1b]0;title\\x07\\x9b31m\\x7f'
for said in [{'Status': {'source': evil, 'mountpoint': evil, 'ready': True}}] * 2 + [{'Refused': {'why': evil}}]:
    client, _ = listener.accept()
    client.recv(65536)
    client.send(json.dumps(said).encode())
";
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let mut keeper = command(program("python3"));
    keeper.args(["-c", KEEPER]).arg(&socket);
    let mut keeper = Proc::start("keeper", keeper);
    keeper.await_stdout("that it listens", |line| (line == "listens").then_some(()));
    for words in [&["status"][..], &["status", "--json"], &["upgrade"]] {
        let mut asked = command(test_harness::s3::logsinkfs());
        asked.args(words).arg("--keeper-socket").arg(&socket);
        let mut asked = Proc::start("asked", asked);
        asked.wait();
        let said = asked.said().join("") + &asked.last_words().replace('\n', "");
        assert!(said.contains("evil\\u001b"), "{said:?}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

/// With the room that is left, and what happens then.
#[test]
fn a_spool_that_fills_is_told_before_it_is_full() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let small = ["--spool-max", "8MiB", "--when-full", "error", "--rotate-size", "256KiB"];
    let often = ["--retire-after", "100ms"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&small).with(&often).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    for percent in ["50 %", "80 %"] {
        eventually(&format!("a word at {percent}"), || {
            // What is refused at the end is as well.
            let _ = file.write_all(&[b'x'; 64 * 1024]);
            mount.daemon.stderr().contains(&format!("{percent} of the spool")).then_some(())
        });
    }
    mount.daemon.await_told(&["WARN", "80 % of the spool", "unsent=", "left=", "lasts=", "ENOSPC"], 1);
    gate.open();
    drop(file);
    mount.stop();
}

#[test]
fn a_mount_that_is_not_there_is_named_with_a_hint() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let none = rig.local("none");
    fs::create_dir(&none).unwrap();
    let mut asked = command(&mount.plan.program);
    let mut asked = Proc::start("status", {
        asked.arg("status").arg(&none);
        asked
    });
    assert_eq!(asked.wait().code(), Some(1));
    let said = asked.last_words();
    assert!(said.contains("no file system of logsinkfs") && said.contains("hint:"), "{said}");
    mount.stop();
}

#[test]
fn a_spool_that_is_full_is_not_ready() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let full = ["--spool-max", "8MiB", "--when-full", "error", "--rotate-size", "256KiB"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&full).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    let (code, said, complaint) = ask(&mount, &["status"]);
    assert!(code == 1 && said.contains("not ready: the spool is full"), "{code} {said}{complaint}");
    gate.open();
    drop(file);
    mount.stop();
}

#[test]
fn status_without_a_mount_names_all_of_them_with_what_to_do() {
    let rig = Rig::embedded();
    let [serving, mut dead, alone] =
        [("a", &[][..]), ("b", &[]), ("c", &["--no-keeper"])].map(|(name, flags)| rig.plan(name).with(flags).start());
    let reader = rig.read(&[]);
    dead.crash();
    let lines_of = |mount: &Mount, said: &[String]| {
        let of = format!(" on {}: ", mount.plan.point.display());
        let at = said.iter().position(|line| line.contains(&of)).unwrap_or_else(|| panic!("{said:#?}"));
        said[at..].iter().take(2).cloned().collect::<Vec<_>>().join("\n")
    };
    let status = |flags: &[&str]| {
        let mut asked = command(&serving.plan.program);
        asked.arg("status").args(flags);
        let mut asked = Proc::start("status", asked);
        let code = asked.wait().code();
        (code, asked.said())
    };
    let (code, said) = status(&[]);
    assert_eq!(code, Some(1), "{said:#?}");
    assert!(lines_of(&serving, &said).contains("ready, "), "{said:#?}");
    let told = lines_of(&dead, &said);
    assert!(told.contains("dead: ") && told.contains("hint: umount "), "{told}");
    assert!(lines_of(&alone, &said).contains("no keeper"), "{said:#?}");
    assert!(lines_of(&reader, &said).contains("a reader mount"), "{said:#?}");
    let (_, json) = status(&["--json"]);
    let all: Vec<Value> = serde_json::from_str(&json.join("")).unwrap();
    let of_dead = |mount: &&Value| mount["mountpoint"] == dead.plan.point.display().to_string();
    assert_eq!(all.iter().find(of_dead).unwrap()["state"], "dead");
    dead.start_again();
    [serving, dead, alone].into_iter().for_each(Mount::stop);
}
