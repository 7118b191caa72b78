//! The harness of the end-to-end tests: it runs the program as a user would and looks into the
//! bucket with a client and a parser of its own.
//!
//! Owns: processes, temporary folders, mounts and S3 servers of one test, and their end.
//! Does not own: any expectation of a scenario; and it uses nothing of the crate under test, so
//! that an error in forming a key or compressing an object cannot hide itself.

pub mod bucket;
pub mod disk;
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
#[cfg(test)]
mod proof;
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
