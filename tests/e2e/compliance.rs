//! What docs/COMPLIANCE.md says of erasure and Object Lock, tried on moto: what is left of a log that was erased, and
//! what cannot be.

use std::fs;

use test_harness::reading::read_by;
use test_harness::{Bucket, Kind, Rig};

/// A bucket with Object Lock, and so with versions, that has the logs `web.log` and `db.log`, of two segments each.
fn logged(flags: &[&str]) -> Rig {
    let mut rig = Rig::new(Kind::Moto);
    rig.access.bucket = "audited".to_owned();
    rig.bucket().make_locked(false);
    let mount = rig.mount(&[&["--writer-id", "w"], flags].concat());
    for log in ["web.log", "db.log"] {
        for line in ["first\n", "second\n", "third\n"] {
            let mut file = fs::File::options().append(true).create(true).open(mount.path(log)).unwrap();
            std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
            drop(file);
            mount.flush();
        }
    }
    mount.stop();
    rig
}

fn verify(rig: &Rig, path: &str) -> (i32, String) {
    let (code, out, said) = read_by(rig, &rig.access, "verify", path, &[]);
    (code, out + &said)
}

fn keys(bucket: &Bucket, log: &str) -> Vec<String> {
    let mut segments = bucket.segments(log);
    segments.sort_by_key(|segment| segment.offset);
    assert_eq!(segments.len(), 3, "{segments:?}");
    segments.into_iter().map(|segment| segment.key).collect()
}

#[test]
fn a_log_that_is_erased_with_its_versions_is_gone_and_the_others_are_whole() {
    let rig = logged(&[]);
    let bucket = rig.bucket();
    for key in keys(&bucket, "web.log") {
        // As `aws s3 rm` does it, which in such a bucket only hides.
        bucket.delete(&key);
        assert_eq!(bucket.all_versions(&key).len(), 2, "the object, and the mark over it");
        for version in bucket.all_versions(&key) {
            assert_eq!(bucket.delete_version(&key, &version, false), None);
        }
        assert_eq!(bucket.all_versions(&key).len(), 0);
    }
    let (code, said) = verify(&rig, "");
    assert!(code == 0 && said.contains("db.log") && !said.contains("web.log"), "{said}");
    assert_eq!(verify(&rig, "web.log").0, 1);
}

#[test]
fn what_is_erased_of_a_log_is_expired_at_its_beginning_and_else_lost_until_a_mark_says_so() {
    let rig = logged(&[]);
    let bucket = rig.bucket();
    bucket.delete(&keys(&bucket, "web.log")[0]);
    let (code, said) = verify(&rig, "web.log");
    assert!(code == 0 && said.contains("expired"), "{said}");
    let middle = &keys(&bucket, "db.log")[1];
    bucket.delete(middle);
    let (code, said) = verify(&rig, "db.log");
    assert!(code == 1 && said.contains("lost"), "{said}");
    bucket.put(&middle.replace(".log.gz", ".dropped"), b"");
    let (code, said) = verify(&rig, "db.log");
    assert!(code == 0 && said.contains("dropped"), "{said}");
}

#[test]
fn a_locked_object_can_be_hidden_and_comes_back() {
    let rig = logged(&["--object-lock-mode", "compliance", "--object-lock-retain", "30d"]);
    let bucket = rig.bucket();
    let key = &keys(&bucket, "web.log")[1];
    let object = bucket.all_versions(key).remove(0);
    for bypass in [false, true] {
        assert_eq!(bucket.delete_version(key, &object, bypass).as_deref(), Some("AccessDenied"));
    }
    bucket.delete(key);
    assert_eq!(verify(&rig, "web.log").0, 1, "it is hidden");
    let marks: Vec<_> = bucket.all_versions(key).into_iter().filter(|version| *version != object).collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(bucket.delete_version(key, &marks[0], false), None);
    let (code, said) = verify(&rig, "web.log");
    assert!(code == 0 && said.contains("whole"), "{said}");
    assert_eq!(bucket.content("web.log"), b"first\nsecond\nthird\n");
}

#[test]
fn governance_is_bypassed_and_a_hold_is_lifted_by_those_who_may() {
    let rig = logged(&["--object-lock-mode", "governance", "--object-lock-retain", "30d"]);
    let bucket = rig.bucket();
    let key = &keys(&bucket, "web.log")[1];
    let object = bucket.all_versions(key).remove(0);
    assert_eq!(bucket.delete_version(key, &object, false).as_deref(), Some("AccessDenied"));
    assert_eq!(bucket.delete_version(key, &object, true), None);
    let rig = logged(&["--object-lock-legal-hold"]);
    let bucket = rig.bucket();
    let key = &keys(&bucket, "web.log")[1];
    let object = bucket.all_versions(key).remove(0);
    assert_eq!(bucket.delete_version(key, &object, true).as_deref(), Some("AccessDenied"));
    bucket.lift_hold(key);
    assert_eq!(bucket.delete_version(key, &object, false), None);
}
