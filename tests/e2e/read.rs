//! `logsinkfs cat`, `tail` and `ls`: streams read back without a mount, as programs wrote them.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use test_harness::files::append;
use test_harness::planted::{Form, Planter, ago};
use test_harness::process::{Proc, command, program};
use test_harness::reading::{read, read_by, reading};
use test_harness::rig::PREFIX;
use test_harness::s3::logsinkfs;
use test_harness::{Answer, Kind, Rig, eventually};

/// A log of three runs, each begun with `>`, in many segments; gives all lines in their order.
fn three_runs(rig: &Rig, name: &str, compression: &str) -> String {
    let mount = rig.mount(&["--rotate-size", "4KiB", "--compression", compression]);
    if let Some(folder) = mount.path(name).parent() {
        fs::create_dir_all(folder).unwrap();
    }
    let mut all = String::new();
    for run in 0..3 {
        let text: String = (0..300).map(|n| format!("run {run} line {n:04} of a program\n")).collect();
        fs::write(mount.path(name), "").unwrap();
        append(&mount.path(name), &text);
        all += &text;
    }
    mount.stop();
    all
}

fn a_stream_is_read_back_as_it_was_written(kind: Kind, compression: &str, name: &str) {
    let rig = Rig::new(kind);
    let all = three_runs(&rig, name, compression);
    assert_eq!(read(&rig, "cat", name, &[]), all);
    let tail: Vec<&str> = all.lines().rev().take(3).collect();
    let shown = read(&rig, "tail", name, &["-n", "3"]);
    assert_eq!(shown.lines().rev().collect::<Vec<_>>(), tail);
    assert_eq!(read(&rig, "tail", name, &["-n", "100000"]), all);
    assert_eq!(read(&rig, "tail", name, &["-n", "0"]), "");
    let long = read(&rig, "ls", name, &["-l"]);
    assert!(long.trim_start().starts_with(&format!("{} 20", all.len())), "{long}");
}

#[test]
fn a_stream_in_gzip_is_read_back_as_it_was_written() {
    a_stream_is_read_back_as_it_was_written(Kind::Embedded, "gzip", "app.log");
}

#[test]
fn a_stream_in_zstd_is_read_back_from_another_service() {
    a_stream_is_read_back_as_it_was_written(Kind::Moto, "zstd", "web/app.log");
}

#[test]
fn a_stream_with_an_odd_name_is_read_back_by_that_name() {
    a_stream_is_read_back_as_it_was_written(Kind::Embedded, "none", "odd name/50% of 日.log");
}

#[test]
fn two_writers_are_one_stream_and_each_can_be_read_alone() {
    let rig = Rig::embedded();
    let one = rig.plan("a").with(&["--writer-id", "one"]).start();
    append(&one.path("app.log"), "first of one\n");
    one.stop();
    let two = rig.plan("b").with(&["--writer-id", "two"]).start();
    append(&two.path("app.log"), "first of two, without an end");
    two.stop();
    let one = rig.plan("a").with(&["--writer-id", "one"]).start();
    append(&one.path("app.log"), "second of one\n");
    one.stop();
    let all = "first of one\nfirst of two, without an end\nsecond of one\n";
    assert_eq!(read(&rig, "cat", "app.log", &[]), all);
    let segments = rig.bucket().segments("app.log");
    let two = segments.iter().find(|segment| segment.writer.starts_with("two")).unwrap();
    let alone = read(&rig, "cat", "app.log", &["--writer", &two.writer]);
    assert_eq!(alone, "first of two, without an end");
}

#[test]
fn a_time_is_a_part_of_the_stream() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut offset = 0;
    for hour in 5..9 {
        let text = format!("in hour {hour}\n");
        let name = format!("20261120T{hour:02}3000.000000Z_w-aaaaaaaa_00000001_{offset:015}_{:012}.log", text.len());
        let key = format!("{PREFIX}app.log.segments/dt=2026-11-20/hour={hour:02}/{name}");
        bucket.put(&key, text.as_bytes());
        offset += text.len();
    }
    let hours = |hours: &[u8]| -> String { hours.iter().map(|h| format!("in hour {h}\n")).collect() };
    // What was under way when the time began is a part of it.
    assert_eq!(read(&rig, "cat", "app.log@2026-11-20T07", &[]), hours(&[6, 7]));
    let span = ["--since", "2026-11-20T06", "--until", "2026-11-20T07"];
    assert_eq!(read(&rig, "cat", "app.log", &span), hours(&[5, 6, 7]));
    assert_eq!(read(&rig, "cat", "app.log@2026-11-20", &[]), hours(&[5, 6, 7, 8]));
    assert_eq!(read(&rig, "tail", "app.log", &["-n", "1"]), hours(&[8]));
    // A real name wins.
    bucket.put(&format!("{PREFIX}app.log@2026-11-20.segments/20261120T083000.000000Z_w-aaaaaaaa_00000001_000000000000000_000000000005.log"), b"real\n");
    assert_eq!(read(&rig, "cat", "app.log@2026-11-20", &[]), "real\n");
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "app.log", &["--since", "tomorrow"]);
    assert!(code == 2 && said.contains("24h"), "{said}");
}

#[test]
fn tail_counts_lines_from_either_end_as_tail_does() {
    let rig = Rig::embedded();
    let all = three_runs(&rig, "app.log", "gzip");
    let copy = rig.local("copy");
    fs::write(&copy, &all).unwrap();
    for lines in ["+1", "+0", "+2", "+451", "+900", "+901", "+100000", "7", "-7", "0"] {
        let tail = command(program("tail")).args(["-n", lines]).arg(&copy).output().unwrap();
        let expected = String::from_utf8(tail.stdout).unwrap();
        assert_eq!(read(&rig, "tail", "app.log", &["-n", lines]), expected, "-n {lines}");
    }
    let (code, _, said) = read_by(&rig, &rig.access, "tail", "app.log", &["-n", "+ten"]);
    assert!(code == 2 && said.contains("+N"), "{said}");
}

#[test]
fn tail_that_follows_ends_at_the_end_of_its_time() {
    let rig = Rig::embedded();
    three_runs(&rig, "app.log", "gzip");
    let until = ["-f", "--until", "2026-11-23"];
    let follow = reading(&rig, &rig.access, "tail", "app.log", &until);
    Proc::start("tail", follow).success();
    let soon = (ago(0) + jiff::SignedDuration::from_secs(1)).strftime("%Y-%m-%dT%H:%M:%S");
    let soon = ["-f", "-s", "50ms", "--until", &soon.to_string()];
    let follow = reading(&rig, &rig.access, "tail", "app.log", &soon);
    Proc::start("tail", follow).success();
}

#[test]
fn a_log_that_is_not_there_yet_is_waited_for_where_that_is_asked() {
    let rig = Rig::embedded();
    let (code, _, said) = read_by(&rig, &rig.access, "tail", "app.log", &["-f"]);
    assert!(code == 1 && said.contains("no object of the stream") && said.contains("-F"), "{said}");
    let follow = reading(&rig, &rig.access, "tail", "app.log", &["-F", "-s", "50ms"]);
    let mut follow = Proc::start("tail", follow);
    follow.await_stderr("waiting for it");
    let mount = rig.mount(&["--rotate-interval", "200ms"]);
    for line in ["first", "second"] {
        append(&mount.path("app.log"), &format!("{line}\n"));
        follow.await_stdout(line, |said| (said == line).then_some(()));
    }
    follow.signal(Signal::INT);
    follow.wait();
    assert_eq!(follow.said(), ["first", "second"]);
    mount.stop();
}

#[test]
fn nothing_found_is_said() {
    let rig = Rig::embedded();
    let (code, out, said) = read_by(&rig, &rig.access, "ls", "", &[]);
    assert!(code == 1 && out.is_empty() && said.contains("no log below team"), "{said}");
    let mut root = command(logsinkfs());
    rig.access.env(root.env_clear());
    root.args(["ls", "--endpoint-url", &rig.access.endpoint, "--force-path-style"]);
    let ls = root.arg(format!("s3://{}", rig.access.bucket)).output().unwrap();
    let said = String::from_utf8(ls.stderr).unwrap();
    assert!(ls.status.success() && said.contains("the bucket is empty"), "{said}");
    three_runs(&rig, "app.log", "gzip");
    for name in ["cat", "tail"] {
        for (path, args) in [
            ("app.log", &["--writer", "nobody-aaaaaaaa"][..]),
            ("app.log", &["--until", "2019"]),
            ("app.log@2019-03-01", &[]),
        ] {
            let (code, out, said) = read_by(&rig, &rig.access, name, path, args);
            assert_eq!((code, out.as_str()), (0, ""), "{said}");
            assert!(said.contains("nothing of team/app.log") && said.contains("--since"), "{said}");
        }
    }
    for name in ["cat", "tail", "ls"] {
        let backwards = ["--since", "2026-11-24", "--until", "2026-11-23"];
        let (code, _, said) = read_by(&rig, &rig.access, name, "app.log", &backwards);
        assert!(code == 2 && said.contains("--since is not before --until"), "{said}");
    }
}

#[test]
fn what_comes_is_followed_as_it_comes() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-interval", "200ms"]);
    append(&mount.path("app.log"), "before\n");
    eventually("the first segment", || (!rig.bucket().segments("app.log").is_empty()).then_some(()));
    let follow = reading(&rig, &rig.access, "tail", "app.log", &["-f", "-s", "50ms"]);
    let mut follow = Proc::start("tail", follow);
    follow.await_stdout("what was there", |line| (line == "before").then_some(()));
    for n in 0..3 {
        append(&mount.path("app.log"), &format!("line {n}\n"));
        follow.await_stdout("the next line", |line| (line == format!("line {n}")).then_some(()));
    }
    follow.signal(Signal::INT);
    follow.wait();
    assert_eq!(follow.said(), ["before", "line 0", "line 1", "line 2"]);
    mount.stop();
}

#[test]
fn an_outage_does_not_end_who_follows() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.mount(&["--rotate-interval", "200ms"]);
    append(&mount.path("app.log"), "before\n");
    eventually("the first segment", || (!rig.bucket().segments("app.log").is_empty()).then_some(()));
    let access = rig.access.clone().at(&gate.endpoint);
    let follow = reading(&rig, &access, "tail", "app.log", &["-f", "-s", "50ms"]);
    let mut follow = Proc::start("tail", follow);
    follow.await_stdout("what was there", |line| (line == "before").then_some(()));
    gate.refuse(403, "AccessDenied");
    follow.await_stderr("going on");
    append(&mount.path("app.log"), "after\n");
    gate.open();
    follow.await_stdout("the next line", |line| (line == "after").then_some(()));
    // What is listed but cannot be had yet is waited for too.
    gate.rule(|seen| {
        if seen.target.contains(".segments/dt") { Answer::Refuse(403, "AccessDenied", None) } else { Answer::Pass }
    });
    append(&mount.path("app.log"), "and more\n");
    eventually("two warnings", || (follow.stderr().matches("going on").count() == 2).then_some(()));
    gate.open();
    follow.await_stdout("the next line", |line| (line == "and more").then_some(()));
    mount.stop();
}

#[test]
fn what_is_missing_or_damaged_is_said_and_the_rest_is_printed() {
    let rig = Rig::embedded();
    let all = three_runs(&rig, "app.log", "gzip");
    let bucket = rig.bucket();
    let mut segments = bucket.segments("app.log");
    segments.sort_by_key(|segment| (segment.generation, segment.offset));
    // Both stand between two others of their generation.
    let (gone, damaged) = (&segments[1], &segments[segments.len() - 2]);
    assert_eq!((gone.generation, damaged.generation), (segments[2].generation, 3), "{segments:?}");
    bucket.delete(&gone.key);
    bucket.put(&damaged.key, b"this is no gzip");
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "app.log", &[]);
    assert_eq!(code, 1, "{said}");
    let range = format!("{}..{}", gone.offset, gone.offset + gone.length);
    assert!(out.contains(&format!("logsinkfs: {} bytes are missing here: {range}", gone.length)), "{out}");
    assert!(said.contains("cannot be read") && said.contains(&damaged.writer), "{said}");
    let theirs = (gone.length + damaged.length) as usize;
    let ours: usize = out.lines().filter(|l| l.starts_with("logsinkfs:")).map(|l| l.len() + 1).sum();
    // Before the line about the damage is a line break.
    assert_eq!(out.len() - ours - 1, all.len() - theirs);
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "app.log", &["--strict"]);
    assert!(code == 1 && said.contains("missing"), "{said}");
    assert!(all.starts_with(&out), "what is before the gap");
}

#[test]
fn an_object_in_the_way_of_another_is_named_and_not_read() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    planter.form = Form::Plain;
    let key = planter.put(ago(10), b"true lines\n");
    let object = rig.dir.path().join("bucket").join(&key);
    // Services tell seconds.
    let before = fs::metadata(&object).unwrap().modified().unwrap() - Duration::from_secs(60);
    fs::File::open(object).unwrap().set_modified(before).unwrap();
    planter.offset = 0;
    planter.put(ago(10), b"forged lines\n");
    let all = read(&rig, "cat", "app.log", &[]);
    let said = all.strip_prefix("true lines\n").expect("what was there first");
    assert!(said.starts_with("logsinkfs: 11 bytes are claimed twice here: 0..11"), "{all}");
    assert!(!all.contains("forged"), "but for what nobody else has of it: {all}");
    let mount = rig.read(&[]);
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), all);
    mount.stop();
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "app.log", &["--strict"]);
    assert_eq!((code, out.as_str()), (1, "true lines\n"));
    assert!(said.contains("claimed twice"), "{said}");
    let (code, out, _) = read_by(&rig, &rig.access, "verify", "", &[]);
    assert!(code == 1 && out.contains("conflict web-1 1 0..13"), "{out}");
}

#[test]
fn a_directory_is_listed_as_a_reader_sees_it() {
    let rig = Rig::embedded();
    let all = three_runs(&rig, "web/app.log", "gzip");
    rig.bucket().put(&format!("{PREFIX}notes.txt"), b"by somebody else\n");
    assert_eq!(read(&rig, "ls", "", &[]), "notes.txt\nweb/\n");
    assert_eq!(read(&rig, "ls", "web", &[]), "app.log\n");
    let long = read(&rig, "ls", "web", &["-l"]);
    let words: Vec<&str> = long.split_whitespace().collect();
    assert_eq!((words[0], words[2]), (all.len().to_string().as_str(), "app.log"));
    let (code, _, said) = read_by(&rig, &rig.access, "ls", "nothing", &[]);
    assert!(code == 1 && said.contains("nothing") && said.contains("hint"), "{said}");
}

#[test]
fn an_embedded_bucket_is_read_by_its_directory() {
    let rig = Rig::embedded();
    let all = three_runs(&rig, "web/app.log", "gzip");
    let mut command = command(logsinkfs());
    let dir = rig.dir.path().join("bucket");
    command.arg("cat").arg(format!("file://{}/{PREFIX}web/app.log", dir.display()));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), all);
}

#[test]
fn who_has_seen_enough_may_close_the_pipe() {
    let rig = Rig::embedded();
    three_runs(&rig, "app.log", "gzip");
    let mut cat = reading(&rig, &rig.access, "cat", "app.log", &[]);
    let mut cat = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(cat.stdout.take());
    let output = cat.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_service_that_denies_or_is_away_is_named_with_what_to_do() {
    let rig = Rig::embedded();
    three_runs(&rig, "app.log", "gzip");
    let gate = rig.gate();
    let access = rig.access.clone().at(&gate.endpoint);
    gate.refuse(403, "AccessDenied");
    let (code, _, said) = read_by(&rig, &access, "cat", "app.log", &[]);
    assert!(code == 1 && said.contains("s3:ListBucket"), "{said}");
    // It may list, and not read: nothing is taken for damage.
    gate.rule(
        |seen| {
            if seen.target.contains("list-type") { Answer::Pass } else { Answer::Refuse(403, "AccessDenied", None) }
        },
    );
    let (code, out, said) = read_by(&rig, &access, "cat", "app.log", &[]);
    assert!(code == 1 && out.is_empty() && said.contains("s3:GetObject"), "{said}");
}
