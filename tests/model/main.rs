//! The data's way from an append to S3 and back, in one process: no mount, no network, and a bucket that fails by
//! script. One test for each promise, named after it.
//!
//! Time is tokio's paused clock, so that intervals and back-offs cost nothing and no test depends on how fast a machine
//! is. A crash is an image of the spool at that moment, from which another daemon starts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows both in tests, but clippy takes no helper beside them for one"
)]

mod budgets;
mod check;
mod clock;
mod conformance;
mod copies;
mod crash;
mod crash_points;
mod daemon;
mod damage;
mod directories;
mod driver;
mod dropped;
mod endless;
mod examine;
mod faulty;
mod flags;
mod folders;
mod fuzz;
mod hostile;
mod identity;
mod image;
mod listings;
mod logs;
mod memory;
mod misplaced;
mod multipart;
mod names;
mod objects;
mod order;
mod property;
mod reader;
mod reading;
mod records;
mod resent;
mod retirement;
mod room;
mod settings;
mod uncached;
mod upload;
mod watch;
