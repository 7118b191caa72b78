//! Floor 1: the world outside. Clock and bucket as small interfaces, and the one adapter that
//! speaks to an S3 service.

pub mod bucket;
pub mod capped;
pub mod clock;
pub mod metrics;
#[cfg(target_os = "linux")]
pub mod observed;
pub mod s3;
