//! Builds the parts of a writer mount from its settings and its spool. Nothing runs yet when these functions return;
//! `worker::daemon` owns the order of start and stop.

use std::path::Path;
use std::sync::Arc;

use tracing::info;

use super::connect::Embedded;
#[cfg(feature = "embedded-bucket")]
use super::connect::{EMBEDDED_NAME, served_by};
use super::error::DaemonError;
#[cfg(feature = "embedded-bucket")]
use super::kept_port::KeptPort;
use crate::fs::Policy;
use crate::fs::surplus::NODES_MAX;
use crate::listing::catalog::Catalog;
use crate::log_file::stream::Streams;
use crate::namespace::recover::{Circumstances, recover};
use crate::namespace::{Namespace, Open};
use crate::s3::bucket::Bucket;
use crate::s3::sdk::S3Bucket;
use crate::settings::writer::{Settings, Source, SpoolSettings};
use crate::spool::Spool;
use crate::spool::disk_budget::DiskBudget;
use crate::spool::numbers::Numbers;
use crate::types::clock::Clock;
use crate::types::ids::{SessionId, WriterId};
use crate::types::random;
use crate::upload::drop;
use crate::upload::outbox::Job;
use crate::upload::parts::{Disk, Parts, Ports, Queues};
use crate::upload::registrar::Registrar;

/// Descriptors that the worker keeps for itself (half, where it has few): bodies being sent, connections, markers,
/// sockets.
const OWN_DESCRIPTORS: u64 = 256;
/// Most handles, whatever the limit on open files is: each takes 64 bytes of a table on the disk, and some hundred of
/// memory.
const HANDLES_MAX: u64 = 100_000;

/// Builds the parts of a mount from what its spool holds. Nothing runs yet.
pub fn recover_parts(
    settings: &SpoolSettings,
    spool: Spool,
    bucket: Arc<dyn Bucket>,
    clock: Arc<dyn Clock>,
) -> Result<Parts, DaemonError> {
    let spool = Arc::new(spool);
    let streams = Streams::new(Numbers::open(&spool, clock.now())?);
    let budget = DiskBudget::new(spool.dir(), &settings.limits, settings.segmenting.rules.size)?;
    let open = spool.session().nodes_left();
    let at = Circumstances { open: &open, streams: &streams, now: clock.now() };
    let found = recover(&spool, at)?;
    let namespace = Namespace::load(spool.clone(), (settings.ownership, settings.limits.names_max), found, clock.now());
    // Not before: on a full disk recovery may need the room.
    spool.refill_ballast();
    let disk = Disk {
        spool,
        namespace: Arc::new(namespace),
        streams,
        budget,
        segmenting: settings.segmenting.clone(),
        retire_after: settings.retire_after,
        when_full: settings.limits.when_full,
    };
    let catalog = Arc::new(Catalog::new(settings.freshness));
    let objects = settings.s3.objects.clone();
    let ports = Ports { bucket, catalog, clock, prefix: settings.source.prefix().to_owned(), objects };
    let parts = Parts { ports, disk, queues: Queues::default() };
    count_found(&parts.disk);
    Ok(parts)
}

/// Counts the bytes that are in the spool, over the limits or not.
fn count_found(disk: &Disk) {
    for log in disk.namespace.logs() {
        let (held, whole) = {
            let state = log.state();
            let held = state.held(state.counted());
            let size = state.counted().since(state.current().at);
            (held, if state.content().is_in_place() { size.min(held) } else { 0 })
        };
        disk.budget.live.add(disk.account(&log), held);
        disk.count_whole(&log, whole);
    }
    for (id, bytes) in disk.namespace.each_excluded_file() {
        disk.budget.local.add(&disk.local_account(id), bytes);
    }
}

/// Puts what recovery found on the lists of those who go on with it.
pub fn resume(parts: &Parts) {
    let (mut segments, mut tails) = (0, 0);
    for log in parts.disk.namespace.logs() {
        let sealed: Vec<_> = {
            let state = log.state();
            let sealed = state.segments.iter().filter(|s| s.phase.owes_object());
            sealed.map(|s| (s.range.start, s.generation)).collect()
        };
        for (start, generation) in sealed {
            segments += 1;
            // The daemon before may have sent it and died before the answer.
            let job = Job { log: log.clone(), start, generation, may_have_arrived: true };
            parts.queues.outbox.push(job);
        }
        for source in log.state().current().sources.iter().flatten() {
            if let Ok(Open::Live(original)) = parts.disk.namespace.open(source.node) {
                original.suspect(&log);
            }
        }
        tails += usize::from(log.len().unwrap_or_default() > log.state().sealed_end());
        // A tail is sealed in its time, an ended one removed.
        parts.queues.touch(&log);
    }
    drop::note_again(parts);
    if segments + tails > 0 {
        info!(segments, tails, unsent = parts.disk.unsent(), "recovered from the spool");
    }
}

/// What the file system is told of the settings.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        view: settings.view,
        routing: settings.routing.clone(),
        strict_append: settings.strict_append,
        fsync: settings.fsync,
        metadata_ttl: settings.spool.freshness.listed,
        handles_max: handles_max(descriptors()),
        nodes_max: NODES_MAX,
    }
}

/// How many handles programs may have.
fn handles_max(descriptors: u64) -> u64 {
    (descriptors - OWN_DESCRIPTORS.min(descriptors / 2)).min(HANDLES_MAX)
}

/// How many descriptors this process may have.
fn descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Who registers this start.
pub fn registrar() -> Registrar {
    let uname = rustix::system::uname();
    Registrar {
        instance: random::id(),
        host: uname.nodename().to_string_lossy().into_owned(),
        pod: std::env::var("POD_NAME").ok(),
        new_writer,
    }
}

/// Forms a writer id from the readable part.
pub fn new_writer(readable: &str) -> WriterId {
    WriterId::compose(readable, random::below)
}

/// Finds wrong what can be judged of the way to the bucket without asking S3.
pub async fn check_bucket(settings: &SpoolSettings) -> Result<(), DaemonError> {
    match &settings.source {
        Source::S3 { bucket, .. } => {
            S3Bucket::new(bucket, &settings.s3, None).check().await.map_err(|e| DaemonError::Bucket(e.into()))
        }
        Source::Embedded { .. } if cfg!(feature = "embedded-bucket") => Ok(()),
        Source::Embedded { .. } => Err(without_embedded()),
    }
}

fn without_embedded() -> DaemonError {
    DaemonError::Embedded("this program was built without it".to_owned())
}

/// Prepares the bucket; for `file:///DIR` starts the embedded one, at the port that the workers of the session before
/// this one had: clients outside may have been told.
#[cfg(feature = "embedded-bucket")]
pub fn connect(
    settings: &SpoolSettings,
    spool: &Path,
    session: Option<&SessionId>,
) -> Result<(S3Bucket, Embedded), DaemonError> {
    use embedded_s3::EmbeddedBucket;
    match &settings.source {
        Source::S3 { bucket, .. } => Ok((S3Bucket::new(bucket, &settings.s3, None), None)),
        Source::Embedded { dir } => {
            let port = session.map(|session| KeptPort::new(spool, session));
            let kept = port.as_ref().and_then(KeptPort::read);
            let start = |port| {
                let at = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
                EmbeddedBucket::start(dir, EMBEDDED_NAME, at)
            };
            let again = kept.and_then(|port| start(port).ok());
            let moved = again.is_none();
            let server = again.map_or_else(|| start(0), Ok).map_err(|e| DaemonError::Embedded(e.to_string()))?;
            if let Some(port) = port.filter(|_| moved) {
                port.write(server.endpoint())?;
            }
            if moved {
                println!(
                    "logsinkfs: the embedded bucket `{EMBEDDED_NAME}` is at {} (AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_REGION={})",
                    server.endpoint(),
                    server.access_key_id(),
                    server.secret_access_key(),
                    server.region(),
                );
            }
            Ok((served_by(&server, &settings.s3), Some(server)))
        }
    }
}

/// Prepares the bucket.
#[cfg(not(feature = "embedded-bucket"))]
pub fn connect(
    settings: &SpoolSettings,
    _spool: &Path,
    _session: Option<&SessionId>,
) -> Result<(S3Bucket, Embedded), DaemonError> {
    match &settings.source {
        Source::S3 { bucket, .. } => Ok((S3Bucket::new(bucket, &settings.s3, None), ())),
        Source::Embedded { .. } => Err(without_embedded()),
    }
}
