//! Plain values: no I/O, no clock, no locks, no tokio. Everything here follows from its arguments
//! and is tested without a machine around it.

pub mod coverage;
pub mod duration;
pub mod errors;
pub mod escape;
pub mod exclude;
pub mod exit_code;
pub mod form;
pub mod freshness;
pub mod ids;
pub mod metrics;
pub mod naming;
pub mod object_metadata;
pub mod partition;
pub mod processes;
pub mod ranges;
pub mod reader;
pub mod renames;
pub mod rotation;
pub mod settings;
pub mod shares;
pub mod span;
pub mod stream_map;
pub mod surplus;
pub mod time;
pub mod timeline;
pub mod token_bucket;
pub mod weighted_lru;
