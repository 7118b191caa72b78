//! What the tasks and the file system share, in three: what is outside (bucket, time), the spool with what is in it,
//! and what the tasks have to do and tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::outbox::{Outbox, WatchList};
use crate::listing::catalog::Catalog;
use crate::listing::lister;
use crate::listing::lister::ListerConfig;
use crate::log_file::readers::Readers;
use crate::log_file::stream::Streams;
use crate::log_file::{LogFile, State};
use crate::metrics::METRICS;
use crate::namespace::Namespace;
use crate::s3::bucket::{Bucket, Conditional};
use crate::settings::objects::ObjectOptions;
use crate::settings::writer::{Segmenting, WhenFull};
use crate::spool::Spool;
use crate::spool::disk_budget::DiskBudget;
use crate::spool::record::Content;
use crate::spool::shared_budget::Account;
use crate::types::bucket_error::BucketError;
use crate::types::clock::Clock;
use crate::types::escape::escape_path;
use crate::types::ids::{NodeId, SpoolOffset};
use crate::types::shares::Use;
use crate::types::time::Utc;

/// An outage: S3 as a whole cannot be used.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Since when.
    pub since: Utc,
    /// Why, as it was said last.
    pub error: BucketError,
}

/// How S3 is, as the uploader finds it.
#[derive(Clone, Debug, Default)]
pub struct S3State {
    /// The outage, while there is one.
    pub outage: Option<Outage>,
    /// What it does with conditions, once that is known.
    pub conditional: Option<Conditional>,
}

impl S3State {
    /// Whether it takes segments, as far as is known.
    pub fn is_up(&self) -> bool {
        self.outage.is_none() && self.conditional.is_some()
    }

    /// Whether it has answered, or was found not to.
    pub fn is_known(&self) -> bool {
        self.outage.is_some() || self.conditional.is_some()
    }
}

impl From<&Parts> for ListerConfig {
    fn from(parts: &Parts) -> ListerConfig {
        ListerConfig {
            bucket: parts.ports.bucket.clone(),
            catalog: parts.ports.catalog.clone(),
            clock: parts.ports.clock.clone(),
            prefix: parts.ports.prefix.clone(),
            partition: Some(parts.disk.segmenting.partition.clone()),
            patience: lister::PATIENCE,
        }
    }
}

/// What a mount works on. Each function takes the part that it needs, or all where it needs several.
pub struct Parts {
    /// What is outside.
    pub ports: Ports,
    /// The spool, and what is in it.
    pub disk: Disk,
    /// What the tasks have to do, and tell each other.
    pub queues: Queues,
}

/// The bucket, what is known of it, and the time.
pub struct Ports {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// What the bucket is known to hold.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Empty, or ending in `/`.
    pub prefix: String,
    /// How new objects are stored.
    pub objects: ObjectOptions,
}

/// The spool, what is in it, and the rules by which it fills and empties.
pub struct Disk {
    /// The spool's identity and layout.
    pub spool: Arc<Spool>,
    /// The live view.
    pub namespace: Arc<Namespace>,
    /// The streams' numbers.
    pub streams: Streams,
    /// How much of it may be used.
    pub budget: DiskBudget,
    /// How appends become segments.
    pub segmenting: Segmenting,
    /// How long a finished log stays in the live view.
    pub retire_after: Duration,
    /// What happens when the spool is full.
    pub when_full: WhenFull,
}

/// What the tasks have to do, and tell each other.
#[derive(Default)]
pub struct Queues {
    /// Log files that have grown.
    pub watch_list: WatchList,
    /// Segments that wait for S3.
    pub outbox: Outbox,
    /// How S3 is.
    pub s3: watch::Sender<S3State>,
    /// Told when changes of the live view have left something to be done.
    pub chores: Notify,
    /// Bumped whenever something was sealed, confirmed or reclaimed.
    pub progress: watch::Sender<u64>,
    /// Who reads logs, and may copy them.
    pub readers: Readers,
    /// No writes come any more.
    pub is_stopping: AtomicBool,
    /// Bytes that were dropped since the start.
    pub dropped: AtomicU64,
    /// Bytes that were sealed since the start.
    pub sealed: AtomicU64,
}

impl Parts {
    /// Has done, by somebody else, what a change of the live view left to be done.
    pub fn tidy(&self) {
        if self.disk.namespace.has_chores() {
            self.queues.chores.notify_one();
        }
    }
}

impl Queues {
    /// Says that a log file has grown or has something else for the sealer. To be called after the bytes are in the
    /// spool file, so that the sealer, which takes it off the list, sees them.
    pub fn touch(&self, log: &Arc<LogFile>) {
        if log.start_watch() {
            self.watch_list.push(log.clone());
        }
    }

    /// Asks for everything that is written now to be sealed at once.
    pub fn force(&self, log: &Arc<LogFile>) {
        let len = log.len().unwrap_or_default();
        log.state().force_to(len);
        log.start_watch();
        self.watch_list.push_urgent(log.clone());
    }

    /// Says that something was sealed, confirmed or reclaimed.
    pub fn bump(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    /// Counts bytes that were dropped; gives how many it were since the start.
    pub fn count_dropped(&self, bytes: u64) -> u64 {
        METRICS.dropped_bytes.inc_by(bytes);
        self.dropped.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Disk {
    /// What a file is that is no log.
    pub fn in_place(&self) -> Content {
        if self.segmenting.keep_whole { Content::Local } else { Content::Whole }
    }

    /// On which account the bytes of a log file are: that of its node's part.
    pub fn account<'a>(&self, log: &'a LogFile) -> &'a Account {
        let account = || self.budget.live.account(&self.namespace.part(log.id));
        log.account.get_or_init(account)
    }

    /// On which account the bytes of a local file are.
    pub fn local_account(&self, id: NodeId) -> Arc<Account> {
        self.budget.local.account(&self.namespace.part(id))
    }

    /// Counts as taken what a log file has grown by, whether the kernel or the daemon wrote it.
    pub fn count(&self, account: &Account, state: &mut State, len: SpoolOffset) {
        let counted = state.count(len);
        // A write that the daemon is just making may be counted before it is there.
        self.budget.live.add(account, len.since(counted));
        self.budget.live.remove(account, counted.since(len));
    }

    /// Counts as taking so many bytes a file that is written in place; gives what whole files take then.
    pub fn count_whole(&self, log: &LogFile, size: u64) -> Use {
        let whole = &self.budget.whole;
        let account = log.whole_account.get_or_init(|| whole.account(&self.namespace.part(log.id)));
        let before = log.whole_bytes.swap(size, Ordering::Relaxed);
        whole.remove(account, before.saturating_sub(size));
        whole.add(account, size.saturating_sub(before))
    }

    /// Counts bytes of a log file that are gone from the disk, or were not written after all.
    pub fn give(&self, log: &LogFile, bytes: u64) {
        self.budget.live.remove(self.account(log), bytes);
        let whole = log.whole_bytes.load(Ordering::Relaxed);
        if whole > 0 {
            self.count_whole(log, whole.saturating_sub(bytes));
        }
    }

    /// A log for people: its path in the mount, or that of its stream when it has no name any more.
    pub fn path_of(&self, log: &LogFile) -> String {
        let path = self.namespace.path(log.id);
        escape_path(&path.unwrap_or_else(|_| log.stream().path.clone()))
    }

    /// Bytes that S3 has not confirmed, in all live files.
    pub fn unsent(&self) -> u64 {
        let unsent = |log: &Arc<LogFile>| {
            let len = log.len().unwrap_or_default();
            log.state().unsent(len)
        };
        self.namespace.logs().iter().map(unsent).sum()
    }
}
