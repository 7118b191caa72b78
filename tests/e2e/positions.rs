//! Positions: what tell, seek, stat, a mapping and a limit say of a log is what they say in a local folder, whatever
//! became of the log before. The one exception is a log that is truncated while a program has it open for which the
//! kernel writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use test_harness::process::Proc;
use test_harness::{Mount, Rig, programs};

/// What each way to ask for a position says.
type Answers = BTreeMap<String, String>;

const HISTORIES: [&str; 8] = [
    "fresh",
    "again",
    "again_to_append",
    "appended_after_emptying",
    "truncated_by_name",
    "copytruncate",
    "reopened_after_copytruncate",
    "takeover",
];
/// Lines that programs write: of the generation before, and of the last one.
const OLD: u64 = "a line of the generation before\n".len() as u64;
const NEW: u64 = "new line\n".len() as u64;

fn play(rig: &Rig, folder: &Path, history: &str, mount: Option<&Mount>) -> Answers {
    let go = rig.local(&format!("go-{history}-{}", mount.is_some()));
    let mut python = programs::python("positions.py");
    python.arg(folder).arg(history).arg(&go);
    let mut program = Proc::start("positions", python);
    if history == "takeover" {
        program.await_stdout("that it is ready", |said| (said == "ready").then_some(()));
        if let Some(mount) = mount {
            mount.kill_worker();
        }
        fs::write(&go, "").unwrap();
    }
    let mut answers = Answers::new();
    program.await_stdout("its last answer", |said| {
        let (name, value) = said.split_once(' ')?;
        answers.insert(name.to_owned(), value.to_owned());
        (name == "RLIMIT_FSIZE").then_some(())
    });
    program.success();
    answers
}

/// What the histories come to in a local folder and in a mount, as history and answer.
fn differences(flags: &[&str]) -> BTreeMap<(String, String), [String; 2]> {
    let rig = Rig::embedded();
    let mut differences = BTreeMap::new();
    let mount = rig.mount(flags);
    for history in HISTORIES {
        let beside = rig.local(history);
        let within = mount.path(history);
        fs::create_dir(&beside).unwrap();
        fs::create_dir(&within).unwrap();
        let expected = play(&rig, &beside, history, None);
        let found = play(&rig, &within, history, Some(&mount));
        assert_eq!(expected.len(), 7, "{expected:?}");
        for (name, expected) in expected {
            let found = found[&name].clone();
            if expected != found {
                differences.insert((history.to_owned(), name), [expected, found]);
            }
        }
    }
    // Nothing of what was truncated is lost.
    mount.stop();
    for history in HISTORIES {
        let lines = rig.bucket().lines(&format!("{history}/app.log"));
        let old = lines.iter().filter(|line| line.starts_with("a line")).count();
        assert_eq!(old, if history == "fresh" { 0 } else { 200 }, "{history}");
    }
    differences
}

#[test]
fn they_are_those_of_a_local_file_where_the_daemon_writes() {
    assert_eq!(differences(&["--write-path", "daemon"]), BTreeMap::new());
}

#[test]
fn they_are_those_of_a_local_file_where_the_kernel_writes_but_for_a_log_truncated_while_it_is_open() {
    let found = differences(&[]);
    let names: Vec<_> = found.keys().map(|(history, name)| (&**history, &**name)).collect();
    let kept_open = ["RLIMIT_FSIZE", "SEEK_CUR", "mmap"].map(|name| ("copytruncate", name));
    assert_eq!(names, kept_open, "{found:#?}");
    let answer = |name: &str| found[&("copytruncate".to_owned(), name.to_owned())][1].clone();
    // Exactly so: the kernel counts from the beginning of the spool file, which holds the generation before.
    assert_eq!(answer("SEEK_CUR"), (200 * OLD + 3 * NEW).to_string());
    assert_eq!(answer("RLIMIT_FSIZE"), "0");
    let mapped = answer("mmap");
    // What S3 has by now may be a hole.
    assert!(mapped.starts_with("b'a line of") || mapped.starts_with("b'\\x00"), "{mapped}");
}
