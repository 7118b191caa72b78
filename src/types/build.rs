//! Which program this is, as `build.rs` found at its build.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, or nothing where that was not known.
pub const COMMIT: &str = env!("BUILT_COMMIT");
/// Both, for people.
pub const VERSION_AND_COMMIT: &str = env!("BUILT_VERSION");
