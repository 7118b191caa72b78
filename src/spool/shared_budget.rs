//! A budget of bytes shared by first parts of paths, counted without a lock on the append path. Owns the counters;
//! `types::shares` has the rule.
//!
//! Invariant: the total is never less than the sum of the accounts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::types::shares::{Part, Use};

/// The budget.
#[derive(Debug)]
pub struct SharedBudget {
    max: u64,
    used: AtomicU64,
    /// Accounts that have something. Counted after it has changed, so it can be below 0 briefly.
    holders: AtomicI64,
    accounts: Mutex<HashMap<Part, Arc<Account>>>,
}

/// What one part has. Whatever is counted for a file is counted on one account.
#[derive(Debug, Default)]
pub struct Account(AtomicU64);

impl SharedBudget {
    /// Nothing taken yet of `max` bytes.
    pub fn new(max: u64) -> SharedBudget {
        SharedBudget { max, used: AtomicU64::new(0), holders: AtomicI64::new(0), accounts: Mutex::default() }
    }

    /// The budget in bytes.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Bytes that all have.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The account of a part.
    pub fn account(&self, part: &Part) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        if let Some(account) = accounts.get(part) {
            return account.clone();
        }
        // Those that nobody has and nothing is on go before the map grows.
        if accounts.len() == accounts.capacity() {
            let counts = |account: &Account| account.0.load(Ordering::Relaxed) > 0;
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || counts(account));
        }
        accounts.entry(part.clone()).or_default().clone()
    }

    /// Adds bytes to an account; gives what is used then.
    pub fn add(&self, account: &Account, bytes: u64) -> Use {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let before = account.0.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 && bytes > 0 {
            self.holders.fetch_add(1, Ordering::Relaxed);
        }
        let parts = self.holders.load(Ordering::Relaxed).max(0).unsigned_abs();
        Use { max: self.max, used, own: before + bytes, parts }
    }

    /// Whether any part that has something may take so many bytes more, or nobody has anything.
    pub fn lets_anybody_add(&self, bytes: u64) -> bool {
        let (used, parts) = (self.used() + bytes, self.holders.load(Ordering::Relaxed));
        let parts = parts.max(0).unsigned_abs();
        let accounts = self.accounts.lock();
        let mut holders = accounts.values().map(|a| a.0.load(Ordering::Relaxed)).filter(|own| *own > 0);
        let may = |own| Use { max: self.max, used, own, parts }.is_fair();
        match holders.next() {
            None => self.max >= used,
            Some(first) => may(first + bytes) || holders.any(|own| may(own + bytes)),
        }
    }

    /// Takes bytes off an account, but no more than it has.
    pub fn remove(&self, account: &Account, bytes: u64) {
        let less = |own: u64| Some(own.saturating_sub(bytes));
        let before = account.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let before = before.unwrap_or_else(|own| own);
        self.used.fetch_sub(before.min(bytes), Ordering::Relaxed);
        if before > 0 && before <= bytes {
            self.holders.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_counts_until_nothing_is_on_it_whoever_has_it() {
        let (budget, part) = (SharedBudget::new(100), |n: u8| Part::from([n]));
        let used = budget.add(&budget.account(&part(0)), 60);
        assert_eq!((used.used, used.own, used.parts), (60, 60, 1));
        let used = budget.add(&budget.account(&part(1)), 10);
        assert_eq!((used.used, used.own, used.parts), (70, 10, 2));
        // However many come and go.
        (2..200).for_each(|n| budget.remove(&budget.account(&part(n)), 5));
        assert!(budget.accounts.lock().len() < 10);
        budget.remove(&budget.account(&part(0)), 70);
        let used = budget.add(&budget.account(&part(0)), 0);
        assert_eq!((used.used, used.own, used.parts), (10, 0, 1));
    }
}
