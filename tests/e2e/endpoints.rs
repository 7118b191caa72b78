//! Which of Amazon's endpoints is asked, and who pays.

use std::fs;

use test_harness::process::command;
use test_harness::reading::read_by;
use test_harness::s3::logsinkfs;
use test_harness::{Gate, Rig};

/// The host that a command asks for, by what a proxy is told.
fn host(flags: &[&str]) -> String {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(403, "AccessDenied");
    let mut listing = command(logsinkfs());
    listing.env_clear().env("HOME", rig.local("")).env("HTTPS_PROXY", &gate.endpoint);
    listing.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "eu-west-1");
    listing.env("AWS_EC2_METADATA_DISABLED", "true");
    let listed = listing.args(["ls", "s3://my-logs"]).args(flags).output().unwrap();
    let said = String::from_utf8(listed.stderr).unwrap();
    assert_eq!(listed.status.code(), Some(1), "{said}");
    let asked = gate.seen();
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.method == "CONNECT"), "{asked:?} {said}");
    asked[0].target.trim_end_matches(":443").to_owned()
}

#[test]
fn the_endpoint_is_asked_that_was_asked_for() {
    for (flags, expected) in [
        (&[][..], "my-logs.s3.eu-west-1.amazonaws.com"),
        (&["--dual-stack"], "my-logs.s3.dualstack.eu-west-1.amazonaws.com"),
        (&["--fips"], "my-logs.s3-fips.eu-west-1.amazonaws.com"),
        (&["--fips", "--dual-stack"], "my-logs.s3-fips.dualstack.eu-west-1.amazonaws.com"),
        (&["--transfer-acceleration"], "my-logs.s3-accelerate.amazonaws.com"),
        (&["--transfer-acceleration", "--dual-stack"], "my-logs.s3-accelerate.dualstack.amazonaws.com"),
    ] {
        assert_eq!(host(flags), expected, "{flags:?}");
    }
}

fn listing(flags: &[&str], source: &str, endpoint: &str) -> (Option<i32>, String) {
    let mut listing = command(logsinkfs());
    listing.env_clear().env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
    listing.env("AWS_REGION", "eu-west-1").env("AWS_EC2_METADATA_DISABLED", "true");
    if !endpoint.is_empty() {
        listing.env("AWS_ENDPOINT_URL", endpoint);
    }
    let listed = listing.args(["ls", source]).args(flags).output().unwrap();
    (listed.status.code(), String::from_utf8(listed.stderr).unwrap())
}

#[test]
fn an_endpoint_of_ones_own_excludes_those_of_amazon() {
    let asked = ["--endpoint-url", "http://127.0.0.1:9"];
    for flag in ["--dual-stack", "--fips", "--transfer-acceleration"] {
        let (code, said) = listing(&[&asked[..], &[flag]].concat(), "s3://b", "");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(flag) && said.contains("cannot be used with"), "{said}");
        let (code, said) = listing(&[flag], "s3://b", "http://127.0.0.1:9");
        assert_eq!(code, Some(1), "{said}");
        let words = format!("{flag} is for Amazon's own endpoints, and the endpoint is http://127.0.0.1:9");
        assert!(said.contains(&words), "{said}");
        // The embedded bucket has an endpoint of its own.
        let dir = tempfile::tempdir().unwrap();
        let (code, said) = listing(&[flag], &format!("file://{}", dir.path().display()), "");
        assert!(!said.contains(flag), "{code:?} {said}");
    }
    for other in ["--force-path-style", "--fips"] {
        assert_eq!(listing(&["--transfer-acceleration", other], "s3://b", "").0, Some(2), "{other}");
    }
    let (code, said) = listing(&["--transfer-acceleration"], "s3://a.b", "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("without a dot"), "{said}");
}

/// Each request since then says who pays for it.
fn assert_paid(gate: &Gate, since: usize, of: &str) {
    let seen = gate.seen().split_off(since);
    assert!(!seen.is_empty(), "{of} asks nothing");
    for seen in seen {
        assert_eq!(seen.header("x-amz-request-payer"), "requester", "{of}: {} {}", seen.method, seen.target);
        let signed = seen.header("authorization");
        assert!(signed.contains("x-amz-request-payer"), "{of}: not signed: {signed}");
    }
}

#[test]
fn each_request_says_that_the_requester_pays() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).with(&["--requester-pays"]).start();
    fs::write(mount.path("app.log"), "a line\n").unwrap();
    mount.flush();
    let _ = fs::read_dir(&mount.plan.point).unwrap().count();
    mount.stop();
    assert_paid(&gate, 0, "a mount that writes");
    let since = gate.seen().len();
    let reader = rig.plan_reader(&["--requester-pays"]).through(&gate.endpoint).start();
    assert!(fs::read(reader.path("app.log")).unwrap().ends_with(b"a line\n"));
    reader.stop();
    assert_paid(&gate, since, "a reader mount");
    let access = rig.access.at(&gate.endpoint);
    for (name, path, flags) in
        [("cat", "app.log", &[][..]), ("tail", "app.log", &[]), ("ls", "", &["-l"]), ("verify", "", &["--deep"])]
    {
        let since = gate.seen().len();
        let (code, _, said) = read_by(&rig, &access, name, path, &[flags, &["--requester-pays"]].concat());
        assert_eq!(code, 0, "{name}: {said}");
        assert_paid(&gate, since, name);
    }
}
