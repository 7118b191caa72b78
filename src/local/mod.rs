//! What is on this machine: the spool with its log files, the namespace that shows them, and the
//! catalog of listings. Synchronous.

pub mod catalog;
pub mod crash_point;
pub mod disk;
pub mod disk_budget;
pub mod hidden;
pub mod lease;
pub mod listing;
pub mod local_file;
pub mod log_file;
pub mod mapped;
pub mod marker;
pub mod namespace;
pub mod numbers;
pub mod record;
pub mod recover;
pub mod session;
pub mod shared_budget;
pub mod spool;
pub mod stream;
