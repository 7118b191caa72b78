//! How S3 is reached: profile, region, endpoint and certificates; and what is said where it is not.

use std::fs;

use crate::bad_input::fails;
use test_harness::mount::Plan;
use test_harness::process::{Proc, command};
use test_harness::programs::venv_python;
use test_harness::s3::logsinkfs;
use test_harness::{Answer, Rig};

/// Writes the shared AWS configuration of whoever mounts.
fn configure(plan: &Plan, text: &str) {
    fs::create_dir_all(plan.home.join(".aws")).unwrap();
    fs::write(plan.home.join(".aws/config"), text).unwrap();
}

/// A line that is written arrives.
fn uploads(rig: &Rig, plan: Plan) {
    let mount = plan.start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_profile_that_is_asked_for_wins_over_the_environment() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--profile", "p1"]);
    let (id, secret) = (&rig.access.key_id, &rig.access.secret);
    let keys = format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    configure(&plan, &format!("[profile p1]\n{keys}"));
    let other = plan.env("AWS_ACCESS_KEY_ID", "AKIAOTHER").env("AWS_SECRET_ACCESS_KEY", "other");
    uploads(&rig, other);
    let of_profile = format!("{id}/");
    assert!(gate.seen().iter().all(|seen| seen.signed_by.starts_with(&of_profile)));
}

#[test]
fn a_profile_that_is_not_there_is_an_error() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").with(&["--profile", "nosuch"]);
    fails(plan.clone(), &["profile `nosuch`", "not defined", "--profile"]);
    configure(&plan, "[profile other]\nregion = eu-west-1\n");
    fails(plan.clone(), &["profile `nosuch`", "not defined", "--profile"]);
    let mut reader = rig.plan_reader(&["--profile", "nosuch"]);
    reader.home = plan.home;
    fails(reader, &["profile `nosuch`", "not defined", "--profile"]);
}

#[test]
fn a_profile_without_credentials_takes_none_from_elsewhere() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").with(&["--profile", "p1", "--require-bucket"]);
    configure(&plan, "[profile p1]\nregion = us-east-1\n");
    fails(plan, &["p1", "credentials"]);
}

#[test]
fn the_region_that_s3_names_is_followed() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    for answer in [
        Answer::Refuse(301, "PermanentRedirect", Some(("x-amz-bucket-region", "eu-west-1"))),
        // As services answer that name their region in the body alone.
        Answer::Refuse(400, "AuthorizationHeaderMalformed", None),
    ] {
        gate.rule(move |seen| if seen.signed_by.contains("/eu-west-1/") { Answer::Pass } else { answer });
        let mount = rig.plan("a").through(&gate.endpoint).start();
        mount.daemon.await_told(&["WARN", "eu-west-1", "--region"], 1);
        fs::write(mount.path("app.log"), "line\n").unwrap();
        mount.stop();
        let reader = rig.plan_reader(&[]).through(&gate.endpoint).start();
        assert!(fs::read(reader.path("app.log")).unwrap().starts_with(b"line\n"));
        reader.stop();
    }
}

#[test]
fn a_host_that_dns_does_not_know_is_named_with_what_to_do() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").through("http://s3.invalid:9000").with(&["--require-bucket"]);
    fails(plan, &["s3.invalid:9000", "DNS", "--endpoint-url", "--force-path-style"]);
}

#[test]
fn an_error_names_the_host_and_the_request() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.always(Answer::Refuse(403, "AccessDenied", Some(("x-amz-request-id", "4442587FB7D0A2F9"))));
    let address = gate.endpoint.trim_start_matches("http://").to_owned();
    let words = ["AccessDenied", &address, "x-amz-request-id 4442587FB7D0A2F9"];
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--require-bucket"]);
    fails(plan, &words);
    // Without an endpoint of its own the host is the SDK's to form; a proxy answers here.
    let proxied = rig.plan("a").env("HTTP_PROXY", &gate.endpoint);
    let proxied = proxied.through("http://s3.example.com").with(&["--require-bucket"]);
    fails(proxied, &["at http://s3.example.com,"]);
}

#[test]
fn a_path_of_the_endpoint_needs_no_slash_at_its_end() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(403, "AccessDenied");
    let endpoint = format!("{}/minio", gate.endpoint);
    let plan = rig.plan("a").with(&["--require-bucket"]);
    plan.clone().through(&endpoint).refused();
    let mut from_environment = plan.clone().env("AWS_ENDPOINT_URL", &endpoint);
    from_environment.access.endpoint.clear();
    from_environment.refused();
    let mut from_profile = plan;
    from_profile.access.endpoint.clear();
    configure(&from_profile, &format!("[default]\nendpoint_url = {endpoint}\n"));
    from_profile.refused();
    let targets: Vec<_> = gate.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets.len(), 3, "{targets:?}");
    assert!(targets.iter().all(|target| target.starts_with("/minio/logs/")), "{targets:?}");
}

#[test]
fn a_ca_of_ones_own_is_trusted_where_it_is_named_and_else_told() {
    let rig = Rig::embedded();
    let ca = rig.local("ca.pem");
    let mut tls = venv_python("tls.py");
    tls.arg(rig.access.endpoint.trim_start_matches("http://")).arg(&ca);
    let mut tls = Proc::start("TLS", tls);
    let port = tls.await_stdout("its port", |line| line.parse::<u16>().ok());
    let plan = rig.plan("a").through(&format!("https://127.0.0.1:{port}"));
    let required = plan.clone().with(&["--require-bucket"]);
    fails(required.clone(), &["certificate", "AWS_CA_BUNDLE"]);
    let missing = rig.local("missing.pem");
    let (ca, missing) = (ca.to_str().unwrap(), missing.to_str().unwrap());
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        fails(required.clone().env(variable, missing), &[variable, "missing.pem", "No such file"]);
        let mount = plan.clone().env(variable, ca).start();
        fs::write(mount.path("app.log"), variable).unwrap();
        mount.stop();
        assert!(rig.bucket().content("app.log").ends_with(variable.as_bytes()));
    }
    let plain = rig.plan("a").through(&rig.access.endpoint.replace("http:", "https:"));
    fails(plain.with(&["--require-bucket"]), &["TLS", "http://"]);
}

/// A key that is disabled concerns every PUT, and is mended by who owns the key.
#[test]
fn a_key_for_encryption_that_cannot_be_used_is_told_as_such() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    for code in ["KMS.DisabledException", "KMS.NotFoundException"] {
        gate.refuse(400, code);
        let plan = rig.plan("a").through(&gate.endpoint).with(&["--require-bucket"]);
        fails(plan, &[code, "--sse-kms-key-id", "kms:GenerateDataKey"]);
    }
}

/// A service without TLS needs none.
#[test]
fn a_machine_without_certificates_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let list = |source: &str| {
        let mut unshare = command("unshare");
        unshare.args(["--mount", "sh", "-c", "mount -t tmpfs none /etc/ssl && exec \"$@\"", "sh", logsinkfs()]);
        unshare.args(["ls", source]).env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
        for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            unshare.env_remove(variable);
        }
        let listed = unshare.output().unwrap();
        (listed.status.code(), String::from_utf8(listed.stderr).unwrap())
    };
    let (code, said) = list("s3://bucket");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ca-certificates") && said.contains("hint: ") && !said.contains("panicked"), "{said}");
    let (_, said) = list(&format!("file://{}", dir.path().display()));
    assert!(!said.contains("panicked") && !said.contains("certificate"), "{said}");
}
