//! The outside world: clock and bucket as small interfaces, and the adapter for S3.

pub mod bucket;
pub mod capped;
pub mod clock;
pub mod metrics;
#[cfg(target_os = "linux")]
pub mod observed;
pub mod s3;
