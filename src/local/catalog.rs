//! What the bucket is known to hold: listings of prefixes, as S3 gave them, for a time. Owns the
//! cache and the cap on LISTs a minute; does not ask S3 itself (see `tasks::lister`).
//!
//! Invariants: a listing is shown only whole and only while fresh; the cache is bounded in
//! entries, and the least recently used prefix goes first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use super::namespace::{NAME_MAX, StoredObject};
use crate::values::naming::PRIVATE_FOLDER;
use crate::world::bucket::ListPage;

/// Entries that the cache holds in all: about 100 MiB of names and ETags at worst.
const ENTRIES_MAX: usize = 500_000;
/// LISTs that may be sent in a minute; a scanner that walks the mount costs no more.
const LISTS_A_MINUTE: u32 = 600;

/// A name directly below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An object.
    Object(StoredObject),
    /// A common prefix.
    Prefix,
}

/// All names below one prefix.
pub type Listing = Arc<BTreeMap<Vec<u8>, Stored>>;

/// The cached listings.
#[derive(Debug)]
pub struct Catalog {
    ttl: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    listings: LruCache<String, (Duration, Listing)>,
    entries: usize,
    tokens: f64,
    refilled: Duration,
}

impl Catalog {
    /// An empty catalog whose listings are believed for `ttl`.
    pub fn new(ttl: Duration) -> Catalog {
        let inner = Inner {
            listings: LruCache::unbounded(),
            entries: 0,
            tokens: f64::from(LISTS_A_MINUTE),
            refilled: Duration::ZERO,
        };
        Catalog { ttl, inner: Mutex::new(inner) }
    }

    /// The listing of a prefix, when it is known and fresh. `now` is monotonic.
    pub fn fresh(&self, prefix: &str, now: Duration) -> Option<Listing> {
        let mut inner = self.inner.lock();
        let (at, listing) = inner.listings.get(prefix)?;
        (now.saturating_sub(*at) < self.ttl).then(|| listing.clone())
    }

    /// The listing of a prefix however old it is.
    pub fn last_known(&self, prefix: &str) -> Option<Listing> {
        self.inner.lock().listings.get(prefix).map(|(_, listing)| listing.clone())
    }

    /// Keeps a listing that was begun at `now`.
    pub fn insert(&self, prefix: &str, listing: Listing, now: Duration) {
        let mut inner = self.inner.lock();
        inner.entries += listing.len() + 1;
        if let Some((_, old)) = inner.listings.put(prefix.to_owned(), (now, listing)) {
            inner.entries -= old.len() + 1;
        }
        while inner.entries > ENTRIES_MAX && inner.listings.len() > 1 {
            if let Some((_, (_, old))) = inner.listings.pop_lru() {
                inner.entries -= old.len() + 1;
            }
        }
    }

    /// Forgets all listings.
    pub fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.listings.clear();
        inner.entries = 0;
    }

    /// Adds an object that this daemon has just stored to the listings that are known, so that no
    /// LIST is needed to see it.
    pub fn add_own(&self, root: &str, object: StoredObject) {
        let mut inner = self.inner.lock();
        let key = object.key.clone();
        let mut at = root.len();
        while let Some(slash) = key.get(at..).and_then(|rest| rest.find('/')) {
            let name = key.as_bytes()[at..at + slash].to_vec();
            inner.add(&key[..at], name, Stored::Prefix);
            at += slash + 1;
        }
        let name = key.as_bytes().get(at..).unwrap_or_default().to_vec();
        inner.add(&key[..at], name, Stored::Object(object));
    }

    /// Takes the right to send one LIST, or gives the wait until there is one.
    pub fn take_list(&self, now: Duration) -> Result<(), Duration> {
        let mut inner = self.inner.lock();
        let cap = f64::from(LISTS_A_MINUTE);
        let earned = now.saturating_sub(inner.refilled).as_secs_f64() * cap / 60.0;
        inner.tokens = (inner.tokens + earned).min(cap);
        inner.refilled = now;
        if inner.tokens >= 1.0 {
            inner.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - inner.tokens) * 60.0 / cap))
    }
}

impl Inner {
    fn add(&mut self, prefix: &str, name: Vec<u8>, stored: Stored) {
        let Some((_, listing)) = self.listings.peek_mut(prefix) else { return };
        if !listing.contains_key(&name) {
            Arc::make_mut(listing).insert(name, stored);
            self.entries += 1;
        }
    }
}

/// Adds a page to a listing. Gives how many keys cannot be names in a directory: empty, `.`, `..`,
/// too long, with NUL, or an object with the name of a prefix.
pub fn add_page(
    root: &str,
    prefix: &str,
    listing: &mut BTreeMap<Vec<u8>, Stored>,
    page: ListPage,
) -> usize {
    let mut skipped = 0;
    for common in page.prefixes {
        match common.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('/')) {
            Some(PRIVATE_FOLDER) if prefix == root => {}
            Some(name) if is_name(name) => {
                let replaced = listing.insert(name.as_bytes().to_vec(), Stored::Prefix);
                skipped += usize::from(matches!(replaced, Some(Stored::Object(_))));
            }
            _ => skipped += 1,
        }
    }
    for object in page.objects {
        match object.key.strip_prefix(prefix) {
            // The "folder" object that consoles make for the prefix itself.
            Some("") => {}
            Some(name) if is_name(name) && !listing.contains_key(name.as_bytes()) => {
                let name = name.as_bytes().to_vec();
                let (key, size) = (object.key, object.size);
                let (modified, etag) = (object.modified, object.etag);
                let object = StoredObject { key, size, modified, etag };
                listing.insert(name, Stored::Object(object));
            }
            _ => skipped += 1,
        }
    }
    skipped
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::time::Utc;
    use crate::world::bucket::ListedObject;

    fn object(key: &str) -> ListedObject {
        let (size, modified, etag) = (1, Utc::default(), String::new());
        ListedObject { key: key.into(), size, modified, etag }
    }

    #[test]
    fn what_cannot_be_a_name_is_skipped_and_counted() {
        let mut listing = BTreeMap::new();
        let page = ListPage {
            objects: ["p/", "p/a", "p/b", "p/..", "p/nul\0", &format!("p/{}", "x".repeat(256))]
                .map(object)
                .into(),
            prefixes: ["p//", "p/../", "p/b/", "p/.logsinkfs/"].map(String::from).into(),
            next: None,
        };
        let skipped = add_page("p/", "p/", &mut listing, page);
        let names: Vec<_> = listing.keys().map(|n| String::from_utf8_lossy(n)).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(matches!(listing.get(&b"b"[..]), Some(Stored::Prefix)));
        assert_eq!(skipped, 6, "two prefixes, three names, and the object `b`");
    }

    #[test]
    fn own_uploads_show_without_a_list() {
        let catalog = Catalog::new(Duration::from_secs(60));
        catalog.insert("p/", Listing::default(), Duration::ZERO);
        let own = StoredObject {
            key: "p/app.log.segments/x.log".into(),
            size: 1,
            modified: Utc::default(),
            etag: String::new(),
        };
        catalog.add_own("p/", own);
        let listing = catalog.fresh("p/", Duration::ZERO).expect("known");
        assert_eq!(listing.get(&b"app.log.segments"[..]), Some(&Stored::Prefix));
    }

    #[test]
    fn lists_are_capped_by_the_minute() {
        let catalog = Catalog::new(Duration::ZERO);
        for _ in 0..LISTS_A_MINUTE {
            assert_eq!(catalog.take_list(Duration::ZERO), Ok(()));
        }
        assert!(catalog.take_list(Duration::ZERO).is_err());
        assert_eq!(catalog.take_list(Duration::from_secs(1)), Ok(()));
    }
}
