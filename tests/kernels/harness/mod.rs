//! The harness of the tests on other kernels.
//!
//! Owns: what is fetched from Debian, machines that boot it, and what they bring back. Does not own: processes, buckets
//! and journals of what was written, which it shares with the end-to-end tests.

pub mod debian;
pub mod guest;
