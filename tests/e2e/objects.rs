//! How objects are stored: tags, ACL, Object Lock, checksums, levels, and the header that keeps them from overwriting;
//! however an object is made.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::{ObjectLockLegalHoldStatus, ObjectLockMode};
use test_harness::gate::Seen;
use test_harness::mount::{Mount, Plan};
use test_harness::process::command;
use test_harness::reading::read;
use test_harness::s3::logsinkfs;
use test_harness::{Answer, Bucket, Gate, Kind, Rig, eventually};

const SOON: [&str; 2] = ["--rotate-idle", "200ms"];
/// More than one PUT takes.
const IN_PARTS: u64 = 65 << 20;

/// A rig on a bucket with Object Lock, as only moto has.
fn locked(by_default: bool) -> Rig {
    let mut rig = Rig::new(Kind::Moto);
    rig.access.bucket = "audited".to_owned();
    rig.bucket().make_locked(by_default);
    rig
}

/// A log, a small whole file, and one that is sent in parts.
fn write_each(mount: &Mount) {
    fs::write(mount.path("app.log"), "a line\n").unwrap();
    fs::write(mount.path("core"), "small").unwrap();
    File::create(mount.path("heap.hprof")).unwrap().set_len(IN_PARTS).unwrap();
}

/// Whether a request makes an object, or begins to.
fn makes(seen: &Seen) -> bool {
    match &*seen.method {
        "PUT" => !seen.target.contains("partNumber"),
        "POST" => seen.target.contains("uploads"),
        _ => false,
    }
}

/// Whether it has bytes.
fn sends(seen: &Seen) -> bool {
    seen.method == "PUT"
}

/// Whether it may not overwrite.
fn stores(seen: &Seen) -> bool {
    match &*seen.method {
        "PUT" => !seen.target.contains("partNumber"),
        "POST" => seen.target.contains("uploadId"),
        _ => false,
    }
}

/// The requests of a kind; there are some for the registration, the log, and files of both sizes.
fn each_of(gate: &Gate, kind: fn(&Seen) -> bool) -> Vec<Seen> {
    let seen: Vec<_> = gate.seen().into_iter().filter(kind).collect();
    for place in ["/writers/", "app.log.segments/", "core.files/", "heap.hprof.files/"] {
        assert!(seen.iter().any(|seen| seen.target.contains(place)), "nothing for {place}: {seen:?}");
    }
    seen
}

/// A key that has this in it.
fn key_of(bucket: &Bucket, part: &str) -> String {
    let keys = bucket.keys();
    keys.iter().find(|key| key.contains(part)).unwrap_or_else(|| panic!("no {part} in {keys:?}")).clone()
}

fn deadline(key: &str, bucket: &Bucket) -> Duration {
    let until = *bucket.head(key).object_lock_retain_until_date().expect("a retention");
    SystemTime::try_from(until).unwrap().duration_since(now()).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "the tests run on the real clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn a_bucket_that_locks_by_default_takes_whatever_a_mount_stores() {
    let rig = locked(true);
    let mount = rig.mount(&SOON);
    write_each(&mount);
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("app.log"), b"a line\n");
    for part in ["/writers/", "app.log.segments/", "core.files/"] {
        let key = key_of(&bucket, part);
        assert_eq!(bucket.head(&key).object_lock_mode(), Some(&ObjectLockMode::Compliance), "{key}");
        let versions = bucket.all_versions(&key);
        assert_eq!(versions.len(), 1, "{key} was stored again");
        assert_eq!(bucket.delete_version(&key, &versions[0], true).as_deref(), Some("AccessDenied"), "{key}");
    }
    assert_eq!(bucket.versions("heap.hprof").len(), 1);
    read(&rig, "verify", "", &["--deep"]);
}

/// What a mount gives its objects, and what is seen of it in the requests.
const GIVEN: [&str; 22] = [
    "--acl",
    "bucket-owner-full-control",
    "--tag",
    "team=web ",
    "--tag",
    "log={stream}",
    "--tag",
    "of={label:cluster}/{writer}",
    "--object-lock-mode",
    "governance",
    "--object-lock-retain",
    "90d",
    "--object-lock-legal-hold",
    "--sse",
    "aws:kms",
    "--sse-kms-encryption-context",
    "app=a \"b\"",
    "--sse-kms-encryption-context",
    "env=prod",
    "--storage-class",
    "STANDARD_IA",
    "--writer-id=web",
];

fn assert_given(seen: &[Seen]) {
    for seen in seen {
        let header = |name: &str| seen.header(&format!("x-amz-{name}")).to_owned();
        let of = &seen.target;
        assert_eq!(header("acl"), "bucket-owner-full-control", "{of}");
        assert_eq!(header("object-lock-mode"), "GOVERNANCE", "{of}");
        assert!(header("object-lock-retain-until-date").ends_with('Z'), "{of}");
        assert_eq!(header("object-lock-legal-hold"), "ON", "{of}");
        // {"app":"a \"b\"","env":"prod"}
        let context = "eyJhcHAiOiJhIFwiYlwiIiwiZW52IjoicHJvZCJ9";
        assert_eq!(header("server-side-encryption-context"), context, "{of}");
        assert_eq!(header("storage-class"), "STANDARD_IA", "{of}");
        assert!(header("tagging").starts_with("team=web%20&log="), "{of}: {}", header("tagging"));
    }
}

#[test]
fn objects_get_tags_acl_lock_and_context_however_they_are_made() {
    let rig = locked(false);
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint).with(&GIVEN).with(&SOON).with(&["--label", "cluster=blue"]);
    let mount = plan.start();
    write_each(&mount);
    mount.stop();
    assert_given(&each_of(&gate, makes));
    let bucket = rig.bucket();
    for (part, log) in [("/writers/", ""), ("app.log.segments/", "app.log"), ("core.files/", "core")] {
        let key = key_of(&bucket, part);
        let head = bucket.head(&key);
        assert_eq!(head.object_lock_mode(), Some(&ObjectLockMode::Governance), "{key}");
        assert_eq!(head.object_lock_legal_hold_status(), Some(&ObjectLockLegalHoldStatus::On), "{key}");
        let days = deadline(&key, &bucket).as_secs_f64() / 86_400.0;
        assert!((89.9..=90.1).contains(&days), "{key} is kept for {days} days");
        let tags = bucket.tags(&key);
        assert_eq!((&*tags["team"], &*tags["log"]), ("web ", log), "{key}");
        let label = if log.is_empty() { "" } else { "blue" };
        assert!(tags["of"].starts_with(&format!("{label}/web-")), "{key}: {tags:?}");
    }
    let tags = bucket.tags(&key_of(&bucket, "heap.hprof.files/"));
    assert_eq!(tags["log"], "heap.hprof");
}

/// A spool knows nothing of how objects are stored: who recovers it says so.
#[test]
fn what_is_recovered_gets_what_the_recovery_is_told() {
    let rig = locked(false);
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--label", "cluster=blue"]);
    let mut mount = plan.clone().start();
    write_each(&mount);
    mount.crash();
    drop(mount);
    gate.open();
    let refused = gate.seen().len();
    let flags: Vec<_> = GIVEN.iter().copied().filter(|flag| !flag.starts_with("--writer-id")).collect();
    let mut recovery = plan.recover(&flags, &[&plan.spool]);
    assert!(recovery.wait().success(), "{}", recovery.last_words());
    each_of(&gate, makes);
    let open = gate.seen().split_off(refused);
    let made: Vec<_> = open.into_iter().filter(makes).collect();
    assert!(made.len() >= 4, "{made:?}");
    assert_given(&made);
    let bucket = rig.bucket();
    let tags = bucket.tags(&key_of(&bucket, "app.log.segments/"));
    assert!(tags["of"].starts_with("blue/"), "{tags:?}");
}

#[test]
fn a_mark_of_what_was_dropped_is_locked_like_what_it_stands_for() {
    let rig = locked(false);
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let plan = rig.plan("a").through(&gate.endpoint).with(&GIVEN).with(&["--spool-max", "8MiB"]);
    let mount = plan.with(&["--rotate-size", "256KiB", "--write-path", "daemon"]).start();
    let mut log = File::options().append(true).create(true).open(mount.path("app.log")).unwrap();
    for _ in 0..12_000 {
        log.write_all(&[&[b'f'; 999][..], b"\n"].concat()).unwrap();
    }
    drop(log);
    gate.open();
    mount.await_sent();
    mount.stop_without_all();
    let bucket = rig.bucket();
    let mark = key_of(&bucket, ".dropped");
    assert_eq!(bucket.head(&mark).object_lock_mode(), Some(&ObjectLockMode::Governance));
    assert_eq!(bucket.tags(&mark)["log"], "app.log");
}

/// The embedded bucket computes each of them, and refuses what does not fit.
#[test]
fn the_checksum_is_sent_that_was_asked_for_by_its_name() {
    for (algorithm, name) in [
        ("", "crc32"),
        ("crc64nvme", "crc64nvme"),
        ("crc32c", "crc32c"),
        ("sha1", "sha1"),
        ("sha256", "sha256"),
        ("none", ""),
    ] {
        let rig = Rig::embedded();
        let gate = rig.gate();
        let plan = rig.plan("a").through(&gate.endpoint).with(&SOON);
        let mount = if algorithm.is_empty() { plan } else { plan.with(&["--checksum-algorithm", algorithm]) }.start();
        write_each(&mount);
        mount.stop();
        for seen in each_of(&gate, sends) {
            let sums: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
            let sums: Vec<_> = sums.iter().filter_map(|name| name.strip_prefix("x-amz-checksum-")).collect();
            let expected: &[&str] = if name.is_empty() { &[] } else { &[name] };
            assert_eq!(sums, expected, "{}", seen.target);
            assert_eq!(seen.header("x-amz-sdk-checksum-algorithm").to_lowercase(), name, "{}", seen.target);
            assert_eq!((seen.header("x-amz-trailer"), seen.header("content-encoding")), ("", ""), "{}", seen.target);
        }
        assert_eq!(rig.bucket().content("app.log"), b"a line\n", "{algorithm}");
        let heap = rig.bucket().versions("heap.hprof").remove(0).1;
        assert!(heap.len() as u64 == IN_PARTS && heap.iter().all(|byte| *byte == 0), "{algorithm}");
        read(&rig, "verify", "", &["--deep"]);
    }
}

/// Some text that gzip makes smaller the harder it tries.
fn text() -> String {
    let words = ["GET", "/index.html", "200", "user", "session", "took", "ms", "error"];
    let line = |n: usize| format!("{n} {} {} {}\n", words[n * 7 % 8], words[n * n % 8], n * 2_654_435_761 % 99_991);
    (0..20_000).map(line).collect()
}

#[test]
fn the_level_decides_how_small_objects_are() {
    let size = |flags: &[&str]| {
        let rig = Rig::embedded();
        let mount = rig.mount(flags);
        fs::write(mount.path("app.log"), text()).unwrap();
        mount.stop();
        assert_eq!(rig.bucket().content("app.log"), text().as_bytes(), "{flags:?}");
        rig.bucket().get(&key_of(&rig.bucket(), "app.log.segments/")).bytes.len()
    };
    let gzip = ["0", "1", "9"].map(|level| size(&["--gzip-level", level]));
    assert!(gzip[0] > text().len() && gzip[1] < gzip[0] && gzip[2] < gzip[1], "{gzip:?}");
    assert_eq!(size(&["--gzip-level", "6"]), size(&[]));
    let zstd = ["1", "19"].map(|level| size(&["--compression", "zstd", "--zstd-level", level]));
    assert!(zstd[1] < zstd[0], "{zstd:?}");
    assert_eq!(size(&["--compression", "zstd", "--zstd-level", "3"]), size(&["--compression", "zstd"]));
}

/// What arrived before the answer was lost has other bytes than what is made of the same range later.
#[test]
fn a_level_that_is_changed_between_two_tries_makes_no_second_object() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.rule(|seen| if seen.stores_a_segment() { Answer::LoseReply } else { Answer::Pass });
    let plan = rig.plan("a").through(&gate.endpoint).with(&SOON);
    let mut mount = plan.clone().with(&["--gzip-level", "1"]).start();
    fs::write(mount.path("app.log"), text()).unwrap();
    eventually("the object", || rig.bucket().segments("app.log").pop());
    mount.crash();
    drop(mount);
    let before = rig.bucket().get(&key_of(&rig.bucket(), "app.log.segments/")).bytes;
    gate.open();
    plan.with(&["--gzip-level", "9"]).start().stop();
    let segments = rig.bucket().segments("app.log");
    assert_eq!(segments.len(), 1, "{segments:?}");
    assert!(rig.bucket().get(&segments[0].key).bytes == before, "it was overwritten");
    assert!(gate.overwritten().is_empty());
}

/// Google and Alibaba spell it otherwise, and answer otherwise.
#[test]
fn a_service_that_spells_create_only_otherwise_is_asked_in_its_words() {
    for (flag, name, value, refusal) in [
        ("x-goog-if-generation-match=0", "x-goog-if-generation-match", "0", (412, "PreconditionFailed")),
        ("x-oss-forbid-overwrite=true", "x-oss-forbid-overwrite", "true", (409, "FileAlreadyExists")),
    ] {
        let rig = Rig::new(Kind::Moto);
        let gate = rig.gate();
        let knows = Answer::KnowsOnly(name, value, refusal);
        gate.always(knows);
        let plan = rig.plan("a").through(&gate.endpoint).with(&SOON);
        let mount = plan.clone().with(&["--no-overwrite-header", flag]).start();
        write_each(&mount);
        mount.daemon.await_told(&["registered; the service enforces conditional writes"], 1);
        let said = mount.stop_and_tell();
        assert!(!said.contains("ignores"), "{said}");
        for seen in each_of(&gate, stores) {
            assert_eq!((seen.header(name), seen.header("if-none-match")), (value, ""), "{}", seen.target);
        }
        assert!(gate.overwritten().is_empty(), "{:?}", gate.overwritten());
        assert_eq!(rig.bucket().content("app.log"), b"a line\n");
        // In the words that others know, it is found out that they are not understood.
        let mut other = rig.plan("b").through(&gate.endpoint);
        other.source = format!("s3://{}/other/", rig.access.bucket);
        let mount = other.start();
        fs::write(mount.path("app.log"), "a line\n").unwrap();
        mount.daemon.await_told(&["this S3 service ignores If-None-Match", "--no-overwrite-header"], 1);
        mount.stop();
    }
}

/// The object that an answer was lost for is known again, whatever the refusal is called.
#[test]
fn a_lost_answer_of_such_a_service_is_no_conflict() {
    let rig = Rig::new(Kind::Moto);
    let gate = rig.gate();
    let knows = Answer::KnowsOnly("x-oss-forbid-overwrite", "true", (409, "FileAlreadyExists"));
    gate.always(knows);
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--no-overwrite-header", "x-oss-forbid-overwrite=true"]);
    let mount = plan.with(&SOON).start();
    mount.daemon.await_told(&["registered"], 1);
    let mut lost = false;
    gate.rule(
        move |seen| {
            if seen.stores_a_segment() && !std::mem::replace(&mut lost, true) { Answer::LoseReply } else { knows }
        },
    );
    fs::write(mount.path("app.log"), "a line\n").unwrap();
    eventually("the segment", || rig.bucket().keys().iter().any(|key| key.contains(".segments/")).then_some(()));
    mount.stop();
    assert_eq!(rig.bucket().segments("app.log").len(), 1);
    assert!(gate.seen().iter().filter(|seen| seen.stores_a_segment()).count() > 1, "it was not tried again");
}

/// Exit code and words of a command line that must be refused before anything is done.
fn refused(plan: &Plan, flags: &[&str], words: &[&str]) {
    let (code, said) = plan.clone().with(flags).refused();
    assert_eq!(code, 2, "{flags:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{flags:?}: no {word:?} in {said}");
    }
}

#[test]
fn what_no_object_can_be_given_is_refused_at_start() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let tags: Vec<String> = (0..11).map(|n| format!("--tag=k{n}=v")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    for (flags, words) in [
        (&["--acl", "everybody"][..], &["everybody", "bucket-owner-full-control"][..]),
        (&["--tag", "team"], &["`team` is no tag", "KEY=VALUE"]),
        (&["--tag", "team=a,b"], &["letters, digits"]),
        (&["--tag", "log={path}"], &["{stream}", "{label:NAME}"]),
        (&["--tag", "aws:x=y"], &["Amazon's own"]),
        (&["--tag", "a=1", "--tag", "a=2"], &["the tag `a` is given twice"]),
        (&tags, &["at most 10 tags, and 11 are given"]),
        (&["--object-lock-mode", "governance"], &["--object-lock-retain"]),
        (&["--object-lock-retain", "30d"], &["--object-lock-mode"]),
        (&["--object-lock-mode", "governance", "--object-lock-retain", "0s"], &["at least one minute"]),
        (&["--object-lock-mode", "forever", "--object-lock-retain", "1y"], &["compliance"]),
        (&["--sse-kms-encryption-context", "a=b"], &["--sse"]),
        (&["--sse-kms-encryption-context", "a=b", "--sse", "AES256"], &["needs --sse aws:kms"]),
        (&["--sse-kms-encryption-context", "ab", "--sse", "aws:kms"], &["KEY=VALUE"]),
        (&["--checksum-algorithm", "md5"], &["crc64nvme", "sha256", "none"]),
        (&["--gzip-level", "10"], &["0..=9"]),
        (&["--zstd-level", "0"], &["1..=19"]),
        (&["--no-overwrite-header", "x-amz-acl=private"], &["another meaning"]),
        (&["--no-overwrite-header", "a b=c"], &["NAME=VALUE"]),
    ] {
        refused(&plan, flags, words);
    }
    for flags in
        [&["--tag", "a=b"][..], &["--acl", "private"], &["--checksum-algorithm", "sha1"], &["--gzip-level", "1"]]
    {
        refused(&rig.plan_reader(&[]), flags, &["--read-only", flags[0]]);
    }
    let mut recover = command(logsinkfs());
    recover.args(["recover", "/nowhere", "--tag", "a=1", "--tag", "a=2"]);
    let output = recover.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the tag `a` is given twice"));
    // In the environment, one per line.
    let twice = plan.env("LOGSINKFS_TAG", "a=1\na=2");
    refused(&twice, &[], &["the tag `a` is given twice"]);
}
