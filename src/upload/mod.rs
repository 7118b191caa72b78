//! From a spool file to the bucket: ranges are sealed, sent, confirmed and reclaimed. Each task is the single owner of
//! its state, and bodies are in files, so that memory does not grow with the backlog.
//!
//! Invariant: nothing is dropped. A segment leaves the outbox when S3 has it, or was quarantined with a copy; only
//! `drop`, when asked for, drops ranges that no PUT was begun for.
//!
//! - `parts`: what the tasks and the file system share; `outbox` the two queues between them.
//! - `sealer`: watches log files and decides when to seal; `seal` does it, step by step; `number` gives generation
//!   numbers in the order of birth.
//! - `uploader`: sends sealed segments until S3 has each, with back-off; `send` is one attempt, `body` what is sent,
//!   `properties` what an object is given beside its bytes.
//! - `multipart`: one attempt for a large range, in parts that `part_maker` makes; `backoff` the wait between attempts.
//! - `copies`: tells copies of logs from other files.
//! - `commit`: records what an attempt has led to; `evict` reclaims confirmed ranges and removes finished logs; `drop`
//!   makes room under `--when-full drop-oldest`.
//! - `registrar`: registers a start of the writer; `outage` long outages; `retry` quarantined segments once more.
//! - `restorer`: reads reclaimed ranges back from S3; `measure` counts for status and metrics.

pub mod backoff;
pub mod body;
pub mod commit;
mod copies;
pub mod drop;
pub mod evict;
pub mod measure;
pub mod multipart;
pub mod number;
pub mod outage;
pub mod outbox;
pub mod part_maker;
pub mod parts;
mod properties;
pub mod registrar;
pub mod restorer;
pub mod retry;
pub mod seal;
pub mod sealer;
pub mod send;
pub mod uploader;
