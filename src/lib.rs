//! logsinkfs: an S3 bucket mounted as a log directory.
//!
//! Bytes that an application writes are in a local spool file when write(2) returns; everything behind that file
//! (sealing, uploading, reclaiming) works on the spool alone. ARCHITECTURE.md draws the map.

pub mod cli;
pub mod flags;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod lines;
pub mod listing;
pub mod log_file;
pub mod metrics;
pub mod namespace;
pub mod read;
pub mod reader_fs;
pub mod s3;
pub mod settings;
pub mod spool;
pub mod supervisor;
pub mod sys;
pub mod types;
pub mod upload;
pub mod worker;
