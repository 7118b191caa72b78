//! Where options come from: flags, variables, configuration files; and what is said of wrong ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use test_harness::mount::Plan;
use test_harness::process::{Proc, command};
use test_harness::rig::PREFIX;
use test_harness::{Rig, eventually};

/// A file of the test, as an argument.
fn file(rig: &Rig, name: &str, text: &str) -> String {
    let path = rig.local(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The options that `logsinkfs config` shows, as (value, source); and its complaints.
fn shown(plan: &Plan, env: &[(&str, &str)], flags: &[&str]) -> (Vec<Value>, String) {
    let mut asked = command(&plan.program);
    asked.env_clear().env("HOME", &plan.home).envs(env.iter().copied());
    asked.args(["config", "--json"]).args(flags);
    let mut asked = Proc::start("config", asked);
    asked.wait();
    let rows = asked.said().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    (rows, asked.last_words())
}

#[track_caller]
fn assert_row(rows: &[Value], name: &str, value: &str, source: &str) {
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {rows:?}"));
    assert_eq!((row["value"].as_str(), row["source"].as_str()), (Some(value), Some(source)), "{name}");
}

#[test]
fn flags_come_before_variables_and_these_before_files_and_each_is_shown_with_its_place() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let first = file(&rig, "conf/10.toml", "spool-max = \"1GiB\"\nwriter-id = \"file\"\n\n[label]\nteam = \"web\"\n");
    let second =
        file(&rig, "conf/20.toml", "spool-max = \"2GiB\"\nfsync = \"s3\"\nview = \"live\"\nallow-other = true\n");
    let dir = rig.local("conf");
    let env = [("LOGSINKFS_VIEW", "bucket"), ("LOGSINKFS_FSYNC", "s3"), ("LOGSINKFS_WRITER_ID", "")];
    let flags = ["--config", dir.to_str().unwrap(), "--fsync", "spool", "--allow-other=off"];
    let (rows, said) = shown(&plan, &env, &flags);
    assert_row(&rows, "spool-max", "2GiB", &format!("{second}:1"));
    assert_row(&rows, "writer-id", "file", &format!("{first}:2"));
    assert_row(&rows, "label", "team=web", &format!("{first}:4"));
    assert_row(&rows, "view", "bucket", "LOGSINKFS_VIEW");
    assert_row(&rows, "fsync", "spool", "flag");
    assert_row(&rows, "allow-other", "false", "flag");
    assert_row(&rows, "compression", "gzip", "default");
    assert_eq!(said, "");
}

/// Both kinds of mount may have the same file, and the worker need not be able to read it, nor to find it as it was.
#[test]
fn a_mount_works_by_its_file_even_when_that_changes_and_a_worker_dies() {
    let rig = Rig::embedded();
    let text = "compression = \"zstd\"\nwriter-id = \"file\"\nlabel = [\"team=web\"]\nsince = \"all\"\n";
    let config = file(&rig, "secret/mount.toml", text);
    fs::set_permissions(rig.local("secret"), PermissionsExt::from_mode(0o700)).unwrap();
    let mount = rig.mount(&["--config", &config]);
    fs::write(&config, "no-such-key = 1\n").unwrap();
    let before = mount.worker();
    mount.kill_worker();
    eventually("another worker", || (mount.worker() != before).then_some(()));
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let segment = rig.bucket().segments("app.log").remove(0);
    assert_eq!(segment.suffix, "log.zst");
    assert!(segment.writer.starts_with("file-"), "{}", segment.writer);
    fs::write(&config, text).unwrap();
    let reader = rig.read(&["--config", &config]);
    assert_eq!(fs::read_to_string(reader.path("app.log")).unwrap(), "line\n");
    let (rows, _) = shown(&reader.plan, &[], &["--config", &config, "--read-only"]);
    assert_row(&rows, "since", "all", &format!("{config}:4"));
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_file_line_and_key() {
    let rig = Rig::embedded();
    for (text, words) in [
        ("\nspool-mx = 1", ["2: there is no key `spool-mx`", "`spool-max`"]),
        ("\nspool-max = \"much\"", ["2: spool-max: `much`", "a size is"]),
        ("\nwhen-full = \"drop\"", ["2: when-full: it is one of", "drop-oldest"]),
        ("\nallow-other = \"yes\"", ["2: allow-other: ", "true or false"]),
        ("\nspool-max = [1]", ["2: spool-max: ", "no list"]),
        ("\nspool-max =", ["2: ", "TOML"]),
    ] {
        let config = file(&rig, "a.toml", text);
        let (code, said) = rig.plan("a").with(&["--config", &config]).refused();
        assert_eq!(code, 2, "{text}: {said}");
        assert!(said.contains(&format!("{config}:{}", words[0])) && said.contains(words[1]), "{text}: {said}");
    }
    let (code, said) = rig.plan("a").env("LOGSINKFS_CONFIG", "/not/there.toml").refused();
    assert!(code == 2 && said.contains("/not/there.toml"), "{said}");
    let config = file(&rig, "a.toml", "hold = true\n");
    let (code, said) = rig.plan("a").with(&["--config", &config]).refused();
    assert!(code == 2 && said.contains(&format!("--hold comes from {config}:1")), "{said}");
}

#[test]
fn a_wrong_value_of_a_variable_is_told_with_its_name_and_switches_take_the_usual_words() {
    let rig = Rig::embedded();
    for (name, value) in [("LOGSINKFS_ROTATE_SIZE", "12parsecs"), ("LOGSINKFS_ALLOW_OTHER", "maybe")] {
        let (code, said) = rig.plan("a").env(name, value).refused();
        assert!(code == 2 && said.contains(&format!("error: {name}=\"{value}\"")), "{said}");
    }
    let plan = rig.plan("a");
    for (word, on) in [("1", "true"), ("Yes", "true"), ("on", "true"), ("0", "false"), ("NO", "false"), ("", "false")] {
        let (rows, said) = shown(&plan, &[("LOGSINKFS_ALLOW_OTHER", word)], &[]);
        let source = if word.is_empty() { "default" } else { "LOGSINKFS_ALLOW_OTHER" };
        assert_row(&rows, "allow-other", on, source);
        assert_eq!(said, "");
    }
    let (rows, _) = shown(&plan, &[("LOGSINKFS_EXCLUDE", ""), ("LOGSINKFS_SPOOL_MAX", "")], &[]);
    assert_row(&rows, "exclude", "", "LOGSINKFS_EXCLUDE");
    let (_, said) = shown(&plan, &[("LOGSINKFS_REGOIN", "x"), ("LOGSINKFS_SERVICE_HOST", "10.0.0.1")], &[]);
    assert_eq!(said.matches("LOGSINKFS_REGION?").count(), 1, "{said}");
    assert!(!said.contains("SERVICE_HOST"), "{said}");
}

/// Options of mount(8) are flags for whoever the process starts, too; they come once.
#[test]
fn options_of_mount_8_come_before_a_file() {
    let rig = Rig::embedded();
    let config = file(&rig, "a.toml", "compression = \"none\"\nwriter-id = \"file\"\n");
    let mount = rig.mount(&["--config", &config, "-o", "compression=zstd"]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let segment = rig.bucket().segments("app.log").remove(0);
    assert_eq!(segment.suffix, "log.zst");
    assert!(segment.writer.starts_with("file-"), "{}", segment.writer);
}

#[test]
fn a_prefix_may_be_given_apart_from_the_source_but_not_twice() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    let whole = std::mem::replace(&mut plan.source, format!("s3://{}", rig.access.bucket));
    let plan = plan.with(&["--prefix", PREFIX]);
    let mount = plan.clone().start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
    // The spool is that of the same source.
    let mut same = rig.plan("a");
    same.source.clone_from(&whole);
    same.start().stop();
    let mut twice = plan;
    twice.source = whole;
    let (code, said) = twice.refused();
    assert!(code == 2 && said.contains("--prefix") && said.contains("has a prefix already"), "{said}");
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--log-format", "json", "-d"]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let said = mount.stop_and_tell();
    let events = said.lines().filter(|line| !line.starts_with("logsinkfs: "));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).expect(line)).collect();
    let has = |level: &str| events.iter().any(|event| event["level"] == level && event["message"].is_string());
    assert!(has("INFO") && has("DEBUG"), "{said}");
}

#[test]
fn requests_are_not_signed_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut asked = command(&rig.plan("a").program);
    asked.env_clear().args(["ls", "--no-sign-request", "--force-path-style", "--endpoint-url", &gate.endpoint]);
    asked.arg(rig.plan("a").source);
    let mut asked = Proc::start("ls", asked);
    // The embedded bucket knows nobody without a signature; that it is asked shows that no credentials are looked for.
    assert_eq!(asked.wait().code(), Some(1), "{}", asked.last_words());
    let seen = gate.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.signed_by.is_empty()), "{}", asked.last_words());
}
