//! Plain values that every room uses: no I/O, no locks, no clock of their own, no tokio. Time is an argument, except in
//! `clock`, the only file that reads the machine's time.
//!
//! - `ids`: newtypes for what is counted: nodes, writers, generations, positions in the spool and in a generation.
//! - `time`: UTC as it stands in names; `clock` reads it, `random` draws numbers; `duration` and `span` parse durations
//!   and time spans.
//! - `errors`: why a file operation failed, by meaning; `bucket_error` why a request to S3 did; `exit_code` the exit
//!   codes beyond success and failure.
//! - `escape`: percent escaping, the one rule for names; `globs` which names are local or whole files; `path_pattern`
//!   paths with globs.
//! - `rotation`: when to seal a range, a pure function; `freshness` how long a listing is fresh.
//! - `processes`: keeper and worker, and the user that the worker runs as.
//! - `stored_object`: an object as listings show it.
//! - `ranges`: a set of positions; `shares` fair shares of a budget; `token_bucket` the rate limiter; `weighted_lru` a
//!   cache bounded by weight.
//! - `build`: version and commit of this program.

pub mod bucket_error;
pub mod build;
pub mod clock;
pub mod duration;
pub mod errors;
pub mod escape;
pub mod exit_code;
pub mod freshness;
pub mod globs;
pub mod ids;
pub mod path_pattern;
pub mod processes;
pub mod random;
pub mod ranges;
pub mod rotation;
pub mod shares;
pub mod span;
pub mod stored_object;
pub mod time;
pub mod token_bucket;
pub mod weighted_lru;
