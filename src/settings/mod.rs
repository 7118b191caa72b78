//! What a mount was asked to do, validated. Owns the meaning and the limits of each setting; reads no flags,
//! environment or files (see `flags`).
//!
//! - `writer`: a mount that writes.
//! - `reader`: a mount that only reads.
//! - `objects`: how new objects are stored, and which endpoints are asked; `tags` their tags.

pub mod objects;
pub mod reader;
pub mod tags;
pub mod writer;
