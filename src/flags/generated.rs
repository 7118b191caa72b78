//! What is generated from the flags: man pages, and completions for shells.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::types::errors::{AtPath, LocalError};

/// `logsinkfs man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Existing directory for the pages: `logsinkfs.1`, and `logsinkfs-COMMAND.1` for each command.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// `logsinkfs completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Writes the man pages into a directory.
pub fn write_man_pages(dir: &Path) -> Result<(), LocalError> {
    clap_mangen::generate_to(Cli::command(), dir).at("write man pages into", dir)
}

impl CompletionsArgs {
    /// Writes the script of the shell.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        // At once: a reader that ends early is no error that clap could report.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "logsinkfs", &mut script);
        to.write_all(&script)
    }
}
