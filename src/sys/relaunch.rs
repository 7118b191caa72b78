//! How this program starts itself again: into the background, as a worker, for one spool. What it read from
//! configuration files goes along as flags, so that a file that changes meanwhile changes no mount that runs, and a
//! worker need not be able to read it.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Tells a process that its command line says all that configuration files do.
pub const TOLD: (&str, &str) = ("LOGSINKFS_CONFIGURED", "1");

static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Sets the arguments that this program is started again with. Only the first call has an effect.
pub fn keep(arguments: Vec<OsString>) {
    // A second start (tests in one process) keeps the first.
    let _ = ARGUMENTS.set(arguments);
}

/// The arguments that this program is started again with; without [`keep`], its own. Set [`TOLD`] with them.
pub fn arguments() -> Vec<OsString> {
    ARGUMENTS.get().cloned().unwrap_or_else(|| std::env::args_os().skip(1).collect())
}

/// Whether another process of this program has read the configuration files.
pub fn is_told() -> bool {
    std::env::var_os(TOLD.0).is_some()
}
