//! State of a mount for monitoring: readiness, status and metrics. Owns the content of each; `worker::admin` and
//! `worker::control_server` serve them. Blocking, but never waits for the mount or for S3.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::request_costs::RequestCosts;
use crate::metrics::METRICS;
use crate::namespace::local::WhyLocal;
use crate::s3::bucket::Conditional;
use crate::settings::writer::{Source, WhenFull};
use crate::spool::Account;
use crate::sys::launch;
use crate::types::build;
use crate::types::clock::{Clock, SystemClock};
use crate::types::time::{Monotonic, Utc};
use crate::upload::measure::{lacking_logs, measure, takes_writes};
use crate::upload::outage::Backlog;
use crate::upload::parts::Parts;

/// Logs that are named beside the status.
const LOGS: usize = 10;

/// What is reported of a mount.
pub struct MountStatus {
    about: About,
    clock: SystemClock,
    /// When the counters began.
    began: Monotonic,
    serves: AtomicBool,
    /// What a reader mount has nothing of.
    writing: Option<Writing>,
}

/// What does not change while the process lives.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    version: &'static str,
    /// The commit that the program was built from, if that is known.
    commit: Option<&'static str>,
    /// The bucket and prefix.
    source: String,
    mountpoint: String,
    read_only: bool,
}

/// A mount that writes.
pub struct Writing {
    /// Its parts.
    pub parts: Arc<Parts>,
    /// Since when it has been served.
    pub since: Utc,
    /// How the spool fills.
    pub backlog: Arc<Mutex<Backlog>>,
    /// Whether the kernel writes what programs append, or the daemon.
    pub by_kernel: bool,
    /// How often a worker was replaced.
    pub worker_restarts: u64,
}

/// `logsinkfs status` and `/status`.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    about: &'a About,
    ready: bool,
    /// Why it is not.
    not_ready: Option<&'static str>,
    requests: RequestCosts,
    sent_bytes: u64,
    received_bytes: u64,
    #[serde(flatten)]
    writing: Option<serde_json::Value>,
}

/// What is added by a mount that writes.
#[derive(Serialize)]
struct WritingStatus {
    writer: String,
    spool: String,
    write_path: &'static str,
    mounted_since: String,
    mounted_seconds: f64,
    worker_restarts: u64,
    /// Where the log is, unless it is standard error.
    log: Option<String>,
    s3: S3,
    live_files: usize,
    local_files: usize,
    local_bytes: u64,
    /// Whole files that programs write, and that are uploaded when they have closed them.
    open_whole_files: usize,
    /// Copies of logs, which S3 has as the logs.
    copies: usize,
    copy_bytes: u64,
    names_bytes: u64,
    names_max_bytes: u64,
    open_handles: i64,
    appended_bytes: u64,
    uploaded_bytes: u64,
    stored_bytes: u64,
    unuploaded_bytes: u64,
    unuploaded_logs: usize,
    oldest_unuploaded_seconds: f64,
    #[serde(flatten)]
    lost: Account,
    dropped_bytes: u64,
    conflicts: u64,
    quarantined_segments: u64,
    spool_used_bytes: u64,
    spool_max_bytes: u64,
    spool_free_bytes: u64,
    /// How long the room lasts if what S3 lacks goes on growing as it did.
    spool_lasts_seconds: Option<f64>,
    spool_free_inodes: Option<u64>,
    /// What happens when there is no room left.
    when_full: &'static str,
    /// How long a continuously written log is unsent as a rule.
    rotate_interval_seconds: f64,
}

/// How S3 is, as the uploader finds it.
#[derive(Serialize)]
struct S3 {
    up: bool,
    /// Since when it is not, and why.
    away_seconds: Option<f64>,
    away_since: Option<String>,
    error: Option<String>,
    /// What a person can do about it.
    hint: Option<&'static str>,
    /// What it does with conditional writes; unknown before the first registration.
    conditional_writes: Option<Conditional>,
}

impl MountStatus {
    /// A mount that does not serve yet.
    pub fn new(source: &Source, point: &Path, writing: Option<Writing>) -> MountStatus {
        if let Some(writing) = &writing {
            METRICS.worker_restarts.inc_by(writing.worker_restarts);
            METRICS.write_path.get_or_create(&[("path", writing.path())]).set(1);
        }
        METRICS.build_info.get_or_create(&[("version", build::VERSION), ("commit", build::COMMIT)]).set(1);
        let about = About {
            version: build::VERSION,
            commit: Some(build::COMMIT).filter(|commit| !commit.is_empty()),
            source: source.url(),
            mountpoint: point.display().to_string(),
            read_only: writing.is_none(),
        };
        let clock = SystemClock::new();
        MountStatus { about, began: clock.monotonic(), clock, serves: AtomicBool::new(false), writing }
    }

    /// Says whether the mount serves.
    pub fn serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    /// Whether programs can use the mount, and write into it. S3 has no say in this: an outage must not take pods out
    /// of service that go on well without it.
    pub fn ready(&self) -> Result<(), &'static str> {
        let takes_writes = self.writing.as_ref().is_none_or(|w| takes_writes(&w.parts.disk));
        match (self.serves.load(Ordering::Acquire), takes_writes) {
            (false, _) => Err("the mount does not serve (yet, or any more)"),
            (_, false) => Err("the spool is full"),
            (true, true) => Ok(()),
        }
    }

    /// The metrics, in the text form of OpenMetrics.
    pub fn metrics(&self) -> String {
        METRICS.ready.set(self.ready().is_ok().into());
        if let Some(writing) = &self.writing {
            let now = measure(&writing.parts);
            let grown = now.appended.saturating_sub(METRICS.appended_bytes.get());
            METRICS.appended_bytes.inc_by(grown);
            METRICS.live_files.set(now.live_files as i64);
            for (why, (files, bytes)) in WhyLocal::ALL.into_iter().zip(now.local) {
                METRICS.local_files.get_or_create(&[("why", why.word())]).set(files as i64);
                METRICS.local_bytes.get_or_create(&[("why", why.word())]).set(bytes as i64);
            }
            METRICS.names_bytes.set(now.names.0 as i64);
            METRICS.quarantined_files.set(now.lost.quarantined_files as i64);
            METRICS.quarantined_bytes.set(now.lost.quarantined_bytes as i64);
            METRICS.dropped_listed_bytes.set(now.lost.dropped_listed_bytes as i64);
            METRICS.unuploaded_bytes.set(now.unuploaded as i64);
            METRICS.oldest_unuploaded_seconds.set(now.oldest.as_secs_f64());
            METRICS.spool_used_bytes.set(now.spool_used as i64);
            METRICS.spool_max_bytes.set(now.spool_max as i64);
            METRICS.spool_free_bytes.set(now.spool_free as i64);
            METRICS.spool_lasts_seconds.set(writing.spool_lasts().unwrap_or(f64::INFINITY));
            writing.count_s3();
        }
        METRICS.text(self.writing.is_some())
    }

    /// The status, for scripts and people.
    pub fn status(&self) -> serde_json::Value {
        let ready = self.ready();
        let status = Status {
            about: &self.about,
            ready: ready.is_ok(),
            not_ready: ready.err(),
            requests: RequestCosts::of(METRICS.attempts(), self.clock.monotonic().since(self.began)),
            sent_bytes: METRICS.s3_sent_bytes.get(),
            received_bytes: METRICS.s3_received_bytes.get(),
            writing: self.writing.as_ref().map(Writing::status),
        };
        // Only a map whose keys are no strings cannot become JSON.
        serde_json::to_value(&status).unwrap_or_default()
    }

    /// The status, and the logs that S3 lacks most of, by name: not for everybody.
    pub fn status_with_logs(&self) -> serde_json::Value {
        let mut status = self.status();
        if let (Some(writing), Some(status)) = (&self.writing, status.as_object_mut()) {
            let (logs, all) = lacking_logs(&writing.parts, LOGS);
            status.insert("logs_left_out".to_owned(), (all - logs.len()).into());
            status.insert("logs".to_owned(), serde_json::to_value(logs).unwrap_or_default());
        }
        status
    }
}

impl Writing {
    fn path(&self) -> &'static str {
        if self.by_kernel { "kernel" } else { "daemon" }
    }

    /// How many seconds the room lasts, while it shrinks.
    fn spool_lasts(&self) -> Option<f64> {
        self.backlog.lock().lasts.map(|lasts| lasts.as_secs_f64())
    }

    /// Has the metrics say how S3 is.
    fn count_s3(&self) {
        let s3 = self.parts.queues.s3.borrow().clone();
        METRICS.s3_up.set(s3.is_up().into());
        if let Some(conditional) = s3.conditional {
            for (condition, word) in [(Conditional::Enforced, "enforced"), (Conditional::Ignored, "ignored")] {
                let is_so = (conditional == condition).into();
                METRICS.s3_conditional_writes.get_or_create(&[("condition", word)]).set(is_so);
            }
        }
    }

    fn status(&self) -> serde_json::Value {
        let (parts, now) = (&self.parts, measure(&self.parts));
        let seconds = |since| parts.ports.clock.now().since(since).as_secs_f64().round();
        let log = launch::is_background().then(|| parts.disk.spool.dir().join(launch::LOG));
        let s3 = parts.queues.s3.borrow().clone();
        let outage = s3.outage.as_ref();
        let status = WritingStatus {
            writer: parts.disk.spool.identity().writer.to_string(),
            spool: parts.disk.spool.dir().display().to_string(),
            write_path: self.path(),
            mounted_since: self.since.to_name(),
            mounted_seconds: seconds(self.since),
            worker_restarts: self.worker_restarts,
            log: log.map(|log| log.display().to_string()),
            s3: S3 {
                up: s3.is_up(),
                away_seconds: outage.map(|outage| seconds(outage.since)),
                away_since: outage.map(|outage| outage.since.to_name()),
                error: outage.map(|outage| outage.error.to_string()),
                hint: outage.map(|outage| outage.error.kind.hint()),
                conditional_writes: s3.conditional,
            },
            live_files: now.live_files,
            local_files: now.local_files,
            local_bytes: now.local_bytes,
            open_whole_files: now.open_whole,
            copies: now.local[2].0,
            copy_bytes: now.local[2].1,
            names_bytes: now.names.0,
            names_max_bytes: now.names.1,
            open_handles: METRICS.open_handles.get(),
            appended_bytes: now.appended,
            uploaded_bytes: METRICS.uploaded_bytes.get(),
            stored_bytes: METRICS.stored_bytes.get(),
            unuploaded_bytes: now.unuploaded,
            unuploaded_logs: now.unuploaded_logs,
            oldest_unuploaded_seconds: now.oldest.as_secs_f64(),
            lost: now.lost,
            dropped_bytes: parts.queues.dropped.load(Ordering::Relaxed),
            conflicts: METRICS.conflicts.get(),
            quarantined_segments: METRICS.quarantined_segments.get(),
            spool_used_bytes: now.spool_used,
            spool_max_bytes: now.spool_max,
            spool_free_bytes: now.spool_free,
            spool_lasts_seconds: self.spool_lasts(),
            spool_free_inodes: now.spool_free_inodes,
            when_full: match parts.disk.when_full {
                WhenFull::DropOldest => "drop-oldest",
                WhenFull::Block => "block",
                WhenFull::Error => "error",
            },
            rotate_interval_seconds: parts.disk.segmenting.rules.interval.as_secs_f64(),
        };
        serde_json::to_value(&status).unwrap_or_default()
    }
}
