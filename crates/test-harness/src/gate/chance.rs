//! Faults by chance: which request meets which is drawn from a seed. The seed is printed, and with `FAULT_SEED` the
//! same faults are drawn again, though for requests that may come in another order.

use super::Answer;
use super::answer::MIXED;

/// Of so many requests one meets a fault.
const ONE_IN: usize = 3;

/// What is still to be drawn.
pub struct Chance {
    random: fastrand::Rng,
    left: usize,
}

impl Chance {
    /// So many faults, or as many as `FAULTS` says.
    pub fn faults(faults: usize) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("FAULT_SEED").unwrap_or_else(|| fastrand::u64(..));
        let left = number("FAULTS").map_or(faults, |faults| usize::try_from(faults).unwrap());
        println!("FAULT_SEED={seed} FAULTS={left}");
        Self { random: fastrand::Rng::with_seed(seed), left }
    }

    /// What happens to the next request; nothing any more once all faults have been.
    pub fn draw(&mut self) -> Answer {
        if self.left == 0 || self.random.usize(..ONE_IN) != 0 {
            return Answer::Pass;
        }
        self.left -= 1;
        MIXED[self.random.usize(..MIXED.len())]
    }

    /// How many faults are still to come.
    pub fn left(&self) -> usize {
        self.left
    }
}
