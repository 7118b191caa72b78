//! The policies of k8s/identity under the real program: each gives what its feature needs and nothing else. Two judges:
//! moto, which shares no code with this project but looks at actions and resources alone, and rules of the tests' own
//! (`harness/iam.rs`), which look at conditions and variables too.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use test_harness::gate::Seen;
use test_harness::iam::Rules;
use test_harness::mount::Plan;
use test_harness::programs::python;
use test_harness::s3::{Server, root};
use test_harness::{Answer, Bucket, Gate, Rig, Run, eventually};

const DENIED: Answer = Answer::Refuse(403, "AccessDenied", None);

/// A file of k8s/identity, for this bucket.
fn file(name: &str, bucket: &str) -> Value {
    let path = root().join(format!("k8s/identity/{name}.json"));
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text.replace("my-bucket", bucket)).unwrap()
}

/// The rules of a role with this policy, over TLS, in the bucket with its owner's policy.
fn rules(policy: &str, bucket: &str) -> Rules {
    Rules {
        identity: vec![file(&format!("policies/{policy}"), bucket)],
        bucket: Some(file("bucket/policy", bucket)),
        tags: BTreeMap::from([("eks-cluster-name", "my-cluster"), ("kubernetes-namespace", "team-a")]),
        secure: true,
    }
}

/// A rig on the embedded bucket, behind a gate that these rules keep.
fn rig(rules: impl Fn(&str) -> Rules) -> (Rig, Gate) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let rules = rules(&rig.access.bucket);
    gate.rule(move |seen| rules.answer(seen));
    (rig, gate)
}

/// A plan for a mount of this prefix, for small segments.
fn plan(rig: &Rig, prefix: &str, view: &str) -> Plan {
    let mut plan = rig.plan("a");
    plan.source = format!("s3://{}/{prefix}", rig.access.bucket);
    plan.flags = vec!["--view".into(), view.into()];
    plan.with(&["--rotate-size", "16KiB", "--rotate-idle", "1s"])
}

/// A whole life of a mount; gives what the daemon said.
fn log_into(rig: &Rig, plan: Plan, prefix: &str) -> String {
    let bucket = Bucket::new(&rig.access, &format!("{prefix}/"));
    let mut mount = plan.start();
    let mut writer = python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut program = Run::start(rig, &prefix.replace('/', "-"), writer);
    program.await_more(300);
    eventually("uploads", || (!bucket.all_segments().is_empty()).then_some(()));
    let ledger = program.finish();
    mount.daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.last_words());
    ledger.assert_in(&bucket.all_lines());
    mount.daemon.last_words()
}

#[test]
fn a_writer_that_may_only_put_uploads_past_a_bucket_that_refuses_overwriting() {
    let (rig, gate) = rig(|bucket| rules("writer-live", bucket));
    log_into(&rig, plan(&rig, "logs", "live").through(&gate.endpoint), "logs");
    assert_eq!(gate.hits(), 0, "something that the program asks for is refused");
    // Registrations, and the bytes: all of them with the condition.
    assert!(gate.seen().iter().all(|seen| seen.if_none_match.as_deref() == Some("*")));
}

#[test]
fn a_view_of_the_bucket_needs_the_rights_to_list_and_read_and_they_suffice() {
    let (rig, gate) = rig(|bucket| rules("writer-view-bucket", bucket));
    Bucket::new(&rig.access, "logs/").put("logs/old/there.txt", b"there\n");
    let mount = plan(&rig, "logs", "bucket").through(&gate.endpoint).start();
    eventually("the listing", || fs::read(mount.path("old/there.txt")).ok());
    mount.stop();
    assert_eq!(gate.hits(), 0, "something that the program asks for is refused");

    let few = rules("writer-live", &rig.access.bucket);
    gate.rule(move |seen| few.answer(seen));
    let mut plan = plan(&rig, "logs", "bucket").through(&gate.endpoint);
    plan.spool = rig.dir.path().join("spool-few");
    let said = log_into(&rig, plan, "logs");
    assert!(gate.hits() > 0, "{said}");
}

#[test]
fn a_reader_reads_and_lists_and_may_write_nothing() {
    let (rig, gate) = rig(|bucket| rules("writer-live", bucket));
    log_into(&rig, plan(&rig, "logs", "live").through(&gate.endpoint), "logs");
    let reading = rules("reader", &rig.access.bucket);
    gate.rule(move |seen| reading.answer(seen));
    let mut reader = rig.plan_reader(&[]).through(&gate.endpoint);
    reader.source = format!("s3://{}/logs", rig.access.bucket);
    let mount = reader.start();
    let lines = fs::read_to_string(mount.path("app.log")).unwrap().lines().count();
    assert_eq!(lines, Bucket::new(&rig.access, "logs/").lines("app.log").len());
    mount.stop();
    assert_eq!(gate.hits(), 0, "something that the program asks for is refused");
}

/// One role for all namespaces of all clusters: the tags of its session say where it may write.
#[test]
fn a_session_writes_below_its_own_cluster_and_namespace_alone() {
    let (rig, gate) = rig(|bucket| rules("abac-writer", bucket));
    let own = "logs/my-cluster/team-a";
    log_into(&rig, plan(&rig, own, "live").through(&gate.endpoint), own);
    assert_eq!(gate.hits(), 0, "something that the program asks for is refused");
    for foreign in ["logs/my-cluster/team-b", "logs/other/team-a", "logs"] {
        let mut plan = plan(&rig, foreign, "live").through(&gate.endpoint);
        plan.spool = rig.dir.path().join(foreign.replace('/', "-"));
        let mount = plan.with(&["--shutdown-timeout", "1s"]).start();
        fs::write(mount.path("app.log"), "not here\n").unwrap();
        mount.daemon.await_stderr("AccessDenied");
        assert_eq!(mount.terminate().0, 3);
    }
    let untagged = Rules { tags: BTreeMap::new(), ..rules("abac-writer", &rig.access.bucket) };
    let seen = request("PUT", "/logs/logs///x", Some("*"));
    assert_eq!(untagged.answer(&seen), DENIED, "no tags, no prefix");
}

fn request(method: &str, target: &str, if_none_match: Option<&str>) -> Seen {
    let if_none_match = if_none_match.map(str::to_owned);
    Seen {
        method: method.to_owned(),
        target: target.to_owned(),
        if_none_match,
        session: None,
        signed_by: String::new(),
        headers: Default::default(),
    }
}

/// Whatever rights somebody has: what is stored of a log is not overwritten, and nothing goes in the clear.
#[test]
fn the_buckets_policy_refuses_each_way_to_overwrite_a_log_and_nothing_else() {
    let all = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "s3:*", "Resource": "*" }
    ] });
    let mut rules = Rules { identity: vec![all], ..rules("reader", "logs") };
    let segment = "/logs/logs/web/app.log.segments/dt%3D2026-11-23/x.log.gz";
    let mark = "/logs/logs/web/app.log.segments/dt%3D2026-11-23/x.dropped";
    let writer = "/logs/logs/.logsinkfs/writers/web-1/00000001.json";
    let whole = "/logs/logs/web/heap.hprof.files/dt%3D2026-11-23/x.hprof";
    let at_the_top = "/logs/.logsinkfs/writers/web-1/00000001.json";
    for key in [segment, mark, writer, whole, at_the_top] {
        let parts = |what: &str| format!("{key}?{what}");
        for (method, target, condition, answer) in [
            ("PUT", key.to_owned(), Some("*"), Answer::Pass),
            // By any client; a copy, which has no such condition, is a PUT as well.
            ("PUT", key.to_owned(), None, DENIED),
            ("POST", parts("uploads"), None, Answer::Pass),
            ("PUT", parts("partNumber=1&uploadId=u"), None, Answer::Pass),
            ("POST", parts("uploadId=u"), None, DENIED),
            ("POST", parts("uploadId=u"), Some("*"), Answer::Pass),
            ("DELETE", parts("uploadId=u"), None, Answer::Pass),
            ("GET", key.to_owned(), None, Answer::Pass),
        ] {
            let seen = request(method, &target, condition);
            assert_eq!(rules.answer(&seen), answer, "{method} {target} {condition:?}");
        }
    }
    let other = request("PUT", "/logs/reports/2026.csv", None);
    assert_eq!(rules.answer(&other), Answer::Pass, "what is no log is others' matter");
    rules.secure = false;
    assert_eq!(rules.answer(&request("GET", segment, None)), DENIED, "in the clear");
}

#[test]
fn a_writer_may_send_in_parts_and_give_up_but_neither_delete_nor_see_the_uploads_of_others() {
    for (policy, prefix) in [
        ("writer-live", "logs"),
        ("writer-read-back", "logs"),
        ("writer-view-bucket", "logs"),
        ("abac-writer", "logs/my-cluster/team-a"),
    ] {
        let rules = rules(policy, "bucket");
        let key = format!("/bucket/{prefix}/heap.hprof.files/x.hprof");
        for (method, target, condition, answer) in [
            ("POST", format!("{key}?uploads"), None, Answer::Pass),
            ("PUT", format!("{key}?partNumber=1&uploadId=u"), None, Answer::Pass),
            ("POST", format!("{key}?uploadId=u"), Some("*"), Answer::Pass),
            ("POST", format!("{key}?uploadId=u"), None, DENIED),
            ("DELETE", format!("{key}?uploadId=u"), None, Answer::Pass),
            ("DELETE", key.clone(), None, DENIED),
            ("DELETE", "/bucket/other/x?uploadId=u".to_owned(), None, DENIED),
            ("GET", format!("/bucket/?uploads&prefix={prefix}"), None, DENIED),
        ] {
            let seen = request(method, &target, condition);
            assert_eq!(rules.answer(&seen), answer, "{policy}: {method} {target} {condition:?}");
        }
    }
}

/// moto takes each file for what it is, lets each role do what its feature needs, and refuses the rest.
#[test]
fn another_judge_lets_the_program_do_what_each_policy_is_for_and_nothing_else() {
    let (server, told) = Server::moto_with_identity(&root().join("k8s/identity"));
    let rig = Rig::with(test_harness::rig::folder(), server);
    let may: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        // Conditions and variables are beyond moto: it shows a tag's listing to everybody, its prefix to nobody.
        ("abac-reader", vec!["list"]),
        ("abac-writer", vec![]),
        ("kms-reader", vec![]),
        ("kms-writer", vec![]),
        ("reader", vec!["get", "list"]),
        ("role-arn", vec![]),
        ("writer-live", vec!["put"]),
        ("writer-read-back", vec!["put", "get"]),
        ("writer-view-bucket", vec!["put", "get", "list"]),
    ]);
    assert_eq!(told["may"], json!(may));
    let with_keys_of = |mut plan: Plan, role: &str| {
        let keys: [String; 3] = serde_json::from_value(told["roles"][role].clone()).unwrap();
        let [id, secret, session] = keys;
        (plan.access.key_id, plan.access.secret) = (id, secret);
        plan.env("AWS_SESSION_TOKEN", &session)
    };
    for (role, view, prefix) in [
        ("writer-live", "live", "logs/live"),
        ("writer-read-back", "live", "logs/back"),
        ("writer-view-bucket", "bucket", "logs/shown"),
    ] {
        let mut plan = with_keys_of(plan(&rig, prefix, view), role);
        plan.spool = rig.dir.path().join(role);
        let said = log_into(&rig, plan, prefix);
        assert!(!said.contains("AccessDenied"), "{role}: {said}");
    }
    let mut reader = with_keys_of(rig.plan_reader(&[]), "reader");
    reader.source = format!("s3://{}/logs/live", rig.access.bucket);
    let mount = reader.start();
    let lines = fs::read_to_string(mount.path("app.log")).unwrap().lines().count();
    assert_eq!(lines, Bucket::new(&rig.access, "logs/live/").lines("app.log").len());
    mount.stop();
}
