//! Spare spool files, created and registered with the kernel before a log needs them. Creating a log then waits neither
//! for a new file nor for the keeper, whose reply takes longer than the rest (docs/BENCHMARKS.md). Owns how many are
//! kept.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::debug;

use crate::namespace::Spare;
use crate::spool::backing::Backings;
use crate::types::errors::FsError;
use crate::upload::parts::Parts;

/// How many there are once a log was made; half of them is a burst that outlasts the making of the other half.
const SPARES: usize = 32;

/// None are made while the spool's file system has fewer inodes than that for new logs: they are for those.
const INODES: u64 = 100 * SPARES as u64;

/// The spare spool files.
pub struct Spares {
    parts: Arc<Parts>,
    backings: Arc<dyn Backings>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Vec<Spare>,
    /// Some are being made.
    refilling: bool,
    /// No more are to be made.
    ended: bool,
}

impl Spares {
    /// None at first: a mount whose logs are all there needs none.
    pub fn new(parts: Arc<Parts>, backings: Arc<dyn Backings>, runtime: Handle) -> Arc<Spares> {
        Arc::new(Spares { parts, backings, runtime, state: Mutex::default() })
    }

    /// Takes one, and has others made when few are left.
    pub fn take(self: &Arc<Self>) -> Option<Spare> {
        let mut state = self.state.lock();
        let spare = state.ready.pop();
        if state.ready.len() <= SPARES / 2 && !state.refilling && !state.ended {
            state.refilling = true;
            let spares = self.clone();
            drop(self.runtime.spawn_blocking(move || spares.refill()));
        }
        spare
    }

    /// Removes those that are left, and makes no more.
    pub fn end(&self) {
        let left = {
            let mut state = self.state.lock();
            state.ended = true;
            std::mem::take(&mut state.ready)
        };
        left.iter().for_each(|spare| self.discard(spare));
    }

    fn refill(&self) {
        loop {
            let made = self.make();
            let mut state = self.state.lock();
            let ended = state.ended;
            let left = match made {
                Ok(spares) if ended => spares,
                Ok(spares) => {
                    state.ready.extend(spares);
                    Vec::new()
                }
                Err(e) => {
                    // Whoever makes a log meets the same, and is told.
                    debug!("no spare spool file is made: {e}");
                    state.refilling = false;
                    return;
                }
            };
            state.refilling = !ended && state.ready.len() <= SPARES / 2;
            let goes_on = state.refilling;
            drop(state);
            left.iter().for_each(|spare| self.discard(spare));
            if !goes_on {
                return;
            }
        }
    }

    /// Makes some, and asks for all of them at once: the keeper wakes up once for them.
    fn make(&self) -> Result<Vec<Spare>, FsError> {
        let inodes = self.parts.disk.budget.inodes(self.parts.disk.namespace.kept());
        if inodes.total > 0 && inodes.free < INODES {
            return Err(FsError::NoSpace);
        }
        let mut made = Vec::new();
        let registered = (0..SPARES / 2)
            .try_for_each(|_| {
                made.push(self.parts.disk.namespace.make_spare()?);
                Ok(())
            })
            .and_then(|()| {
                let ids: Vec<_> = made.iter().map(|spare| spare.id).collect();
                self.backings.register_ahead(&ids).map_err(|e| FsError::Unfinished(e.to_string()))
            });
        match registered {
            Ok(()) => Ok(made),
            Err(e) => {
                made.iter().for_each(|spare| self.discard(spare));
                Err(e)
            }
        }
    }

    /// Takes back one that no log has taken.
    pub fn put_back(&self, spare: Spare) {
        let mut state = self.state.lock();
        if state.ended {
            drop(state);
            self.discard(&spare);
        } else {
            state.ready.push(spare);
        }
    }

    fn discard(&self, spare: &Spare) {
        self.backings.unregister(spare.id);
        if let Err(e) = self.parts.disk.namespace.remove_spare(spare) {
            debug!("a spare spool file stays until the next start: {e}");
        }
    }
}
