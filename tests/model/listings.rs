//! Buckets that list what no directory can hold: what is shown can be looked up, what cannot be shown is left out, and
//! no listing is asked for without an end.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use logsinkfs::listing::lister::Lister;
use logsinkfs::namespace::FileKind;
use logsinkfs::namespace::listing::{Listing, Stored};
use logsinkfs::s3::bucket::{Bucket, ListPage, NewObject, NewUpload, ObjectHead, PartedUpload, Payload, StoredPart};
use logsinkfs::settings::writer::View;
use logsinkfs::spool::Spool;
use logsinkfs::types::bucket_error::BucketError;
use logsinkfs::types::ids::{NodeId, PartNumber, WriterId};
use logsinkfs::types::stored_object::StoredObject;
use logsinkfs::types::time::Utc;
use logsinkfs::worker::compose;
use proptest::prelude::*;

use super::daemon::{Daemon, PREFIX, World, answer, run};
use super::faulty::Faulty;
use super::memory::{MemoryBucket, Object};

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
        Just("a b"),
        Just("a%20b"),
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

/// Such keys, also of whole files.
fn any_file() -> impl Strategy<Value = String> {
    prop_oneof![any_key(), any_key().prop_map(|key| key.replace(".segments/", ".files/"))]
}

fn any_page() -> impl Strategy<Value = ListPage> {
    let object = (any_key(), any::<u64>(), any::<i64>(), any::<String>())
        .prop_map(|(key, size, at, etag)| StoredObject { key, size, modified: Utc::from_micros(at), etag });
    let (objects, prefixes) = (prop::collection::vec(object, 0..20), prop::collection::vec(any_key(), 0..20));
    (objects, prefixes).prop_map(|(objects, prefixes)| ListPage { objects, prefixes, next: None })
}

fn assert_names(names: impl Iterator<Item = Vec<u8>>) {
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
        let mut listing = Listing::of(prefix);
        for page in pages {
            let offered = page.objects.len() + page.prefixes.len();
            let before = listing.len();
            let skipped = listing.add_page(PREFIX, page);
            prop_assert!(listing.len() - before + skipped <= offered);
        }
        assert_names(listing.rows().map(|row| row.name.to_vec()));
        for row in listing.rows() {
            prop_assert!(listing.seen(&row.name).is_some());
            if let Stored::Object(object) = row.stored(prefix) {
                let name = std::str::from_utf8(&row.name).unwrap();
                prop_assert_eq!(&object.key, &format!("{prefix}{name}"));
            }
        }
    }

    #[test]
    fn whatever_keys_there_are_what_is_shown_can_be_looked_up(
        keys in prop::collection::vec(any_file(), 0..30),
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

    #[test]
    fn whatever_pages_they_come_in_each_name_is_listed_once(
        keys in prop::collection::vec(any_file(), 0..30),
        page in 1..5usize,
    ) {
        run(async {
            let mut world = World::new();
            world.settings.view = View::Bucket;
            world.bucket = Arc::new(Faulty::new(MemoryBucket::new(page)));
            for key in &keys {
                world.bucket.inner().plant(&format!("{PREFIX}{key}"), Object::foreign(b"stored"));
            }
            let shown = entries(&world.boot(), NodeId::ROOT).await;
            let once: BTreeSet<_> = shown.iter().map(|(name, _)| name).collect();
            assert_eq!(once.len(), shown.len(), "{shown:?}");
        });
    }
}

/// Name and kind of what a directory shows.
async fn entries(daemon: &Daemon, id: NodeId) -> Vec<(Vec<u8>, FileKind)> {
    let shown = super::directories::read_dir(daemon, id).await.unwrap();
    shown.into_iter().map(|entry| (entry.name.into_bytes(), entry.kind)).collect()
}

/// Walks the whole view.
async fn walk(daemon: &Daemon) {
    let mut folders = vec![NodeId::ROOT];
    while let Some(folder) = folders.pop() {
        let shown = entries(daemon, folder).await;
        assert_names(shown.iter().map(|(name, _)| name.clone()));
        let once: BTreeSet<_> = shown.iter().map(|(name, _)| name).collect();
        assert_eq!(once.len(), shown.len(), "{shown:?}");
        for (name, kind) in shown {
            let found = answer(daemon.fs.lookup(folder, &name)).await.unwrap().attr;
            assert_eq!(found.kind, kind, "{name:?}");
            match found.kind {
                FileKind::Directory => folders.push(found.id),
                // What is in its folder is no segment of it.
                _ if found.joined => assert_eq!(daemon.read(found.id).await.unwrap(), b""),
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

    async fn begin_upload(&self, _: &NewUpload) -> Result<PartedUpload, BucketError> {
        unreachable!("nothing is written")
    }

    async fn put_part(&self, _: &PartedUpload, _: PartNumber, _: &Payload) -> Result<StoredPart, BucketError> {
        unreachable!("nothing is written")
    }

    async fn finish_upload(&self, _: &PartedUpload, _: &[StoredPart]) -> Result<(), BucketError> {
        unreachable!("nothing is written")
    }

    async fn abort_upload(&self, _: &PartedUpload) -> Result<(), BucketError> {
        unreachable!("nothing is written")
    }

    async fn unfinished_uploads(&self, _: &str) -> Result<Vec<PartedUpload>, BucketError> {
        unreachable!("nothing is written")
    }

    async fn get_range(&self, _: &str, _: Range<u64>, _: Option<&str>) -> Result<Bytes, BucketError> {
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
            let spool = Spool::open(dir.path(), &world.settings.spool.source.url(), "web", writer);
            let bucket = Arc::new(Endless { tokens, lists: AtomicUsize::new(0) });
            let (settings, clock) = (&world.settings.spool, world.clock.clone());
            let parts = compose::recover_parts(settings, spool.unwrap(), bucket.clone(), clock);
            let means = (&parts.unwrap()).into();
            let runtime = tokio::runtime::Handle::current();
            let lister = Lister::new(means, runtime, Box::new(|_, _| ()));
            assert!(lister.listing(PREFIX).await.is_none());
            tokio::time::sleep(super::daemon::PATIENCE).await;
            assert_eq!(bucket.lists.load(Ordering::Relaxed), most);
        });
    }
}
