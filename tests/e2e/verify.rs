//! `logsinkfs verify`: what is whole is called whole, and what is not is named with its range or key.

use std::fs::{self, OpenOptions};
use std::io::Write;

use serde_json::Value;

use test_harness::process::{Proc, command};
use test_harness::rig::PREFIX;
use test_harness::s3::logsinkfs;
use test_harness::segments::Segment;
use test_harness::{Bucket, Kind, Rig};

/// Exit code, standard output and standard error.
struct Verdict(i32, Vec<String>, String);

impl Verdict {
    /// The findings of a report in JSON, by type.
    fn findings(&self, of: &str) -> Vec<Value> {
        let lines = self.1.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] == of).collect()
    }

    #[track_caller]
    fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.0, code, "{:#?}\n{}", self.1, self.2);
        self
    }

    #[track_caller]
    fn assert_says(self, words: &[&str]) -> Self {
        let said = format!("{}\n{}", self.1.join("\n"), self.2);
        for word in words {
            assert!(said.contains(word), "{word:?} is missing in: {said}");
        }
        self
    }
}

fn verify(rig: &Rig, args: &[&str]) -> Verdict {
    let mut command = command(logsinkfs());
    command.env_clear().env("HOME", rig.dir.path().join("home"));
    rig.access.env(&mut command);
    command.args(["verify", "--endpoint-url", &rig.access.endpoint, "--force-path-style"]);
    let mut process = Proc::start("verify", {
        command.args(args);
        command
    });
    let code = process.wait().code().expect("an exit code");
    Verdict(code, process.said(), process.last_words())
}

fn source(rig: &Rig) -> String {
    format!("s3://{}/{PREFIX}", rig.access.bucket)
}

/// A log of three generations, in several segments each, of a mount that was crashed once.
fn logged(kind: Kind, compression: &str, name: &str) -> Rig {
    let rig = Rig::new(kind);
    let mut mount = rig.mount(&["--rotate-size", "1KiB", "--compression", compression]);
    if let Some(folder) = mount.path(name).parent() {
        fs::create_dir_all(folder).unwrap();
    }
    for run in 0..3 {
        fs::write(mount.path(name), "").unwrap();
        let mut log = OpenOptions::new().append(true).open(mount.path(name)).unwrap();
        for n in 0..60 {
            writeln!(log, "run {run}, line {n:06} with some more to fill it up to its length").unwrap();
        }
        if run == 1 {
            drop(log);
            mount.crash();
            mount.start_again();
        }
    }
    mount.stop();
    rig
}

fn by_range(bucket: &Bucket, stream: &str) -> Vec<Segment> {
    let mut segments = bucket.segments(stream);
    segments.sort_by_key(|s| (s.generation, s.offset));
    segments
}

/// A segment with another one on each side of it in its generation.
fn inner(segments: &[Segment]) -> &Segment {
    let inner = |w: &&[Segment]| w[0].generation == w[2].generation;
    &segments.windows(3).rfind(inner).expect("a generation of three segments")[1]
}

#[test]
fn what_was_logged_with_restarts_is_whole_also_looked_at_deeply() {
    for (kind, compression) in [(Kind::Embedded, "gzip"), (Kind::Moto, "zstd"), (Kind::Embedded, "none")] {
        let rig = logged(kind, compression, "web/app.log");
        let segments = rig.bucket().segments("web/app.log");
        let bytes: u64 = segments.iter().map(|s| s.length).sum();
        for flags in [&["--json"][..], &["--json", "--deep"]] {
            let verdict = verify(&rig, &[flags, &[&source(&rig)]].concat()).assert_code(0);
            assert_eq!(verdict.1.len(), 2, "a stream, and the total: {:#?}", verdict.1);
            let stream = &verdict.findings("stream")[0];
            assert_eq!(stream["stream"], "web/app.log");
            assert_eq!((&stream["writers"], &stream["generations"]), (&1.into(), &3.into()));
            assert_eq!((&stream["segments"], &stream["bytes"]), (&segments.len().into(), &bytes.into()));
        }
        verify(&rig, &[&source(&rig)]).assert_code(0).assert_says(&["web/app.log: 1 writer,", ": whole"]);
    }
}

#[test]
fn an_object_that_is_gone_is_named_with_its_exact_range() {
    for kind in [Kind::Embedded, Kind::Moto] {
        let rig = logged(kind, "gzip", "app.log");
        let (bucket, source) = (rig.bucket(), source(&rig));
        let segments = by_range(&bucket, "app.log");
        let gone = inner(&segments);
        bucket.delete(&gone.key);
        let end = gone.offset + gone.length;
        let range = format!("lost {} {} {}..{end}", gone.writer, gone.generation, gone.offset);
        verify(&rig, &[&source]).assert_code(1).assert_says(&[&range, "NOT WHOLE"]);
        let lost = verify(&rig, &["--json", &source]).assert_code(1).findings("lost");
        assert_eq!(lost.len(), 1);
        assert_eq!((&lost[0]["offset"], &lost[0]["end"]), (&gone.offset.into(), &end.into()));
        // A mark in its place says that the loss is known.
        let mark = gone.key.replace(".log.gz", ".dropped");
        bucket.put(&mark, b"");
        let verdict = verify(&rig, &["--json", &source]).assert_code(0);
        assert_eq!(verdict.findings("dropped")[0]["offset"], gone.offset);
        assert_eq!(verdict.findings("total")[0]["dropped"], gone.length);
        let but_for = format!(": whole but for {} bytes dropped", gone.length);
        verify(&rig, &[&source]).assert_code(0).assert_says(&[&but_for]);
        verify(&rig, &["--strict", &source]).assert_code(1).assert_says(&[&but_for]);
    }
}

#[test]
fn what_is_missing_at_the_front_of_a_writer_has_expired() {
    let rig = logged(Kind::Embedded, "gzip", "app.log");
    let segments = by_range(&rig.bucket(), "app.log");
    let kept = segments.iter().position(|s| s.generation == 2 && s.offset > 0).unwrap();
    segments[..kept].iter().for_each(|segment| rig.bucket().delete(&segment.key));
    let verdict = verify(&rig, &["--json", &source(&rig)]).assert_code(0);
    let expired = verdict.findings("expired");
    assert_eq!((&expired[0]["first_generation"], &expired[0]["last_generation"]), (&1.into(), &1.into()));
    assert_eq!((&expired[1]["offset"], &expired[1]["end"]), (&0.into(), &segments[kept].offset.into()));
}

#[test]
fn damage_inside_an_object_is_named_when_looked_at_deeply() {
    for compression in ["gzip", "zstd", "none"] {
        let rig = logged(Kind::Embedded, compression, "app.log");
        let bucket = rig.bucket();
        let segments = by_range(&bucket, "app.log");
        let [flipped, cut, told, swapped, longer] = &segments[..5] else { panic!("five segments") };
        let mut object = bucket.get(&flipped.key);
        let middle = object.bytes.len() / 2;
        object.bytes[middle] ^= 1;
        bucket.put_over(&flipped.key, object);
        let mut object = bucket.get(&cut.key);
        object.bytes.truncate(object.bytes.len() - 9);
        bucket.put_over(&cut.key, object);
        let mut object = bucket.get(&told.key);
        object.metadata.insert("offset".into(), "12345".into());
        bucket.put_over(&told.key, object);
        // Sound in itself, and not what was sent.
        let (mut object, other) = (bucket.get(&swapped.key), bucket.get(&segments[6].key));
        object.bytes = other.bytes;
        bucket.put_over(&swapped.key, object);
        let mut object = bucket.get(&longer.key);
        object.bytes.extend_from_slice(b"more\n");
        bucket.put_over(&longer.key, object);
        // A name that claims more than its object can hold needs no look into it.
        let seen = i32::from(compression == "none");
        verify(&rig, &[&source(&rig)]).assert_code(seen);
        let damaged = verify(&rig, &["--deep", "--json", &source(&rig)]).assert_code(1).findings("damaged");
        for segment in [flipped, cut, told, swapped, longer] {
            assert!(damaged.iter().any(|d| d["key"] == segment.key), "{} in {damaged:#?}", segment.key);
        }
        let why = |segment: &Segment| -> String {
            let of_it: Vec<_> = damaged.iter().filter(|d| d["key"] == segment.key).collect();
            assert_eq!(of_it.len(), 1, "one finding for each object: {of_it:#?}");
            of_it[0]["why"].as_str().unwrap().to_owned()
        };
        assert!(why(told).contains("offset 12345"), "{damaged:#?}");
        assert!(why(longer).contains("cannot be read"), "{damaged:#?}");
        if compression == "none" {
            assert!(why(flipped).contains("checksum"), "{damaged:#?}");
            assert!(why(cut).contains("holds") && why(cut).contains("not a newline"), "{damaged:#?}");
        }
        let sound = |d: &&Value| segments[5..].iter().any(|s| d["key"] == s.key);
        assert_eq!(damaged.iter().find(sound), None, "the others are sound");
    }
}

#[test]
fn foreign_objects_are_named_and_break_nothing() {
    let rig = logged(Kind::Embedded, "gzip", "app.log");
    let bucket = rig.bucket();
    bucket.put("team/app.log.segments/notes.txt", b"mine");
    bucket.put("team/app.log.segments/20261123T081502.123456Z_w_1_0_5.log", b"short");
    bucket.put("team/beside.txt", b"not in a stream");
    bucket.put("team/.logsinkfs/x.segments/notes.txt", b"private");
    let verdict = verify(&rig, &["--deep", "--json", &source(&rig)]).assert_code(0);
    let foreign = verdict.findings("foreign");
    assert_eq!(foreign.len(), 2, "{foreign:#?}");
    assert!(foreign.iter().any(|f| f["key"] == "team/app.log.segments/notes.txt"));
    assert_eq!(verdict.findings("stream").len(), 1);
}

#[test]
fn a_stream_in_another_ones_folder_is_a_stream_of_its_own() {
    let rig = Rig::embedded();
    let name = "20261123T081502.123456Z_w_00000001_000000000000000_000000000001.log";
    for folder in ["a.segments/", "a.segments/b.segments/", "a.segments/dt=2026-11-23/"] {
        let writer = folder.len();
        rig.bucket().put(&format!("{PREFIX}{folder}{}", name.replace("_w_", &format!("_w{writer}_"))), b"\n");
    }
    let verdict = verify(&rig, &["--json", &source(&rig)]).assert_code(0);
    let streams = verdict.findings("stream");
    let writers: Vec<_> = streams.iter().map(|s| (s["stream"].as_str(), s["writers"].as_u64())).collect();
    assert_eq!(writers, [(Some("a.segments/b"), Some(1)), (Some("a"), Some(2))]);
    let named = verify(&rig, &["--json", &source(&rig), "a"]).assert_code(0).findings("stream");
    assert_eq!((named.len(), &named[0]["writers"]), (1, &2.into()));
}

#[test]
fn one_stream_can_be_named_also_by_an_odd_name() {
    let rig = logged(Kind::Moto, "gzip", "odd dir/100% 日志+.log");
    rig.bucket().put("team/other.segments/notes.txt", b"another stream");
    let verdict = verify(&rig, &["--deep", "--json", &source(&rig), "odd dir/100% 日志+.log"]);
    let verdict = verdict.assert_code(0);
    assert_eq!(verdict.findings("stream").len(), 1);
    assert_eq!(verdict.findings("stream")[0]["generations"], 3);
    assert!(verdict.findings("foreign").is_empty());
    // As its location, as `cat` takes it, too.
    let location = format!("{}odd dir/100% 日志+.log", source(&rig));
    let verdict = verify(&rig, &["--deep", "--json", &location]).assert_code(0);
    assert_eq!(verdict.findings("stream")[0]["generations"], 3);
    assert_eq!(verdict.findings("total")[0]["streams"], 1);
    verify(&rig, &[&source(&rig), "no/such.log"]).assert_code(1).assert_says(&["no/such.log"]);
}

#[test]
fn a_prefix_with_nothing_is_an_error_and_a_missing_bucket_is_named() {
    let rig = Rig::embedded();
    let said = ["0 streams", "nothing there", "no log below team", "hint"];
    verify(&rig, &[&source(&rig)]).assert_code(1).assert_says(&said);
    let total = verify(&rig, &["--json", &source(&rig)]).assert_code(1).findings("total");
    assert_eq!(total[0]["whole"], false);
    let words = ["s3://nowhere", "create the bucket"];
    verify(&rig, &["s3://nowhere"]).assert_code(1).assert_says(&words);
    verify(&rig, &["nonsense"]).assert_code(2);
}

#[test]
fn a_folder_that_served_as_a_bucket_can_be_verified_and_one_that_is_not_there_is_not_made() {
    let rig = Rig::embedded();
    let folder = rig.local("my bucket");
    let mut plan = rig.plan("a");
    plan.source = format!("file://{}", folder.display());
    let mount = plan.clone().start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    verify(&rig, &["--deep", &plan.source]).assert_code(0).assert_says(&["app.log: 1 writer", ": whole"]);
    let stream = format!("{}/app.log", plan.source);
    verify(&rig, &[&stream]).assert_code(0).assert_says(&["app.log: 1 writer", ": whole"]);
    let missing = rig.local("not there");
    let source = format!("file://{}", missing.display());
    verify(&rig, &[&source]).assert_code(1).assert_says(&["not there"]);
    assert!(!missing.exists());
}
