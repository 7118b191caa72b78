//! Which objects there are: names and folders of the bucket, cached, and refreshed in the background so that a program
//! that lists waits for S3 briefly or not at all. Reads no object.
//!
//! - `catalog`: the cache and its limits.
//! - `lister`: requests to S3, one for concurrent callers, and the pause after a failure.
//! - `listing_pages`: a listing in progress, page by page.

pub mod catalog;
pub mod lister;
pub mod listing_pages;
