//! What is wrong from outside: each is said with its name and a hint, with the right exit code (1 failure, 2 usage),
//! and nothing that was accepted is lost.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::io::Errno;

use test_harness::disk::Disk;
use test_harness::mount::{Plan, is_mounted};
use test_harness::{Answer, Gate, Rig, eventually};

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    let said = said.to_lowercase();
    for word in words {
        assert!(said.contains(&word.to_lowercase()), "{word:?} is missing in: {said}");
    }
}

/// A failure (exit 1) that names these things.
#[track_caller]
pub fn fails(plan: Plan, words: &[&str]) {
    let (code, said) = plan.refused();
    assert_eq!(code, 1, "{said}");
    assert_says(&said, words);
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

/// S3 answers everything like this. With `--require-bucket` the mount is refused; without, it takes what is written,
/// says what is wrong, and brings it to the bucket once that is mended.
#[track_caller]
fn misfortune(answer: Answer, words: &[&str]) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.always(answer);
    spools_until_mended(&rig, &gate, rig.plan("a").through(&gate.endpoint), words);
}

#[track_caller]
fn spools_until_mended(rig: &Rig, gate: &Gate, plan: Plan, words: &[&str]) {
    fails(plan.clone().with(&["--require-bucket"]), words);
    assert!(!is_mounted(&plan.point));
    let plan = plan.with(&["--rotate-idle", "1s", "--shutdown-timeout", "1s"]);
    let mount = plan.clone().start();
    fs::write(mount.path("app.log"), "accepted\n").unwrap();
    eventually("the reason in the log", || {
        let said = mount.daemon.stderr().to_lowercase();
        words.iter().all(|word| said.contains(&word.to_lowercase())).then_some(())
    });
    let (code, said) = mount.terminate();
    assert_eq!(code, 3, "{said}");
    gate.open();
    let mut plan = plan;
    plan.access = rig.access.at(&gate.endpoint);
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"accepted\n");
}

#[test]
fn a_missing_bucket_is_named() {
    misfortune(Answer::Refuse(404, "NoSuchBucket", None), &["s3://logs", "does not exist", "create"]);
}

#[test]
fn a_denial_names_the_missing_right() {
    misfortune(Answer::Refuse(403, "AccessDenied", None), &["denied", "s3:PutObject"]);
}

#[test]
fn unknown_credentials_are_told_from_a_denial() {
    misfortune(Answer::Refuse(403, "InvalidAccessKeyId", None), &["credentials"]);
}

#[test]
fn a_wrong_region_is_told_with_the_right_one() {
    let moved = Some(("x-amz-bucket-region", "eu-west-1"));
    misfortune(Answer::Refuse(301, "PermanentRedirect", moved), &["--region", "eu-west-1"]);
}

#[test]
fn a_signature_for_another_region_is_told_with_the_right_one() {
    let moved = Some(("x-amz-bucket-region", "eu-west-1"));
    let answer = Answer::Refuse(400, "AuthorizationHeaderMalformed", moved);
    misfortune(answer, &["--region", "eu-west-1"]);
}

#[test]
fn missing_credentials_are_told_with_where_they_may_come_from() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut plan = rig.plan("a").through(&gate.endpoint);
    plan.access.key_id.clear();
    spools_until_mended(&rig, &gate, plan, &["credentials", "environment", "--profile"]);
}

#[test]
fn an_endpoint_that_does_not_answer_is_named_where_the_bucket_is_required() {
    let rig = Rig::embedded();
    // Port 1 of the loopback: nothing listens there.
    let plan = rig.plan("a").through("http://127.0.0.1:1").with(&["--require-bucket"]);
    fails(plan, &["127.0.0.1:1", "--endpoint-url"]);
}

#[test]
fn a_missing_mount_point_is_named() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    plan.point = rig.local("not there");
    fails(plan, &["not there", "mkdir"]);
}

#[test]
fn a_mount_point_that_is_a_file_is_named() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    plan.point = rig.local("a file");
    fs::write(&plan.point, "").unwrap();
    fails(plan, &["a file", "directory"]);
}

#[test]
fn a_mount_point_that_is_not_empty_is_covered_with_a_warning() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let below = plan.point.join("below.txt");
    fs::write(&below, "below").unwrap();
    let mount = plan.start();
    assert!(!below.exists());
    mount.daemon.await_told(&["not empty"], 1);
    mount.stop();
    assert_eq!(fs::read_to_string(&below).unwrap(), "below");
}

#[test]
fn a_mount_point_in_use_is_refused_and_its_mount_goes_on() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut second = rig.plan("b");
    second.point.clone_from(&mount.plan.point);
    let point = mount.plan.point.display().to_string();
    fails(second, &[&point, "already"]);
    fs::write(mount.path("app.log"), "goes on\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"goes on\n");
}

#[test]
fn a_spool_in_use_is_refused_and_its_mount_goes_on() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut second = rig.plan("b");
    second.spool.clone_from(&mount.plan.spool);
    let spool = mount.plan.spool.display().to_string();
    let point = second.point.clone();
    fails(second, &[&spool, "another"]);
    assert!(!is_mounted(&point));
    fs::write(mount.path("app.log"), "goes on\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"goes on\n");
}

#[test]
fn a_read_only_spool_is_named() {
    let rig = Rig::embedded();
    let disk = Disk::new(&rig.local("disk"), 1);
    disk.make_read_only();
    let mut plan = rig.plan("a");
    plan.spool = disk.path.join("spool");
    let spool = plan.spool.display().to_string();
    fails(plan, &[&spool, "read-only", "--spool-dir"]);
}

#[test]
fn a_spool_that_is_a_file_is_named() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    fs::write(&plan.spool, "").unwrap();
    let spool = plan.spool.display().to_string();
    fails(plan, &[&spool]);
}

#[test]
fn a_spool_on_a_full_disk_loses_nothing_that_was_accepted() {
    let rig = Rig::embedded();
    let disk = Disk::new(&rig.local("disk"), 8);
    let gate = rig.gate();
    gate.refuse(503, "ServiceUnavailable");
    let mut plan = rig.plan("a").through(&gate.endpoint).with(&["--rotate-size", "1MiB"]);
    plan.spool = disk.path.join("spool");
    let mount = plan.start();
    let mut file = OpenOptions::new().append(true).create(true).open(mount.path("app.log")).unwrap();
    // Somebody else fills the disk while nothing can leave it.
    let mut other = fs::File::create(disk.path.join("other program")).unwrap();
    let mut accepted = Vec::new();
    let mut number = 0;
    let refused = loop {
        number += 1;
        assert!(number < 100_000, "the disk of 8 MiB took more than that");
        if number == 1_000 {
            while other.write_all(&[0; 4096]).is_ok() {}
        }
        let line = format!("line {number:06} {}\n", "f".repeat(1_000));
        match file.write(line.as_bytes()) {
            // The last one may be short, as on any full disk; what it counts is accepted.
            Ok(written) => accepted.extend_from_slice(&line.as_bytes()[..written]),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    // The other program leaves its space, S3 comes back, and all goes on.
    other.set_len(0).unwrap();
    gate.open();
    eventually("the file to take lines again", || file.write_all(b"again\n").ok());
    accepted.extend_from_slice(b"again\n");
    drop(file);
    mount.stop();
    assert!(rig.bucket().content("app.log") == accepted);
}

#[test]
fn a_path_too_long_for_a_key_is_refused_at_its_creation() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut deep = mount.plan.point.clone();
    for _ in 0..5 {
        deep.push("d".repeat(200));
    }
    let created = fs::create_dir_all(&deep).and_then(|()| fs::write(deep.join("app.log"), "line\n"));
    assert_eq!(created.unwrap_err().raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    // Names that escape to three bytes for each are measured as the key will be.
    let escaped = mount.path(&"%".repeat(250));
    fs::create_dir(&escaped).unwrap();
    let created = fs::write(escaped.join("%".repeat(100)), "line\n");
    assert_eq!(created.unwrap_err().raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

/// Each of these is a usage error that names the flag, and touches neither spool nor mount point.
#[test]
fn a_bad_value_is_refused_with_the_name_of_its_flag() {
    let rig = Rig::embedded();
    for (flag, value) in [
        ("--rotate-size", "12parsecs"),
        ("--rotate-size", "0"),
        ("--rotate-size", "-1"),
        ("--rotate-interval", "soon"),
        ("--rotate-interval", "0s"),
        ("--rotate-idle", "5 parsecs"),
        ("--retire-after", "tomorrow"),
        ("--shutdown-timeout", "-5s"),
        ("--spool-max", "much"),
        ("--metadata-ttl", "ever"),
        ("--record-start", "("),
        ("--partition", "%!"),
        ("--partition", "x.segments/%Y"),
        ("--partition", "/%Y"),
        ("--stream-map", "no equals sign"),
        ("--stream-map", "(=x"),
        ("--stream-map", "(?<pod>.*)=$prod.log"),
        ("--compression", "brotli"),
        ("--exclude", "["),
        ("--writer-id", "Node/7"),
        ("--view", "both"),
        ("--fsync", "never"),
        ("--file-mode", "rw-r--r--"),
        ("--uid", "nobody at all"),
        ("--endpoint-url", "not a url"),
    ] {
        let plan = rig.plan("a");
        let (spool, point) = (plan.spool.clone(), plan.point.clone());
        // One argument, since a value may begin with a dash.
        let (code, said) = plan.with(&[&format!("{flag}={value}")]).refused();
        assert_eq!(code, 2, "{flag} {value}: {said}");
        assert_says(&said, &[flag]);
        assert!(!spool.exists() && !is_mounted(&point), "{flag} {value} left something behind");
    }
}

#[test]
fn a_bad_source_is_refused_with_the_two_forms_there_are() {
    let rig = Rig::embedded();
    for source in ["logs", "http://logs", "s3://", "s3:///prefix", "file://relative"] {
        let mut plan = rig.plan("a");
        plan.source = source.to_owned();
        let (code, said) = plan.refused();
        assert_eq!(code, 2, "{source}: {said}");
        assert_says(&said, &[source, "://"]);
    }
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let rig = Rig::embedded();
    let (code, said) = rig.plan("a").with(&["--rotate-sise", "64MiB"]).refused();
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["--rotate-sise", "--rotate-size"]);
}

#[test]
fn a_bad_value_in_the_environment_is_refused_with_its_name() {
    let rig = Rig::embedded();
    let (code, said) = rig.plan("a").env("LOGSINKFS_ROTATE_SIZE", "12parsecs").refused();
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["rotate", "size", "12parsecs"]);
}

#[test]
fn a_file_without_rights_is_refused_by_the_kernel() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--allow-other", "--dir-mode", "0755"]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    fs::set_permissions(mount.path("app.log"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut other = test_harness::process::command("/usr/bin/setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"]);
    other.arg(mount.path("app.log"));
    let mut other = test_harness::Proc::start("cat as nobody", other);
    assert!(!other.wait().success());
    other.await_stderr("Permission denied");
    mount.stop();
}

/// Else anybody who can open it could hold it, and no daemon would get the spool.
#[test]
fn the_lock_of_a_spool_is_its_owners_alone() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    fs::create_dir(&plan.spool).unwrap();
    let lock = plan.spool.join("lock");
    let mode = || fs::metadata(&lock).unwrap().permissions().mode() & 0o777;
    plan.clone().start().stop();
    assert_eq!(mode(), 0o600);
    // As an earlier version made it.
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    plan.clone().start().stop();
    assert_eq!(mode(), 0o600);
    let other = rig.local("other");
    fs::write(&other, "somebody else's").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666)).unwrap();
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&other, &lock).unwrap();
    fails(plan, &["lock", "symbolic link"]);
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody else's");
}
