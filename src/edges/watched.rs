//! How a mount is, for those who watch it: what it is, whether it is ready, its status and its metrics. Owns what
//! each of them says; who asks, and over what, is in `edges::admin` and `edges::asked`. Blocking, but never for the
//! mount or for S3.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::tasks::measure::{measure, takes_writes};
use crate::tasks::parts::Parts;
use crate::tasks::registrar::Conditional;
use crate::world::metrics::METRICS;

/// A mount that is watched.
pub struct Watched {
    /// The mount's parts.
    pub parts: Arc<Parts>,
    about: About,
    serves: AtomicBool,
}

/// What does not change while a worker serves.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The program's version.
    pub version: &'static str,
    /// The bucket and prefix.
    pub source: String,
    /// The mount point.
    pub mountpoint: String,
    /// The writer id.
    pub writer: String,
    /// The spool.
    pub spool: String,
    /// Who writes what programs append: `kernel` or `daemon`.
    pub write_path: &'static str,
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
    s3: S3<'a>,
    live_files: usize,
    appended_bytes: u64,
    unuploaded_bytes: u64,
    oldest_unuploaded_seconds: f64,
    dropped_bytes: u64,
    conflicts: u64,
    quarantined_segments: u64,
    spool_used_bytes: u64,
    spool_free_bytes: u64,
}

/// How S3 is, as the uploader finds it.
#[derive(Serialize)]
struct S3<'a> {
    up: bool,
    /// Since when it is not, and why.
    away_seconds: Option<f64>,
    error: Option<&'a str>,
    /// What it does with conditional writes; unknown before the first registration.
    conditional_writes: Option<Conditional>,
}

impl Watched {
    /// A mount that does not serve yet.
    pub fn new(parts: Arc<Parts>, about: About) -> Watched {
        METRICS.worker_restarts.inc_by(about.worker_restarts);
        METRICS.write_path.get_or_create(&[("path", about.write_path)]).set(1);
        Watched { parts, about, serves: AtomicBool::new(false) }
    }

    /// Says whether the mount serves.
    pub fn serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    /// Whether programs can write into the mount. S3 has no say in this: an outage must not take pods out of
    /// service that go on well without it.
    pub fn ready(&self) -> Result<(), &'static str> {
        match (self.serves.load(Ordering::Acquire), takes_writes(&self.parts)) {
            (false, _) => Err("the mount does not serve (yet, or any more)"),
            (_, false) => Err("the spool is full"),
            (true, true) => Ok(()),
        }
    }

    /// The metrics, in the text form of OpenMetrics.
    pub fn metrics(&self) -> String {
        let now = measure(&self.parts);
        let grown = now.appended.saturating_sub(METRICS.appended_bytes.get());
        METRICS.appended_bytes.inc_by(grown);
        METRICS.live_files.set(now.live_files as i64);
        METRICS.unuploaded_bytes.set(now.unuploaded as i64);
        METRICS.oldest_unuploaded_seconds.set(now.oldest.as_secs_f64());
        METRICS.spool_used_bytes.set(now.spool_used as i64);
        METRICS.spool_free_bytes.set(now.spool_free as i64);
        METRICS.text()
    }

    /// The status, for scripts and people.
    pub fn status(&self) -> serde_json::Value {
        let now = measure(&self.parts);
        let s3 = self.parts.s3.lock().clone();
        let away = s3.away.as_ref();
        let clock = &self.parts.clock;
        let status = Status {
            about: &self.about,
            ready: self.ready().is_ok(),
            not_ready: self.ready().err(),
            s3: S3 {
                up: away.is_none(),
                away_seconds: away.map(|(at, _)| clock.now().since(*at).as_secs_f64().round()),
                error: away.map(|(_, why)| why.as_str()),
                conditional_writes: s3.conditional,
            },
            live_files: now.live_files,
            appended_bytes: now.appended,
            unuploaded_bytes: now.unuploaded,
            oldest_unuploaded_seconds: now.oldest.as_secs_f64(),
            dropped_bytes: self.parts.dropped.load(Ordering::Relaxed),
            conflicts: METRICS.conflicts.get(),
            quarantined_segments: METRICS.quarantined_segments.get(),
            spool_used_bytes: now.spool_used,
            spool_free_bytes: now.spool_free,
        };
        // Only a map whose keys are no strings cannot become JSON.
        serde_json::to_value(&status).unwrap_or_default()
    }
}
