//! The rules of the house, as tests: what ARCHITECTURE.md and CONTRIBUTING.md say of the code is true of the code.
//! Every rule is tried on an example that breaks it before it looks at the sources, so that none passes because it sees
//! nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use logsinkfs::flags::Cli;
use logsinkfs::metrics::{Metric, TABLE};

/// The rooms, and what each may import: only rooms above it in this table, so that there is no cycle.
const ROOMS: [(&str, &[&str]); 20] = [
    ("types", &[]),
    ("metrics", &[]),
    ("format", &["types"]),
    ("settings", &["types", "format"]),
    ("s3", &["types", "metrics", "settings"]),
    ("spool", &["types", "format", "settings"]),
    ("log_file", &["types", "format", "spool"]),
    ("namespace", &["types", "format", "settings", "s3", "spool", "log_file"]),
    ("listing", &["types", "format", "s3", "namespace"]),
    ("read", &["types", "metrics", "format", "s3"]),
    ("upload", &["types", "metrics", "format", "settings", "s3", "spool", "log_file", "namespace", "listing", "read"]),
    ("fs", &["types", "metrics", "format", "settings", "spool", "log_file", "namespace", "listing", "read", "upload"]),
    ("reader_fs", &["types", "metrics", "format", "settings", "s3", "spool", "namespace", "listing", "read", "fs"]),
    ("fuse", &["types", "namespace", "fs", "reader_fs"]),
    ("sys", &["types", "settings", "spool", "fuse"]),
    ("supervisor", &["types", "settings", "spool", "fuse", "sys"]),
    (
        "worker",
        &[
            "types",
            "metrics",
            "settings",
            "s3",
            "spool",
            "log_file",
            "namespace",
            "listing",
            "read",
            "upload",
            "fs",
            "reader_fs",
            "fuse",
            "sys",
            "supervisor",
        ],
    ),
    ("lines", &["types", "format", "read"]),
    ("flags", &["types", "format", "settings", "sys", "supervisor", "worker", "lines"]),
    (
        "cli",
        &[
            "types",
            "format",
            "settings",
            "s3",
            "spool",
            "log_file",
            "read",
            "upload",
            "fs",
            "sys",
            "supervisor",
            "worker",
            "lines",
            "flags",
        ],
    ),
];
/// Of a room that knows more, some use one file only: the kernel's constants.
const ONE_FILE: [(&str, &str); 2] = [("sys", "fuse::abi"), ("supervisor", "fuse::abi")];
/// What the keeper's process does without: it outlives every worker, and has root's rights.
const NOT_IN_SUPERVISOR: [&str; 6] = ["s3", "upload", "listing", "read", "worker", "fs"];
/// Crates, and the clocks of the standard library and of tokio, that one place alone may use: everything else stays
/// free of their types, and gets time and randomness as an argument.
const SINGLE_IMPORTERS: [(&str, &[&str]); 11] = [
    ("aws_sdk_s3", &["src/s3/sdk/"]),
    ("aws_config", &["src/s3/sdk/"]),
    ("aws_credential_types", &["src/s3/sdk/"]),
    ("fuser", &["src/fuse/"]),
    ("clap", &["src/flags/", "src/main.rs"]),
    ("s3s", &["crates/embedded-s3/src/"]),
    ("hyper", &["crates/embedded-s3/src/", "src/worker/admin.rs", "src/worker/page.rs"]),
    ("hyper_util", &["crates/embedded-s3/src/", "src/worker/admin.rs"]),
    ("fastrand", &["src/types/random.rs", "crates/"]),
    ("Instant", &["src/types/clock.rs", "crates/"]),
    ("prometheus_client", &["src/metrics/mod.rs"]),
];
/// What some rooms do without, and why.
const ABSENT: [(&str, &[&str], &str); 8] = [
    (
        "src/types/",
        &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::env",
            "sync::Mutex",
            "sync::RwLock",
            "sync::Once",
            "sync::atomic",
            "parking_lot",
            "tokio",
            "rustix",
        ],
        "values are made from their arguments alone",
    ),
    ("src/spool/", &["tokio", "async fn", ".await"], "the spool is synchronous"),
    ("src/log_file/", &["tokio", "async fn", ".await"], "the spool is synchronous"),
    ("src/namespace/", &["tokio", "async fn", ".await"], "the namespace is synchronous"),
    ("src/settings/", &["tokio", "async fn", ".await"], "the keeper imports it"),
    ("src/format/", &["tokio", "async fn", ".await"], "names are formed from names alone"),
    ("src/sys/", &["tokio", "async fn", ".await"], "the keeper imports it"),
    ("src/supervisor/", &["tokio", "async fn", ".await", "hyper"], "the keeper is small"),
];
/// Files that may hold `unsafe`.
const UNSAFE: [&str; 6] = [
    "src/sys/allocator.rs",
    "src/fuse/passthrough.rs",
    "src/fuse/place.rs",
    "src/supervisor/ioctl.rs",
    "src/log_file/lease.rs",
    "src/spool/mapped.rs",
];
/// Words that say that something is unfinished.
const UNFINISHED: [&str; 6] = ["todo!", "unimplemented!", "dbg!", "TODO", "FIXME", "XXX"];
/// Columns of a line, of code and of comments.
const WIDTH: usize = 120;
/// Most lines of a file in src/.
const LINES_MAX: usize = 450;

/// Most lines of a function in src/: a screen.
const FUNCTION_MAX: usize = 60;
/// Type names that say nothing of their subject.
const NO_SUBJECT: [&str; 12] =
    ["Facts", "Found", "Inner", "Kept", "Known", "Library", "Means", "Outcome", "Piece", "Place", "Sized", "Thing"];

/// A file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn example(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines that are code, with their numbers: comments may speak of anything.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// `types` of `src/types/ids.rs`; nothing for `src/lib.rs`.
    fn room(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(room, _)| room)
    }

    /// How many modules a path out of this one has to leave to be at the crate's root.
    fn depth(&self) -> usize {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.trim_end_matches("/mod").split('/').count()
    }
}

/// Paths of a line that begin with a name, such as `types` in `crate::types::ids`.
fn after<'a>(line: &'a str, before: &str) -> Vec<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rests = line.match_indices(before).filter(|(at, _)| !line[..*at].ends_with(is_name));
    rests.map(|(at, _)| line[at + before.len()..].split(|c| !is_name(c)).next().unwrap_or("")).collect()
}

fn files(folder: &str, extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy();
                let text = fs::read_to_string(&path).expect("readable text");
                found.push(Source { path: name.into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{folder} has files");
    found
}

/// All source files, of the crates beside the program too.
fn sources() -> Vec<Source> {
    let mut all = files("src", "rs");
    all.extend(files("crates/embedded-s3/src", "rs"));
    all
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// Tries a rule on an example that breaks it, then on the files.
fn hold(rule: impl Fn(&Source) -> Vec<String>, broken: &[Source], files: &[Source]) {
    for example in broken {
        assert!(!rule(example).is_empty(), "the rule sees nothing in:\n{}", example.text);
    }
    let broken: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn imports(file: &Source) -> Vec<String> {
    let Some(room) = file.room() else { return Vec::new() };
    let allowed = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed);
    let mut broken = Vec::new();
    for (number, line) in file.code() {
        for used in after(line, "crate::") {
            if used != room && !allowed.contains(&used) {
                let used = if used.is_empty() { "several rooms in one line" } else { used };
                broken.push(format!("{}:{number}: `{room}` may not use `{used}`", file.path));
            }
        }
        for (user, path) in ONE_FILE {
            let other = path.split("::").next().unwrap_or_default();
            let uses = after(line, "crate::").contains(&other) && !line.contains(path);
            if user == room && uses {
                broken.push(format!("{}:{number}: `{room}` may use `{path}` alone", file.path));
            }
        }
        // `use super::*` of the tests at a file's end stays in the file.
        let own = line.starts_with(' ') && line.trim() == "use super::*;";
        if !own && line.contains(&"super::".repeat(file.depth())) {
            broken.push(format!("{}:{number}: `super` leaves the room `{room}`", file.path));
        }
    }
    broken
}

#[test]
fn a_room_uses_only_the_rooms_that_it_may() {
    let broken = [
        Source::example("src/types/ids.rs", "use crate::s3::bucket::Bucket;"),
        Source::example("src/spool/mod.rs", "    fn run(parts: &crate::upload::parts::Parts) {}"),
        Source::example("src/fs/data.rs", "use crate::{cli, types};"),
        Source::example("src/sys/allocator.rs", "use crate::fuse::Adapter;"),
        Source::example("src/types/ids.rs", "use super::super::s3::bucket::Bucket;"),
        Source::example("src/types/mod.rs", "use super::s3;"),
    ];
    hold(imports, &broken, &sources());
}

#[test]
fn rooms_have_no_cycle_and_none_is_allowed_what_it_does_not_use() {
    let sources = sources();
    let there: BTreeSet<&str> = sources.iter().filter_map(Source::room).collect();
    assert_eq!(there, ROOMS.iter().map(|(room, _)| *room).collect());
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        for other in *allowed {
            let is_above = ROOMS[..at].iter().any(|(above, _)| above == other);
            assert!(is_above, "`{room}` may use `{other}`, which is not above it");
            let own = sources.iter().filter(|file| file.room() == Some(room));
            let mut lines = own.flat_map(Source::code);
            assert!(
                lines.any(|(_, line)| after(line, "crate::").contains(other)),
                "`{room}` does not use `{other}`, so it need not be allowed"
            );
        }
    }
}

/// A file as a module: `namespace::tree` for `src/namespace/tree.rs`, `namespace` for its `mod.rs`.
fn module(file: &Source) -> String {
    let inner = file.path.trim_start_matches("src/").trim_end_matches(".rs");
    inner.trim_end_matches("/mod").replace('/', "::")
}

/// The modules of `modules` that a file imports or names, but for what it hands on of its own (`pub use self::`).
fn used_modules(file: &Source, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let own = module(file);
    let before_tests = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            let is_within = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if is_within || (root == "self::" && before.ends_with("pub use ")) {
                continue;
            }
            let mut path: Vec<&str> = if root == "crate::" { Vec::new() } else { own.split("::").collect() };
            let mut rest = &code[at..];
            while let Some(inner) = rest.strip_prefix("super::") {
                path.pop();
                rest = inner;
            }
            let rest = rest.strip_prefix(root).unwrap_or(rest);
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            path.extend(rest[..end].split("::").filter(|name| !name.is_empty()));
            let names = rest[end..].strip_prefix('{').and_then(|list| list.split('}').next()).unwrap_or_default();
            for name in names.split(',').map(str::trim) {
                let whole: Vec<&str> = path.iter().copied().chain([name]).collect();
                let named = (1..=whole.len()).rev().map(|length| whole[..length].join("::"));
                used.extend(named.into_iter().find(|named| modules.contains(named)));
            }
        }
    }
    used.remove(&own);
    used
}

/// The modules of a cycle, if there is one.
fn cycle(files: &[Source]) -> Vec<String> {
    let modules: BTreeSet<String> = files.iter().map(module).collect();
    let mut uses: Vec<_> = files.iter().map(|file| (module(file), used_modules(file, &modules))).collect();
    // What uses nothing that is left, or is used by nothing that is left, is in no cycle, and is taken away.
    loop {
        let before = uses.len();
        let left: BTreeSet<String> = uses.iter().map(|(own, _)| own.clone()).collect();
        uses.retain(|(_, used)| used.iter().any(|used| left.contains(used)));
        let wanted: BTreeSet<String> = uses.iter().flat_map(|(_, used)| used.clone()).collect();
        uses.retain(|(own, _)| wanted.contains(own));
        if uses.len() == before {
            return uses.into_iter().map(|(own, _)| own).collect();
        }
    }
}

#[test]
fn modules_have_no_cycle_within_a_room_either() {
    let broken = [
        Source::example("src/a/mod.rs", "use self::b::{B, C};\n"),
        Source::example("src/a/b.rs", "use super::{\n    A,\n    D,\n};\n"),
    ];
    assert_eq!(cycle(&broken), ["a", "a::b"]);
    let hands_on = [
        Source::example("src/a/mod.rs", "pub use self::b::B;\n"),
        Source::example("src/a/b.rs", "use super::A;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"),
    ];
    assert_eq!(cycle(&hands_on), Vec::<String>::new());
    let all: Vec<Source> = files("src", "rs").into_iter().filter(|file| file.room().is_some()).collect();
    assert_eq!(cycle(&all), Vec::<String>::new());
}

#[test]
fn the_supervisor_and_all_that_it_imports_know_nothing_of_s3_and_uploads() {
    let mut reached = BTreeSet::from(["supervisor"]);
    for (room, allowed) in ROOMS.iter().rev() {
        let whole = |other: &&&str| !ONE_FILE.contains(&(room, &format!("{other}::abi")));
        if reached.contains(room) {
            reached.extend(allowed.iter().filter(whole));
        }
    }
    for absent in NOT_IN_SUPERVISOR {
        assert!(!reached.contains(absent), "the supervisor comes to `{absent}`: {reached:?}");
    }
}

#[test]
fn the_program_itself_only_calls_the_command_line() {
    let rule = |file: &Source| {
        let used = file.code().flat_map(|(_, line)| after(line, "logsinkfs::"));
        used.filter(|used| !["cli", "flags", "sys"].contains(used)).map(str::to_owned).collect()
    };
    let broken = [Source::example("src/main.rs", "use logsinkfs::fs::Fs;")];
    hold(rule, &broken, &[Source { path: "src/main.rs".to_owned(), text: text("src/main.rs") }]);
}

fn importers(file: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, allowed) in SINGLE_IMPORTERS {
        let path = format!("{name}::");
        let uses = |line: &str| !after(line, &path).is_empty();
        if allowed.iter().any(|allowed| file.path.starts_with(allowed)) {
            continue;
        }
        for (number, _) in file.code().filter(|(_, line)| uses(line)) {
            broken.push(format!("{}:{number}: only {allowed:?} may import {name}", file.path));
        }
    }
    broken
}

#[test]
fn some_crates_have_a_single_importer() {
    let broken = [
        Source::example("src/upload/uploader.rs", "use aws_sdk_s3::Client;"),
        Source::example("src/worker/daemon.rs", "use aws_config::Region;"),
        Source::example("src/fs/mod.rs", "    reply: fuser::ReplyData,"),
        Source::example("src/s3/sdk/mod.rs", "use s3s::S3;"),
        Source::example("src/settings/writer.rs", "use clap::ValueEnum;"),
        Source::example("src/upload/sealer.rs", "let now = tokio::time::Instant::now();"),
        Source::example("src/upload/uploader.rs", "    cap.mul_f64(fastrand::f64())"),
    ];
    hold(importers, &broken, &sources());
}

#[test]
fn some_rooms_do_without_what_would_make_them_wait() {
    let rule = |file: &Source| {
        let mut broken = Vec::new();
        for (folder, absent, why) in ABSENT {
            let code = file.code().filter(|_| file.path.starts_with(folder));
            for (number, line) in code {
                for word in absent.iter().filter(|word| line.contains(**word)) {
                    broken.push(format!("{}:{number}: no `{word}`: {why}", file.path));
                }
            }
        }
        broken
    };
    let broken = [
        Source::example("src/types/time.rs", "use std::sync::Mutex;"),
        Source::example("src/spool/mod.rs", "    pub async fn open() {}"),
    ];
    hold(rule, &broken, &sources());
}

#[test]
fn every_file_begins_with_what_it_is() {
    let rule = |file: &Source| {
        if file.text.starts_with("//! ") {
            Vec::new()
        } else {
            vec![format!("{}: it does not begin with `//!`", file.path)]
        }
    };
    let broken = [Source::example("src/fs/mod.rs", "use std::fs;\n//! Too late.\n")];
    hold(rule, &broken, &sources());
}

#[test]
fn lines_have_one_width() {
    // A string literal is not broken: it is searched for as it is printed.
    let rule = |file: &Source| {
        let lines = file.text.lines().enumerate();
        let wide = lines.filter(|(_, line)| line.chars().count() > WIDTH && !line.contains('"'));
        wide.map(|(at, _)| format!("{}:{}: wider than {WIDTH}", file.path, at + 1)).collect()
    };
    let broken = [Source::example("src/fs/data.rs", &format!("//! {}", "w ".repeat(WIDTH / 2)))];
    let mut all = sources();
    all.extend(files("tests", "rs"));
    hold(rule, &broken, &all);
}

#[test]
fn files_stay_short() {
    let rule = |file: &Source| match file.text.lines().count() {
        lines if lines > LINES_MAX => {
            vec![format!("{}: {lines} lines; part it by what it owns", file.path)]
        }
        _ => Vec::new(),
    };
    let broken = [Source::example("src/fs/data.rs", &"\n".repeat(LINES_MAX + 1))];
    hold(rule, &broken, &sources());
}

/// The functions of a file that are formatted by rustfmt, with their lines.
fn functions(file: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let begins = |line: &str| {
        let code = line.trim_start();
        let name = code.split("fn ").nth(1)?.split(['(', '<']).next()?;
        let head = code.split("fn ").next()?;
        let is_head = head.split_whitespace().all(|word| {
            word.starts_with("pub") || ["async", "const", "unsafe", "in"].contains(&word) || word.ends_with(')')
        });
        (is_head && !code.starts_with("//")).then(|| (name.to_owned(), line.len() - code.len()))
    };
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, indent)) = begins(line) else { continue };
        let end = format!("{}}}", " ".repeat(indent));
        let ends = |line: &&str| **line == end;
        // The signature of a trait ends without a body.
        let head = lines[at..].iter().find(|line| line.ends_with(['{', '}', ';']));
        if head.is_some_and(|line| line.ends_with('{'))
            && let Some(length) = lines[at..].iter().position(ends)
        {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let rule = |file: &Source| {
        let longer = functions(file).into_iter().filter(|(_, lines)| *lines > FUNCTION_MAX);
        longer.map(|(name, lines)| format!("{}: {name}: {lines} lines; part it", file.path)).collect()
    };
    let long = format!("    fn long(\n        &self,\n    ) {{\n{}    }}\n", "\n".repeat(FUNCTION_MAX));
    hold(rule, &[Source::example("src/fs/data.rs", &long)], &sources());
}

#[test]
fn types_carry_their_subject() {
    let rule = |file: &Source| {
        let kinds = ["struct ", "enum ", "trait ", "type "];
        let named = |line: &str| {
            let bare = NO_SUBJECT.iter().find(|name| kinds.iter().any(|kind| after(line, kind).contains(*name)));
            bare.map(|name| format!("`{name}`"))
        };
        let bare = file.code().filter_map(|(at, line)| Some((at, named(line)?)));
        bare.map(|(at, name)| format!("{}:{at}: {name} of what?", file.path)).collect()
    };
    let broken = [Source::example("src/fs/data.rs", "pub struct Kept {")];
    hold(rule, &broken, &sources());
}

#[test]
fn the_endings_of_our_folders_are_spelt_once() {
    let rule = |file: &Source| {
        let tests = file.text.lines().position(|line| line == "#[cfg(test)]");
        let spelt = file.code().filter(|(at, line)| {
            tests.is_none_or(|tests| *at <= tests)
                && (line.contains("\".segments") || line.contains("\".files"))
                && !["src/format/naming.rs", "src/format/whole_name.rs"].contains(&&*file.path)
                && !file.path.ends_with("tests.rs")
        });
        spelt.map(|(at, _)| format!("{}:{at}: take SEGMENTS or FILES of `format`", file.path)).collect()
    };
    let broken = [
        Source::example("src/cli/commands/verify.rs", "name.strip_suffix(\".segments\")"),
        Source::example("src/cli/commands/verify.rs", "name.strip_suffix(\".files\")"),
    ];
    hold(rule, &broken, &sources());
}

/// Code of a file before its unit tests that is not in `owners` and has one of these words in quotes.
fn quoted(file: &Source, words: &[&str], owners: &[&str]) -> Vec<String> {
    let tests = file.text.lines().position(|line| line == "#[cfg(test)]");
    let owner = owners.iter().any(|owner| file.path.starts_with(owner));
    let mut found = Vec::new();
    for (at, line) in file.code().filter(|(at, _)| !owner && tests.is_none_or(|t| *at <= t)) {
        let spelt = words.iter().filter(|word| line.contains(&format!("\"{word}\"")));
        found.extend(spelt.map(|word| format!("{}:{at}: `{word}` is spelt elsewhere", file.path)));
    }
    found
}

#[test]
fn names_of_the_spools_files_are_spelt_once() {
    let names = ["spool.json", "nodes", "quarantine", "session", "ballast", "numbers", "records"];
    // Names of commands are not those of files.
    let owners = ["src/spool/", "src/log_file/", "src/namespace/", "crates/", "src/flags/"];
    let rule = |file: &Source| quoted(file, &names, &owners);
    let broken = [Source::example("src/cli/commands/verify.rs", "dir.join(\"spool.json\")")];
    hold(rule, &broken, &sources());
}

#[test]
fn unsafe_code_stands_alone_where_kernel_and_c_library_leave_no_choice() {
    let rule = |file: &Source| {
        let word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe");
        let code = file.code().filter(|(_, line)| word(line) && !UNSAFE.contains(&&*file.path));
        code.map(|(number, _)| format!("{}:{number}: `unsafe`", file.path)).collect()
    };
    let broken = [
        Source::example("src/fuse/mod.rs", "    unsafe { wrap_backing(id) }"),
        Source::example("src/spool/disk.rs", "#![allow(unsafe_code)] pub unsafe fn f() {}"),
    ];
    hold(rule, &broken, &sources());
}

/// The first lock of a statement is held to its end: taking it there again waits for ever.
#[test]
fn no_statement_takes_a_lock_twice() {
    let rule = |file: &Source| {
        let code: String = file.code().flat_map(|(_, line)| [line, "\n"]).collect();
        // Each operand of a lazy operator drops what it took, and each arm.
        let code = code.replace("&&", ";").replace("||", ";").replace("=>", ";");
        let statements = code.split([';', '{', '}']).map(str::trim);
        let twice = |statement: &&str| [".state()", ".lock()"].iter().any(|lock| statement.matches(lock).count() > 1);
        statements.filter(twice).map(|statement| format!("{}: {statement}", file.path)).collect()
    };
    let broken = [
        Source::example("src/upload/evict.rs", "let held = log.state().held(log.state().counted());"),
        Source::example("src/fs/data.rs", "match self.map.lock().get(\n  self.map.lock().first()) {"),
    ];
    hold(rule, &broken, &sources());
}

#[test]
fn nothing_is_left_unfinished() {
    let rule = |file: &Source| {
        let lines = file.text.lines().enumerate();
        let words = |line: &&str| UNFINISHED.iter().any(|word| line.contains(word));
        let found = lines.filter(|(_, line)| words(line));
        found.map(|(at, line)| format!("{}:{}: {}", file.path, at + 1, line.trim())).collect()
    };
    let broken = [
        Source::example("src/fs/data.rs", "    todo!()"),
        Source::example("src/fs/data.rs", "    // FIXME: later"),
        Source::example("tests/e2e/main.rs", "    dbg!(x);"),
    ];
    let mut all = sources();
    // This file has to name the words.
    all.extend(files("tests", "rs").into_iter().filter(|file| file.path != "tests/tidy.rs"));
    all.extend(documents());
    hold(rule, &broken, &all);
}

/// The texts for people.
fn documents() -> Vec<Source> {
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let root = root.map(|path| Source { path: path.to_owned(), text: text(path) });
    root.into_iter().chain(files("docs", "md")).collect()
}

/// An option of the command line.
struct Flag {
    command: String,
    long: String,
    env: Option<String>,
    default: Option<String>,
}

fn flags() -> Vec<Flag> {
    let cli = Cli::command();
    let mut flags = Vec::new();
    for command in cli.get_subcommands() {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let defaults = arg.get_default_values().iter().map(|v| v.to_string_lossy());
            let default = defaults.collect::<Vec<_>>().join(" ");
            flags.push(Flag {
                command: command.get_name().to_owned(),
                long: long.to_owned(),
                env: arg.get_env().map(|env| env.to_string_lossy().into_owned()),
                // A switch is off unless it is given; there is nothing to say of that.
                default: Some(default).filter(|_| arg.get_action().takes_values()),
            });
        }
    }
    assert!(flags.len() > 30, "the command line has flags");
    flags
}

#[test]
fn every_metric_is_documented_as_it_is() {
    let documented = text("docs/METRICS.md");
    let row = |metric: &Metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {kind} | {labels} | {} |", metric.name, metric.help)
    };
    let rows: Vec<String> = TABLE.iter().map(row).collect();
    let found: Vec<&str> = documented.lines().filter(|line| line.starts_with("| `logsinkfs_")).collect();
    assert_eq!(found, rows);
}

#[test]
fn every_flag_of_mount_has_its_twin_in_the_environment() {
    let twin = |flag: &Flag| format!("LOGSINKFS_{}", flag.long.to_uppercase().replace('-', "_"));
    for flag in flags().iter().filter(|flag| flag.command == "mount") {
        assert_eq!(flag.env.as_deref(), Some(&*twin(flag)), "--{}", flag.long);
    }
}

/// What a row of a table in docs/CONFIGURATION.md must have of a flag.
fn undocumented(flags: &[Flag], document: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for flag in flags {
        let row = document.lines().find(|line| {
            let of_flag = |end: &str| line.starts_with(&format!("| `--{}{end}", flag.long));
            of_flag("`") || of_flag(" ")
        });
        let wanted = flag.env.iter().chain(flag.default.iter().filter(|text| !text.is_empty()));
        match row {
            None => missing.push(format!("--{} has no row", flag.long)),
            Some(row) => missing.extend(
                wanted
                    .filter(|text| !row.contains(&format!("`{text}`")))
                    .map(|text| format!("the row of --{} lacks `{text}`", flag.long)),
            ),
        }
    }
    missing
}

#[test]
fn every_flag_is_documented_with_twin_and_default() {
    let flag = |env: &str, default: &str| Flag {
        command: "mount".to_owned(),
        long: "view".to_owned(),
        env: Some(env.to_owned()),
        default: Some(default.to_owned()),
    };
    let row = "| `--view VIEW` | `LOGSINKFS_VIEW` | `bucket` | what is shown |";
    assert!(undocumented(&[flag("LOGSINKFS_VIEW", "bucket")], row).is_empty());
    for (env, default, row) in [
        ("LOGSINKFS_VIEW", "bucket", "--view is mentioned"),
        ("LOGSINKFS_OTHER", "bucket", row),
        ("LOGSINKFS_VIEW", "live", row),
    ] {
        assert!(!undocumented(&[flag(env, default)], row).is_empty(), "{env} {default} {row}");
    }
    let missing = undocumented(&flags(), &text("docs/CONFIGURATION.md"));
    assert!(missing.is_empty(), "docs/CONFIGURATION.md:\n{}", missing.join("\n"));
}

/// What a document explains of messages of the program (the first cells of its table) and the sources do not have.
/// `...` stands for what is different each time.
fn unsaid(document: &str, sources: &str) -> Vec<String> {
    let table = document.split("| what is seen | what it is |").nth(1).unwrap_or_default();
    let cells = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let of_the_program = |cell: &&str| !["event", "the application:", "kustomize:"].iter().any(|of| cell.contains(of));
    let cells = cells.filter_map(|line| line.split('|').nth(1)).filter(of_the_program);
    let messages = cells.filter_map(|cell| cell.split('`').nth(1));
    let pieces = messages.flat_map(|message| message.split("..."));
    let pieces = pieces.map(|piece| piece.trim_matches([' ', ':', ',', ';']));
    pieces.filter(|piece| !sources.contains(piece)).map(str::to_owned).collect()
}

#[test]
fn every_message_that_is_explained_is_one() {
    let table = |seen: &str| format!("| what is seen | what it is |\n|---|---|\n| {seen} | why |\n");
    let said = "the spool {0} is in use by {1}";
    assert!(unsaid(&table("`the spool ... is in use`"), said).is_empty());
    assert_eq!(unsaid(&table("worker: `the spool ... is used`"), said), ["is used"]);
    assert!(unsaid(&table("event `of somebody else`"), said).is_empty());
    let document = text("docs/KUBERNETES.md");
    assert!(document.contains("| what is seen | what it is |"));
    let sources: String = sources().into_iter().map(|file| file.text).collect();
    let missing = unsaid(&document, &sources);
    assert!(missing.is_empty(), "docs/KUBERNETES.md explains what nobody says:\n{}", missing.join("\n"));
}

/// Names in backticks that begin like an option or a variable of this program.
fn named(text: &str) -> BTreeSet<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let words = spans.flat_map(|span| span.split([' ', '=', '\n', '"', '[', ']', '|']));
    let ours = words.filter(|word| word.starts_with("--") || word.starts_with("LOGSINKFS_"));
    ours.filter(|word| word.len() > 2 && !word.ends_with('_')).map(str::to_owned).collect()
}

#[test]
fn documents_name_no_flag_that_is_not_there() {
    // Options of other programs that our texts name in backticks.
    const OF_OTHERS: [&str; 31] = [
        "--all-targets",
        "--bench",
        "--check",
        "--cores",
        "--delay",
        "--delete-emptydir-data",
        "--doc",
        "--fast",
        "--fixed-strings",
        "--kib",
        "--lines",
        "--locked",
        "--logs",
        "--mib",
        "--minutes",
        "--no-default-features",
        "--no-deps",
        "--now",
        "--objects",
        "--path",
        "--release",
        "--root",
        "--rounds",
        "--count",
        "--many",
        "--seconds",
        "--size",
        "--system",
        "--vfs-cache-mode",
        "--writers",
        "--",
    ];
    let flags = flags();
    let mut known: BTreeSet<String> = OF_OTHERS.map(str::to_owned).into();
    known.extend(flags.iter().map(|flag| format!("--{}", flag.long)));
    known.extend(flags.into_iter().filter_map(|flag| flag.env));
    known.extend(["--help", "--version"].map(str::to_owned));
    let rule = |file: &Source| {
        let unknown = named(&file.text).into_iter().filter(|name| !known.contains(name));
        unknown.map(|name| format!("{}: there is no `{name}`", file.path)).collect()
    };
    let broken = [
        Source::example("README.md", "with `--no-such-flag=1` it"),
        Source::example("README.md", "set `LOGSINKFS_NO_SUCH`"),
    ];
    let mut documents = documents();
    // What a version had and has no more stays in its history.
    documents.retain(|document| document.path != "CHANGELOG.md");
    hold(rule, &broken, &documents);
}

/// Tests that a document names, as `module::test`, and that are not there; `module::*` stands for all.
fn untested(document: &str, tests: &[Source]) -> Vec<String> {
    let is_name = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b));
    let spans = document.split('`').skip(1).step_by(2);
    let named = spans.filter_map(|span| span.split_once("::"));
    let named = named.filter(|(module, test)| is_name(module) && (is_name(test) || *test == "*"));
    let is_there = |(module, test): &(&str, &str)| {
        let file = format!("/{module}.rs");
        let has = |text: &str| *test == "*" || text.contains(&format!("fn {test}("));
        tests.iter().any(|source| source.path.ends_with(&file) && has(&source.text))
    };
    named.filter(|name| !is_there(name)).map(|(module, test)| format!("{module}::{test}")).collect()
}

#[test]
fn every_proof_that_is_named_is_a_test() {
    let tests = files("tests", "rs");
    for missing in ["`full::no_such_test`", "`no_such_module::*`"] {
        assert!(!untested(missing, &tests).is_empty(), "{missing}");
    }
    for document in
        ["docs/COMPLIANCE.md", "docs/LISTING.md", "docs/RELIABILITY.md", "docs/SECURITY.md", "docs/SEMANTICS.md"]
    {
        let missing = untested(&text(document), &tests);
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:?}");
    }
}

/// List items of a document that name no test.
fn unproven(document: &str) -> Vec<&str> {
    let items = document.split("\n- ").skip(1);
    let items = items.map(|item| item.split("\n\n").next().unwrap_or_default());
    items.filter(|item| !item.contains("::")).collect()
}

#[test]
fn everything_that_is_said_of_semantics_is_proved() {
    assert_eq!(unproven("# A\n\n- It is (`a::b`).\n- It is not.\n\nText `a::b`"), ["It is not."]);
    let text = text("docs/SEMANTICS.md");
    assert_eq!(unproven(&text), [""; 0]);
}

/// Rooms that the map lacks, and modules that the head of their folder's `mod.rs` does not name.
fn unmapped(map: &str, files: &[Source]) -> Vec<String> {
    let is_mapped = |path: &str| {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, module) = module.rsplit_once('/').unwrap_or_default();
        if ["lib", "main", "tests"].contains(&module) {
            return true;
        }
        if folder == "src" {
            return map.contains(&format!("| `{module}` |"));
        }
        let heads = ["/mod.rs", "/lib.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let of = files.iter().find(|file| heads.contains(&file.path));
        let head = of.map_or("", |of| of.text.split("\n\n").next().unwrap_or_default());
        head.contains(&format!("`{module}`"))
    };
    let paths = files.iter().map(|file| file.path.as_str());
    paths.filter(|path| !is_mapped(path)).map(str::to_owned).collect()
}

#[test]
fn every_room_is_in_the_map_and_every_module_in_the_head_of_its_folder() {
    let own = Source::example("src/a/mod.rs", "//! `b` is here.\n\n//! `c`");
    let example = [own, Source::example("src/a/b.rs", ""), Source::example("src/a/c.rs", "")];
    assert_eq!(unmapped("| `a` |", &example), ["src/a/c.rs"]);
    assert_eq!(unmapped("`a`", &example), ["src/a/mod.rs", "src/a/c.rs"]);
    let map = text("ARCHITECTURE.md");
    let missing = unmapped(&map, &sources());
    assert!(missing.is_empty(), "not in the map:\n{}", missing.join("\n"));
    let lines = map.lines().count();
    assert!(lines < 200, "ARCHITECTURE.md has {lines} lines; it is a map, not the land");
    assert!(map.contains("Architecture Invariant:"));
}
