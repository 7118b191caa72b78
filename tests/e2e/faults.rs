//! S3 that misbehaves, in every way that is known of it: whatever it does for a while, programs log on as if nothing
//! were wrong, and afterwards each line is in the bucket once. `FAULTS=5000` makes a long row of those by chance,
//! `FAULT_SEED` repeats one.

use std::fs;
use std::time::Duration;

use test_harness::gate::{HTML, MOVED, SKEWED};
use test_harness::programs::{back, python};
use test_harness::stage::Play;
use test_harness::{Answer, Gate, Kind, Ledger, Mount, Rig, Run, eventually};

/// Segments of a size that there are many.
const SMALL: [&str; 4] = ["--rotate-size", "16KiB", "--rotate-idle", "1s"];
/// So often a fault is met before it is mended: at least one try after the first.
const HITS: usize = 3;

fn program(rig: &Rig, mount: &Mount, name: &str) -> Run {
    let mut writer = python("plain_writer.py");
    writer.arg(mount.path(&format!("{name}.log")));
    Run::start(rig, name, writer)
}

/// The program writes on, and others look at the mount.
fn assert_serves(mount: &Mount, program: &mut Run) {
    program.await_more(100);
    let size = fs::metadata(mount.path("app.log")).unwrap().len();
    assert!(fs::read(mount.path("app.log")).unwrap().len() as u64 >= size);
}

/// Waits for new objects.
fn await_uploads(rig: &Rig) {
    let segments = || rig.bucket().all_segments().len();
    let before = segments();
    eventually("uploads to go on", || (segments() > before).then_some(()));
}

/// All is in the bucket once; nothing was overwritten, quarantined or refused to the program.
fn assert_arrived(rig: &Rig, gate: &Gate, mount: Mount, program: Run) {
    let ledger = program.finish();
    assert_eq!(ledger.failed, 0, "writes failed");
    mount.stop();
    ledger.assert_in(&rig.bucket().all_lines());
    assert_eq!(gate.overwritten(), Vec::<String>::new());
}

/// The fault is there from the start on, heals, and comes back in the middle. Each time the daemon says it once, with
/// these words.
#[track_caller]
fn outlives(fault: Answer, words: &[&str]) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.always(fault);
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    for time in 1..=2 {
        gate.always(fault);
        gate.await_hits(HITS);
        assert_serves(&mount, &mut program);
        if !words.is_empty() {
            let said = mount.daemon.await_told(words, time);
            assert_eq!(said.len(), time, "{words:?}: {said:#?}\n{}", mount.daemon.stderr());
        }
        gate.open();
        await_uploads(&rig);
    }
    assert_arrived(&rig, &gate, mount, program);
}

#[test]
fn a_reset_before_the_body_was_read() {
    outlives(Answer::Reset, &["S3 cannot be used", "--endpoint-url"]);
}

#[test]
fn a_reset_after_the_request_was_carried_out() {
    outlives(Answer::ResetReply, &["S3 cannot be used", "--endpoint-url"]);
}

#[test]
fn a_reset_in_the_middle_of_the_answer() {
    outlives(Answer::ResetWithinReply, &[]);
}

#[test]
fn an_answer_that_is_lost() {
    outlives(Answer::LoseReply, &["S3 cannot be used", "--endpoint-url"]);
}

#[test]
fn an_answer_that_ends_before_its_length() {
    outlives(Answer::Truncate, &[]);
}

#[test]
fn an_answer_that_comes_late() {
    outlives(Answer::Delay(Duration::from_millis(200)), &[]);
}

#[test]
fn a_connection_that_drips() {
    outlives(Answer::Drip, &[]);
}

#[test]
fn throttling() {
    outlives(Answer::Refuse(503, "SlowDown", None), &["S3 cannot be used", "SlowDown"]);
}

#[test]
fn an_internal_error() {
    outlives(Answer::Refuse(500, "InternalError", None), &["S3 cannot be used", "InternalError"]);
}

#[test]
fn an_error_in_an_answer_that_began_as_a_success() {
    outlives(Answer::Refuse(200, "InternalError", None), &["S3 cannot be used", "InternalError"]);
}

#[test]
fn a_denial() {
    outlives(Answer::Refuse(403, "AccessDenied", None), &["AccessDenied", "s3:PutObject"]);
}

#[test]
fn an_expired_token_as_a_bad_request() {
    outlives(Answer::Refuse(400, "ExpiredToken", None), &["ExpiredToken", "renew"]);
}

#[test]
fn an_expired_token_as_a_denial() {
    outlives(Answer::Refuse(403, "ExpiredToken", None), &["ExpiredToken", "renew"]);
}

#[test]
fn a_bucket_that_is_missing_for_a_while() {
    outlives(Answer::Refuse(404, "NoSuchBucket", None), &["NoSuchBucket", "create the bucket"]);
}

#[test]
fn a_redirect_to_another_region() {
    outlives(MOVED, &["cannot be used", "eu-west-1", "--region"]);
}

#[test]
fn a_signature_for_another_region() {
    let fault = Answer::Refuse(400, "AuthorizationHeaderMalformed", None);
    outlives(fault, &["cannot be used", "eu-west-1", "--region"]);
}

#[test]
fn a_clock_that_is_refused() {
    outlives(SKEWED, &["RequestTimeTooSkewed", "NTP"]);
}

#[test]
fn a_service_that_does_not_know_conditions_and_says_so() {
    outlives(Answer::Refuse(501, "NotImplemented", None), &["NotImplemented", "If-None-Match"]);
}

#[test]
fn another_conditional_write_under_way() {
    outlives(Answer::Refuse(409, "ConditionalRequestConflict", None), &[]);
}

#[test]
fn a_request_that_was_too_slow_for_the_service() {
    outlives(Answer::Refuse(400, "RequestTimeout", None), &["S3 cannot be used", "RequestTimeout"]);
}

#[test]
fn an_error_page_of_a_proxy() {
    outlives(Answer::Page(502, HTML), &["S3 cannot be used", "502"]);
}

#[test]
fn a_login_page_of_a_proxy() {
    outlives(Answer::Page(200, HTML), &["S3 cannot be used", "unlike S3"]);
}

#[test]
fn an_empty_success() {
    outlives(Answer::Page(200, ""), &["S3 cannot be used", "unlike S3"]);
}

#[test]
fn something_that_is_not_http() {
    let greeting = b"220 mail.example.com ESMTP\r\n";
    outlives(Answer::Garbage(greeting), &["S3 cannot be used", "--endpoint-url"]);
}

#[test]
fn a_port_that_is_closed_for_a_while() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.shut();
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    for time in 1..=2 {
        gate.shut();
        let words = ["S3 cannot be used", "--endpoint-url"];
        assert_eq!(mount.daemon.await_told(&words, time).len(), time);
        assert_serves(&mount, &mut program);
        gate.reopen();
        await_uploads(&rig);
    }
    assert_arrived(&rig, &gate, mount, program);
}

/// Who renews credentials does not look because the network was down an hour ago.
#[test]
fn an_outage_that_gets_another_reason_names_that_too_once() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut requests = 0;
    gate.rule(move |_| {
        requests += 1;
        match requests % 2 {
            1 => Answer::Refuse(503, "SlowDown", None),
            _ => Answer::Refuse(403, "ExpiredToken", None),
        }
    });
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    gate.await_hits(4);
    assert_serves(&mount, &mut program);
    for words in [&["SlowDown"][..], &["ExpiredToken", "renew"]] {
        assert_eq!(mount.daemon.await_told(words, 1).len(), 1, "{}", mount.daemon.stderr());
    }
    gate.open();
    assert_arrived(&rig, &gate, mount, program);
}

/// A segment of its own may be refused for ever without keeping the others: that is said once for each.
#[test]
fn metadata_that_is_refused_as_too_large() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    await_uploads(&rig);
    gate.refuse(400, "MetadataTooLarge");
    let before = gate.seen().len();
    eventually("a segment that is tried again", || {
        let mut targets: Vec<_> = gate.seen().drain(before..).map(|seen| seen.target).collect();
        targets.sort();
        targets.windows(2).any(|two| two[0] == two[1]).then_some(())
    });
    assert_serves(&mount, &mut program);
    let mut said: Vec<String> = mount
        .daemon
        .await_told(&["MetadataTooLarge", "see its message"], 1)
        .iter()
        .map(|line| line.rsplit_once(".segments/").unwrap().1.to_owned())
        .collect();
    let all = said.len();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), all, "{}", mount.daemon.stderr());
    gate.open();
    await_uploads(&rig);
    assert_arrived(&rig, &gate, mount, program);
}

/// The SDK signs by the service's clock once it has seen it, so that uploads work; but a person is told.
#[test]
fn a_clock_that_is_hours_behind_uploads_and_is_reported_once() {
    // moto does not look at signatures, whatever time they are of.
    let rig = Rig::new(Kind::Moto);
    let gate = rig.gate();
    gate.always(Answer::Ahead(Duration::from_hours(3)));
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    await_uploads(&rig);
    assert_serves(&mount, &mut program);
    let said = mount.daemon.await_told(&["s behind that of S3", "NTP"], 1);
    assert_eq!(said.len(), 1, "{said:?}");
    gate.open();
    // The next answer says so; one that was under way does not.
    mount.daemon.await_stderr("clock agrees");
    await_uploads(&rig);
    let said = mount.daemon.await_told(&["clock agrees"], 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_arrived(&rig, &gate, mount, program);
}

/// Nothing but our own look before each PUT keeps such a service from overwriting.
#[test]
fn a_service_that_ignores_conditions_overwrites_nothing_though_answers_are_lost() {
    // moto does not check signatures, which the condition is part of.
    let rig = Rig::new(Kind::Moto);
    let gate = rig.gate();
    let mut puts = 0;
    gate.rule(move |seen| {
        puts += usize::from(seen.stores_a_segment());
        if puts % 3 == 1 && seen.stores_a_segment() { Answer::UnconditionalLost } else { Answer::Unconditional }
    });
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    for _ in 0..3 {
        await_uploads(&rig);
    }
    assert_serves(&mount, &mut program);
    let said = mount.daemon.await_told(&["ignores If-None-Match"], 1);
    assert_eq!(said.len(), 1, "{said:?}");
    let ledger = program.finish();
    mount.stop();
    ledger.assert_in(&rig.bucket().all_lines());
    let overwritten = gate.overwritten();
    assert!(overwritten.iter().all(|key| key.contains("/.logsinkfs/")), "{overwritten:?}");
}

/// What a reader gets is the object or an error, never what somebody else put in its place.
#[test]
fn a_stored_object_is_never_shown_with_other_bytes() {
    let rig = Rig::embedded();
    let text = "stored long ago\n".repeat(1000);
    rig.bucket().put("team/old.txt", text.as_bytes());
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    assert_eq!(fs::metadata(mount.path("old.txt")).unwrap().len(), text.len() as u64);
    for fault in [
        Answer::Page(200, HTML),
        Answer::Page(200, ""),
        Answer::Refuse(200, "InternalError", None),
        Answer::Truncate,
        Answer::ResetWithinReply,
        Answer::Drip,
    ] {
        gate.always(fault);
        match fs::read_to_string(mount.path("old.txt")) {
            Ok(shown) => assert!(shown == text, "{fault:?}: {} other bytes", shown.len()),
            Err(e) => assert_eq!(e.raw_os_error(), Some(5), "{fault:?}: {e}"),
        }
    }
    gate.open();
    assert!(fs::read_to_string(mount.path("old.txt")).unwrap() == text);
    mount.stop();
}

/// Whether what is there is ours is for S3 to say: a page without metadata makes no conflict of it.
#[test]
fn a_login_page_instead_of_a_look_is_no_conflict() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let (mut lost, mut pages) = (false, 0);
    gate.rule(move |seen| match seen.method.as_str() {
        "PUT" if seen.stores_a_segment() && !lost => {
            lost = true;
            Answer::LoseReply
        }
        "HEAD" if pages < 2 => {
            pages += 1;
            Answer::Page(200, HTML)
        }
        _ => Answer::Pass,
    });
    let mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    eventually("looks", || (gate.seen().iter().filter(|s| s.method == "HEAD").count() > 2).then_some(()));
    assert_serves(&mount, &mut program);
    assert_arrived(&rig, &gate, mount, program);
}

/// The least that a role can have: it may not see whether an object is its own, or that there is none.
#[test]
fn a_role_that_may_only_put_is_enough_for_a_whole_life() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut puts = 0;
    gate.rule(move |seen| {
        if seen.method != "PUT" {
            return Answer::Refuse(403, "AccessDenied", None);
        }
        puts += 1;
        if puts % 3 == 1 { Answer::LoseReply } else { Answer::Pass }
    });
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&SMALL).start();
    let mut program = program(&rig, &mount, "app");
    await_uploads(&rig);
    assert_serves(&mount, &mut program);
    mount.crash();
    mount.start_again();
    fs::write(back(&rig), "").unwrap();
    await_uploads(&rig);
    let ledger = program.finish();
    let plan = mount.plan.clone();
    mount.stop();
    plan.start().stop();
    ledger.assert_in(&rig.bucket().all_lines());
    assert_eq!(gate.overwritten(), Vec::<String>::new());
    // What it met was taken as its own, not as another's of which its spool is a copy.
    assert_eq!(rig.bucket().generations("app.log").len(), 1);
}

/// So many faults come between two kills.
const FAULTS_A_KILL: usize = 5;

/// Faults of all kinds while programs write and somebody looks, and kills in between.
fn whatever_s3_does_each_line_arrives_once(kind: Kind, play: Play) {
    let rig = Rig::new(kind);
    let gate = rig.gate();
    let left = gate.by_chance(100);
    let (all, mut killed) = (left(), false);
    let plan = rig.plan_bucket_view().through(&gate.endpoint).with(&SMALL);
    let mut mount = plan.with(&["--metadata-ttl", "minimal"]).start();
    let programs = ["a", "b", "c", "d"].map(|name| program(&rig, &mount, name));
    while left() > 0 {
        let goal = left().saturating_sub(FAULTS_A_KILL);
        eventually("the next faults", || {
            let _ = fs::read_dir(&mount.plan.point).map(Iterator::count);
            (left() <= goal).then_some(())
        });
        // The programs are told of one death of the mount, and go on through the others.
        if play == Play::Killed && goal <= all / 2 && !killed {
            mount.crash();
            mount.start_again();
            fs::write(back(&rig), "").unwrap();
            killed = true;
        } else {
            mount.kill_worker();
        }
    }
    let mut ledger = Ledger::default();
    for program in programs {
        ledger.add(program.finish());
    }
    mount.await_sent();
    mount.stop();
    assert!(killed || ledger.failed == 0, "{} writes failed", ledger.failed);
    let (bucket, starts) = (rig.bucket(), if killed { 2 } else { 1 });
    let found = bucket.all_lines();
    println!("{all} faults, {} lines", ledger.count());
    ledger.report(&bucket, &found, starts);
    ledger.assert_in(&found);
    // moto looks first and stores then: two tries at once, one of a killed worker, may both be stored.
    if kind == Kind::Embedded {
        assert_eq!(gate.overwritten(), Vec::<String>::new());
    }
}

#[test]
fn whatever_the_embedded_bucket_does_each_line_arrives_once() {
    whatever_s3_does_each_line_arrives_once(Kind::Embedded, Play::WorkerKilled);
}

#[test]
fn whatever_the_embedded_bucket_does_and_all_killed_each_line_arrives_once() {
    whatever_s3_does_each_line_arrives_once(Kind::Embedded, Play::Killed);
}

#[test]
fn whatever_moto_does_each_line_arrives_once() {
    whatever_s3_does_each_line_arrives_once(Kind::Moto, Play::WorkerKilled);
}
