//! Buckets that list what no directory can hold: what is shown can be looked up, what cannot be shown is
//! left out, and no listing is asked for without an end.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::edges::compose;
use logsinkfs::local::catalog::{Stored, add_page};
use logsinkfs::local::namespace::FileKind;
use logsinkfs::local::spool::Spool;
use logsinkfs::tasks::lister::Lister;
use logsinkfs::values::ids::{NodeId, WriterId};
use logsinkfs::values::settings::View;
use logsinkfs::values::time::Utc;
use logsinkfs::world::bucket::{
    Bucket, BucketError, ListPage, ListedObject, NewObject, ObjectHead,
};
use proptest::prelude::*;

use super::daemon::{Daemon, ONCE, PREFIX, World, answer, run};
use super::memory::Object;

/// Keys of pieces that people and programs stumble over.
pub fn any_key() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("logs/"),
        Just("/"),
        Just("//"),
        Just("."),
        Just(".."),
        Just("../"),
        Just("\0"),
        Just("\n"),
        Just("a"),
        Just("a/b"),
        Just("日"),
        Just("%2f"),
        Just(".segments/"),
        Just(".logsinkfs/"),
        Just("")
    ];
    let key = prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat());
    prop_oneof![
        8 => key,
        1 => (0..1100usize).prop_map(|n| format!("logs/{}", "x".repeat(n))),
        1 => any::<String>(),
    ]
}

fn any_page() -> impl Strategy<Value = ListPage> {
    let object = (any_key(), any::<u64>(), any::<i64>(), any::<String>()).prop_map(
        |(key, size, at, etag)| ListedObject { key, size, modified: Utc::from_micros(at), etag },
    );
    let (objects, prefixes) =
        (prop::collection::vec(object, 0..20), prop::collection::vec(any_key(), 0..20));
    (objects, prefixes).prop_map(|(objects, prefixes)| ListPage { objects, prefixes, next: None })
}

fn assert_names<'a>(names: impl Iterator<Item = &'a Vec<u8>>) {
    for name in names {
        assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
        assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
        assert!(name != b"." && name != b"..", "{name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_pages_say_only_names_are_listed(
        pages in prop::collection::vec(any_page(), 1..4),
        prefix in prop_oneof![Just(PREFIX), Just("logs/a/"), Just("")],
    ) {
        let mut listing: BTreeMap<Vec<u8>, Stored> = BTreeMap::new();
        for page in pages {
            let offered = page.objects.len() + page.prefixes.len();
            let before = listing.len();
            let skipped = add_page(PREFIX, prefix, &mut listing, page);
            prop_assert!(listing.len() - before + skipped <= offered + before);
        }
        assert_names(listing.keys());
        for (name, stored) in &listing {
            if let Stored::Object(object) = stored {
                let name = std::str::from_utf8(name).unwrap();
                prop_assert_eq!(&object.key, &format!("{prefix}{name}"));
            }
        }
    }

    #[test]
    fn whatever_keys_there_are_what_is_shown_can_be_looked_up(
        keys in prop::collection::vec(any_key(), 0..30),
    ) {
        run(async {
            let mut world = World::new();
            world.settings.view = View::Bucket;
            for key in &keys {
                world.bucket.inner().plant(&format!("{PREFIX}{key}"), Object::foreign(b"stored"));
            }
            walk(&world.boot()).await;
        });
    }
}

/// Name and kind of what a directory shows.
async fn entries(daemon: &Daemon, id: NodeId) -> Vec<(Vec<u8>, FileKind)> {
    let handle = daemon.fs.opendir(id, ONCE).unwrap();
    let entries = answer(daemon.fs.readdir(handle, 0)).await.unwrap();
    entries.iter().skip(2).map(|entry| (entry.name.clone(), entry.kind)).collect()
}

/// Walks the whole view.
async fn walk(daemon: &Daemon) {
    let mut folders = vec![NodeId::ROOT];
    while let Some(folder) = folders.pop() {
        let shown = entries(daemon, folder).await;
        assert_names(shown.iter().map(|(name, _)| name));
        for (name, kind) in shown {
            let found = answer(daemon.fs.lookup(folder, &name)).await.unwrap().attr;
            assert_eq!(found.kind, kind, "{name:?}");
            match found.kind {
                FileKind::Directory => folders.push(found.id),
                _ => assert_eq!(daemon.read(found.id).await.unwrap(), b"stored"),
            }
        }
    }
}

/// A bucket whose listing goes on for ever, with tokens that come again or that do not.
struct Endless {
    tokens: usize,
    lists: AtomicUsize,
}

#[async_trait]
impl Bucket for Endless {
    async fn put_new(&self, _: &NewObject) -> Result<(), BucketError> {
        unreachable!("nothing is written")
    }

    async fn get_range(
        &self,
        _: &str,
        _: Range<u64>,
        _: Option<&str>,
    ) -> Result<Bytes, BucketError> {
        unreachable!("nothing is read")
    }

    async fn head(&self, _: &str) -> Result<ObjectHead, BucketError> {
        unreachable!("nothing is read")
    }

    async fn list_page(&self, _: &str, _: Option<&str>) -> Result<ListPage, BucketError> {
        let n = self.lists.fetch_add(1, Ordering::Relaxed);
        Ok(ListPage { next: Some((n % self.tokens).to_string()), ..ListPage::default() })
    }

    async fn list_below(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        self.list_page(prefix, token).await
    }
}

#[test]
fn a_listing_that_never_ends_is_given_up() {
    for (tokens, most) in [(1, 2), (3, 4), (usize::MAX, 1001)] {
        run(async {
            let world = World::new();
            let dir = tempfile::tempdir().unwrap();
            let writer = |name: &str| WriterId::compose(name, |_| 0);
            let spool = Spool::open(dir.path(), &world.settings.source.url(), "web", writer);
            let bucket = Arc::new(Endless { tokens, lists: AtomicUsize::new(0) });
            let parts = compose::recover_parts(
                &world.settings,
                spool.unwrap(),
                bucket.clone(),
                world.clock.clone(),
            );
            let means = (&parts.unwrap()).into();
            let lister = Lister::new(means, tokio::runtime::Handle::current());
            assert!(lister.listing(PREFIX).await.is_none());
            tokio::time::sleep(super::daemon::PATIENCE).await;
            assert_eq!(bucket.lists.load(Ordering::Relaxed), most);
        });
    }
}
