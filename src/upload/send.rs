//! One attempt to upload a segment: build the body, PUT it, interpret the answer. Owns what "exists already" means, and
//! the metadata of the object; `upload::uploader` decides when to try again.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, error, warn};

use super::body::{Body, prepare};
use super::multipart::{PartsTarget, SentInParts, put_in_parts};
use super::outbox::Job;
use super::part_maker::{Source, part_size};
use super::parts::{Parts, Ports};
use super::{commit, evict, properties};
use crate::format::naming::{Form, MarkerName, Phase, SegmentName};
use crate::format::object_metadata::{CHECKSUM, FIRST, LABEL, LAST, of_key, of_whole_key};
use crate::format::object_name::ObjectName;
use crate::log_file::SpoolFile;
use crate::metrics::METRICS;
use crate::s3::bucket::{Conditional, NewObject, NewUpload, Payload};
use crate::spool::marker::Marker;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::escape::escape_ascii;

/// A job with what earlier tries left behind.
pub struct Attempt {
    /// The segment.
    pub job: Job,
    /// Its body, when an earlier try made one.
    pub body: Option<Payload>,
    /// The part of the reserve that its body is made in. Taken before its task begins: a task that waited for it would
    /// hold up those that have it.
    pub reserve: Option<OwnedSemaphorePermit>,
    /// Failures for a reason of its own.
    pub failures: u32,
}

/// How much of each step of a try may happen at once.
pub struct Places {
    /// PUTs.
    pub puts: Semaphore,
    /// What is made ready: a body takes a core, and half a MiB.
    bodies: Semaphore,
}

impl Places {
    /// With so many PUTs at once.
    pub fn new(puts: usize) -> Places {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Places { puts: Semaphore::new(puts), bodies: Semaphore::new(cores) }
    }
}

/// How a try ended.
pub enum SendOutcome {
    /// S3 has it, or it was quarantined.
    Done,
    /// S3 could not be used.
    Outage(BucketError),
    /// This segment could not be sent; others may.
    Failed(String),
}

/// Makes one try. Gives the attempt back with what the next try can use of it.
pub async fn send(
    parts: &Arc<Parts>,
    places: &Places,
    conditional: Conditional,
    mut attempt: Attempt,
) -> (Attempt, SendOutcome) {
    let job = attempt.job.clone();
    let Some(name) = job.segment().filter(|m| m.phase.owes_object()) else {
        return (attempt, SendOutcome::Done);
    };
    let ready = {
        // The semaphore is never closed.
        let _place = places.bodies.acquire().await;
        let (parts, job, body) = (parts.clone(), job.clone(), attempt.body.take());
        tokio::task::spawn_blocking(move || make_ready(&parts, &job, &name, body)).await
    };
    let (sending, marker, body) = match ready {
        Ok(Ok(Ready::Object(sending, marker, body))) => (sending, marker, body),
        Ok(Ok(Ready::InParts(sending, marker, file))) => {
            let outcome = send_in_parts(parts, places, conditional, &mut attempt, (&sending, &marker, file)).await;
            return (attempt, outcome);
        }
        Ok(Ok(Ready::Damaged(sending, marker))) => {
            return (attempt, quarantine(parts, &job, &sending, marker.as_ref(), DAMAGED).await);
        }
        // A whole file has been written again.
        _ if job.segment().is_none() => return (attempt, SendOutcome::Done),
        Ok(Err(e)) => return (attempt, SendOutcome::Failed(e.to_string())),
        Err(e) => return (attempt, SendOutcome::Failed(e.to_string())),
    };
    let first = name.phase == Phase::Sealed;
    let name = sending;
    let object = NewObject {
        key: marker.key.clone(),
        payload: body.clone(),
        content_type: content_type(&marker),
        metadata: metadata(&parts.ports.prefix, &marker),
        properties: properties::of_marker(&parts.ports, &marker),
    };
    let put = {
        let _place = places.puts.acquire().await;
        put(&parts.ports, conditional, &object).await
    };
    let outcome = match put {
        Ok(()) => {
            // Should the spool fail now, the object that the next try meets is this one.
            attempt.job.may_have_arrived = true;
            confirm(parts, &job, &name, &marker, object.payload.len()).await
        }
        Err(e) if e.kind == Kind::Exists => resolve(parts, &job, &name, &marker, object.payload.len()).await,
        Err(e) => {
            if first && !e.kind.may_have_arrived() {
                take_back(&job, &name).await;
            }
            failed(&mut attempt, e)
        }
    };
    attempt.body = Some(body);
    (attempt, outcome)
}

/// What an error of the bucket means for the attempt.
fn failed(attempt: &mut Attempt, e: BucketError) -> SendOutcome {
    attempt.job.may_have_arrived |= e.kind.may_have_arrived();
    if e.kind.is_outage() { SendOutcome::Outage(e) } else { SendOutcome::Failed(format!("{e} ({})", e.kind.hint())) }
}

/// Whole files from this size on are sent in parts.
const IN_PARTS: u64 = 64 << 20;

/// Whether a range is sent in parts, for which no body is made in advance.
pub fn is_in_parts(name: &MarkerName, marker: &Marker) -> bool {
    marker.birth.is_some() && name.range.len() > IN_PARTS
}

/// Makes one try in parts.
async fn send_in_parts(
    parts: &Arc<Parts>,
    places: &Places,
    conditional: Conditional,
    attempt: &mut Attempt,
    (name, marker, file): (&MarkerName, &Marker, SpoolFile),
) -> SendOutcome {
    let job = attempt.job.clone();
    let may_be_there = job.may_have_arrived;
    let to = PartsTarget { bucket: &*parts.ports.bucket, puts: &places.puts, conditional, may_be_there };
    let object = NewUpload {
        key: marker.key.clone(),
        content_type: content_type(marker),
        metadata: metadata(&parts.ports.prefix, marker),
        properties: properties::of_marker(&parts.ports, marker),
    };
    let source = Source {
        file,
        path: job.log.path(),
        range: name.range,
        form: form_of(marker),
        levels: parts.disk.segmenting.levels,
        crc64: marker.crc64.clone(),
        part_size: part_size(name.range.len()),
        spool: parts.disk.spool.dir().to_owned(),
    };
    match put_in_parts(to, &object, source, || job.segment().is_some()).await {
        Ok(SentInParts::Stored(size)) => {
            attempt.job.may_have_arrived = true;
            confirm(parts, &job, name, marker, size).await
        }
        Ok(SentInParts::Unwanted) => SendOutcome::Done,
        Ok(SentInParts::Damaged) if job.segment().is_none() => SendOutcome::Done,
        Ok(SentInParts::Damaged) => quarantine(parts, &job, name, Some(marker), DAMAGED).await,
        Err(e) if e.kind == Kind::Exists => resolve(parts, &job, name, marker, name.range.len()).await,
        Err(e) => failed(attempt, e),
    }
}

/// What can be made of a sealed range.
enum Ready {
    /// An object to be sent: the marker's name by now, the marker, the body.
    Object(MarkerName, Marker, Payload),
    /// One to be sent in parts: the marker's name, the marker, and the file with its bytes.
    InParts(MarkerName, Marker, SpoolFile),
    /// Nothing: the marker cannot be read, or the bytes are not those that were sealed.
    Damaged(MarkerName, Option<Marker>),
}

/// Makes ready what is sent. From here on the range is not dropped, unless it was before. Blocking.
fn make_ready(parts: &Parts, job: &Job, name: &MarkerName, body: Option<Payload>) -> Result<Ready, LocalError> {
    let marker = load_marker(&parts.ports, job, name);
    let marker = match marker.and_then(|marker| of_writer(parts, job, name, marker)) {
        Ok(marker) => marker,
        Err(e) if e.is_damage() => {
            error!("the marker of a sealed range cannot be read: {e}");
            return Ok(Ready::Damaged(*name, None));
        }
        Err(e) => return Err(e),
    };
    let phase = commit::begin_sending(&job.log, name)?;
    let name = MarkerName { phase, ..*name };
    let dropped = phase.is_dropped();
    let marker = if dropped { Marker { key: mark_of(&parts.ports, &marker), ..marker } } else { marker };
    if let Some(body) = body.filter(|_| !dropped) {
        return Ok(Ready::Object(name, marker, body));
    }
    if is_in_parts(&name, &marker) {
        return Ok(Ready::InParts(name, marker, job.log.files.at(name.range.start)?));
    }
    let (file, path) = (job.log.files.at(name.range.start)?, job.log.path());
    match prepare(&parts.disk, (&file, &path), name.range, &marker, form_of(&marker))? {
        Body::Sound(body) => Ok(Ready::Object(name, marker, body)),
        Body::Damaged if job.segment().is_none() => Ok(Ready::Damaged(name, Some(marker))),
        Body::Damaged => {
            error!(key = %marker.key, "the spool holds other bytes than what was sealed (written through a mapping, or a damaged disk)");
            Ok(Ready::Damaged(name, Some(marker)))
        }
    }
}

/// The first PUT of the range was refused: it may be dropped again.
async fn take_back(job: &Job, name: &MarkerName) {
    let (log, sending) = (job.log.clone(), *name);
    let taken = tokio::task::spawn_blocking(move || commit::sent_nothing(&log, &sending)).await;
    if let Ok(Err(e)) = taken {
        // It stays as it is, which costs no more than that it is not dropped.
        debug!("a marker could not be set back: {e}");
    }
}

/// The key of the empty object that says that a range was dropped.
fn mark_of(ports: &Ports, marker: &Marker) -> String {
    match SegmentName::parse(&ports.prefix, &marker.key) {
        Some(name) => SegmentName { form: Form::Dropped, ..name }.key(&ports.prefix),
        None => marker.key.clone(),
    }
}

fn load_marker(ports: &Ports, job: &Job, name: &MarkerName) -> Result<Marker, LocalError> {
    let files = job.log.names();
    let marker = Marker::load(files, name)?;
    if marker.fits(name, &job.log.stream().path, &ports.prefix) {
        return Ok(marker);
    }
    let why = format!("its key is not that of its range: {}", marker.key);
    let damaged = std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    Err(damaged).at("use", &files.marker(name))
}

/// A range that was sealed before the registration, by a spool that turned out to be a copy, gets the new writer id:
/// the original may have sealed the same range. Its key was given to nobody yet, since nothing is sent before the
/// registration. What an earlier start had sealed keeps its key.
fn of_writer(parts: &Parts, job: &Job, name: &MarkerName, marker: Marker) -> Result<Marker, LocalError> {
    let writer = parts.disk.spool.identity().writer;
    match ObjectName::parse(&parts.ports.prefix, &marker.key) {
        Some(object) if !job.may_have_arrived && *object.writer() != writer => {
            let key = object.with_writer(writer).key(&parts.ports.prefix);
            let marker = Marker { key, ..marker };
            marker.store(job.log.names(), name)?;
            Ok(marker)
        }
        _ => Ok(marker),
    }
}

/// The key was fixed at seal; so is what its suffix says of the bytes.
pub fn form_of(marker: &Marker) -> Form {
    ObjectName::parse("", &marker.key).map_or(Form::Plain, |name| name.form())
}

/// So is the Content-Type.
pub(super) fn content_type(marker: &Marker) -> &'static str {
    ObjectName::parse("", &marker.key).map_or_else(|| Form::Plain.content_type(), |name| name.content_type())
}

/// Puts an object that is not to be there yet, asking first where the service ignores conditions.
pub(super) async fn put(ports: &Ports, conditional: Conditional, object: &NewObject) -> Result<(), BucketError> {
    if conditional == Conditional::Ignored {
        match ports.bucket.head(&object.key).await {
            Ok(_) => {
                let found = "found by the HEAD that goes before each PUT here";
                return Err(BucketError::new(Kind::Exists, "PutObject", &object.key, found));
            }
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::Denied) => {}
            Err(e) => return Err(e),
        }
    }
    ports.bucket.put_new(object).await
}

/// The key has an object. It is our own when an earlier try may have arrived and the bytes are the same.
async fn resolve(parts: &Arc<Parts>, job: &Job, name: &MarkerName, marker: &Marker, size: u64) -> SendOutcome {
    if name.phase.is_dropped() {
        // The name is the mark, and its bytes are gone: it says what is to be said, and it does not matter who made it.
        return confirm(parts, job, name, marker, size).await;
    }
    if job.may_have_arrived {
        match parts.ports.bucket.head(&marker.key).await {
            Ok(head) if head.metadata.get(CHECKSUM) == Some(&marker.crc64) => {
                return confirm(parts, job, name, marker, head.size).await;
            }
            Err(e) if e.kind == Kind::Denied => {
                warn!(key = %marker.key, "the object exists and may not be read for comparison: taken as our own");
                return confirm(parts, job, name, marker, size).await;
            }
            Ok(_) => {}
            Err(e) if e.kind.is_outage() => return SendOutcome::Outage(e),
            Err(e) => return SendOutcome::Failed(e.to_string()),
        }
    }
    METRICS.conflicts.inc();
    error!(key = %marker.key, "CONFLICT: another object has the key of this segment; nothing is overwritten");
    quarantine(parts, job, name, Some(marker), CONFLICT).await
}

async fn confirm(parts: &Arc<Parts>, job: &Job, name: &MarkerName, marker: &Marker, size: u64) -> SendOutcome {
    debug!(key = %marker.key, size, "uploaded");
    let (parts, log, name, marker) = (parts.clone(), job.log.clone(), *name, marker.clone());
    commit_step(move || {
        commit::confirm(&parts, &log, &name, &marker, size)?;
        let need = parts.disk.budget.to_reclaim();
        evict::reclaim(&parts, need)?;
        Ok(())
    })
    .await
}

/// Why a segment is quarantined.
const CONFLICT: &str = "another object has its key";
const DAMAGED: &str = "its bytes or its seal marker are not what was sealed";

async fn quarantine(
    parts: &Arc<Parts>,
    job: &Job,
    name: &MarkerName,
    marker: Option<&Marker>,
    why: &'static str,
) -> SendOutcome {
    let (parts, log, name, marker) = (parts.clone(), job.log.clone(), *name, marker.cloned());
    commit_step(move || commit::quarantine(&parts, &log, &name, marker.as_ref(), why)).await
}

async fn commit_step(step: impl FnOnce() -> Result<(), FsError> + Send + 'static) -> SendOutcome {
    match tokio::task::spawn_blocking(step).await {
        Ok(Ok(())) => SendOutcome::Done,
        Ok(Err(e)) => SendOutcome::Failed(e.to_string()),
        Err(e) => SendOutcome::Failed(e.to_string()),
    }
}

/// S3's limit on user metadata is 2 KB of names and values together.
const METADATA_MAX: usize = 2048;
/// What stands before each name in a request. Amazon does not count it, others do.
const METADATA_PREFIX: &str = "x-amz-meta-";

/// User metadata of an object: printable ASCII within S3's limit. What must be there comes first; labels that do not
/// fit are left out, and a stream's name that does not fit is in the key.
pub(super) fn metadata(prefix: &str, marker: &Marker) -> BTreeMap<String, String> {
    let needed = [(CHECKSUM, marker.crc64.clone()), (FIRST, marker.first.to_name()), (LAST, marker.last.to_name())];
    let of_key = match ObjectName::parse(prefix, &marker.key) {
        Some(ObjectName::Segment(key)) => of_key(&key).to_vec(),
        Some(ObjectName::Whole(key)) => of_whole_key(&key).to_vec(),
        None => Vec::new(),
    };
    let labels = marker
        .labels
        .iter()
        .map(|(label, value)| (format!("{LABEL}{}", escape_ascii(label.as_bytes())), escape_ascii(value.as_bytes())));
    let needed = needed.into_iter().chain(of_key).map(|(name, value)| (name.to_owned(), value));
    fitting(needed.chain(labels)).collect()
}

/// Leaves out what does not fit beside what comes before it.
fn fitting(entries: impl Iterator<Item = (String, String)>) -> impl Iterator<Item = (String, String)> {
    let mut left = METADATA_MAX;
    entries.filter(move |(name, value)| {
        let size = METADATA_PREFIX.len() + name.len() + value.len();
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_cut_at_the_limit_as_the_strictest_service_counts_it() {
        let entry = |name: &str, size| (name.to_owned(), "v".repeat(size - name.len()));
        let full = METADATA_MAX - 3 * METADATA_PREFIX.len();
        let names = |sizes: [(&str, usize); 4]| -> Vec<String> {
            let entries = sizes.map(|(name, size)| entry(name, size));
            fitting(entries.into_iter()).map(|(name, _)| name).collect()
        };
        let sizes = |more| [("sum", 100), ("stream", full - 150 + more), ("a", 50), ("b", 1)];
        assert_eq!(names(sizes(0)), ["sum", "stream", "a"], "all three to the byte");
        assert_eq!(names(sizes(1)), ["sum", "stream", "b"], "what is smaller may still fit");
        assert_eq!(names(sizes(3000)), ["sum", "a", "b"], "the stream is in the key");
    }
}
