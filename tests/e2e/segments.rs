//! Segments: when a file is cut, how the pieces are named, and what each object is.

use std::fs;
use std::io::Write;

use test_harness::process::{Proc, command, program};
use test_harness::rig::PREFIX;
use test_harness::{Mount, Rig, eventually};

fn numbered(lines: usize) -> String {
    (0..lines).map(|n| format!("line {n:06} {}\n", "y".repeat(86))).collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).unwrap().is_match(text)
}

#[test]
fn a_key_says_stream_time_writer_generation_and_range() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--writer-id", "node-7"]);
    fs::create_dir(mount.path("web")).unwrap();
    fs::write(mount.path("web/app.log"), "one\ntwo\n").unwrap();
    mount.stop();
    let segments = rig.bucket().segments("web/app.log");
    let [segment] = &segments[..] else { panic!("one segment, not {segments:?}") };
    let form = r"^team/web/app\.log\.segments/dt=\d{4}-\d\d-\d\d/hour=\d\d/\d{8}T\d{6}\.\d{6}Z_[a-z0-9-]{1,48}_\d+_\d+_\d+\.log\.gz$";
    assert!(matches(form, &segment.key), "{}", segment.key);
    assert!(segment.writer.starts_with("node-7-"), "{}", segment.writer);
    assert_eq!((segment.offset, segment.length, segment.partial), (0, 8, false));
    let day = segment.partition.replace("dt=", "").replace("/hour=", "T").replace('-', "");
    assert!(segment.start.starts_with(&day), "{segment:?}");
}

#[test]
fn a_file_is_cut_at_the_size_and_between_lines() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "64KiB"]);
    let text = numbered(10_000);
    fs::write(mount.path("app.log"), &text).unwrap();
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("app.log"), text.as_bytes());
    let segments = bucket.segments("app.log");
    assert!(segments.len() >= 15, "{} segments", segments.len());
    for segment in segments {
        assert!(!segment.partial, "cut inside a line: {}", segment.key);
        assert!(segment.length <= 64 << 10, "longer than asked for: {}", segment.key);
    }
}

#[test]
fn a_line_longer_than_the_size_is_split_and_kept() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "64KiB"]);
    let text = format!("short\n{}\nshort again\n", "z".repeat(200_000));
    fs::write(mount.path("app.log"), &text).unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), text.as_bytes());
    assert!(rig.bucket().segments("app.log").iter().any(|segment| segment.partial));
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "64KiB"]);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(mount.path("app.log"), &bytes).unwrap();
    mount.stop();
    assert!(rig.bucket().content("app.log") == bytes);
}

#[test]
fn records_of_many_lines_stay_whole() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "16KiB", "--record-start", r"^\d{4}-\d\d-\d\d "]);
    let record = |n: usize| {
        let frames: String = (0..n % 9).map(|f| format!("    at frame {f} of {n}\n")).collect();
        format!("2026-11-23 failure {n}\n{frames}")
    };
    let text: String = (0..2_000).map(record).collect();
    fs::write(mount.path("app.log"), &text).unwrap();
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("app.log"), text.as_bytes());
    let segments = bucket.segments("app.log");
    assert!(segments.len() > 5, "{} segments", segments.len());
    for segment in segments {
        assert!(bucket.bytes(&segment).starts_with(b"2026-11-23 "), "{}", segment.key);
    }
}

#[test]
fn a_closed_quiet_file_arrives_without_a_stop() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1s"]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let bucket = rig.bucket();
    eventually("the segment", || (!bucket.segments("app.log").is_empty()).then_some(()));
    assert_eq!(bucket.content("app.log"), b"line\n");
    mount.stop();
    assert_eq!(bucket.segments("app.log").len(), 1, "nothing was sent twice");
}

#[test]
fn an_open_file_arrives_after_the_interval() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-interval", "1s"]);
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    file.write_all(b"line\n").unwrap();
    let bucket = rig.bucket();
    eventually("the segment", || (!bucket.segments("app.log").is_empty()).then_some(()));
    file.write_all(b"more\n").unwrap();
    drop(file);
    mount.stop();
    assert_eq!(bucket.content("app.log"), b"line\nmore\n");
}

#[test]
fn a_signal_uploads_what_there_is_at_once() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    file.write_all(b"line\n").unwrap();
    mount.daemon.signal(rustix::process::Signal::USR1);
    let bucket = rig.bucket();
    eventually("the segment", || (!bucket.segments("app.log").is_empty()).then_some(()));
    file.write_all(b"more\n").unwrap();
    drop(file);
    mount.stop();
    assert_eq!(bucket.content("app.log"), b"line\nmore\n");
}

#[test]
fn opening_and_closing_for_each_line_does_not_make_an_object_for_each() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1s"]);
    for number in 0..300 {
        let mut options = fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(mount.path("app.log")).unwrap();
        writeln!(file, "line {number}").unwrap();
    }
    mount.stop();
    assert_eq!(rig.bucket().lines("app.log").len(), 300);
    let objects = rig.bucket().segments("app.log").len();
    assert!(objects <= 5, "{objects} objects");
}

/// Writes one file under a compression and gives key suffix, content type and stored bytes.
fn stored_as(compression: &str) -> (String, String, Vec<u8>) {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--compression", compression]);
    fs::write(mount.path("app.log"), numbered(1_000)).unwrap();
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("app.log"), numbered(1_000).as_bytes());
    let [segment] = &bucket.segments("app.log")[..] else { panic!("one segment") };
    let object = bucket.get(&segment.key);
    assert_eq!(object.content_encoding.filter(|encoding| !encoding.is_empty()), None);
    (segment.suffix.clone(), object.content_type.unwrap(), object.bytes)
}

#[test]
fn an_object_is_gzip_that_zcat_reads() {
    let rig = Rig::embedded();
    let (suffix, kind, bytes) = stored_as("gzip");
    assert_eq!((suffix.as_str(), kind.as_str()), ("log.gz", "application/gzip"));
    assert!(bytes.len() < 20_000);
    let file = rig.local("object.gz");
    fs::write(&file, bytes).unwrap();
    let mut zcat = command(program("sh"));
    zcat.args(["-c", "zcat \"$0\" | tail -n 1"]).arg(file);
    let last = numbered(1_000).lines().last().unwrap().to_owned();
    let mut zcat = Proc::start("zcat", zcat);
    zcat.await_stdout("the last line", |line| (line == last).then_some(()));
}

#[test]
fn an_object_is_zstd_where_that_is_asked_for() {
    let (suffix, kind, bytes) = stored_as("zstd");
    assert_eq!((suffix.as_str(), kind.as_str()), ("log.zst", "application/zstd"));
    assert!(bytes.len() < 20_000);
}

#[test]
fn an_object_is_plain_text_where_that_is_asked_for() {
    let (suffix, kind, bytes) = stored_as("none");
    assert_eq!(suffix, "log");
    assert!(kind.starts_with("text/plain"), "{kind}");
    assert_eq!(bytes, numbered(1_000).as_bytes());
}

#[test]
fn metadata_is_ascii_and_short_for_any_name() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let long = "訂單服務日誌".repeat(12);
    let names = ["日志/应用 1.log".to_owned(), format!("{long}/{long}.log"), "a+b%20 &=?.log".to_owned()];
    for name in &names {
        fs::create_dir_all(mount.path(name).parent().unwrap()).unwrap();
        fs::write(mount.path(name), format!("in {name}\n")).unwrap();
    }
    mount.stop();
    let bucket = rig.bucket();
    for name in &names {
        assert_eq!(bucket.content(name), format!("in {name}\n").as_bytes());
        let metadata = bucket.get(&bucket.segments(name)[0].key).metadata;
        let size: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(size <= 2048, "{size} bytes of metadata for {name}");
        assert!(metadata.values().all(|value| value.is_ascii()), "{metadata:?}");
        for key in ["writer", "generation", "offset", "length"] {
            assert!(metadata.keys().any(|found| found.ends_with(key)), "{key} in {metadata:?}");
        }
    }
}

/// Writes two files that a map makes one stream.
fn write_two_days(mount: &Mount) {
    fs::write(mount.path("shop-2026-11-22.log"), "yesterday\n").unwrap();
    fs::write(mount.path("shop-2026-11-23.log"), "today\n").unwrap();
}

#[test]
fn a_stream_map_makes_one_stream_of_many_files() {
    let rig = Rig::embedded();
    let map = r"^(?P<app>[a-z]+)-\d{4}-\d\d-\d\d\.log$=${app}.log";
    let labels = ["--label", "cluster=blue", "--label", "app=of the mount"];
    let mount = rig.plan("a").with(&labels).with(&["--stream-map", map]).start();
    write_two_days(&mount);
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.streams().into_iter().collect::<Vec<_>>(), ["shop.log"]);
    let mut lines = bucket.lines("shop.log");
    lines.sort();
    assert_eq!(lines, ["today", "yesterday"]);
    let metadata = bucket.get(&bucket.segments("shop.log")[0].key).metadata;
    assert_eq!(metadata["label-app"], "shop", "the rule's label wins");
    assert_eq!(metadata["label-cluster"], "blue");
}

#[test]
fn the_partition_is_a_template_and_may_be_empty() {
    for (template, form) in [("", r"^$"), ("%Y/%m/%d", r"^\d{4}/\d\d/\d\d$")] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--partition", template]);
        fs::write(mount.path("app.log"), "line\n").unwrap();
        mount.stop();
        let segment = rig.bucket().segments("app.log").remove(0);
        assert!(matches(form, &segment.partition), "{template:?} made {}", segment.key);
    }
}

#[test]
fn every_store_is_conditional_and_the_writer_is_registered() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--rotate-size", "16KiB"]).start();
    fs::write(mount.path("app.log"), numbered(1_000)).unwrap();
    mount.stop();
    let puts: Vec<_> = gate.seen().into_iter().filter(|seen| seen.method == "PUT").collect();
    assert!(puts.len() > 6);
    for put in puts {
        assert_eq!(put.if_none_match.as_deref(), Some("*"), "{}", put.target);
    }
    let folder = format!("{PREFIX}.logsinkfs/writers/");
    assert!(rig.bucket().keys().iter().any(|key| key.starts_with(&folder)));
}
