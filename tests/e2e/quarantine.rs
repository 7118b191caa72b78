//! What was quarantined is counted from the spool, by all who report, until somebody takes it away: a restart forgets
//! nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ask::ask;
use test_harness::gate::{Answer, Gate};
use test_harness::process::{Proc, command};
use test_harness::{Mount, Rig, eventually};

/// Runs `logsinkfs quarantine`; gives exit code and what it printed.
fn quarantine(mount: &Mount, words: &[&str], place: &Path, to: &[&Path]) -> (i32, String) {
    let mut asked = command(&mount.plan.program);
    asked.arg("quarantine").args(words).arg(place).args(to);
    let mut asked = Proc::start("quarantine", asked);
    let code = asked.wait().code().unwrap();
    (code, asked.said().join("\n") + &asked.last_words())
}

/// The files of the spool's only log whose names end so.
fn files(mount: &Mount, end: &str) -> Vec<PathBuf> {
    let nodes = fs::read_dir(mount.plan.spool.join("nodes")).unwrap();
    let mut found: Vec<_> = nodes.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(end));
    found
}

/// A mount with a log of which a line was changed behind its seal, and a sound line follows.
pub fn changed(rig: &Rig, gate: &Gate) -> Mount {
    gate.refuse(503, "SlowDown");
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&["--admin", "127.0.0.1:0"]).start();
    fs::write(mount.path("app.log"), "changed\n").unwrap();
    ask(&mount, &["flush", "--no-wait"]);
    eventually("the line to be sealed", || {
        (files(&mount, ".sealed").len() + files(&mount, ".sending").len() == 1).then_some(())
    });
    mount.crash();
    let with_line = |path: &PathBuf| fs::metadata(path).unwrap().len() > 0;
    let data = files(&mount, ".data").into_iter().find(with_line);
    fs::write(data.unwrap(), "CHANGED\n").unwrap();
    gate.open();
    mount.start_again();
    mount
}

pub fn status(mount: &Mount) -> Value {
    serde_json::from_str(&ask(mount, &["status", "--json"]).1).unwrap()
}

fn attribute(mount: &Mount, name: &str) -> String {
    let mut value = [0; 32];
    let len = rustix::fs::getxattr(mount.path("app.log"), name, &mut value[..]).unwrap();
    String::from_utf8(value[..len].to_vec()).unwrap()
}

/// What everybody says of the line that was quarantined.
fn assert_said(mount: &Mount) {
    eventually("the range to be quarantined", || (status(mount)["quarantined_files"] == 1).then_some(()));
    assert_eq!(status(mount)["quarantined_bytes"], 8);
    let (code, said, complaint) = ask(mount, &["flush"]);
    assert_eq!(code, 3, "{said}{complaint}");
    assert!(complaint.contains("S3 lacks 1 files (8 B) that were quarantined"), "{complaint}");
    let (_, said, _) = ask(mount, &["status"]);
    assert!(said.contains("quarantined   1 files, 8 B"), "{said}");
}

#[test]
fn what_was_quarantined_is_said_by_all_until_it_is_taken_away() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = changed(&rig, &gate);
    assert_said(&mount);
    let attributes = ["quarantined", "uploaded", "unsent", "dropped"];
    let values = attributes.map(|name| attribute(&mount, &format!("user.logsinkfs.{name}")));
    assert_eq!(values, ["8", "0", "0", "0"]);
    // Neither a kill nor a restart forgets it.
    mount.crash();
    mount.start_again();
    assert_said(&mount);
    let spool = mount.plan.spool.clone();
    for place in [mount.plan.point.clone(), spool.clone()] {
        let (code, said) = quarantine(&mount, &["list"], &place, &[]);
        assert_eq!(code, 3, "{said}");
        for words in ["(8 B)", "why     its bytes", "was     team/app.log.segments/"] {
            assert!(said.contains(words), "{said}");
        }
        let (_, json) = quarantine(&mount, &["list", "--json"], &place, &[]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["bytes"], 8);
    }
    // A link in it is not followed, and stays.
    let secret = rig.local("secret");
    fs::write(&secret, "of somebody else").unwrap();
    std::os::unix::fs::symlink(&secret, spool.join("quarantine/link")).unwrap();
    let to = rig.local("exported");
    let (code, said) = quarantine(&mount, &["export", "--remove"], &spool, &[&to]);
    assert_eq!(code, 1, "{said}");
    let found = fs::read_dir(&to).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let found: Vec<_> = found.collect();
    assert!(found.contains(&b"CHANGED\n".to_vec()) && found.len() == 2, "{found:?}");
    fs::remove_file(spool.join("quarantine/link")).unwrap();
    assert_eq!(quarantine(&mount, &["list"], &spool, &[]).0, 0);
    assert_eq!(ask(&mount, &["flush"]).0, 0);
    mount.stop();
}

#[test]
fn a_stop_that_leaves_something_quarantined_exits_so() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = changed(&rig, &gate);
    assert_said(&mount);
    let plan = mount.plan.clone();
    for _ in 0..2 {
        mount.crash();
        mount.start_again();
        let (code, said) = mount.terminate();
        assert_eq!(code, 3, "{said}");
        assert!(said.contains("S3 lacks 1 files") && !said.contains("S3 has everything"), "{said}");
        mount = plan.clone().start();
    }
    let spool = plan.spool.clone();
    assert_eq!(quarantine(&mount, &["export", "--remove"], &spool, &[&rig.local("out")]).0, 0);
    mount.stop();
}

/// A mount with a log of which a line was quarantined, because another object has its key; gives the key.
fn in_conflict(rig: &Rig, gate: &Gate) -> (Mount, String) {
    gate.rule(|seen| if seen.stores_a_segment() { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass });
    let mount = rig.plan("a").through(&gate.endpoint).start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    ask(&mount, &["flush", "--no-wait"]);
    let target = eventually("the key of the segment", || {
        gate.seen().into_iter().find(|seen| seen.stores_a_segment()).map(|seen| seen.target)
    });
    let path = target.split('?').next().unwrap().replacen("/logs/", "", 1);
    let key = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap().into_owned();
    rig.bucket().put(&key, b"of another\n");
    gate.open();
    eventually("the range to be quarantined", || (status(&mount)["quarantined_files"] == 1).then_some(()));
    (mount, key)
}

#[test]
fn what_can_be_sent_now_is_sent_and_reported_no_more() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let (mount, key) = in_conflict(&rig, &gate);
    let retry = |place: &Path| quarantine(&mount, &["retry"], place, &[]);
    let (code, said) = retry(&mount.plan.point);
    assert!(code == 3 && said.contains("stays quarantined"), "{code} {said}");
    assert!(said.contains("another object has its key"), "{said}");
    assert_eq!(rig.bucket().get(&key).bytes, b"of another\n", "nothing is overwritten");
    assert_eq!(status(&mount)["quarantined_files"], 1);
    rig.bucket().delete(&key);
    // Its answer is lost: the next try finds that the object is ours.
    gate.rule(|seen| if seen.stores_a_segment() { Answer::LoseReply } else { Answer::Pass });
    let (code, said) = retry(&mount.plan.point);
    assert!(code == 3 && said.contains("stays quarantined"), "{code} {said}");
    gate.open();
    // The spool says which mount is meant as well.
    let (code, said) = retry(&mount.plan.spool);
    assert!(code == 0 && said.contains("S3 has "), "{code} {said}");
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
    assert_eq!(quarantine(&mount, &["list"], &mount.plan.point, &[]).0, 0);
    let values = ["quarantined", "uploaded"].map(|name| attribute(&mount, &format!("user.logsinkfs.{name}")));
    assert_eq!(values, ["0", "5"]);
    let (code, said) = retry(&mount.plan.point);
    assert!(code == 0 && said.contains("nothing was quarantined"), "{code} {said}");
    assert_eq!(gate.overwritten(), Vec::<String>::new());
    mount.stop();
}

#[test]
fn what_cannot_be_sent_stays_quarantined_with_the_reason() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = changed(&rig, &gate);
    assert_said(&mount);
    let aside = mount.plan.spool.join("quarantine");
    fs::write(aside.join("found"), "of nobody").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", aside.join("link")).unwrap();
    let before = fs::read_dir(&aside).unwrap().count();
    let (code, said) = quarantine(&mount, &["retry"], &mount.plan.point, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("found: nothing says what it was to be called"), "{said}");
    assert!(said.contains("link: nothing says"), "{said}");
    assert!(said.contains("its bytes are not those that were sealed"), "{said}");
    let one = [Path::new("found"), Path::new("../spool.json")];
    let (code, said) = quarantine(&mount, &["retry"], &mount.plan.point, &one);
    assert!(code == 3 && !said.contains("link"), "{said}");
    assert!(said.contains("../spool.json: nothing of that name was quarantined"), "{said}");
    assert_eq!(fs::read_dir(&aside).unwrap().count(), before);
    let (code, plan) = (mount.terminate().0, rig.plan("b"));
    assert_eq!(code, 3);
    // A spool without a mount.
    let other = plan.start();
    let spool = rig.plan("a").spool;
    let (code, said) = quarantine(&other, &["retry"], &spool, &[]);
    assert!(code == 1 && said.contains("hint: mount it"), "{code} {said}");
    other.stop();
}

/// The daemon adds to what is being taken away.
#[test]
fn nothing_is_lost_that_is_dropped_while_the_list_is_taken_away() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let small = ["--spool-max", "8MiB", "--rotate-size", "64KiB", "--compression", "none"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&small).start();
    let spool = mount.plan.spool.clone();
    let mut log = fs::File::create(mount.path("app.log")).unwrap();
    let mut exported = 0;
    for n in 0..20 {
        for _ in 0..32 {
            log.write_all(&[b"x".repeat(64 * 1024 - 1), b"\n".to_vec()].concat()).unwrap();
        }
        let to = rig.local(&format!("out-{n}"));
        let (code, said) = quarantine(&mount, &["export", "--remove"], &spool, &[&to]);
        assert_eq!(code, 0, "{said}");
        for entry in fs::read_dir(&to).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            exported += bytes_of(&text);
        }
    }
    assert!(exported > 0);
    drop(log);
    let dropped = || status(&mount)["dropped_bytes"].as_u64().unwrap();
    let listed = || bytes_of(&fs::read_to_string(spool.join("quarantine/given-up")).unwrap_or_default());
    eventually("the account to be whole", || (exported + listed() == dropped()).then_some(()));
    gate.open();
    mount.terminate();
}

/// The bytes of the ranges on a list.
fn bytes_of(list: &str) -> u64 {
    let ranges = list.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    ranges.filter_map(|range| range["bytes"].as_u64()).sum()
}
