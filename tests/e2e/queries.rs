//! docs/QUERYING.md is true: its SQL, read from the document, on what mounts have written on several days.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use test_harness::mount::Plan;
use test_harness::planted::Planter;
use test_harness::process::{Proc, command};
use test_harness::rig::PREFIX;
use test_harness::s3::{root, script};
use test_harness::{Bucket, Rig};

const STREAM: &str = "web/app.log";

/// The library by which a program sees another time.
fn libfaketime() -> PathBuf {
    let lib = fs::read_dir("/usr/lib").unwrap().flatten();
    let found = lib.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|path| path.exists()).expect("faketime is not installed: run tests/setup.sh first")
}

/// Mounts at a moment, UTC, appends these lines to the log and stops.
fn write_at(plan: Plan, moment: &str, lines: &[&str]) {
    let library = libfaketime();
    let plan = plan
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAKETIME", &format!("@{moment}"))
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC");
    let mount = plan.start();
    let log = mount.path(STREAM);
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    lines.iter().for_each(|line| log.write_all(format!("{line}\n").as_bytes()).unwrap());
    drop(log);
    mount.stop();
}

/// What the statements of the document gave, those for one engine.
fn run_document(rig: &Rig) -> Vec<Value> {
    let python = root().join("target/venv/bin/python3");
    let mut queries = command(python);
    queries.arg("-B").arg(script("queries.py")).arg(root().join("docs/QUERYING.md"));
    queries.arg(format!("s3://{}/{PREFIX}", rig.access.bucket));
    rig.access.env(&mut queries);
    queries.env("ENDPOINT", &rig.access.endpoint).env("EXTENSIONS", rig.local("extensions"));
    let mut queries = Proc::start("queries.py", queries);
    let status = queries.wait();
    assert!(status.success(), "{}", queries.last_words());
    queries.said().iter().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Four runs of two writers over three days. Gives the lines of each, and the bucket.
fn write_over_days(rig: &Rig) -> ([Vec<&'static str>; 4], Bucket) {
    let error = r#"{"level":"ERROR","n":7,"text":"a \"quoted\", and\tlong one"}"#;
    let runs = [
        ("2026-11-22 23:59:30", "web-1", vec!["before midnight", error]),
        ("2026-11-23 08:15:00", "web-1", vec![error, "", "with, commas; and\ttabs", "\"", r#"{"level":"INFO","n":9}"#]),
        ("2026-11-23 08:20:00", "web-2", vec![r#"{"level":"ERROR","n":8}"#, "# no comment", " ü "]),
        ("2026-11-24 08:30:00", "web-2", vec![error, "\u{1}the last", "10 %\r20 %"]),
    ];
    for (moment, writer, lines) in &runs {
        write_at(rig.plan(writer).with(&["--writer-id", writer]), moment, lines);
    }
    (runs.map(|(_, _, lines)| lines), rig.bucket())
}

#[test]
fn duckdb_reads_each_line_of_all_writers_once_and_fetches_the_day_alone() {
    let rig = Rig::embedded();
    let ([before, first, second, after], bucket) = write_over_days(&rig);
    // Bytes that were dropped, in the same folder.
    let start: Timestamp = "2026-11-23T08:30:00Z".parse().unwrap();
    Planter::new(&bucket, STREAM, "full-1-aaaaaaaa").drop(start, 1000);
    let writers: Vec<String> = bucket.segments(STREAM).into_iter().map(|s| s.writer).collect();
    let said = run_document(&rig);
    let said: Vec<&Value> = said.iter().filter(|said| said["engine"] == "DuckDB").collect();
    let selected = |begin: &str| {
        let found = said.iter().find(|said| said["sql"].as_str().unwrap().starts_with(begin));
        found.unwrap_or_else(|| panic!("no statement begins with {begin}"))
    };

    let all: Vec<&str> =
        [&before, &first, &second, &after].into_iter().flatten().flat_map(|line| line.split('\r')).collect();
    let lines: Vec<&str> =
        selected("all")["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(lines, all, "in the order in which they were written");

    let counted = selected("SELECT writer, hour");
    assert_eq!(counted["rows"], json!([[writers[0], 8, first.len()], [writers[2], 8, second.len()]]));
    assert_eq!(counted["files"], 2, "objects of other days are fetched");

    let day = selected("SELECT line");
    let expected: Vec<[&str; 1]> = first.iter().chain(&second).map(|line| [*line]).collect();
    assert_eq!(day["rows"], json!(expected));
    assert_eq!(day["files"], 2);

    let errors = selected("SELECT hour");
    assert_eq!(errors["rows"], json!([[8, 2, 8]]), "two errors that day, with 7 and 8");
    assert_eq!(errors["files"], 2);
}

#[test]
fn the_tables_for_athena_are_where_mounts_write() {
    let rig = Rig::embedded();
    let (_, bucket) = write_over_days(&rig);
    let keys: Vec<String> = bucket.segments(STREAM).into_iter().map(|segment| segment.key).collect();
    assert_eq!(keys.len(), 4);
    let said = run_document(&rig);
    let tables = said.iter().filter(|said| said["engine"] == "Athena" && said["location"].is_string());
    let tables: Vec<&Value> = tables.collect();
    assert_eq!(tables.len(), 2, "lines, and JSON");
    for table in tables {
        let of = |name: &str| table["properties"][name].as_str().unwrap_or_else(|| panic!("no {name}"));
        let here = |there: &str| there.replace("s3://my-bucket/logs/", PREFIX);
        assert_eq!(of("projection.enabled"), "true");
        assert_eq!((of("projection.dt.type"), of("projection.dt.format")), ("date", "yyyy-MM-dd"));
        assert_eq!((of("projection.hour.type"), of("projection.hour.range")), ("integer", "0,23"));
        let template = here(of("storage.location.template"));
        assert!(template.starts_with(&here(table["location"].as_str().unwrap())));
        let width: usize = of("projection.hour.digits").parse().unwrap();
        let folders = ["2026-11-22", "2026-11-23", "2026-11-24"].map(|dt| {
            let hours = (0..24).map(|hour| format!("{hour:0width$}"));
            hours.map(|hour| template.replace("${dt}", dt).replace("${hour}", &hour)).collect::<Vec<_>>()
        });
        for key in &keys {
            let (folder, _) = key.rsplit_once('/').unwrap();
            let folder = format!("{folder}/");
            assert!(folders.iter().flatten().any(|projected| *projected == folder), "{key} is in no partition");
        }
    }
}
