//! The two queues on the way of the data: log files that have grown (file system to sealer) and sealed segments (sealer
//! to uploader). Both are bounded by what the spool holds: a log file is queued at most twice, a segment once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::format::naming::MarkerName;
use crate::log_file::LogFile;
use crate::types::ids::{GenerationNo, SpoolOffset};

/// Lives that the sealer has to look at.
#[derive(Debug, Default)]
pub struct WatchList {
    logs: Mutex<Vec<Arc<LogFile>>>,
    news: Notify,
    urgent: Notify,
}

impl WatchList {
    /// Adds a log file. Being there twice does no harm; the caller's mark on the log file avoids it.
    pub fn push(&self, log: Arc<LogFile>) {
        self.logs.lock().push(log);
        self.news.notify_one();
    }

    /// Adds a log file that somebody waits for.
    pub fn push_urgent(&self, log: Arc<LogFile>) {
        self.logs.lock().push(log);
        self.urgent.notify_one();
    }

    /// Waits for something to be added; where nobody waits for it, for more of the kind to come within `gather`.
    pub async fn changed(&self, gather: Duration) {
        let more = async {
            self.news.notified().await;
            tokio::time::sleep(gather).await;
        };
        tokio::select! {
            () = more => {}
            () = self.urgent.notified() => {}
        }
    }

    /// Takes all.
    pub fn take(&self) -> Vec<Arc<LogFile>> {
        std::mem::take(&mut *self.logs.lock())
    }
}

/// A sealed segment on its way.
#[derive(Clone, Debug)]
pub struct Job {
    /// The log.
    pub log: Arc<LogFile>,
    /// Where the segment starts in the spool file.
    pub start: SpoolOffset,
    /// Its generation: what begins there may be another one by now.
    pub generation: GenerationNo,
    /// Whether a try that was made may have arrived: an object under the key can be our own then.
    pub may_have_arrived: bool,
}

impl Job {
    /// The segment, as long as it is to be uploaded.
    pub fn segment(&self) -> Option<MarkerName> {
        self.log.state().segments.starting_at(self.start).filter(|name| name.generation == self.generation)
    }
}

/// Segments that wait for the uploader, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    jobs: Mutex<VecDeque<Job>>,
    news: Notify,
}

impl Outbox {
    /// Adds a segment.
    pub fn push(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.news.notify_one();
    }

    /// Puts a segment back that was taken too early.
    pub fn put_back(&self, job: Job) {
        self.jobs.lock().push_front(job);
    }

    /// Waits for something to be added.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.lock().is_empty()
    }
}
