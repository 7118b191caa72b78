//! Where credentials come from: each source of the SDK's chain that a pod or an instance has, tried against doubles;
//! and what happens to a mount while they cannot be had, or have expired.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use test_harness::mount::{Mount, Plan};
use test_harness::process::{command, program};
use test_harness::programs::python;
use test_harness::{Answer, Gate, Issuer, Mood, Rig, Run, eventually};

const ROLE: &str = "arn:aws:iam::111122223333:role/logsinkfs";
const TOKEN: &str = "token-of-the-service-account";
const ROTATED: &str = "token-that-came-after-it";

/// A bucket, who hands out its keys, and a program that logs into a mount of it.
struct Pod {
    rig: Rig,
    gate: Gate,
    issuer: Issuer,
    token: PathBuf,
}

impl Pod {
    fn new(mood: Mood) -> Pod {
        let rig = Rig::embedded();
        let gate = rig.gate();
        let issuer = Issuer::of(&rig.access, mood);
        let token = rig.local("token");
        let pod = Pod { rig, gate, issuer, token };
        pod.write_token(TOKEN, 0o644);
        pod
    }

    /// Puts another file in the token's place, as kubelet does.
    fn write_token(&self, text: &str, mode: u32) {
        let new = self.rig.local("token.new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
        fs::rename(new, &self.token).unwrap();
    }

    /// A plan without any credentials, for small segments.
    fn plan(&self) -> Plan {
        let mut plan = self.rig.plan("a").through(&self.gate.endpoint);
        plan.access.key_id.clear();
        plan.with(&["--rotate-size", "16KiB", "--rotate-idle", "1s"]).env("AWS_ENDPOINT_URL_STS", &self.issuer.endpoint)
    }

    fn with_web_identity(&self) -> Plan {
        let token = self.token.to_str().unwrap();
        self.plan().env("AWS_WEB_IDENTITY_TOKEN_FILE", token).env("AWS_ROLE_ARN", ROLE)
    }

    fn with_container(&self) -> Plan {
        let uri = format!("{}/container", self.issuer.endpoint);
        let token = self.token.to_str().unwrap();
        let plan = self.plan().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri);
        plan.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token)
    }

    fn with_instance(&self) -> Plan {
        let plan = self.plan().env("AWS_EC2_METADATA_DISABLED", "false");
        plan.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.issuer.endpoint)
    }

    fn program(&self, mount: &Mount) -> Run {
        let mut writer = python("plain_writer.py");
        writer.arg(mount.path("app.log"));
        Run::start(&self.rig, "app", writer)
    }

    /// Waits for new objects.
    fn await_uploads(&self) {
        let segments = || self.rig.bucket().all_segments().len();
        let before = segments();
        eventually("uploads", || (segments() > before).then_some(()));
    }

    /// Each line of the program is in the bucket once, no write failed, and every request was signed with what this
    /// source handed out.
    fn assert_arrived(&self, mount: Mount, program: Run, source: &str) {
        let ledger = program.finish();
        assert_eq!(ledger.failed, 0, "writes failed");
        mount.stop();
        ledger.assert_in(&self.rig.bucket().all_lines());
        for seen in self.gate.seen() {
            let session = seen.session.unwrap_or_default();
            assert!(session.starts_with(&format!("{source}-")), "{session:?} for {}", seen.target);
        }
        let issued = self.issuer.issued();
        assert!(issued.iter().any(|issued| issued.by == source), "{issued:?}");
    }

    /// A mount whose credentials come from there uploads what is written.
    fn uploads(&self, plan: Plan, source: &str) {
        let mount = plan.start();
        let program = self.program(&mount);
        self.await_uploads();
        self.assert_arrived(mount, program, source);
    }
}

/// A command in the environment of a plan.
fn with_environment(plan: &Plan, mut command: Command) -> Command {
    let planned = plan.command();
    let set = planned.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(set);
    command
}

#[test]
fn a_web_identity_is_exchanged_for_credentials_of_the_role() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    pod.uploads(pod.with_web_identity(), "AssumeRoleWithWebIdentity");
    assert!(pod.issuer.issued().iter().all(|issued| issued.role == ROLE && issued.shown == TOKEN));
}

#[test]
fn a_container_asks_its_agent_with_the_token() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    pod.uploads(pod.with_container(), "container");
}

#[test]
fn an_instance_is_asked_in_a_session() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    pod.uploads(pod.with_instance(), "instance");
}

/// `--role-arn` is assumed with whatever the chain finds.
#[test]
fn a_role_is_assumed_with_the_credentials_of_each_source() {
    type Way = fn(&Pod) -> Plan;
    let ways: [(Way, &str); 3] = [
        (Pod::with_web_identity, "AssumeRoleWithWebIdentity"),
        (Pod::with_container, "container"),
        (Pod::with_instance, "instance"),
    ];
    for (way, source) in ways {
        let pod = Pod::new(Mood::Trusts(TOKEN));
        let other = "arn:aws:iam::444455556666:role/writer";
        pod.uploads(way(&pod).with(&["--role-arn", other]), "AssumeRole");
        let issued = pod.issuer.issued();
        assert_eq!(issued[0].by, source, "{issued:?}");
        let assumed: Vec<_> = issued.iter().filter(|issued| issued.by == "AssumeRole").collect();
        assert!(assumed.iter().all(|issued| issued.role == other), "{issued:?}");
        assert_eq!(assumed[0].shown, issued[0].session, "{issued:?}");
    }
}

/// kubelet replaces the file long before its token expires; the one before is soon good for nothing.
#[test]
fn a_token_that_is_replaced_while_the_mount_lives_is_read_again() {
    for (way, source) in
        [(Pod::with_web_identity as fn(&Pod) -> Plan, "AssumeRoleWithWebIdentity"), (Pod::with_container, "container")]
    {
        let pod = Pod::new(Mood::Trusts(TOKEN));
        pod.issuer.issues_for_a_moment();
        let mount = way(&pod).start();
        let program = pod.program(&mount);
        pod.await_uploads();
        pod.write_token(ROTATED, 0o644);
        pod.issuer.becomes(Mood::Trusts(ROTATED));
        eventually("the new token to be shown", || {
            pod.issuer.issued().iter().any(|issued| issued.shown == ROTATED).then_some(())
        });
        pod.await_uploads();
        pod.assert_arrived(mount, program, source);
    }
}

/// The token of a pod with fsGroup belongs to a group that all its processes are in.
#[test]
fn a_token_that_only_a_group_of_the_pod_may_read_is_read_by_the_worker() {
    const GROUP: u32 = 4242;
    let pod = Pod::new(Mood::Trusts(TOKEN));
    pod.write_token(TOKEN, 0o640);
    chown(&pod.token, Some(0), Some(GROUP)).unwrap();
    let plan = pod.with_container();
    let mut outer = command(program("setpriv"));
    outer.args(["--groups", &GROUP.to_string(), "--"]).arg(plan.command().get_program());
    outer.args(plan.command().get_args());
    let outer = with_environment(&plan, outer);
    let mount = plan.start_as(outer);
    let program = pod.program(&mount);
    pod.await_uploads();
    assert!(!mount.daemon.stderr().contains("may not read"), "{}", mount.daemon.stderr());
    pod.assert_arrived(mount, program, "container");
}

/// A token of root's alone is named with its mode and owner; when it can be read, all is sent.
#[test]
fn a_token_that_the_worker_may_not_read_is_named_and_waited_for() {
    for (way, source) in
        [(Pod::with_web_identity as fn(&Pod) -> Plan, "AssumeRoleWithWebIdentity"), (Pod::with_container, "container")]
    {
        let pod = Pod::new(Mood::Trusts(TOKEN));
        pod.write_token(TOKEN, 0o600);
        let mount = way(&pod).start();
        let mut program = pod.program(&mount);
        let token = pod.token.to_str().unwrap();
        mount.daemon.await_told(&["S3 cannot be used", token, "mode 0600", "uid 0", "65532", "fsGroup"], 1);
        program.await_more(100);
        pod.write_token(TOKEN, 0o644);
        pod.await_uploads();
        pod.assert_arrived(mount, program, source);
    }
}

/// The answer to the PUT for a session does not reach a container behind a hop limit of one.
#[test]
fn an_instance_that_does_not_answer_a_container_is_told_with_the_hop_limit() {
    let pod = Pod::new(Mood::Silent);
    let mount = pod.with_instance().start();
    let mut program = pod.program(&mount);
    mount.daemon.await_told(&["S3 cannot be used", "hop limit"], 1);
    program.await_more(100);
    pod.issuer.becomes(Mood::Trusts(TOKEN));
    pod.await_uploads();
    pod.assert_arrived(mount, program, "instance");
}

/// Where nobody has named the region the instance is asked for it, several times for a second each; not by a mount that
/// does not serve yet, nor by a worker that programs wait for.
#[test]
fn a_mount_serves_before_the_instance_has_told_the_region() {
    const TRIES: usize = 3;
    let pod = Pod::new(Mood::Silent);
    let mut plan = pod.with_instance();
    plan.access.region.clear();
    let mount = plan.start();
    assert!(pod.issuer.refused() < TRIES, "it was asked in vain {} times", pod.issuer.refused());
    let mut program = pod.program(&mount);
    program.await_more(100);
    eventually("all tries", || (pod.issuer.refused() >= TRIES).then_some(()));
    pod.issuer.becomes(Mood::Trusts(TOKEN));
    pod.await_uploads();
    pod.assert_arrived(mount, program, "instance");
}

/// A role that nobody may assume yet, an agent that is not up: the mount serves and catches up.
#[test]
fn a_source_that_refuses_is_told_and_waited_for() {
    for (way, source, words) in [
        (
            Pod::with_web_identity as fn(&Pod) -> Plan,
            "AssumeRoleWithWebIdentity",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        ),
        (Pod::with_container, "container", "403"),
    ] {
        let pod = Pod::new(Mood::Refuses);
        let mount = way(&pod).start();
        let mut program = pod.program(&mount);
        mount.daemon.await_told(&["S3 cannot be used", words], 1);
        let before = pod.issuer.refused();
        eventually("another try", || (pod.issuer.refused() > before).then_some(()));
        program.await_more(100);
        pod.issuer.becomes(Mood::Trusts(TOKEN));
        pod.await_uploads();
        pod.assert_arrived(mount, program, source);
    }
}

/// S3 may refuse credentials long before the time that came with them: a session that was revoked, a clock that is
/// behind. Others are fetched then, though requests are under way.
#[test]
fn credentials_that_expire_while_requests_are_under_way_are_replaced() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    let mount = pod.with_container().start();
    let mut program = pod.program(&mount);
    for _ in 0..2 {
        pod.await_uploads();
        let old: Vec<_> = pod.issuer.issued().into_iter().map(|issued| issued.session).collect();
        let newest = old.len();
        pod.gate.rule(move |seen| match &seen.session {
            Some(session) if old.contains(session) => Answer::Refuse(400, "ExpiredToken", None),
            _ => Answer::Pass,
        });
        program.await_more(100);
        eventually("others to be fetched", || (pod.issuer.issued().len() > newest).then_some(()));
    }
    pod.await_uploads();
    pod.assert_arrived(mount, program, "container");
}

/// Who reads gets what is stored, not an error that would be none a moment later.
#[test]
fn a_reader_whose_credentials_have_expired_reads_with_others() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    pod.rig.bucket().put("team/old/there.txt", b"there\n");
    let mut plan = pod.with_container();
    plan.flags = vec!["--view".into(), "bucket".into()];
    let mount = plan.with(&["--metadata-ttl", "minimal"]).start();
    eventually("a listing", || fs::metadata(mount.path("old/there.txt")).ok());
    let old: Vec<_> = pod.issuer.issued().into_iter().map(|issued| issued.session).collect();
    pod.gate.rule(move |seen| match &seen.session {
        Some(session) if old.contains(session) => Answer::Refuse(400, "ExpiredToken", None),
        _ => Answer::Pass,
    });
    assert_eq!(fs::read(mount.path("old/there.txt")).unwrap(), b"there\n");
    assert!(pod.gate.hits() > 0, "nobody was refused");
    mount.stop();
}

/// As for STS, S3's own endpoint in the environment goes before the one for all services.
#[test]
fn an_endpoint_of_s3_in_the_environment_is_taken_without_a_flag() {
    let pod = Pod::new(Mood::Trusts(TOKEN));
    let plan = pod.with_web_identity().env("AWS_ENDPOINT_URL_S3", &pod.gate.endpoint);
    let plan = plan.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let planned = plan.command();
    let mut arguments: Vec<_> = planned.get_args().collect();
    let flag = arguments.iter().position(|argument| *argument == "--endpoint-url").unwrap();
    arguments.drain(flag..flag + 2);
    let mut command = Command::new(planned.get_program());
    command.args(arguments);
    let mount = plan.clone().start_as(with_environment(&plan, command));
    let program = pod.program(&mount);
    pod.await_uploads();
    pod.assert_arrived(mount, program, "AssumeRoleWithWebIdentity");
}
