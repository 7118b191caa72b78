//! The processes of a mount: which one this is, as which user, and what is done at the mount point.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The user that the worker runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// `UID:GID`, as `--run-as` takes it.
impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl RunAs {
    /// Reads `UID:GID`.
    pub fn from_numbers(text: &str) -> Option<RunAs> {
        let (uid, gid) = text.split_once(':')?;
        Some(RunAs { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

/// Which of a mount's two processes this one is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// The keeper, which starts the worker.
    Both,
    /// Neither: one process does all.
    None,
    /// The keeper alone.
    Hold,
    /// The worker alone.
    Attach,
}

/// What keeps programs from writing into a bare mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Its mode: nobody but root may write.
    Mode,
    /// That, and a mark of its file system: nobody may.
    Immutable,
}

/// The processes of a mount.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Which this one is to be.
    pub keeping: Keeping,
    /// Where the keeper listens; `None` takes the default.
    pub socket: Option<PathBuf>,
    /// The worker's user; `None` takes the default.
    pub run_as: Option<RunAs>,
    /// How long a mount may be without a worker that serves.
    pub patience: Duration,
    /// How the mount point is guarded while nothing is mounted.
    pub guard: Option<Guard>,
}
