//! Lookups and listings of the bucket: from the catalog while it is fresh, otherwise from S3, with one request for
//! concurrent callers and a short wait. Owns what is in flight and the pause after a failure.
//!
//! Invariants: a name never costs a HEAD. A lookup waits for two LISTs at most, one after the other, however large the
//! directory is. While S3 is known to be down nobody waits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{try_join_all, try_join3};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::catalog::Catalog;
use super::listing_pages::{ListingPages, PageEvent, Progress};
use crate::format::folders::{folders_of_log, folders_of_whole};
use crate::format::naming::{PRIVATE_FOLDER, SEGMENTS};
use crate::format::partition::PartitionTemplate;
use crate::namespace::NAME_MAX;
use crate::namespace::listing::{Listed, Listing, Row, Stored};
use crate::s3::bucket::{Bucket, ListPage};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::clock::Clock;
use crate::types::freshness::Age;
use crate::types::time::Monotonic;

/// Longest wait of a look-up, or of a readdir for its first answer of S3, where live files answer as well.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure nobody asks again for this long.
const DOWN_FOR: Duration = Duration::from_secs(5);
/// Most pages of one listing, of 1,000 names each: twice what the catalog keeps.
const PAGES_MAX: usize = 1000;
/// Names that are asked for at once; a caller beyond that gets what was last known.
const PROBES_MAX: usize = 64;

/// Told which objects below a prefix turned out to be replaced or gone.
pub type Outdated = Box<dyn Fn(&str, &[Box<[u8]>]) + Send + Sync>;

/// What a lister works with.
#[derive(Clone)]
pub struct ListerConfig {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// What the bucket is known to hold.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Empty, or ending in `/`.
    pub prefix: String,
    /// How the folders of segments are named that are listed before anybody asks; nothing where nobody does.
    pub partition: Option<PartitionTemplate>,
    /// Longest wait for the first answer of S3.
    pub patience: Duration,
}

/// Asks S3 for listings.
#[derive(Clone)]
pub struct Lister(Arc<ListerState>);

struct ListerState {
    config: ListerConfig,
    runtime: tokio::runtime::Handle,
    listings: Mutex<HashMap<String, Job>>,
    probes: Mutex<HashMap<String, watch::Receiver<bool>>>,
    down_until: Mutex<Monotonic>,
    outdated: Outdated,
}

/// A listing that is being fetched, and whether all of it is wanted or only its first page.
struct Job {
    progress: watch::Receiver<Progress>,
    whole: bool,
}

impl Lister {
    /// A lister whose requests run on `runtime`.
    pub fn new(config: ListerConfig, runtime: tokio::runtime::Handle, outdated: Outdated) -> Lister {
        let (listings, probes, down_until) = Default::default();
        Lister(Arc::new(ListerState { config, runtime, listings, probes, down_until, outdated }))
    }

    /// The whole listing of a prefix without waiting. One that is old, but not too old, is refreshed meanwhile.
    pub fn known(&self, prefix: &str) -> Option<Arc<Listing>> {
        let (age, listing) = self.0.config.catalog.listing(prefix, self.0.now())?;
        if !listing.is_whole() {
            return None;
        }
        match age {
            Age::Fresh => Some(listing),
            Age::Aging => {
                self.refresh(prefix, true);
                Some(listing)
            }
            Age::Old => None,
        }
    }

    /// What a name is known to stand for without waiting.
    pub fn known_name(&self, prefix: &str, name: &[u8]) -> Listed {
        let Some((age, found)) = self.0.config.catalog.name(prefix, name, self.0.now()) else {
            return Listed::Unknown;
        };
        match age {
            Age::Fresh => Listed::of(found),
            Age::Aging => {
                if self.0.is_large(prefix) {
                    drop(self.probe(prefix, name))
                } else {
                    self.refresh(prefix, true)
                }
                Listed::of(found)
            }
            Age::Old => Listed::Unknown,
        }
    }

    /// What a name stands for; what was last known of it, or nothing, when S3 does not answer in time.
    pub async fn name(&self, prefix: &str, name: &[u8]) -> Option<Stored> {
        match self.known_name(prefix, name) {
            Listed::Unknown => {}
            known => return known.present(),
        }
        if !self.0.is_down() {
            let asked = tokio::time::timeout(self.0.config.patience, self.find_out(prefix, name)).await;
            if let Ok(known @ (Listed::Absent | Listed::Present(_))) = asked {
                return known.present();
            }
        }
        let now = self.0.now();
        self.0.config.catalog.name(prefix, name, now).and_then(|(_, found)| found)
    }

    /// Asks for a name; what there is to know is in the catalog then, unless it is given. The first page of the
    /// directory costs as much as the name alone, and is all there is of most directories.
    async fn find_out(&self, prefix: &str, name: &[u8]) -> Listed {
        if !self.0.is_large(prefix) {
            let Some(Progress { listing, end }) = self.first_page(prefix).await else {
                return Listed::Unknown;
            };
            let listed = listing.get(name);
            if listed != Listed::Unknown || end == Some(Err(())) {
                return listed;
            }
        }
        if let Some(mut probe) = self.probe(prefix, name) {
            let _ = probe.wait_for(|done| *done).await;
        }
        Listed::Unknown
    }

    async fn first_page(&self, prefix: &str) -> Option<Progress> {
        let mut progress = self.begin(prefix, false);
        let has_page = |p: &Progress| p.end.is_some() || !p.listing.pages().is_empty();
        let progress = progress.wait_for(has_page).await.ok()?;
        Some(progress.clone())
    }

    /// The whole listing of a prefix; what was last known of it, or `None`, when S3 does not answer in time. Each page
    /// has its own time.
    pub async fn listing(&self, prefix: &str) -> Option<Arc<Listing>> {
        if let Some(listing) = self.known(prefix) {
            return Some(listing);
        }
        let mut feed = self.feed(prefix);
        let mut pages = 0;
        while let Some(feed) = &mut feed {
            match feed.more(pages).await {
                PageEvent::Pages(more, _) => pages += more.len(),
                PageEvent::End => return Some(feed.listing()),
                PageEvent::Failed => break,
            }
        }
        self.last_known(prefix)
    }

    /// Whether a name below a prefix is one that `counts`, by what can be found out in time, or was last known.
    pub async fn has(&self, prefix: &str, counts: impl Fn(&Row) -> bool) -> bool {
        let known = self.known(prefix);
        if known.is_none()
            && let Some(mut feed) = self.feed(prefix)
            && let ask = tokio::time::timeout(self.0.config.patience, feed.has(&counts))
            && let Ok(Some(found)) = ask.await
        {
            return found;
        }
        known.or_else(|| self.last_known(prefix)).is_some_and(|known| known.rows().any(counts))
    }

    /// The last whole listing of a prefix, however old.
    pub fn last_known(&self, prefix: &str) -> Option<Arc<Listing>> {
        let (_, listing) = self.0.config.catalog.listing(prefix, self.0.now())?;
        listing.is_whole().then_some(listing)
    }

    /// The listing of a prefix as it comes in; `None` while S3 is known to be down.
    pub fn feed(&self, prefix: &str) -> Option<ListingPages> {
        (!self.0.is_down())
            .then(|| ListingPages { progress: self.begin(prefix, true), patience: self.0.config.patience })
    }

    /// Whether S3 is known to be down.
    pub fn is_down(&self) -> bool {
        self.0.is_down()
    }

    /// Somebody else found that S3 does not answer.
    pub fn found_down(&self) {
        self.0.rest();
    }

    fn refresh(&self, prefix: &str, whole: bool) {
        if !self.0.is_down() {
            drop(self.begin(prefix, whole));
        }
    }

    /// Joins the request for a prefix that is under way, or begins one. It goes on when nobody waits any more, so that
    /// the next who looks finds it.
    fn begin(&self, prefix: &str, whole: bool) -> watch::Receiver<Progress> {
        let mut listings = self.0.listings.lock();
        if let Some(job) = listings.get_mut(prefix) {
            job.whole |= whole;
            return job.progress.clone();
        }
        let (sender, progress) = watch::channel(Progress::default());
        let job = Job { progress: progress.clone(), whole };
        listings.insert(prefix.to_owned(), job);
        self.0.runtime.spawn(self.clone().fetch(prefix.to_owned(), sender));
        progress
    }

    async fn fetch(self, prefix: String, progress: watch::Sender<Progress>) {
        let inner = &self.0;
        let mut at = inner.now();
        let mut listing = Listing::of(&prefix);
        // What a look-up began is gone on with.
        if let Some((Age::Fresh, begun)) = inner.config.catalog.listing(&prefix, at)
            && !begun.is_whole()
        {
            at = inner.config.catalog.listed_at(&prefix).unwrap_or(at);
            listing = (*begun).clone();
            progress.send_modify(|progress| progress.listing = begun);
        }
        let (mut tokens, mut skipped) = (HashSet::new(), 0);
        let mut begun = !listing.is_whole();
        let end = loop {
            if begun && inner.is_enough(&prefix, &listing) {
                break Ok(());
            }
            begun = true;
            match inner.page(&prefix, listing.next.as_deref(), &mut tokens).await {
                Ok(page) => skipped += listing.add_page(&inner.config.prefix, page),
                Err(e) => break Err(e),
            }
            progress.send_modify(|progress| progress.listing = Arc::new(listing.clone()));
        };
        if end.is_err() {
            inner.listings.lock().remove(&prefix);
        }
        if skipped > 0 {
            warn!(prefix, skipped, "keys that cannot be names in a directory are not shown");
        }
        let end = match end {
            Ok(()) => {
                debug!(prefix, entries = listing.len(), "listed");
                let outdated = inner.config.catalog.insert(&prefix, Arc::new(listing.clone()), at);
                if !outdated.is_empty() {
                    (inner.outdated)(&prefix, &outdated);
                }
                Ok(())
            }
            Err(e) => {
                inner.failed(&e);
                Err(())
            }
        };
        progress.send_modify(|progress| progress.end = Some(end));
        self.prefetch(&prefix, &listing);
    }

    /// Joins the request for one name, or begins one.
    fn probe(&self, prefix: &str, name: &[u8]) -> Option<watch::Receiver<bool>> {
        let key = format!("{prefix}{}", std::str::from_utf8(name).ok()?);
        let mut probes = self.0.probes.lock();
        if let Some(probe) = probes.get(&key) {
            return Some(probe.clone());
        }
        if probes.len() == PROBES_MAX || self.0.is_down() {
            return None;
        }
        let (sender, receiver) = watch::channel(false);
        probes.insert(key.clone(), receiver.clone());
        let (inner, prefix, name) = (self.0.clone(), prefix.to_owned(), name.to_owned());
        self.0.runtime.spawn(async move {
            let at = inner.now();
            match inner.ask_for(&prefix, &key, &name).await {
                Ok(found) => {
                    if inner.config.catalog.insert_name(&prefix, &name, found, at) {
                        (inner.outdated)(&prefix, &[name.into()]);
                    }
                }
                Err(e) => inner.failed(&e),
            }
            inner.probes.lock().remove(&key);
            sender.send_replace(true);
        });
        Some(receiver)
    }

    /// Who lists a stream's segments looks at today's next: its folder is listed while nobody waits for it, as long as
    /// enough LISTs are left.
    fn prefetch(&self, prefix: &str, listing: &Listing) {
        let config = &self.0.config;
        let (Some(partition), Some((_, below))) = (&config.partition, prefix.rsplit_once(SEGMENTS)) else {
            return;
        };
        let today = partition.of(config.clock.now());
        let next = today.strip_prefix(below).and_then(|rest| rest.split('/').next());
        let Some(next) = next.filter(|next| !next.is_empty()) else { return };
        let folder = format!("{prefix}{next}/");
        let there = listing.get(next.as_bytes()) == Listed::Present(Stored::Prefix);
        let known = config.catalog.listing(&folder, self.0.now()).is_some();
        if there && !known && config.catalog.has_spare_lists(self.0.now()) {
            self.refresh(&folder, false);
        }
    }
}

impl ListerState {
    fn now(&self) -> Monotonic {
        self.config.clock.monotonic()
    }

    fn is_down(&self) -> bool {
        self.now() < *self.down_until.lock()
    }

    /// Whether a directory is known to have more than one page, however long ago.
    fn is_large(&self, prefix: &str) -> bool {
        let known = self.config.catalog.listing(prefix, self.now());
        known.is_some_and(|(_, listing)| !listing.is_whole() || listing.pages().len() > 1)
    }

    /// Whether nobody wants more of a listing than there is; it is not under way any more then.
    fn is_enough(&self, prefix: &str, listing: &Listing) -> bool {
        let mut listings = self.listings.lock();
        let wanted = listings.get(prefix).is_some_and(|job| job.whole) && !listing.is_whole();
        if !wanted {
            listings.remove(prefix);
        }
        !wanted
    }

    fn rest(&self) {
        *self.down_until.lock() = self.now() + DOWN_FOR;
    }

    fn failed(&self, e: &BucketError) {
        self.rest();
        let hint = e.kind.hint();
        warn!(hint, "the bucket cannot be listed; live files are shown alone: {e}");
    }

    async fn list(&self, prefix: &str, token: Option<&str>) -> Result<ListPage, BucketError> {
        while let Err(wait) = self.config.catalog.take_list(self.now()) {
            tokio::time::sleep(wait).await;
        }
        self.config.bucket.list_page(prefix, token).await
    }

    async fn page(
        &self,
        prefix: &str,
        token: Option<&str>,
        tokens: &mut HashSet<String>,
    ) -> Result<ListPage, BucketError> {
        let page = self.list(prefix, token).await?;
        let again = page.next.clone().is_some_and(|token| !tokens.insert(token));
        if again || tokens.len() > PAGES_MAX {
            let why = "the listing does not come to an end";
            return Err(BucketError::new(Kind::Server, "ListObjectsV2", prefix, why));
        }
        Ok(page)
    }

    /// Asks for all names that begin with one: the object itself comes first, its prefix behind what has a byte before
    /// `/` in its place (`app`, `app-1`, ..., `app.segments/`, `app/`). What that does not tell is asked for at once.
    async fn ask_for(&self, prefix: &str, key: &str, name: &[u8]) -> Result<Option<Stored>, BucketError> {
        let mut listing = Listing::of(prefix);
        listing.add_page(&self.config.prefix, self.list(key, None).await?);
        let directory = self.has_prefix(&listing, (prefix, name), name);
        let there = |folder: String| {
            let listing = &listing;
            async move {
                let there = self.has_prefix(listing, (prefix, name), folder.as_bytes()).await?;
                Ok::<_, BucketError>(there.then(|| format!("{prefix}{folder}/")))
            }
        };
        let files = try_join_all(folders_of_whole(name).map(there));
        let logs = try_join_all(folders_of_log(name).map(there));
        let (directory, files, logs) = try_join3(directory, files, logs).await?;
        if directory {
            return Ok(Some(Stored::Prefix));
        }
        let log = logs.into_iter().flatten().next().map(Stored::Log);
        Ok(Stored::of_name(files.into_iter().flatten().next(), log.or_else(|| listing.object(name))))
    }

    /// Whether a prefix is there, by a listing of all names that begin with `name`, or by one of its own.
    async fn has_prefix(
        &self,
        listing: &Listing,
        (prefix, name): (&str, &[u8]),
        folder: &[u8],
    ) -> Result<bool, BucketError> {
        let Ok(text) = str::from_utf8(folder) else { return Ok(false) };
        if let Some(there) = listing.has_prefix(folder).filter(|_| folder.starts_with(name)) {
            return Ok(there);
        }
        if folder.len() > NAME_MAX || text == PRIVATE_FOLDER && prefix == self.config.prefix {
            return Ok(false);
        }
        let page = self.list(&format!("{prefix}{text}/"), None).await?;
        Ok(!(page.objects.is_empty() && page.prefixes.is_empty()))
    }
}
