//! The edges: command line, FUSE requests and signals in; messages and exit codes out.

#[cfg(target_os = "linux")]
pub mod abi;
pub mod admin;
pub mod allocator;
#[cfg(feature = "embedded-bucket")]
pub mod bucket;
pub mod certificates;
pub mod cli;
#[cfg(target_os = "linux")]
pub mod compose;
pub mod connect;
#[cfg(target_os = "linux")]
pub mod control_client;
#[cfg(target_os = "linux")]
mod control_server;
#[cfg(target_os = "linux")]
pub mod daemon;
#[cfg(target_os = "linux")]
pub mod error;
#[cfg(target_os = "linux")]
mod fit;
#[cfg(target_os = "linux")]
pub mod fuse;
#[cfg(target_os = "linux")]
pub mod holder;
#[cfg(target_os = "linux")]
mod in_use;
#[cfg(feature = "embedded-bucket")]
mod kept_port;
#[cfg(target_os = "linux")]
pub mod launch;
#[cfg(target_os = "linux")]
mod log_limit;
#[cfg(target_os = "linux")]
pub mod mount;
#[cfg(target_os = "linux")]
pub mod mountpoint;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
pub mod privileges;
#[cfg(target_os = "linux")]
mod progress;
#[cfg(target_os = "linux")]
pub mod quarantine;
pub mod read;
#[cfg(target_os = "linux")]
pub mod reader;
#[cfg(target_os = "linux")]
pub mod recover;
#[cfg(target_os = "linux")]
pub mod served_mount;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
pub mod spool_owner;
#[cfg(target_os = "linux")]
pub mod status;
#[cfg(target_os = "linux")]
mod status_text;
#[cfg(target_os = "linux")]
pub mod stop;
#[cfg(target_os = "linux")]
pub mod supervisor;
#[cfg(target_os = "linux")]
pub mod supervisor_client;
#[cfg(target_os = "linux")]
pub mod sys_error;
#[cfg(target_os = "linux")]
pub mod telemetry;
#[cfg(target_os = "linux")]
pub mod umount;
pub mod verify;
#[cfg(target_os = "linux")]
pub mod worker;
#[cfg(target_os = "linux")]
pub mod write_path;
