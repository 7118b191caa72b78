//! Floor 5: the edges. Flags in, FUSE requests in, signals in; messages and exit codes out.

pub mod allocator;
#[cfg(feature = "embedded-bucket")]
pub mod bucket;
pub mod cli;
pub mod compose;
pub mod daemon;
pub mod error;
pub mod fuse;
pub mod handover;
pub mod keeper;
#[cfg(feature = "embedded-bucket")]
mod kept_port;
pub mod launch;
pub mod mountpoint;
pub mod privileges;
pub mod reach;
pub mod read;
pub mod reader;
pub mod recover;
pub mod remote;
pub mod seat;
pub mod stop;
pub mod telemetry;
pub mod upgrade;
pub mod verify;
mod wishes;
pub mod worker;
pub mod write_path;

// What the program itself has to name.
pub use crate::values::settings::{Keeping, Settings};
