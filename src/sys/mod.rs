//! The system around a process: users, mounts, background, logging. Knows nothing of logs or S3.
//!
//! - `privileges`: the worker's user, and how rights are dropped; `spool_owner` gives directories to it; `error` why
//!   that failed.
//! - `mountpoint`: what is at a mount point, before and after a mount; `in_use` which processes use one.
//! - `launch`: daemonizing and readiness; `relaunch` how the program starts itself again; `telemetry` the log;
//!   `log_limit` its rate limit.
//! - `state_path`: where the machine keeps what outlives a mount.
//! - `allocator`: large buffers; `certificates` where the CA certificates are.

pub mod allocator;
pub mod certificates;
pub mod error;
pub mod in_use;
pub mod launch;
pub mod log_limit;
pub mod mountpoint;
pub mod privileges;
pub mod relaunch;
pub mod spool_owner;
pub mod state_path;
pub mod telemetry;
