//! End-to-end scenarios: real programs on a real mount, compared with what is in the bucket.
//!
//! One binary, because linking is the slowest step of a test build. Each test has its own folder, bucket, spool and
//! mount, so all of them may run at once. They run as root on Linux with FUSE; `tests/setup.sh` installs the programs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test ends at the first surprise")]

mod admin;
mod ask;
mod attributes;
mod bad_input;
mod budgets;
mod command_line;
mod compliance;
mod config;
mod copies;
mod credentials;
mod endpoints;
mod faults;
mod folders;
mod fstab;
mod full;
mod generated;
mod hold;
mod identity;
mod inodes;
mod joined;
mod jvm;
mod keeper;
mod limits;
mod mountpoint;
mod names;
mod nginx;
mod objects;
mod order;
mod positions;
mod power_cut;
mod processes;
mod proof;
mod quarantine;
mod queries;
mod reach;
mod read;
mod read_lines;
mod reader;
mod reader_costs;
mod real_files;
mod real_programs;
mod recover;
mod recovery;
mod restarts;
mod rotating_programs;
mod segments;
mod semantics;
mod shutdown;
mod status;
mod status_page;
mod systemd;
mod tools;
mod two_writers;
mod umount;
mod verify;
mod version;
mod view;
mod whole;
mod whole_reading;
mod whole_view;
mod worker_kills;
mod write_paths;
