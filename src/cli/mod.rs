//! The commands: messages and exit codes out.
//!
//! - `commands`: what each command does.
//! - `find_mount`: which mount a command is about; `progress` shows what it waits for.

pub mod commands;
pub mod find_mount;
pub mod progress;
