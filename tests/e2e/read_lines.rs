//! `logsinkfs cat`, `tail` and `ls` of several streams, and of some of their lines: by time, by writer, by what they
//! say.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use test_harness::files::append;
use test_harness::planted::{FilePlanter, Form, Planter, at};
use test_harness::process::Proc;
use test_harness::reading::{read, read_by, reading};
use test_harness::rig::PREFIX;
use test_harness::{Rig, eventually};

/// A location as an argument.
fn location(rig: &Rig, path: &str) -> String {
    format!("s3://{}/{PREFIX}{path}", rig.access.bucket)
}

/// Two logs of `web` and one of `api`, each with the lines of one hour.
fn three_logs(rig: &Rig) {
    let bucket = rig.bucket();
    for (stream, id, minute) in [
        ("web/app.log", "web-1-aaaaaaaa", 1),
        ("web/error.log", "web-1-aaaaaaaa", 2),
        ("api/app.log", "api-1-bbbbbbbb", 3),
    ] {
        let mut planter = Planter::new(&bucket, stream, id);
        for hour in [8, 9] {
            let line =
                |second: u64| format!("2026-11-23 {hour:02}:{minute:02}:{second:02},000 {stream} {hour}.{second}\n");
            let text = format!("{}  goes on\n{}", line(1), line(2));
            planter.put(at(&format!("2026-11-23T{hour:02}:00:00")), text.as_bytes());
        }
    }
}

#[test]
fn several_streams_are_printed_one_after_the_other_under_their_names() {
    let rig = Rig::embedded();
    three_logs(&rig);
    let api = location(&rig, "api/app.log");
    let out = read(&rig, "cat", "web/app.log", &[&api]);
    let names: Vec<&str> = out.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(names, [["team/api/app.log"; 6], ["team/web/app.log"; 6]].concat());
    let plain = read(&rig, "cat", "web/app.log", &[&api, "--no-filename"]);
    assert_eq!(plain, read(&rig, "cat", "api/app.log", &[]) + &read(&rig, "cat", "web/app.log", &[]));
    let alone = read(&rig, "cat", "web/app.log", &["-H"]);
    assert!(alone.starts_with("team/web/app.log: 2026-11-23 08:01:01,000"), "{alone}");
    // What is not there does not keep the others from being printed.
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "web/none.txt", &[&api]);
    assert!(code == 1 && out.lines().count() == 6 && said.contains("team/web/none.txt"), "{out}{said}");
    let merged = read(&rig, "cat", "web/*", &[&api, "--merge", "--no-filename"]);
    let order: Vec<&str> = merged.lines().filter(|line| line.starts_with("2026")).map(|line| &line[11..19]).collect();
    assert!(order.len() == 12 && order.is_sorted(), "{order:?}");
    let first: Vec<&str> = merged.lines().take(2).collect();
    assert_eq!(first[1], "  goes on", "a line without a time follows the one before it");
}

#[test]
fn globs_and_directories_name_what_is_below_them() {
    let rig = Rig::embedded();
    three_logs(&rig);
    let bucket = rig.bucket();
    FilePlanter::new(&bucket, "web/dump.hprof", "w-aaaaaaaa").put(at("2026-11-23T08:00:00"), b"\x01\x02whole");
    bucket.put(&format!("{PREFIX}web/notes.txt"), b"by somebody else\n");
    let named = |path: &str, args: &[&str]| {
        let out = read(&rig, "cat", path, args);
        let mut names: Vec<String> = out.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect();
        names.dedup();
        names
    };
    let logs = ["team/web/app.log", "team/web/error.log"];
    assert_eq!(named("web/*.log", &[]), logs);
    assert_eq!(named("*/app.log", &[]), ["team/api/app.log", "team/web/app.log"]);
    assert_eq!(named("**/{error,app}.log", &[]), ["team/api/app.log", logs[0], logs[1]]);
    assert_eq!(named("", &["-r"]), ["team/api/app.log", logs[0], logs[1]]);
    assert_eq!(named("w*", &["-r"]), logs);
    // A whole file is what it is, without names between its bytes.
    let whole = read(&rig, "cat", "web", &["-r"]);
    assert!(whole.contains("\n\x01\x02whole\nteam/web/error.log: "), "{whole}");
    let tail = read(&rig, "tail", "web/*.log", &["-n", "1"]);
    let expected: String = logs
        .iter()
        .map(|log| format!("{log}: {}\n", read(&rig, "cat", &log[5..], &[]).lines().last().unwrap()))
        .collect();
    assert_eq!(tail, expected);
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "web/*.none", &[]);
    assert!(code == 1 && said.contains("no stream matches team/web/*.none"), "{said}");
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "web/[", &[]);
    assert!(code == 2 && said.contains("glob"), "{said}");
}

#[test]
fn a_wrong_path_is_told_with_what_may_have_been_meant() {
    let rig = Rig::embedded();
    three_logs(&rig);
    rig.bucket().put(&format!("{PREFIX}web/notes.txt"), b"by somebody else\n");
    for (path, expected) in [
        ("web/ap.log", "did you mean team/web/app.log?"),
        ("wbe", "did you mean team/web/?"),
        ("web", "team/web is a directory"),
        ("web/notes.txt", "is an object that no mount has written"),
        ("web/nothing.at.all", "there is no object of the stream"),
    ] {
        for command in ["cat", "tail"] {
            let (code, out, said) = read_by(&rig, &rig.access, command, path, &[]);
            assert!(code == 1 && out.is_empty() && said.contains(expected), "{command} {path}: {said}");
        }
    }
    let (_, _, said) = read_by(&rig, &rig.access, "cat", "web", &[]);
    assert!(said.contains("-r"), "{said}");
}

#[test]
fn since_and_until_cut_at_the_times_of_the_lines() {
    let rig = Rig::embedded();
    three_logs(&rig);
    let cut = |args: &[&str]| read(&rig, "cat", "web/app.log", args);
    let all = cut(&[]);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    assert_eq!(cut(&["--since", "2026-11-23 08:01:02"]), lines[2..].concat());
    assert_eq!(cut(&["--since", "2026-11-23", "--until", "2026-11-23T08:01:01"]), lines[..2].concat());
    let offset = ["--since", "2026-11-23T10:01:02+01:00", "--until", "2026-11-23T10:01:03+01:00"];
    assert_eq!(cut(&offset), lines[5..].concat());
    assert_eq!(cut(&["--since", "2026-11-23T08:01:02", "--line-zone", "Etc/GMT+1"]), lines.concat());
    let tail = |args: &[&str]| read(&rig, "tail", "web/app.log", args);
    assert_eq!(tail(&["-n", "1", "--until", "2026-11-23T08:30"]), lines[2]);
    assert_eq!(tail(&["-n", "+2", "--since", "2026-11-23T08:01:02"]), lines[3..].concat());
    let mut local = reading(&rig, &rig.access, "cat", "web/app.log", &["--local", "--since", "2026-11-23T10:00"]);
    local.env("TZ", "Etc/GMT-2");
    assert_eq!(stdout(local), lines.concat());
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "web/app.log", &["--since", "tomorrow"]);
    assert!(code == 2 && said.contains("yesterday") && said.contains("08:15"), "{said}");
}

fn stdout(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn where_lines_have_no_times_that_is_said_and_segments_are_cut() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "w-aaaaaaaa");
    planter.put(at("2026-11-23T08:00:00"), b"23.11.2026 08:00:01 early\n23.11.2026 08:30:00 late\n");
    let since = ["--since", "2026-11-23T08:15"];
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "app.log", &since);
    assert!(code == 0 && out.contains("early") && out.contains("late"), "{out}");
    assert_eq!(said.matches("no time that is recognised").count(), 1, "{said}");
    let format = ["--time-format", "%d.%m.%Y %H:%M:%S"];
    assert_eq!(read(&rig, "cat", "app.log", &[since, format].concat()), "23.11.2026 08:30:00 late\n");
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "app.log", &["--time-format", "%Y"]);
    assert!(code == 2 && said.contains("%H:%M:%S"), "{said}");
}

#[test]
fn lines_are_chosen_by_what_they_say() {
    let rig = Rig::embedded();
    let text: String =
        (0..20).map(|n| format!("line {n:02} {}\n", if n % 10 == 5 { "Error" } else { "fine" })).collect();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "w-aaaaaaaa");
    planter.put(at("2026-11-23T08:00:00"), text.as_bytes());
    assert_eq!(read(&rig, "cat", "app.log", &["--grep", "Err"]), "line 05 Error\nline 15 Error\n");
    assert_eq!(read(&rig, "cat", "app.log", &["--grep", "err"]), "");
    assert_eq!(read(&rig, "cat", "app.log", &["--grep", "error", "-iv"]).lines().count(), 18);
    let around = read(&rig, "cat", "app.log", &["--grep", "Error", "-B1", "-A", "1"]);
    assert_eq!(
        around.lines().map(|line| line.get(5..7).unwrap_or("--")).collect::<Vec<_>>(),
        ["04", "05", "06", "--", "14", "15", "16"]
    );
    assert_eq!(read(&rig, "tail", "app.log", &["-n1", "--grep", "Error"]), "line 15 Error\n");
    assert_eq!(read(&rig, "tail", "app.log", &["-n2", "--grep", "Error"]), "line 05 Error\nline 15 Error\n");
    assert_eq!(read(&rig, "tail", "app.log", &["-n+2", "--grep", "Error"]), "line 15 Error\n");
    let (code, _, said) = read_by(&rig, &rig.access, "cat", "app.log", &["--grep", "("]);
    assert!(code == 2 && said.contains("regex"), "{said}");
}

#[test]
fn writers_stand_before_lines_in_colours_that_can_be_refused() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for (id, text) in [("one-aaaaaaaa", "first\n"), ("two-bbbbbbbb", "second\n")] {
        Planter::new(&bucket, "app.log", id).put(at("2026-11-23T08:00:00"), text.as_bytes());
    }
    let plain = "one-aaaaaaaa: first\ntwo-bbbbbbbb: second\n";
    assert_eq!(read(&rig, "cat", "app.log", &["--writers"]), plain);
    let coloured = read(&rig, "cat", "app.log", &["--writers", "--color", "always"]);
    assert_eq!(coloured, "\x1b[36mone-aaaaaaaa\x1b[0m: first\n\x1b[33mtwo-bbbbbbbb\x1b[0m: second\n");
    // A terminal, with and without NO_COLOR.
    let on_terminal = |variable: Option<(&str, &str)>| {
        let cat = reading(&rig, &rig.access, "cat", "app.log", &["--writers"]);
        let line: Vec<String> = [cat.get_program()]
            .into_iter()
            .chain(cat.get_args())
            .map(|a| format!("'{}'", a.to_string_lossy()))
            .collect();
        let mut script = test_harness::process::command("script");
        for (name, value) in cat.get_envs() {
            script.env(name, value.unwrap_or_default());
        }
        script.envs(variable).args(["-qec", &line.join(" "), "/dev/null"]);
        stdout(script).replace('\r', "")
    };
    assert_eq!(on_terminal(None), coloured);
    assert_eq!(on_terminal(Some(("NO_COLOR", "1"))), plain);
}

#[test]
fn json_has_every_byte_and_where_it_was_written() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "w-aaaaaaaa");
    planter.put(at("2026-11-23T08:00:00"), b"2026-11-23T08:00:01Z \"first\"\nbytes \xff\n");
    planter.skip(at("2026-11-23T08:00:02"), b"gone\n");
    planter.put(at("2026-11-23T08:00:03"), b"no end");
    let out = read(&rig, "cat", "app.log", &["--json"]);
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!({
        "stream": "team/app.log", "writer": "w-aaaaaaaa", "generation": 1, "offset": 0,
        "time": "2026-11-23T08:00:01.000000Z", "time_of": "line", "line": "2026-11-23T08:00:01Z \"first\"",
    });
    assert_eq!(rows[0], expected);
    assert_eq!((&rows[1]["line_base64"], &rows[1]["offset"]), (&"Ynl0ZXMg/w==".into(), &29.into()));
    assert!(rows[2]["note"].as_str().unwrap().contains("5 bytes are missing"), "{out}");
    assert_eq!((&rows[3]["line"], &rows[3]["offset"]), (&"no end".into(), &42.into()));
    assert_eq!(rows.len(), 4);
}

#[test]
fn pods_and_labels_choose_what_is_read() {
    let rig = Rig::embedded();
    let labelled = ["--stream-map", "(?<app>[^/]+)/[^/]+=all.log", "--label", "env=prod"];
    for (spool, pod, app) in [("a", "web-7f", "shop"), ("b", "web-9c", "mail")] {
        let mount = rig.plan(spool).env("POD_NAME", pod).with(&labelled).start();
        std::fs::create_dir(mount.path(app)).unwrap();
        append(&mount.path(&format!("{app}/x.log")), &format!("of {app}\n"));
        mount.stop();
    }
    let cat = |args: &[&str]| read(&rig, "cat", "all.log", args);
    assert_eq!(cat(&["--pod", "web-9c"]), "of mail\n");
    assert_eq!(cat(&["--label", "app=shop"]), "of shop\n");
    assert_eq!(cat(&["--label", "env=prod"]).lines().count(), 2);
    assert_eq!(cat(&["--label", "env=prod", "--label", "app=mail", "--pod", "web-9c"]), "of mail\n");
    let (code, out, said) = read_by(&rig, &rig.access, "cat", "all.log", &["--label", "app=none"]);
    assert!((code, out.as_str()) == (0, "") && said.contains("--label"), "{said}");
}

#[test]
fn several_streams_are_followed_at_once_and_the_delay_is_said() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-interval", "200ms"]);
    for name in ["a.log", "b.log"] {
        append(&mount.path(name), "before\n");
        eventually("the first segment", || (!rig.bucket().segments(name).is_empty()).then_some(()));
    }
    let follow = reading(&rig, &rig.access, "tail", "*.log", &["-f", "-s", "50ms", "--grep", "e"]);
    let mut follow = Proc::start("tail", follow);
    follow.await_stderr("--rotate-interval");
    for name in ["b.log", "a.log"] {
        append(&mount.path(name), "left out\nthe next\n");
        follow.await_stdout("the next line", |line| (line == format!("team/{name}: the next")).then_some(()));
    }
    follow.signal(Signal::INT);
    follow.wait();
    let said = follow.stderr();
    assert_eq!(said.matches("following").count(), 1, "{said}");
    mount.stop();
}

#[test]
fn ls_shows_directories_of_directories_and_tells_all_in_json() {
    let rig = Rig::embedded();
    three_logs(&rig);
    let bucket = rig.bucket();
    let mut dump = FilePlanter::new(&bucket, "web/dump.hprof", "w-aaaaaaaa");
    dump.form = Form::Plain;
    dump.put(at("2026-11-23T08:00:00"), &[7; 3000]);
    let names = read(&rig, "ls", "", &["-R"]);
    assert_eq!(names, "api/\napi/app.log\nweb/\nweb/app.log\nweb/dump.hprof\nweb/error.log\n");
    assert_eq!(read(&rig, "ls", "*/app.log", &[]), "team/api/app.log\nteam/web/app.log\n");
    let long = read(&rig, "ls", "web", &["-l", "--human"]);
    assert!(long.contains("app.log (2 segments, 1 writer)") && long.contains("2.9K"), "{long}");
    let json = read(&rig, "ls", "web", &["-R", "--json"]);
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let size = read(&rig, "cat", "web/app.log", &[]).len();
    let log = serde_json::json!({
        "path": "team/web/app.log", "kind": "log", "size": size, "time": "2026-11-23T09:00:00.000000Z",
        "segments": 2, "writers": 1,
    });
    assert_eq!(rows[0], log);
    assert_eq!((&rows[1]["kind"], &rows[1]["size"], &rows[1]["versions"]), (&"file".into(), &3000.into(), &1.into()));
}
