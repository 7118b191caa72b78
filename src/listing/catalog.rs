//! Cache of the bucket: listings of prefixes, and single names, present or absent, each with an age. Owns the cache and
//! the limit on LISTs a minute; requests are made by `listing::lister`.
//!
//! Invariants: the cache is bounded in bytes, with least-recently-used eviction. Objects stored by this daemon are
//! entered without a LIST.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::format::folders::file_of_folder;
use crate::namespace::listing::{Listed, Listing, Stored};
use crate::types::freshness::{Age, Freshness};
use crate::types::stored_object::StoredObject;
use crate::types::time::{Monotonic, Utc};
use crate::types::token_bucket::TokenBucket;
use crate::types::weighted_lru::WeightedLru;

/// Bytes that the cache holds in all: names, ETags and what the allocator adds. Some 400,000 segments, of 110 bytes a
/// name.
pub const BYTES_MAX: u64 = 64 << 20;
/// LISTs that may be sent in a minute; a scanner that walks the mount costs no more.
const LISTS_A_MINUTE: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// The cached listings and names.
#[derive(Debug)]
pub struct Catalog {
    freshness: Freshness,
    inner: Mutex<CatalogState>,
}

#[derive(Debug)]
struct CatalogState {
    entries: WeightedLru<CatalogKey, CatalogEntry>,
    lists: TokenBucket,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CatalogKey {
    /// All names below a prefix.
    Below(String),
    /// One key, which may be a prefix's.
    Key(String),
}

#[derive(Debug)]
struct CatalogEntry {
    at: Monotonic,
    what: CachedNames,
}

#[derive(Debug)]
enum CachedNames {
    Names(Arc<Listing>),
    Name(Option<Stored>),
}

impl Catalog {
    /// An empty catalog whose listings and names are cached for a time.
    pub fn new(freshness: Freshness) -> Catalog {
        let inner = CatalogState {
            entries: WeightedLru::default(),
            lists: TokenBucket::new(LISTS_A_MINUTE, MINUTE / LISTS_A_MINUTE),
        };
        Catalog { freshness, inner: Mutex::new(inner) }
    }

    /// What was last listed of a prefix, as far as that went, and what its age means. `now` is monotonic.
    pub fn listing(&self, prefix: &str, now: Monotonic) -> Option<(Age, Arc<Listing>)> {
        let mut inner = self.inner.lock();
        let (at, listing) = inner.names(prefix)?;
        Some((self.freshness.of_listing(now.since(at)), listing))
    }

    /// When what is known of a prefix was asked for.
    pub fn listed_at(&self, prefix: &str) -> Option<Monotonic> {
        self.inner.lock().names(prefix).map(|(at, _)| at)
    }

    /// What a name is known to stand for (`None` inside: it is absent), and what the age of that means. What was asked
    /// last counts.
    pub fn name(&self, prefix: &str, name: &[u8], now: Monotonic) -> Option<(Age, Option<Stored>)> {
        let mut inner = self.inner.lock();
        let listed = inner.names(prefix);
        let listed = listed.and_then(|(at, listing)| match listing.get(name) {
            Listed::Unknown => None,
            known => Some((at, known.present())),
        });
        let asked = key(prefix, name).and_then(|key| inner.key(key));
        let age = |at| now.since(at);
        match (listed, asked) {
            (Some((at, found)), asked) if asked.as_ref().is_none_or(|(later, _)| at >= *later) => {
                let age = match &found {
                    Some(_) => self.freshness.of_listing(age(at)),
                    None => self.freshness.of_absence(age(at)),
                };
                Some((age, found))
            }
            (_, Some((at, found))) => Some((self.freshness.of_name(found.is_some(), age(at)), found)),
            (_, None) => None,
        }
    }

    /// Keeps a listing that was begun at `now`. Gives the names of objects that it shows to be replaced or gone.
    pub fn insert(&self, prefix: &str, listing: Arc<Listing>, now: Monotonic) -> Vec<Box<[u8]>> {
        let before = self.inner.lock().names(prefix).filter(|_| listing.is_whole());
        // Compared, and the old ones given back, while others may look.
        let outdated = before.map(|(_, before)| before.outdated_by(&listing)).unwrap_or_default();
        let weight = listing.weight() + prefix.len();
        let place = CatalogKey::Below(prefix.to_owned());
        let old = self.inner.lock().put(place, now, CachedNames::Names(listing), weight);
        drop(old);
        outdated
    }

    /// Keeps what was found out at `now` about one name. Says whether an object that was known by that name is another
    /// one by now, or gone.
    pub fn insert_name(&self, prefix: &str, name: &[u8], found: Option<Stored>, now: Monotonic) -> bool {
        let before = self.name(prefix, name, now).and_then(|(_, before)| before);
        let Some(key) = key(prefix, name) else { return false };
        let may_be_object = matches!(before, Some(Stored::Object(_) | Stored::Files { .. }));
        let outdated = may_be_object && before != found;
        // The key stands in what was found once more, or twice.
        let weight = 3 * key.len() + size_of::<(CatalogKey, CatalogEntry)>() + size_of::<Stored>();
        let old = self.inner.lock().put(CatalogKey::Key(key), now, CachedNames::Name(found), weight);
        drop(old);
        outdated
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.inner.lock().entries.clear();
    }

    /// Bytes of memory that are kept.
    pub fn weight(&self) -> u64 {
        self.inner.lock().entries.total()
    }

    /// Adds an object that this daemon has just stored to the listings that are known, so that no LIST is needed to see
    /// it.
    pub fn add_own(&self, root: &str, object: StoredObject) {
        let mut inner = self.inner.lock();
        let StoredObject { key, size, modified, etag } = object;
        let mut at = root.len();
        while let Some(slash) = key.get(at..).and_then(|rest| rest.find('/')) {
            inner.add(&key[..at], &key[at..at + slash], None);
            at += slash + 1;
        }
        let name = key.get(at..).unwrap_or_default();
        inner.add(key.get(..at).unwrap_or_default(), name, Some((size, modified, etag)));
    }

    /// Takes the right to send one LIST, or gives the wait until there is one.
    pub fn take_list(&self, now: Monotonic) -> Result<(), Duration> {
        self.inner.lock().lists.take(now)
    }

    /// Whether most of a minute's LISTs are left: what nobody waits for gives way to those who do.
    pub fn has_spare_lists(&self, now: Monotonic) -> bool {
        self.inner.lock().lists.has_more_than(LISTS_A_MINUTE / 2, now)
    }
}

impl CatalogState {
    fn names(&mut self, prefix: &str) -> Option<(Monotonic, Arc<Listing>)> {
        match self.entries.get(&CatalogKey::Below(prefix.to_owned()))? {
            CatalogEntry { at, what: CachedNames::Names(listing), .. } => Some((*at, listing.clone())),
            CatalogEntry { what: CachedNames::Name(_), .. } => None,
        }
    }

    fn key(&mut self, key: String) -> Option<(Monotonic, Option<Stored>)> {
        match self.entries.get(&CatalogKey::Key(key))? {
            CatalogEntry { at, what: CachedNames::Name(found), .. } => Some((*at, found.clone())),
            CatalogEntry { what: CachedNames::Names(_), .. } => None,
        }
    }

    /// Gives what had to go: first what is in this place, and what alone is larger than the cache.
    fn put(&mut self, place: CatalogKey, at: Monotonic, what: CachedNames, weight: usize) -> Vec<CatalogEntry> {
        let new = CatalogEntry { at, what };
        if weight as u64 > BYTES_MAX {
            return self.entries.remove(&place).into_iter().chain([new]).collect();
        }
        let mut gone = Vec::from_iter(self.entries.put(place, new, weight as u64));
        while self.entries.total() > BYTES_MAX {
            gone.extend(self.entries.evict(|_| true));
        }
        gone
    }

    fn add(&mut self, prefix: &str, name: &str, object: Option<(u64, Utc, String)>) {
        self.entries.remove(&CatalogKey::Key(format!("{prefix}{name}")));
        if let Some(file) = file_of_folder(name.as_bytes()).and_then(|file| key(prefix, &file)) {
            self.entries.remove(&CatalogKey::Key(file));
        }
        self.entries.change(&CatalogKey::Below(prefix.to_owned()), |entry, weight| match &mut entry.what {
            CachedNames::Names(listing) => weight + Arc::make_mut(listing).add_own(name, object) as u64,
            CachedNames::Name(_) => weight,
        });
    }
}

/// The key of a name; nothing for one that no key has.
fn key(prefix: &str, name: &[u8]) -> Option<String> {
    Some(format!("{prefix}{}", std::str::from_utf8(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::bucket::ListPage;
    use crate::types::stored_object::StoredObject;

    const MINUTE: Duration = Duration::from_secs(60);

    fn catalog() -> Catalog {
        Catalog::new(Freshness { listed: MINUTE, absent: MINUTE / 6 })
    }

    fn listing(prefix: &str, names: impl Iterator<Item = String>, etag: &str) -> Arc<Listing> {
        let mut listing = Listing::of(prefix);
        let object = |name| StoredObject {
            key: format!("{prefix}{name}"),
            size: 1,
            modified: Utc::default(),
            etag: etag.to_owned(),
        };
        listing.add_page("", ListPage { objects: names.map(object).collect(), ..ListPage::default() });
        Arc::new(listing)
    }

    fn own(key: &str) -> StoredObject {
        let (size, modified, etag) = (1, Utc::default(), String::new());
        StoredObject { key: key.into(), size, modified, etag }
    }

    #[test]
    fn own_uploads_show_without_a_list() {
        let catalog = catalog();
        catalog.insert("p/", listing("p/", std::iter::empty(), ""), Monotonic::ZERO);
        catalog.insert_name("q/", b"x.log", None, Monotonic::ZERO);
        catalog.add_own("p/", own("p/app.log.segments/x.log"));
        catalog.add_own("", own("q/x.log"));
        let known = catalog.name("p/", b"app.log.segments", Monotonic::ZERO);
        assert_eq!(known, Some((Age::Fresh, Some(Stored::Prefix))));
        assert_eq!(catalog.name("q/", b"x.log", Monotonic::ZERO), None, "it is not absent any more");
        catalog.insert_name("q/", b"a b", None, Monotonic::ZERO);
        catalog.add_own("", own("q/a%20b.segments/x.log"));
        assert_eq!(catalog.name("q/", b"a b", Monotonic::ZERO), None, "nor is a log");
        catalog.insert_name("q/", b"core", None, Monotonic::ZERO);
        catalog.add_own("", own("q/core.files/x"));
        assert_eq!(catalog.name("q/", b"core", Monotonic::ZERO), None, "nor is a whole file");
    }

    #[test]
    fn an_absence_is_cached_for_its_own_time() {
        let catalog = catalog();
        catalog.insert("p/", listing("p/", ["a".to_owned()].into_iter(), ""), Monotonic::ZERO);
        catalog.insert_name("q/", b"b", None, Monotonic::ZERO);
        let age = |prefix: &str, name: &str, at| {
            catalog.name(prefix, name.as_bytes(), Monotonic::after_start(Duration::from_secs(at))).map(|(age, _)| age)
        };
        assert_eq!(age("p/", "a", 30), Some(Age::Fresh));
        assert_eq!(age("p/", "b", 30), Some(Age::Aging));
        assert_eq!(age("q/", "b", 5), Some(Age::Fresh));
        assert_eq!(age("q/", "b", 30), Some(Age::Aging));
        assert_eq!(age("q/", "b", 200), Some(Age::Old));
    }

    #[test]
    fn what_was_asked_last_counts() {
        let catalog = catalog();
        catalog.insert("p/", listing("p/", ["a".to_owned()].into_iter(), ""), Monotonic::ZERO);
        assert!(catalog.insert_name("p/", b"a", None, Monotonic::after_start(Duration::from_secs(5))), "it is gone");
        let found =
            |at| catalog.name("p/", b"a", Monotonic::after_start(Duration::from_secs(at))).map(|(_, found)| found);
        assert_eq!(found(6), Some(None));
        let again = listing("p/", ["a".to_owned()].into_iter(), "");
        catalog.insert("p/", again, Monotonic::after_start(Duration::from_secs(8)));
        assert!(matches!(found(9), Some(Some(Stored::Object(_)))));
    }

    #[test]
    fn a_newer_listing_tells_what_is_outdated() {
        let catalog = catalog();
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>().into_iter();
        let insert = |listing| catalog.insert("p/", listing, Monotonic::ZERO);
        assert!(insert(listing("p/", names(&["a", "b"]), "1")).is_empty());
        assert!(insert(listing("p/", names(&["a", "b", "c"]), "1")).is_empty());
        assert_eq!(insert(listing("p/", names(&["a", "c"]), "1")), [b"b".as_slice().into()]);
        assert_eq!(insert(listing("p/", names(&["a", "c"]), "2")).len(), 2);
        catalog.add_own("p/", own("p/d"));
        let with_own = insert(listing("p/", names(&["a", "c", "d"]), "2"));
        assert!(with_own.is_empty(), "its ETag is news, not another content");
    }

    #[test]
    fn the_catalog_is_bounded_in_bytes() {
        let catalog = catalog();
        for n in 0..100 {
            let prefix = format!("{n}/");
            let names = (0..10_000).map(|n| format!("{n:0>100}"));
            catalog.insert(&prefix, listing(&prefix, names, "\"0123456789abcdef\""), Monotonic::after_start(MINUTE));
            catalog.insert_name(&prefix, format!("{n:0>200}").as_bytes(), None, Monotonic::after_start(MINUTE));
            assert!(catalog.weight() <= BYTES_MAX);
        }
        assert!(catalog.weight() > BYTES_MAX / 2);
        assert!(catalog.listing("0/", Monotonic::after_start(MINUTE)).is_none(), "the oldest went");
        assert!(catalog.listing("99/", Monotonic::after_start(MINUTE)).is_some());
        catalog.clear();
        assert_eq!(catalog.weight(), 0);
    }

    #[test]
    fn lists_are_capped_by_the_minute() {
        let catalog = catalog();
        let take = |at| catalog.take_list(Monotonic::after_start(Duration::from_secs(at))).is_ok();
        assert!((0..LISTS_A_MINUTE / 2).all(|_| catalog.has_spare_lists(Monotonic::ZERO) && take(0)));
        assert!(!catalog.has_spare_lists(Monotonic::ZERO), "the other half is for those who wait");
        assert!((0..LISTS_A_MINUTE / 2).all(|_| take(0)));
        assert!(!take(0));
        assert!(take(1));
    }
}
