//! From objects to the bytes of a log. A stream is read as one file although it is many segments; nothing here writes
//! to the bucket.
//!
//! - `stream_file`: a stream as one file: where its segments lie and who reads them; `discover` which partitions have
//!   to be listed for it; `versions` the same of a whole file, which is read as a stream of one segment; `streams`
//!   those that a mount shows, shared and cached.
//! - `selection`: which segments are read by pod and labels; `registration` what a writer says of itself.
//! - `open_segment`: a segment being read, from whichever of these has its bytes: `plain_segment` (stored
//!   uncompressed), `unpack_cache` (decompressed into a file), `uncached_segment` (decompressed on the way, without
//!   room).
//! - `scan`: goes through a stream from one end to the other for `cat`, `tail` and `verify`; `segment_stream` is one
//!   segment of it.
//! - `objects`: ranged reads with one cache and read-ahead; `range_fetcher` the GETs of a scan.
//! - `decode`: the one engine that turns chunks of an object into the bytes of its segment; `examine` compares an
//!   object with its key and metadata.

pub mod decode;
pub mod discover;
pub mod examine;
pub mod objects;
pub mod open_segment;
pub mod plain_segment;
pub mod range_fetcher;
pub mod registration;
pub mod scan;
pub mod segment_stream;
pub mod selection;
pub mod stream_file;
pub mod streams;
pub mod uncached_segment;
pub mod unpack_cache;
pub mod versions;
