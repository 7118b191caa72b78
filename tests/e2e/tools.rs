//! Tools that people use on logs: they edit, fetch and search them in place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use test_harness::files::append;
use test_harness::process::{Proc, command, program};
use test_harness::reading::read;
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Mount, Rig};

/// Runs a tool to its good end; gives what it printed.
fn run(name: &str, args: &[&str], paths: &[&Path]) -> Vec<String> {
    let mut asked = command(program(name));
    asked.args(args).args(paths);
    let mut tool = Proc::start(name, asked);
    let status = tool.wait();
    assert!(status.success(), "{name} {args:?}: {status}\n{}", tool.last_words());
    tool.said()
}

/// Stops the mount; insists that `app.log` is the one stream, and reads it back.
fn stored(rig: &Rig, mount: Mount) -> String {
    mount.stop();
    assert_eq!(rig.bucket().streams(), ["app.log".to_owned()].into(), "the streams in the bucket");
    read(rig, "cat", "app.log", &[])
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    let line = |number| match number % 3 {
        0 => format!("line {number:04} ERROR\n"),
        _ => format!("line {number:04}\n"),
    };
    numbers.map(line).collect()
}

#[test]
fn a_log_that_sed_edits_in_place_goes_on_in_its_stream() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let log = mount.path("app.log");
    append(&log, "one\n");
    run("sed", &["-i", "s/one/ONE/"], &[&log]);
    append(&log, "two\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "ONE\ntwo\n");
    assert_eq!(stored(&rig, mount), "one\nONE\ntwo\n");
}

/// A log of another machine is fetched, grows there and is fetched again.
fn fetched_by_rsync(first: &[&str], again: Option<&[&str]>) {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let (from, to) = (rig.local("app.log"), mount.path("app.log"));
        let mut all = lines(0..4000);
        fs::write(&from, &all).unwrap();
        run("rsync", first, &[&from, &mount.plan.point]);
        assert_eq!(fs::read_to_string(&to).unwrap(), all);
        let mtime = |path: &Path| fs::metadata(path).unwrap().mtime();
        assert_eq!(mtime(&to), mtime(&from));
        if let Some(args) = again {
            append(&from, &lines(4000..5000));
            all += &lines(4000..5000);
            run("rsync", args, &[&from, &mount.plan.point]);
            assert_eq!(fs::read_to_string(&to).unwrap(), all);
        }
        append(&to, "and the program here goes on\n");
        all += "and the program here goes on\n";
        assert_eq!(stored(&rig, mount), all, "{write_path}");
    }
}

#[test]
fn a_log_that_rsync_brings_is_the_stream_of_its_name() {
    // It is filled as `.app.log.a1B2c3`, say, and renamed.
    fetched_by_rsync(&["-a"], None);
}

#[test]
fn a_log_that_rsync_writes_in_place_and_appends_to_is_stored_once() {
    fetched_by_rsync(&["-a", "--inplace"], Some(&["-a", "--append"]));
}

#[test]
fn a_log_is_searched_through_a_mapping_as_without_one() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let log = mount.path("app.log");
    let assert_alike = |when: &str| {
        let grep = run("grep", &["-c", "ERROR"], &[&log]);
        for way in ["--mmap", "--no-mmap"] {
            assert_eq!(run("rg", &[way, "-c", "ERROR"], &[&log]), grep, "{when}, rg {way}");
        }
        let file = fs::read(&log).unwrap();
        assert_eq!(run("rg", &["--mmap", "-c", ""], &[&log])[0], lines_in(&file).to_string(), "{when}");
    };
    append(&log, &lines(0..200));
    assert_alike("as it was born");
    fs::write(&log, "").unwrap();
    append(&log, &lines(0..100).replace("line", "ERROR"));
    assert_alike("after a truncation");
    fs::write(&log, lines(0..300).replace("0", "")).unwrap();
    assert_alike("after a program that begins it anew");
    append(&log, &lines(300..400).replace("line", "ERROR"));
    assert_alike("after one that goes on with it");
    mount.stop();
}

fn lines_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
