//! The harness of the tests on other kernels.
//!
//! Owns: what is fetched from Debian, machines that boot it, and what they bring back.
//! Does not own: processes, buckets and journals of what was written, which it shares with the end-to-end tests.

#[path = "../../e2e/harness/bucket.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod bucket;
#[path = "../../e2e/harness/journal.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod journal;
#[path = "../../e2e/harness/process.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod process;
#[path = "../../e2e/harness/s3.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod s3;
#[path = "../../e2e/harness/segments.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod segments;
#[path = "../../e2e/harness/wait.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
pub mod wait;

pub mod debian;
pub mod guest;
