//! Fair shares of a budget among first parts of paths: on a node each is a tenant. Pure.
//!
//! The last quarter of a budget is for parts that hold less than an equal share, so that a part that takes all it can
//! get leaves something to the others.

use std::collections::HashMap;
use std::sync::Arc;

/// The first part of a path: empty for what lies in the root itself.
pub type Part = Arc<[u8]>;

/// The first part of a path below the mount.
pub fn part_of(path: &[u8]) -> &[u8] {
    match path.iter().position(|byte| *byte == b'/') {
        Some(end) => &path[..end],
        None => b"",
    }
}

/// What is taken of a budget, and by which parts.
#[derive(Debug)]
pub struct Shares {
    max: u64,
    used: u64,
    parts: HashMap<Part, u64>,
    /// The last who asked was refused.
    refuses: bool,
}

/// What is taken of a budget once a part has what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// The budget.
    pub max: u64,
    /// What all have then.
    pub used: u64,
    /// What the part has then.
    pub own: u64,
    /// How many parts have something.
    pub parts: u64,
}

impl Use {
    /// Whether all have no more than the budget.
    pub fn is_within(self) -> bool {
        self.used <= self.max
    }

    /// Whether the part has no more than an equal share.
    pub fn is_share(self) -> bool {
        self.own <= self.max / self.parts.max(1)
    }

    /// Whether it leaves the last quarter to those who have less than a share.
    pub fn is_fair(self) -> bool {
        // One more than there are: somebody may come who has nothing yet.
        let share = self.max / (self.parts + 1);
        self.used <= self.max / 4 * 3 || (self.is_within() && self.own <= share)
    }
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// What the part has.
    pub own: u64,
    /// What all have.
    pub used: u64,
    /// The budget.
    pub max: u64,
    /// Whoever asked before got something: people are told now, and not each time.
    pub is_news: bool,
}

impl Shares {
    /// Nothing taken yet of `max`.
    pub fn new(max: u64) -> Shares {
        Shares { max, used: 0, parts: HashMap::new(), refuses: false }
    }

    /// The budget.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What all have.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether a part may take so much more.
    pub fn check(&mut self, part: &[u8], more: u64) -> Result<(), Exhausted> {
        let own = self.parts.get(part).copied().unwrap_or(0);
        let then = Use {
            max: self.max,
            used: self.used.saturating_add(more),
            own: own.saturating_add(more),
            parts: self.parts.len() as u64,
        };
        let fits = then.is_fair();
        let is_news = !std::mem::replace(&mut self.refuses, !fits);
        if fits { Ok(()) } else { Err(Exhausted { own, used: self.used, max: self.max, is_news }) }
    }

    /// Takes what a part has anyway, within the budget or not.
    pub fn take(&mut self, part: &Part, more: u64) {
        self.used += more;
        *self.parts.entry(part.clone()).or_default() += more;
    }

    /// Gives back what a part had.
    pub fn give(&mut self, part: &Part, less: u64) {
        self.used = self.used.saturating_sub(less);
        if let Some(own) = self.parts.get_mut(part) {
            *own = own.saturating_sub(less);
            if *own == 0 {
                self.parts.remove(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_part_is_the_tenant_and_the_root_has_none() {
        assert_eq!(part_of(b"team/web/app.log"), b"team");
        assert_eq!(part_of(b"app.log"), b"");
    }

    fn part(n: u8) -> Part {
        Arc::from([b'p', n])
    }

    fn fill(shares: &mut Shares, part: &Part) -> u64 {
        let before = shares.used();
        while shares.check(part, 1).is_ok() {
            shares.take(part, 1);
        }
        shares.used() - before
    }

    #[test]
    fn who_takes_all_it_can_get_leaves_a_quarter_to_the_others() {
        let mut shares = Shares::new(1000);
        assert_eq!(fill(&mut shares, &part(0)), 750);
        assert_eq!(fill(&mut shares, &part(1)), 250, "an equal share would be 333");
        shares.give(&part(0), 750);
        assert_eq!(fill(&mut shares, &part(2)), 500);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_parts_have_and_never_more_than_the_budget(
            steps in prop::collection::vec((0u8..4, 0u64..200, any::<bool>()), 0..200),
        ) {
            let (mut shares, mut own) = (Shares::new(1000), [0u64; 4]);
            for (who, bytes, takes) in steps {
                let mine = &mut own[usize::from(who)];
                if !takes {
                    let less = bytes.min(*mine);
                    shares.give(&part(who), less);
                    *mine -= less;
                } else if shares.check(&part(who), bytes).is_ok() {
                    shares.take(&part(who), bytes);
                    *mine += bytes;
                }
                prop_assert_eq!(shares.used(), own.iter().sum::<u64>());
                prop_assert!(shares.used() <= 1000);
            }
        }
    }
}
