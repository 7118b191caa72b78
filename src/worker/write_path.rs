//! Who writes appended bytes into the spool file, the kernel or the daemon. Decided once, when a worker begins to
//! serve. Pure.

use crate::settings::writer::{WhenFull, WritePath};
use crate::spool::backing::BackingError;

/// Who writes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The kernel itself.
    Passthrough,
    /// The daemon; why.
    Daemon(String),
}

/// Chooses. `able` says why the kernel cannot, if it cannot.
pub fn choose(asked: WritePath, when_full: WhenFull, able: Result<(), BackingError>) -> Choice {
    match (asked, able) {
        (WritePath::Daemon, _) => Choice::Daemon("--write-path asks for it".to_owned()),
        (WritePath::Passthrough, Ok(())) => Choice::Passthrough,
        (_, Err(why)) => Choice::Daemon(why.to_string()),
        (WritePath::Auto, Ok(())) if must_stop_writers(when_full) => {
            Choice::Daemon("--when-full has to stop writers, which it cannot where the kernel writes".to_owned())
        }
        (WritePath::Auto, Ok(())) => Choice::Passthrough,
    }
}

/// Whether a full spool stops writers: a file that the kernel writes to cannot be stopped.
pub fn must_stop_writers(when_full: WhenFull) -> bool {
    match when_full {
        WhenFull::DropOldest => false,
        WhenFull::Block | WhenFull::Error => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_writes_only_where_it_can_and_where_nothing_speaks_against_it() {
        let cannot = || Err(BackingError("no".to_owned()));
        let passes = |asked, when_full, able| choose(asked, when_full, able) == Choice::Passthrough;
        let drop = WhenFull::DropOldest;
        assert!(passes(WritePath::Auto, drop, Ok(())));
        assert!(passes(WritePath::Passthrough, drop, Ok(())));
        assert!(!passes(WritePath::Auto, drop, cannot()));
        assert!(!passes(WritePath::Passthrough, drop, cannot()));
        assert!(!passes(WritePath::Auto, WhenFull::Error, Ok(())));
        assert!(!passes(WritePath::Auto, WhenFull::Block, Ok(())));
        assert!(!passes(WritePath::Daemon, drop, Ok(())));
    }
}
