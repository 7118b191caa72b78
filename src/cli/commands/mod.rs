//! What the commands do.
//!
//! - `mount`: decides which process this is; `umount`; `recover` uploads spools without a mount.
//! - `config`: what is in force, and where it comes from.
//! - `status`, `flush`, `upgrade`: what is asked of a running mount; `mounts` the table of all mounts; `status_text` a
//!   status in words.
//! - `quarantine`: lists, exports and retries; `verify` compares a bucket with its names; `read` is `cat`, `tail` and
//!   `ls`; `bucket` serves an embedded bucket alone.
//! - `estimate`: what logs come to; `generate` writes man pages and completions.

use std::io::{self, Write};
use std::process::ExitCode;

#[cfg(feature = "embedded-bucket")]
pub mod bucket;
pub mod config;
pub mod estimate;
pub mod flush;
pub mod generate;
pub mod mount;
pub mod mounts;
pub mod quarantine;
pub mod read;
pub mod recover;
pub mod status;
pub mod status_text;
pub mod umount;
pub mod upgrade;
pub mod verify;

/// Writes to standard output. That its reader has enough of it is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    match write(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("logsinkfs: error: standard output cannot be written: {e}");
            ExitCode::FAILURE
        }
    }
}
