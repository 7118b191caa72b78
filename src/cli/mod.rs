//! The command line: flags in; messages and exit codes out.
//!
//! - `flags`: one file for each group of flags, and the settings they make.
//! - `commands`: what each command does.
//! - `control_client`: asks a running mount; `progress` shows what it waits for.

pub mod commands;
pub mod control_client;
pub mod flags;
pub mod progress;
