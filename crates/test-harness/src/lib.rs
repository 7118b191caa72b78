//! The harness of the tests that run the program: it runs the program as a user would and looks into the bucket with a
//! client and a parser of its own.
//!
//! Owns: processes, temporary folders, mounts and S3 servers of one test, and their end. Does not own: any expectation
//! of a scenario; and it uses nothing of the crate under test, so that an error in forming a key or compressing an
//! object cannot hide itself.
//!
//! - `process`: programs under supervision; `wait` waits for what is expected; `memory` cgroups that limit memory.
//! - `s3`: S3 servers of a test; `bucket` a client; `segments` a parser of keys; `planted` objects put there by others.
//! - `gate`: a door before a server, which fails, delays and cuts; `iam` and `issuer` services that give credentials.
//! - `mount`: a mount and its processes; `rig` a folder, a bucket and mounts; `stage` plays a scenario in several ways.
//! - `programs`: writers; `journal` what they wrote, compared with the bucket; `reading` cat and tail.
//! - `files`: what tests do to files. `disk`: disks that are full or small; `power` a disk that forgets what was not synced.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test ends at the first surprise, and the harness is read beside the tests"
)]

pub mod bucket;
mod bucket_locks;
pub mod disk;
pub mod files;
pub mod gate;
pub mod iam;
pub mod issuer;
pub mod journal;
pub mod memory;
pub mod mount;
pub mod planted;
pub mod power;
pub mod process;
pub mod programs;
pub mod reading;
pub mod rig;
pub mod s3;
pub mod segments;
pub mod stage;
pub mod wait;

pub use bucket::Bucket;
pub use gate::{Answer, Gate};
pub use issuer::{Issuer, Mood};
pub use journal::Ledger;
pub use mount::Mount;
pub use process::Proc;
pub use programs::Run;
pub use rig::Rig;
pub use s3::Kind;
pub use stage::Stage;
pub use wait::eventually;
