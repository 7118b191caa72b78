//! The process that serves a mount, without rights. Owns the order in which its parts are started and stopped; decides
//! nothing about data.
//!
//! - `run`: the beginning of a worker: greets the keeper and drops its privileges; `fit` checks whether it could serve.
//! - `daemon`: order of start and stop; `compose` builds the parts of a writer mount; `connect` connects to a bucket;
//!   `kept_port` keeps the port of the embedded one.
//! - `reader`: the same for a reader mount; `serve` what both have in common; `holder` the process that holds one made
//!   by root.
//! - `served_mount`: the mount as a worker sees it; `supervisor_client` the keeper; `write_path` who writes into the
//!   spool.
//! - `signals`: what signals ask for; `stop` the shutdown, and what it reports.
//! - `status`: the state of a mount; served by `admin` over HTTP and by `control_server` to `logsinkfs status`.
//! - `page`: the page for people that `admin` serves; `request_costs` what requests to S3 cost.
//! - `error`: why a mount could not be made or kept.

pub mod admin;
pub mod compose;
pub mod connect;
pub mod control_server;
pub mod daemon;
pub mod error;
pub mod fit;
pub mod holder;
#[cfg(feature = "embedded-bucket")]
pub mod kept_port;
mod page;
pub mod reader;
mod request_costs;
pub mod run;
mod serve;
pub mod served_mount;
pub mod signals;
pub mod status;
pub mod stop;
pub mod supervisor_client;
pub mod write_path;
