//! Listings for those who look: from the catalog when fresh, else from S3, one request for all who ask
//! at once, waited for briefly. While S3 is known to be down nobody waits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::parts::Parts;
use crate::local::catalog::{Catalog, Listing, Stored, add_page};
use crate::world::bucket::{Bucket, BucketError, Kind};
use crate::world::clock::Clock;

/// Longest wait of a look-up or a readdir for one answer of S3, where live files answer as well.
const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure nobody asks again for this long.
const DOWN_FOR: Duration = Duration::from_secs(5);

/// Most pages of one listing, of 1,000 names each: twice what the catalog keeps.
const PAGES_MAX: usize = 1000;

/// How far a listing has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    pages: usize,
    done: Option<Result<Listing, ()>>,
}

/// What a lister works with.
#[derive(Clone)]
pub struct Means {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// What the bucket is known to hold.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Empty, or ending in `/`.
    pub prefix: String,
    /// Longest wait for one answer of S3.
    pub patience: Duration,
}

impl From<&Parts> for Means {
    fn from(parts: &Parts) -> Means {
        Means {
            bucket: parts.bucket.clone(),
            catalog: parts.catalog.clone(),
            clock: parts.clock.clone(),
            prefix: parts.prefix.clone(),
            patience: PATIENCE,
        }
    }
}

/// Asks S3 for listings.
pub struct Lister {
    means: Means,
    runtime: tokio::runtime::Handle,
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Progress>>>>,
    down_until: Arc<Mutex<Duration>>,
}

impl Lister {
    /// A lister whose requests run on `runtime`.
    pub fn new(means: Means, runtime: tokio::runtime::Handle) -> Lister {
        let (under_way, down_until) = (Arc::default(), Arc::default());
        Lister { means, runtime, under_way, down_until }
    }

    /// The listing of a prefix without asking anybody.
    pub fn known(&self, prefix: &str) -> Option<Listing> {
        self.means.catalog.fresh(prefix, self.means.clock.monotonic())
    }

    /// The listing of a prefix; what was last known of it, or `None`, when S3 does not answer in
    /// time. Each page has its own time, so that a large directory is shown whole as long as S3 goes on
    /// answering.
    pub async fn listing(&self, prefix: &str) -> Option<Listing> {
        let clock = &self.means.clock;
        if let Some(listing) = self.known(prefix) {
            return Some(listing);
        }
        let stale = || self.means.catalog.last_known(prefix);
        if clock.monotonic() < *self.down_until.lock() {
            return stale();
        }
        let mut progress = self.begin(prefix);
        loop {
            if let Some(done) = progress.borrow_and_update().done.clone() {
                return done.ok().or_else(stale);
            }
            match tokio::time::timeout(self.means.patience, progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return stale(),
            }
        }
    }

    /// Joins the request for a prefix that is under way, or begins one. It goes on when nobody waits
    /// any more, so that the next who looks finds it.
    fn begin(&self, prefix: &str) -> watch::Receiver<Progress> {
        let mut under_way = self.under_way.lock();
        if let Some(progress) = under_way.get(prefix) {
            return progress.clone();
        }
        let (sender, receiver) = watch::channel(Progress::default());
        under_way.insert(prefix.to_owned(), receiver.clone());
        let (means, prefix) = (self.means.clone(), prefix.to_owned());
        let (table, down_until) = (self.under_way.clone(), self.down_until.clone());
        self.runtime.spawn(async move {
            let began = means.clock.monotonic();
            let result = fetch(&means, &prefix, &sender).await;
            let done = match result {
                Ok(listing) => {
                    means.catalog.insert(&prefix, listing.clone(), began);
                    Ok(listing)
                }
                Err(e) => {
                    *down_until.lock() = means.clock.monotonic() + DOWN_FOR;
                    warn!(
                        hint = e.kind.hint(),
                        "the bucket cannot be listed; what is not known of it is not shown: {e}"
                    );
                    Err(())
                }
            };
            table.lock().remove(&prefix);
            sender.send_modify(|progress| progress.done = Some(done));
        });
        receiver
    }
}

async fn fetch(
    means: &Means,
    prefix: &str,
    progress: &watch::Sender<Progress>,
) -> Result<Listing, BucketError> {
    let mut listing: BTreeMap<Vec<u8>, Stored> = BTreeMap::new();
    let (mut token, mut skipped) = (None, 0);
    let mut tokens = HashSet::new();
    loop {
        while let Err(wait) = means.catalog.take_list(means.clock.monotonic()) {
            tokio::time::sleep(wait).await;
        }
        let page = means.bucket.list_page(prefix, token.as_deref()).await?;
        token = page.next.clone();
        if tokens.len() == PAGES_MAX || token.clone().is_some_and(|token| !tokens.insert(token)) {
            let why = "the listing does not come to an end";
            return Err(BucketError::new(Kind::Server, "ListObjectsV2", prefix, why));
        }
        skipped += add_page(&means.prefix, prefix, &mut listing, page);
        progress.send_modify(|p| p.pages += 1);
        if token.is_none() {
            break;
        }
    }
    if skipped > 0 {
        warn!(prefix, skipped, "keys that cannot be names in a directory are not shown");
    }
    debug!(prefix, entries = listing.len(), "listed");
    Ok(Arc::new(listing))
}
