//! The harness itself: each check that the scenarios rest on is seen to fail.
//!
//! A comparison that cannot fail proves nothing, and it would not show in any scenario.

use std::fs;

use test_harness::gate::{Answer, Gate};
use test_harness::journal::Ledger;
use test_harness::process::{Proc, command, program};
use test_harness::rig::{PREFIX, folder};
use test_harness::s3::{Kind, Server};
use test_harness::segments::{Segment, generations};
use test_harness::{Bucket, eventually};

fn lines(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// What the check says when it fails.
fn complaint(check: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let failure = std::panic::catch_unwind(check).expect_err("this check must fail");
    match failure.downcast::<String>() {
        Ok(text) => *text,
        Err(constant) => (*constant.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn a_lost_a_doubled_and_a_torn_line_are_found() {
    let check = |found: &'static str| move || Ledger::written(lines("a b c")).assert_in(&lines(found));
    check("c a b")();
    assert!(complaint(check("a c")).contains("lost 1 (such as [\"b\"])"));
    assert!(complaint(check("a b c b")).contains("doubled 1 (such as [\"b\"])"));
    assert!(complaint(check("a b c ab")).contains("torn 1 (such as [\"ab\"])"));
    let ordered = || Ledger::written(lines("a b c")).assert_in_order(&lines("a c b"));
    assert!(complaint(ordered).contains("another order"));
}

#[test]
fn lines_of_one_program_in_another_order_are_found_and_those_of_two_may_mix() {
    let check = |found: &'static str| {
        move || {
            let mut ledger = Ledger::written(lines("a b"));
            ledger.add(Ledger::written(lines("c d")));
            ledger.add(Ledger::written(lines("e f")));
            ledger.assert_each_in_order("app.log", &lines(found));
        }
    };
    for fine in ["a b c d e f", "e c a d f b", "b f"] {
        check(fine)();
    }
    for wrong in ["b a", "a c d b f e", "d a c"] {
        assert!(complaint(check(wrong)).contains("stands behind"), "{wrong}");
    }
}

#[test]
fn a_failed_line_may_be_there_once_or_not_at_all() {
    let dir = folder();
    let journal = dir.path().join("journal");
    fs::write(&journal, "try a\nok a\ntry b\nerr b\ntry c\nok c\ntry d\no").unwrap();
    let ledger = || Ledger::read(&journal);
    assert_eq!((ledger().count(), ledger().failed), (2, 1));
    ledger().assert_in_order(&lines("a c"));
    ledger().assert_in_order(&lines("a b c d"));
    assert!(complaint(|| ledger().assert_in(&lines("a b b c"))).contains("doubled 1"));
}

#[test]
fn the_beginning_of_a_line_is_allowed_where_its_program_was_killed_in_it_and_nowhere_else() {
    let ledger = || {
        let mut ledger = Ledger::default();
        ledger.ok("first");
        ledger.ok("last");
        ledger.maybe("dying");
        ledger
    };
    for cut in ["first dlast", "first dyilast", "first last d", "first last", "first last dying"] {
        ledger().assert_in_order(&lines(cut));
    }
    for torn in ["first flast", "first dylast dyi", "first yilast", "first dlas", "first d"] {
        assert!(!complaint(|| ledger().assert_in(&lines(torn))).is_empty(), "{torn}");
    }
}

fn segment(generation: u64, offset: u64, text: &str) -> (Segment, Vec<u8>) {
    let partial = if text.ends_with('\n') { "" } else { "p" };
    let length = text.len();
    let key = format!(
        "{PREFIX}web/a%20b.log.segments/dt=2026-11-23/hour=08/\
         20261123T081502.123456Z_node-7-x1_{generation:08}_{offset:016}_{length:012}{partial}.log"
    );
    (Segment::parse(PREFIX, &key).unwrap(), text.as_bytes().to_vec())
}

#[test]
fn a_key_is_read_as_documented() {
    let (segment, _) = segment(3, 17, "no end");
    assert_eq!(segment.stream, "web/a b.log");
    assert_eq!(segment.partition, "dt=2026-11-23/hour=08");
    assert_eq!(segment.start, "20261123T081502.123456Z");
    assert_eq!(segment.writer, "node-7-x1");
    assert_eq!((segment.generation, segment.offset, segment.length), (3, 17, 6));
    assert!(segment.partial);
    assert!(Segment::parse(PREFIX, "team/notes.txt").is_none());
    assert!(Segment::parse(PREFIX, "team/app.log.segments/dt=x/notes.txt").is_none());
}

#[test]
fn a_gap_an_overlap_and_a_missing_generation_are_found() {
    let joined = generations(vec![segment(1, 2, "b\n"), segment(1, 0, "a\n"), segment(2, 0, "c\n")]);
    assert_eq!(joined.into_values().collect::<Vec<_>>(), [b"a\nb\n".to_vec(), b"c\n".to_vec()]);
    let gap = || drop(generations(vec![segment(1, 0, "a\n"), segment(1, 3, "b\n")]));
    assert!(complaint(gap).contains("a gap or an overlap"));
    let overlap = || drop(generations(vec![segment(1, 0, "a\n"), segment(1, 1, "\nb\n")]));
    assert!(complaint(overlap).contains("a gap or an overlap"));
    let missing = || drop(generations(vec![segment(1, 0, "a\n"), segment(3, 0, "b\n")]));
    assert!(complaint(missing).contains("a generation of node-7-x1 is missing"));
    let longer = || {
        let (segment, _) = segment(1, 0, "a\n");
        segment.check(b"a longer one\n");
    };
    assert!(complaint(longer).contains("length in the key"));
}

#[test]
fn a_process_ends_with_its_owner() {
    let mut sleep = command(program("sh"));
    sleep.args(["-c", "sleep 1000 & echo $!; wait"]);
    let mut shell = Proc::start("a shell with a child", sleep);
    let child: i32 = shell.await_stdout("the child's id", |line| line.parse().ok());
    drop(shell);
    eventually("the child to end with its group", || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_gate_lets_through_refuses_and_loses_answers() {
    let dir = folder();
    let server = Server::start(Kind::Moto, dir.path());
    let gate = Gate::before(&server.access.endpoint);
    let direct = Bucket::new(&server.access, PREFIX);
    let through = Bucket::new(&server.access.at(&gate.endpoint), PREFIX);
    through.put("team/one", b"1");
    assert_eq!(through.get("team/one").bytes, b"1");
    assert_eq!(through.keys(), ["team/one"]);
    assert_eq!(gate.lists(), 1);
    assert_eq!(gate.overwritten(), Vec::<String>::new());
    through.put("team/one", b"1");
    assert_eq!(gate.overwritten(), ["/logs/team/one"]);
    gate.refuse(403, "AccessDenied");
    let refused = std::panic::AssertUnwindSafe(|| through.put("team/two", b"2"));
    assert!(complaint(refused).contains("AccessDenied"));
    // The client tries again after a lost answer, so the first one alone is lost.
    let mut first = true;
    gate.rule(move |_| if std::mem::take(&mut first) { Answer::LoseReply } else { Answer::Pass });
    through.put("team/three", b"3");
    assert_eq!(direct.keys(), ["team/one", "team/three"]);
    assert_eq!(gate.seen().iter().filter(|seen| seen.target.contains("three")).count(), 2);
}
