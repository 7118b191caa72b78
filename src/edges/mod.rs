//! Floor 5: the edges. Flags in, FUSE requests in, signals in; messages and exit codes out.

#[cfg(feature = "embedded-bucket")]
pub mod bucket;
pub mod cli;
pub mod compose;
pub mod daemon;
pub mod error;
pub mod fuse;
pub mod keeper;
pub mod launch;
pub mod mountpoint;
pub mod stop;
pub mod telemetry;
