//! Tells the program which commit it is built from: the first 12 digits, with `-dirty` if files differ from it. A
//! release build asks git; LOGSINKFS_COMMIT in the environment says it where there is no repository (an image, a
//! package). Without either, no commit is shown.
//!
//! Invariant: the same files, commit and variable give the same program. A debug build does not ask, because each
//! commit would then compile everything again.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "LOGSINKFS_COMMIT";
/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    for path in ["build.rs", "src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match std::env::var(VARIABLE) {
        Ok(given) if !given.is_empty() => legal(&given),
        _ if is_release => of_git(),
        _ => None,
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let long = commit.as_ref().map_or(version.clone(), |commit| format!("{version} ({commit})"));
    // Named as no variable that the program itself would read: cargo gives them to the tests that it runs, too.
    println!("cargo::rustc-env=BUILT_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rustc-env=BUILT_VERSION={long}");
}

/// A commit that was given. Anything else could say something to cargo.
fn legal(given: &str) -> Option<String> {
    let (digits, rest) = given.split_at_checked(given.find('-').unwrap_or(given.len()))?;
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()) && ["", "-dirty"].contains(&rest) {
        let shown = &digits[..DIGITS.min(digits.len())];
        Some(format!("{shown}{rest}"))
    } else {
        println!("cargo::warning={VARIABLE} is no commit, and is ignored");
        None
    }
}

/// The commit of this folder, if it is a repository of its own: files within another one are not of its commit.
fn of_git() -> Option<String> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let git = |words: &[&str]| {
        let output = Command::new("git").current_dir(&root).args(words).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim_end().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // This file grows with each commit, and when another one is checked out.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    legal(&git(&["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"])?)
}
