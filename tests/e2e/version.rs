//! Which program this is: what `--version` says, and where `build.rs` takes the commit from.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_harness::Rig;
use test_harness::process::command;

/// `build.rs`, compiled as cargo compiles it.
fn build_script(dir: &Path) -> PathBuf {
    let script = dir.join("build-script");
    let mut rustc = Command::new("rustc");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let compiled = rustc.args(["--edition", "2024", "-o"]).arg(&script).arg(source).status();
    assert!(compiled.unwrap().success());
    script
}

/// The version that it gives the program, when it builds what is in a folder.
fn version(script: &Path, folder: &Path, profile: &str, commit: Option<&str>) -> String {
    let mut script = Command::new(script);
    script.current_dir(folder).env("CARGO_MANIFEST_DIR", folder).env("CARGO_PKG_VERSION", "1.2.3");
    script.env("PROFILE", profile).env_remove("LOGSINKFS_COMMIT");
    if let Some(commit) = commit {
        script.env("LOGSINKFS_COMMIT", commit);
    }
    let output = script.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=BUILT_VERSION="));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn git(folder: &Path, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(words);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_program_says_its_version() {
    let rig = Rig::embedded();
    let output = command(&rig.plan("a").program).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(concat!("logsinkfs ", env!("CARGO_PKG_VERSION"))), "{said}");
}

#[test]
fn a_release_names_its_commit_and_is_built_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let script = build_script(dir.path());
    let folder = dir.path().join("tree");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Cargo.toml"), "").unwrap();
    assert_eq!(version(&script, &folder, "release", None), "1.2.3", "an archive without git");
    assert_eq!(version(&script, &folder, "release", Some("")), "1.2.3");
    let given = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(version(&script, &folder, "debug", Some(given)), "1.2.3 (0123456789ab)");
    for odd in ["v1.2.3", "abc\ncargo::warning=x", "abc def", "-dirty", "\u{e9}"] {
        assert_eq!(version(&script, &folder, "release", Some(odd)), "1.2.3", "{odd:?}");
    }
    git(&folder, &["init", "-q"]);
    assert_eq!(version(&script, &folder, "release", None), "1.2.3", "nothing is committed");
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-qm", "first"]);
    let commit = git(&folder, &["rev-parse", "HEAD"]);
    assert_eq!(version(&script, &folder, "release", None), format!("1.2.3 ({})", &commit[..12]));
    assert_eq!(version(&script, &folder, "debug", None), "1.2.3", "each commit would compile all again");
    std::fs::write(folder.join("Cargo.toml"), "changed").unwrap();
    assert_eq!(version(&script, &folder, "release", None), format!("1.2.3 ({}-dirty)", &commit[..12]));
    let within = folder.join("vendored");
    std::fs::create_dir(&within).unwrap();
    assert_eq!(version(&script, &within, "release", None), "1.2.3", "a commit of another repository");
}
