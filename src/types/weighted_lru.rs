//! A map with least-recently-used order in which each entry has a weight (bytes, segments). The owner evicts when the
//! total is more than it allows. Pure.
//!
//! Invariant: the total is the sum of the weights of all entries.

use std::hash::Hash;

use lru::LruCache;

/// The map.
#[derive(Debug)]
pub struct WeightedLru<K: Hash + Eq, V> {
    entries: LruCache<K, (V, u64)>,
    total: u64,
}

impl<K: Hash + Eq + Clone, V> Default for WeightedLru<K, V> {
    fn default() -> Self {
        WeightedLru { entries: LruCache::unbounded(), total: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> WeightedLru<K, V> {
    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// An entry, which is the one used last from now on.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// An entry, without using it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.peek(key).map(|(value, _)| value)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, (value, _))| value)
    }

    /// Enters a value; gives the one that it replaces.
    pub fn put(&mut self, key: K, value: V, weight: u64) -> Option<V> {
        self.total += weight;
        let (replaced, its_weight) = self.entries.put(key, (value, weight))?;
        self.total -= its_weight;
        Some(replaced)
    }

    /// Changes an entry without using it. `change` gives its new weight from the old one.
    pub fn change(&mut self, key: &K, change: impl FnOnce(&mut V, u64) -> u64) {
        if let Some((value, weight)) = self.entries.peek_mut(key) {
            let changed = change(value, *weight);
            self.total = self.total - *weight + changed;
            *weight = changed;
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (value, weight) = self.entries.pop(key)?;
        self.total -= weight;
        Some(value)
    }

    /// Removes the least recently used of the entries that `may` go.
    pub fn evict(&mut self, may: impl Fn(&V) -> bool) -> Option<V> {
        let mut oldest_first = self.entries.iter().rev();
        let key = oldest_first.find(|(_, (value, _))| may(value)).map(|(key, _)| key.clone())?;
        self.remove(&key)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.total = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_follows_every_change() {
        let mut lru = WeightedLru::default();
        assert_eq!(lru.put("a", 1, 10), None);
        assert_eq!(lru.put("b", 2, 20), None);
        assert_eq!(lru.put("a", 3, 5), Some(1));
        assert_eq!(lru.total(), 25);
        lru.change(&"b", |value, weight| {
            *value += 1;
            weight + 7
        });
        assert_eq!((lru.total(), lru.peek(&"b")), (32, Some(&3)));
        assert_eq!(lru.remove(&"a"), Some(3));
        assert_eq!((lru.total(), lru.count()), (27, 1));
        lru.clear();
        assert_eq!((lru.total(), lru.count()), (0, 0));
    }

    #[test]
    fn what_was_used_least_goes_first_if_it_may() {
        let mut lru = WeightedLru::default();
        (1..=3).for_each(|n| assert!(lru.put(n, n, 1).is_none()));
        assert_eq!(lru.get(&1), Some(&1));
        assert_eq!(lru.peek(&2), Some(&2), "that is no use");
        assert_eq!(lru.evict(|n| *n != 2), Some(3));
        assert_eq!(lru.evict(|_| true), Some(2));
        assert_eq!(lru.evict(|n| *n != 1), None);
        assert_eq!(lru.total(), 1);
    }
}
