//! Floor 0: values. No input or output, no clock, no locks, no tokio: everything here is decided
//! from its arguments alone and can be tested without a machine around it.

pub mod coverage;
pub mod errors;
pub mod escape;
pub mod exclude;
pub mod form;
pub mod freshness;
pub mod ids;
pub mod metrics;
pub mod naming;
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
