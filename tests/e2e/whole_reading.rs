//! Whole files, which are no logs, read back: in a reader mount, and by the commands that read without one.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::Value;

use test_harness::bucket::Object;
use test_harness::files::{binary, errno, names};
use test_harness::planted::{FilePlanter, Form, Planter, ago, at};
use test_harness::reading::{read, read_by, reading};
use test_harness::{Bucket, Mount, Rig, eventually};

/// Nothing is asked again unless a signal says so.
const NEVER: &str = "--metadata-ttl=indefinite";
/// More than anything reads ahead.
const LARGE: usize = 5 << 20;

/// Has the mount forget what it knows until it shows what it is to show.
fn refreshed(mount: &Mount, what: &str, look: impl Fn() -> bool) {
    eventually(what, || {
        mount.daemon.signal(Signal::HUP);
        look().then_some(())
    });
}

/// What `cat` prints, of any kind.
fn cat(rig: &Rig, path: &str, args: &[&str]) -> Vec<u8> {
    let output = reading(rig, &rig.access, "cat", path, args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A file of three versions by two writers, of which the second began last.
fn three_versions(bucket: &Bucket, path: &str, form: Form) -> Vec<u8> {
    let (mut a, mut b) = (FilePlanter::new(bucket, path, "web-1"), FilePlanter::new(bucket, path, "web-2"));
    let newest = binary(LARGE, 3);
    (a.form, b.form) = (form, form);
    a.put(at("2026-11-20T08:00:00"), &binary(LARGE + 5, 1));
    b.put(ago(10), &newest);
    a.put(ago(20), &binary(100, 2));
    newest
}

#[test]
fn a_whole_file_shows_as_its_newest_version_byte_for_byte() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        let rig = Rig::embedded();
        let newest = three_versions(&rig.bucket(), "web/dump.hprof", form);
        let mount = rig.read(&[]);
        assert_eq!(names(&mount.path("web")), ["dump.hprof", "dump.hprof.files"]);
        let path = mount.path("web/dump.hprof");
        assert_eq!(fs::metadata(&path).unwrap().len(), newest.len() as u64);
        let file = File::open(&path).unwrap();
        let mut middle = vec![0; 70_000];
        file.read_exact_at(&mut middle, 3_333_333).unwrap();
        assert_eq!(middle, newest[3_333_333..3_403_333]);
        assert!(fs::read(&path).unwrap() == newest, "{form:?}");
        assert_eq!(file.read_at(&mut middle, newest.len() as u64).unwrap(), 0);
        mount.stop();
    }
}

#[test]
fn its_versions_are_beside_it_as_they_are_stored() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = FilePlanter::new(&bucket, "dump.hprof", "web-1");
    planter.put(ago(90), b"first");
    planter.partial = true;
    let key = planter.put(ago(10), b"second, half written");
    let mount = rig.read(&[]);
    let raw = mount.path(key.strip_prefix("team/").unwrap());
    assert_eq!(fs::read(&raw).unwrap(), bucket.get(&key).bytes);
    let (file, object) = (fs::metadata(mount.path("dump.hprof")).unwrap(), fs::metadata(&raw).unwrap());
    assert_eq!(file.mtime(), object.mtime());
    assert_eq!(fs::read(mount.path("dump.hprof")).unwrap(), b"second, half written");
    assert_eq!(file.mode() & 0o777, 0o440);
    mount.stop();
}

#[test]
fn empty_files_odd_names_and_what_was_compressed_before_are_as_they_were() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        let name = format!("empty-{form:?}").to_lowercase();
        FilePlanter { form, ..FilePlanter::new(&bucket, &name, "web-1") }.put(ago(10), b"");
    }
    let inner = bucket.get(&FilePlanter::new(&bucket, "x", "web-1").put(ago(10), b"the text")).bytes;
    FilePlanter { form: Form::Plain, ..FilePlanter::new(&bucket, "x.gz", "web-1") }.put(ago(10), &inner);
    FilePlanter::new(&bucket, "y.gz", "web-1").put(ago(10), &inner);
    FilePlanter::new(&bucket, "a%20b%FF.db", "web-1").put(ago(10), b"odd");
    let mount = rig.read(&[]);
    for name in ["empty-plain", "empty-gzip", "empty-zstd"] {
        assert_eq!(fs::read(mount.path(name)).unwrap(), b"", "{name}");
        assert!(cat(&rig, name, &[]).is_empty());
    }
    assert_eq!(fs::read(mount.path("x")).unwrap(), b"the text");
    for name in ["x.gz", "y.gz"] {
        assert!(fs::read(mount.path(name)).unwrap() == inner && cat(&rig, name, &[]) == inner, "{name}");
    }
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"a b\xff.db");
    assert_eq!(fs::read(mount.plan.point.join::<&std::ffi::OsStr>(odd)).unwrap(), b"odd");
    mount.stop();
}

#[test]
fn a_file_that_was_a_log_before_is_the_whole_file_and_its_log_is_in_its_slices() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    Planter::new(&bucket, "report", "web-1").put(at("2026-11-23T08:00:00"), b"a line\n");
    FilePlanter::new(&bucket, "report", "web-1").put(ago(10), b"a line\nand more");
    // Folders of somebody else hide nothing and make no file.
    bucket.put("team/page.files/style.css", b"css");
    bucket.put("team/app.log.files/notes.txt", b"mine");
    Planter::new(&bucket, "app.log", "web-1").put(ago(10), b"of the log\n");
    let mount = rig.read(&[]);
    let shown =
        ["app.log", "app.log.files", "app.log.segments", "page.files", "report", "report.files", "report.segments"];
    assert_eq!(names(&mount.plan.point), shown);
    assert_eq!(fs::read(mount.path("report")).unwrap(), b"a line\nand more");
    assert_eq!(fs::read(mount.path("report@2026-11-23")).unwrap(), b"a line\n");
    assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"of the log\n");
    assert_eq!(fs::read(mount.path("page.files/style.css")).unwrap(), b"css");
    assert_eq!(errno(fs::metadata(mount.path("page"))), Errno::NOENT);
    mount.stop();
    assert_eq!(cat(&rig, "report", &[]), b"a line\nand more");
    assert_eq!(cat(&rig, "report@2026-11-23", &[]), b"a line\n");
    assert_eq!(cat(&rig, "app.log", &[]), b"of the log\n");
    assert_eq!(read(&rig, "ls", "", &[]), "app.log\napp.log.files/\npage.files/\nreport\n");
}

#[test]
fn who_has_it_open_keeps_the_version_and_who_opens_it_later_gets_the_newest() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = FilePlanter::new(&bucket, "dump.hprof", "web-1");
    let first = binary(LARGE, 1);
    planter.put(ago(20), &first);
    let mount = rig.read(&[NEVER]);
    let path = mount.path("dump.hprof");
    let mut open = File::open(&path).unwrap();
    let mut bytes = vec![0; 1000];
    open.read_exact(&mut bytes).unwrap();
    planter.put(ago(10), b"another");
    refreshed(&mount, "the new version", || fs::read(&path).is_ok_and(|bytes| bytes == b"another"));
    open.read_to_end(&mut bytes).unwrap();
    assert!(bytes == first, "{} bytes", bytes.len());
    assert_eq!(open.metadata().unwrap().len(), first.len() as u64);
    mount.stop();
}

#[test]
fn a_version_that_is_replaced_or_gone_while_it_is_open_is_stale_and_never_mixed() {
    for form in [Form::Plain, Form::Zstd] {
        let rig = Rig::embedded();
        let bucket = rig.bucket();
        let mount = rig.read(&[NEVER]);
        for (name, is_gone) in [("gone", true), ("replaced", false)] {
            let mut planter = FilePlanter { form, ..FilePlanter::new(&bucket, name, "web-1") };
            let key = planter.put(ago(20), &binary(LARGE, 1));
            let path = mount.path(name);
            refreshed(&mount, name, || path.exists());
            let open = File::open(&path).unwrap();
            if is_gone {
                bucket.delete(&key);
            } else {
                let mut other = bucket.get(&key);
                let last = other.bytes.len() - 1;
                other.bytes[last] ^= 1;
                bucket.put_over(&key, other);
            }
            assert_eq!(errno(open.read_at(&mut [0; 100], 0)), Errno::STALE);
        }
        mount.stop();
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_nothing_stands_in_its_place() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = FilePlanter::new(&bucket, "broken", "web-1");
    let key = planter.put(ago(10), &binary(100_000, 1));
    let mut object = bucket.get(&key);
    object.bytes.truncate(50_000);
    bucket.put_over(&key, object);
    // Of lengths that no disk has.
    let claims: Vec<String> = [Form::Plain, Form::Gzip, Form::Zstd]
        .map(|form| {
            let name = format!("claims-{form:?}").to_lowercase();
            let planter = FilePlanter { form, ..FilePlanter::new(&bucket, &name, "web-1") };
            let object =
                bucket.get(&FilePlanter { form, ..FilePlanter::new(&bucket, "small", "web-1") }.put(ago(9), b"x"));
            bucket.put_over(&planter.key(ago(10), 5 << 40), object);
            name
        })
        .into();
    bucket.put("team/long.files/20261123T081502.123456Z_w_00000001_5497558138881", b"longer than any");
    let mount = rig.read(&[]);
    assert_eq!(errno(fs::read(mount.path("broken"))), Errno::IO);
    for name in &claims {
        let file = File::open(mount.path(name)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5 << 40);
        assert_eq!(errno(file.read_at(&mut [0; 100], 4 << 40)), Errno::IO);
        let (code, out, said) = read_by(&rig, &rig.access, "cat", name, &[]);
        assert!(code == 1 && out.len() <= 1 && said.contains("verify --deep"), "{out} {said}");
    }
    assert!(!mount.path("long").exists());
    mount.stop();
    let output = reading(&rig, &rig.access, "cat", "broken", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(binary(100_000, 1).starts_with(&output.stdout), "and nothing else is printed");
}

#[test]
fn the_commands_read_the_newest_version() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let newest = three_versions(&bucket, "web/dump.hprof", Form::Gzip);
    assert!(cat(&rig, "web/dump.hprof", &[]) == newest);
    assert_eq!(cat(&rig, "web/dump.hprof", &["--writer", "web-1"]), binary(100, 2));
    assert_eq!(cat(&rig, "web/dump.hprof", &["--until", "2026-11-21"]), binary(LARGE + 5, 1));
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "web/dump.hprof", &["--writer", "web-3"]);
    assert!(code == 0 && out.is_empty() && said.contains("there is nothing of"), "{said}");
    let mut planter = FilePlanter::new(&bucket, "web/report.txt", "web-1");
    planter.put(ago(60 * 24 * 40), b"old\n");
    planter.partial = true;
    planter.put(ago(60 * 24 * 30), b"one\ntwo\nthree");
    assert_eq!(read(&rig, "tail", "web/report.txt", &["-n", "2"]), "two\nthree");
    assert_eq!(read(&rig, "tail", "web/report.txt", &["-n", "+2"]), "two\nthree");
    assert_eq!(read(&rig, "tail", "web/report.txt", &[]), "one\ntwo\nthree");
    let (code, out, said) = read_by(&rig, &rig.access, "tail", "web/report.txt", &["-f"]);
    assert_eq!((code, out.as_str()), (0, "one\ntwo\nthree"));
    assert!(said.contains("does not grow"), "{said}");
    Planter::new(&bucket, "web/app.log", "web-1").put(ago(10), b"line\n");
    assert_eq!(read(&rig, "ls", "web", &[]), "app.log\ndump.hprof\nreport.txt\n");
    let words = |path: &str| -> Vec<String> {
        let long = read(&rig, "ls", path, &["-l"]);
        let words = |line: &str| {
            line.split_whitespace().enumerate().filter(|(n, _)| *n != 1).map(|(_, w)| w.to_owned() + " ").collect()
        };
        long.lines().map(words).collect()
    };
    let dump = format!("{} dump.hprof (3 versions) ", newest.len());
    let report = "13 report.txt (2 versions, partial) ";
    assert_eq!(words("web"), ["5 app.log (1 segment, 1 writer) ", dump.as_str(), report]);
    assert_eq!(words("web/report.txt"), [report]);
}

/// Gives an object the metadata that its writer would have given it.
fn describe(bucket: &Bucket, key: &str, path: &str, number: u64, bytes: &[u8]) {
    let metadata = [
        ("checksum-crc64nvme", format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes))),
        ("number", number.to_string()),
        ("length", bytes.len().to_string()),
        ("writer", "web-1".to_owned()),
        ("path", path.to_owned()),
    ];
    let metadata = metadata.map(|(field, value)| (field.to_owned(), value)).into();
    bucket.put_over(key, Object { metadata, ..bucket.get(key) });
}

/// Exit code, and the lines of a report in JSON that are of a type.
fn verified(rig: &Rig, path: &str, args: &[&str]) -> (i32, impl Fn(&str) -> Vec<Value>) {
    let (code, out, _) = read_by(rig, &rig.access, "verify", path, &[args, &["--json"]].concat());
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (code, move |of: &str| lines.iter().filter(|line| line["type"] == of).cloned().collect())
}

#[test]
fn whole_files_are_verified_with_the_logs() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    Planter::new(&bucket, "app.log", "web-1").put(ago(10), b"line\n");
    bucket.put("team/page.files/style.css", b"css");
    let mut planter = FilePlanter::new(&bucket, "dump.hprof", "web-1");
    let (first, second) = (binary(LARGE, 1), binary(1000, 2));
    let one = planter.put(ago(20), &first);
    planter.partial = true;
    let two = planter.put(ago(10), &second);
    describe(&bucket, &one, "dump.hprof", 1, &first);
    describe(&bucket, &two, "dump.hprof", 2, &second);
    bucket.put("team/dump.hprof.files/notes.txt", b"mine");

    let (code, found) = verified(&rig, "", &[]);
    assert_eq!(code, 0);
    let (files, total) = (found("file"), found("total").remove(0));
    assert_eq!((files.len(), &files[0]["file"], &files[0]["versions"]), (1, &"dump.hprof".into(), &2.into()));
    let sums = [&total["files"], &total["versions"], &total["streams"], &total["segments"], &total["bytes"]];
    assert_eq!(sums, [&1.into(), &2.into(), &1.into(), &1.into(), &Value::from(LARGE + 1000 + 5)]);
    assert_eq!(found("partial")[0]["key"], *two);
    assert_eq!(found("foreign")[0]["key"], "team/dump.hprof.files/notes.txt");
    for (path, args) in [("dump.hprof", &["--deep"][..]), ("", &["--deep"])] {
        let (_, found) = verified(&rig, path, args);
        let damaged = found("damaged").into_iter().filter(|found| found["file"] == "dump.hprof").count();
        assert_eq!((found("file").len(), damaged), (1, 0), "{path}");
    }
    // A prefix that was mounted is not escaped.
    let key = FilePlanter::new(&bucket, "my logs/dump.hprof", "web-1").put(ago(10), &second);
    describe(&bucket, &key, "dump.hprof", 1, &second);
    assert!(cat(&rig, "my logs/dump.hprof", &[]) == second);
    for path in ["my logs", "my logs/dump.hprof"] {
        let (code, found) = verified(&rig, path, &["--deep"]);
        assert_eq!((code, found("file").len(), found("damaged").len()), (0, 1, 0), "{path}");
    }
    bucket.delete(&key);

    let mut object = bucket.get(&one);
    object.metadata.insert("number".into(), "7".into());
    bucket.put_over(&one, object);
    bucket.put_over(
        &two,
        Object { metadata: bucket.get(&two).metadata, ..bucket.get(&planter.put(ago(5), &binary(1000, 3))) },
    );
    let (code, found) = verified(&rig, "dump.hprof", &["--deep"]);
    let why = |key: &str| found("damaged").iter().find(|found| found["key"] == key).unwrap()["why"].clone();
    assert_eq!(code, 1);
    assert!(why(&one).as_str().unwrap().contains("number 7"));
    assert!(why(&two).as_str().unwrap().contains("checksum"));
    let (_, out, _) = read_by(&rig, &rig.access, "verify", "dump.hprof", &[]);
    assert!(
        out.contains("dump.hprof: whole file, 3 versions, ") && out.contains("  partial team/dump.hprof.files/"),
        "{out}"
    );
}
