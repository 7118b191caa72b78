//! logsinkfs: an S3 bucket mounted as a log directory.
//!
//! Bytes that an application writes are in a local spool file when write(2) returns; everything
//! behind that file (sealing, uploading, reclaiming) works on the spool alone. ARCHITECTURE.md
//! draws the map.
//!
//! Mounts are for Linux. The commands that only read a bucket build elsewhere too, without the features.

#[cfg(target_os = "linux")]
pub mod core;
pub mod edges;
#[cfg(feature = "embedded-bucket")]
pub mod embedded;
#[cfg(target_os = "linux")]
pub mod local;
pub mod tasks;
pub mod values;
pub mod world;
