//! The command line: flags in; messages and exit codes out.
//!
//! - `flags`: one file for each group of flags, and the settings they make.
//! - `commands`: what each command does.
//! - `find_mount`: which mount a command is about; `progress` shows what it waits for.

pub mod commands;
pub mod find_mount;
pub mod flags;
pub mod progress;
