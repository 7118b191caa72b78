//! Exit codes that mean more than success and failure; docs/OPERATING.md has them all.

/// Ended, with data that is left in the spool or may be.
pub const EXIT_DATA_LEFT: u8 = 3;
