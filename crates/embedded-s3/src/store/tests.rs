//! Races between two stores of one directory, which are too narrow to be met over HTTP.

use std::sync::{Arc, Barrier};

use super::*;
use crate::listing;

fn staged(store: &Arc<Store>) -> Staged {
    let mut staged = Staged::create(store).unwrap();
    staged.seal(Record::default()).unwrap();
    staged
}

/// Two stores of one directory have nothing in common but the directory, as two processes do.
fn two_stores() -> (tempfile::TempDir, [Arc<Store>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| Arc::new(Store::open(dir.path()).unwrap()));
    (dir, stores)
}

#[test]
fn of_commits_in_the_same_instant_exactly_one_is_done() {
    const RACERS: usize = 4;
    let (_dir, stores) = two_stores();
    for round in 0..50 {
        let key = format!("{round}/x");
        let start = Barrier::new(RACERS);
        let race = |racer: usize| {
            let store = &stores[racer % 2];
            let staged = staged(store);
            start.wait();
            store.commit(staged, &key, &Condition::Absent).unwrap()
        };
        let outcomes = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || race(racer))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
        });
        let done = outcomes.iter().filter(|outcome| **outcome == ConditionMet::Done).count();
        assert_eq!(done, 1, "{outcomes:?}");
    }
}

#[test]
fn a_commit_never_meets_a_directory_on_its_way_out() {
    let (_dir, stores) = two_stores();
    std::thread::scope(|scope| {
        for (store, key) in stores.iter().zip(["a/b/one", "a/b/two"]) {
            scope.spawn(move || {
                for _ in 0..100 {
                    let committed = store.commit(staged(store), key, &Condition::Absent);
                    assert_eq!(committed.unwrap(), ConditionMet::Done);
                    let removed = store.remove(key, &Condition::Present).unwrap();
                    assert_eq!(removed, ConditionMet::Done);
                }
            });
        }
    });
}

#[test]
fn a_key_is_never_missing_while_keys_below_it_come_and_go() {
    let (_dir, [store, other]) = two_stores();
    let store = &store;
    for round in 0..50 {
        let key = &format!("{round}-");
        assert_eq!(store.commit(staged(store), key, &Condition::Absent).unwrap(), ConditionMet::Done);
        std::thread::scope(|scope| {
            let below = format!("{key}/below");
            let writer = scope.spawn(|| {
                let below = below;
                other.commit(staged(&other), &below, &Condition::Absent).unwrap()
            });
            while !writer.is_finished() {
                assert!(store.find(key).unwrap().is_some());
                let after = listing::After::Nothing;
                let query = listing::Query { prefix: key, delimiter: None, after, limit: 1 };
                let page = listing::list(store, query).unwrap();
                assert!(matches!(&page.entries[..], [listing::Entry::Object(found, _)] if found == key));
            }
        });
    }
}
