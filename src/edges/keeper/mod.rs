//! The keeper: holds a mount while workers come and go.

pub mod protocol;
