//! All that docs/FORMAT.md says of the bucket: keys, metadata, folders, and what a stream's names prove. Pure: names
//! in, names out.
//!
//! Invariant: a key is formed and parsed in `naming` or `whole_name` and nowhere else, and `parse(form(x)) == x`.
//!
//! - `naming`: keys of segments and registrations and names of seal markers; `whole_name` keys of whole files;
//!   `object_name` either; `object_metadata` the names of their metadata; `form` how an object's bytes are compressed.
//! - `magic`: what files begin with that are no logs; `unpack` what other programs have compressed.
//! - `folders`: which folders mounts show as files, and under which names.
//! - `partition`: date folders from a template; `stream_map` from a path to its stream and labels.
//! - `coverage`: which ranges of a stream the names prove; `timeline` the one file that they make.

pub mod coverage;
pub mod folders;
pub mod form;
pub mod magic;
pub mod naming;
pub mod object_metadata;
pub mod object_name;
pub mod partition;
pub mod stream_map;
pub mod timeline;
pub mod unpack;
pub mod whole_name;
