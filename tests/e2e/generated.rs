//! What the program makes out of its own flags, and what it reckons: man pages, completions, estimates.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use test_harness::files::names;
use test_harness::process::program;
use test_harness::rig::folder;
use test_harness::s3::{logsinkfs, root};

fn run(words: &[&str]) -> Output {
    Command::new(logsinkfs()).args(words).output().unwrap()
}

fn said(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = said(&["--help"]);
    let rows = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What a command does may go on in a line of its own.
    let names = rows.filter(|row| row.starts_with("  ") && !row.starts_with("   "));
    let names = names.map(|row| row.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_command_has_a_man_page_with_its_flags() {
    let dir = folder();
    said(&["man", dir.path().to_str().unwrap()]);
    let pages = names(dir.path());
    for command in commands() {
        let page = format!("logsinkfs-{command}.1");
        assert!(pages.contains(&page), "{page}: {pages:?}");
    }
    let page = fs::read_to_string(dir.path().join("logsinkfs-mount.1")).unwrap();
    for flag in ["spool\\-max", "rotate\\-interval", "read\\-only"] {
        assert!(page.contains(&format!("\\-\\-{flag}")), "{flag}");
    }
    let missing = run(&["man", dir.path().join("missing").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    let complaint = String::from_utf8(missing.stderr).unwrap();
    assert!(complaint.contains("missing") && complaint.contains("existing directory"), "{complaint}");
}

#[test]
fn bash_completes_commands_and_flags() {
    let completed = |words: &str, last: &str| {
        let script = format!(
            "source <({program} completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _logsinkfs logsinkfs '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            program = logsinkfs()
        );
        let output = Command::new(program("bash")).args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(completed("logsinkfs mou", "mou").trim(), "mount");
    assert!(completed("logsinkfs mount --rotate-", "--rotate-").contains("--rotate-interval"));
    for shell in ["zsh", "fish"] {
        assert!(said(&["completions", shell]).contains("rotate-interval"), "{shell}");
    }
    assert_eq!(run(&["completions", "cmd.exe"]).status.code(), Some(2));
}

#[test]
fn an_estimate_counts_objects_requests_and_cost() {
    let estimate = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&said(&[&["estimate", "--json"], words].concat())).unwrap()
    };
    // By time: 288 segments a day of each log.
    let by_time = estimate(&["--streams", "1000", "--rate", "1KiB"]);
    assert_eq!(by_time["objects_a_day"], 288_000.0);
    assert_eq!(by_time["object_bytes"], 300.0 * 1024.0 / 8.0);
    assert_eq!(by_time["puts_usd_a_month"], 288.0 * 30.0 * 0.005);
    // By size: a segment each 64 seconds.
    let by_size = estimate(&["--rate", "1MiB", "--ratio", "1", "--keep", "1d", "--storage-price", "0.02"]);
    assert_eq!(by_size["objects_a_day"], 1350.0);
    assert_eq!(by_size["stored_bytes"], 1_048_576.0 * 86_400.0);
    assert_eq!(by_size["storage_usd_a_month"], 84.375 * 0.02);
    assert_eq!(estimate(&["--rate", "0"])["usd_a_month"], 0.0);
    for wrong in [&["--ratio", "0.5"][..], &["--ratio", "nan"], &["--put-price", "-1"], &["--rate", "much"]] {
        assert_eq!(run(&[&["estimate", "--rate", "1KiB"], wrong].concat()).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(run(&["estimate"]).status.code(), Some(2));
}

#[test]
fn the_table_of_costs_is_what_the_command_says() {
    let text = fs::read_to_string(root().join("docs/KUBERNETES.md")).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `--streams")).collect();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let words: Vec<_> = cells[1].trim_matches('`').split(' ').collect();
        let estimate = said(&[&["estimate", "--json"], &words[..]].concat());
        let estimate: serde_json::Value = serde_json::from_str(&estimate).unwrap();
        let value = |name: &str| estimate[name].as_f64().unwrap();
        let expected = [
            format!("{:.0}", value("objects_a_day")),
            format!("{:.2}", value("puts_usd_a_month")),
            format!("{:.2}", value("storage_usd_a_month")),
            format!("{:.2}", value("usd_a_month")),
        ];
        assert_eq!(cells[2..6], expected, "{row}");
    }
}
