//! From streams to lines: what the commands that print do with a stream beyond its bytes. Nothing here knows flags or
//! the terminal.
//!
//! - `line_reader`: the lines of a stream, each with where it was written.
//! - `stamp`: the time at the beginning of a line; `cut` leaves out lines by it.
//! - `grep`: leaves out lines by what they say; `pipeline` all of this for one stream.
//! - `print`: a line as text or JSON, with the colours of `colour`.

pub mod colour;
pub mod cut;
pub mod grep;
pub mod line_reader;
pub mod pipeline;
pub mod print;
pub mod stamp;
