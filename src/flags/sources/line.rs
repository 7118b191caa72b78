//! The words of a command line: the program, the command, and what follows it.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Command;

use super::variables::switch;

/// A command line with a command in it.
pub(super) struct Line {
    /// The program and the command, which may be in two parts (`quarantine list`).
    head: Vec<OsString>,
    /// What `-o` stands for.
    options: Vec<OsString>,
    /// What the user typed behind the command.
    tail: Vec<OsString>,
    /// Ids of the switches that are turned off: `--allow-other=false`.
    off: BTreeSet<String>,
    /// The words that did so, which the parser does not know.
    off_words: Vec<OsString>,
}

impl Line {
    /// `None` without a command.
    pub(super) fn of(whole: &Command, words: Vec<OsString>) -> Option<Line> {
        let (mut leaf, mut depth) = (whole, 1);
        while let Some(next) = words.get(depth).and_then(|word| leaf.find_subcommand(word)) {
            (leaf, depth) = (next, depth + 1);
        }
        if depth == 1 {
            return None;
        }
        let mut line =
            Line { head: words, options: Vec::new(), tail: Vec::new(), off: BTreeSet::new(), off_words: Vec::new() };
        let rest = line.head.split_off(depth);
        let mut is_over = false;
        for word in rest {
            is_over |= word == "--";
            match valued_switch(leaf, &word).filter(|_| !is_over) {
                Some((_, long, true)) => line.tail.push(format!("--{long}").into()),
                Some((id, ..)) => {
                    line.off.insert(id);
                    line.off_words.push(word);
                }
                None => line.tail.push(word),
            }
        }
        Some(line)
    }

    /// The command of `whole` that these words name.
    pub(super) fn leaf<'a>(&self, whole: &'a Command) -> &'a Command {
        let names = self.head[1..].iter();
        names.fold(whole, |command, name| command.find_subcommand(name).unwrap_or(command))
    }

    /// Whether the line turns a switch off.
    pub(super) fn is_off(&self, id: &str) -> bool {
        self.off.contains(id)
    }

    /// Sets what `-o` stands for.
    pub(super) fn set_options(&mut self, flags: Vec<OsString>) {
        self.options = flags;
    }

    /// The line with these words behind the command.
    pub(super) fn with(&self, words: &[OsString]) -> Vec<OsString> {
        [&self.head, words, &self.options, &self.tail].concat()
    }

    /// The arguments for another process that means the same, with what files say. It reads `-o` and the environment
    /// itself, and whether it stays in the foreground is its parent's matter.
    pub(super) fn again(&self, of_files: &[OsString]) -> Vec<OsString> {
        let off = self.off_words.iter().filter(|word| !word.to_string_lossy().starts_with("--foreground"));
        let off: Vec<_> = off.cloned().collect();
        [&self.head[1..], of_files, &off, &self.tail].concat()
    }
}

/// Id, name and value of a switch with a value, as in `--allow-other=false`.
fn valued_switch(leaf: &Command, word: &OsString) -> Option<(String, String, bool)> {
    let (long, value) = word.to_str()?.strip_prefix("--")?.split_once('=')?;
    let arg = leaf.get_arguments().find(|arg| arg.get_long() == Some(long))?;
    let on = switch(value.as_ref()).filter(|_| !arg.get_action().takes_values())?;
    Some((arg.get_id().to_string(), long.to_owned(), on))
}
