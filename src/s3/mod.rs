//! The bucket: one small trait, its implementation by the AWS SDK, and decorators of it.
//!
//! - `bucket`: the trait `Bucket`, pages of a listing, and errors by what they mean for a retry.
//! - `rate_limited`: limits listings a minute; `metered` counts requests by operation and result.
//! - `sdk`: the implementation: the only importer of the AWS SDK.

pub mod bucket;
pub mod metered;
pub mod rate_limited;
pub mod sdk;
