//! Retries quarantined segments (`logsinkfs quarantine retry`): under the key that was sealed, if it is known and the
//! bytes still match; nothing is overwritten, as in every PUT (`upload::send`). Owns the reason why a segment cannot be
//! sent.
//!
//! Invariant: bytes leave the quarantine only after S3 was found to have them.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::info;

use super::body::{Body, prepare};
use super::parts::{Disk, Parts, Ports};
use super::send::{metadata, put};
use super::{commit, properties};
use crate::format::naming::{Form, MarkerName, Phase};
use crate::format::object_metadata::CHECKSUM;
use crate::format::object_name::ObjectName;
use crate::log_file::{LogFile, SpoolFile};
use crate::namespace::Open;
use crate::s3::bucket::{NewObject, Payload};
use crate::spool::crash_point::crash_point;
use crate::spool::disk::open_regular;
use crate::spool::marker::Marker;
use crate::spool::{NodeFile, QuarantinedFile};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::{SpoolOffset, SpoolRange};

/// Why something stays quarantined.
#[derive(Debug, thiserror::Error)]
pub enum Stays {
    /// There is none.
    #[error("nothing of that name was quarantined")]
    Unknown,
    /// It has no note, or one without a key of this mount.
    #[error("nothing says what it was to be called: export it")]
    NoKey,
    /// They do not have the length or the sum that was sealed.
    #[error("its bytes are not those that were sealed: export it")]
    Damaged,
    /// Another object has its key, or has taken it away.
    #[error("another object has its key, and is not overwritten: look at {0}, and export it")]
    Conflict(String),
    /// There is an object that cannot be compared.
    #[error("an object has its key, and s3:GetObject is needed to compare it: {0}")]
    Hidden(String),
    /// The start is not registered: the spool may be a copy.
    #[error("S3 has not answered since the start")]
    NoAnswer,
    /// S3.
    #[error("{0} ({hint})", hint = .0.kind.hint())]
    Bucket(#[from] BucketError),
    /// The disk.
    #[error("{0}")]
    Local(#[from] LocalError),
    /// The log that it was of.
    #[error("{0}")]
    Log(#[from] FsError),
}

/// One at a time: a body takes a core, and its room on the disk.
static TURN: Mutex<()> = Mutex::const_new(());

/// Sends a file of the quarantine, by its name there, and takes it away once S3 has it.
pub async fn retry(parts: &Arc<Parts>, name: &str) -> Result<(), Stays> {
    let _turn = TURN.lock().await;
    let conditional = parts.queues.s3.borrow().conditional.ok_or(Stays::NoAnswer)?;
    let (aside, marker, object) = {
        let (parts, name) = (parts.clone(), name.to_owned());
        blocking(move || make_ready(&parts, &name)).await?
    };
    let size = match &object {
        Some(object) => match put(&parts.ports, conditional, object).await {
            Ok(()) => object.payload.len(),
            Err(e) if e.kind == Kind::Exists => compared(&parts.ports, &marker).await?,
            Err(e) => return Err(e.into()),
        },
        // A try before this one was killed when it had removed the bytes.
        None => compared(&parts.ports, &marker).await?,
    };
    // The next try finds that the object is ours.
    crash_point("retry: S3 has it");
    info!(key = %marker.key, "a quarantined segment is in S3 now");
    let parts = parts.clone();
    blocking(move || {
        note_in_log(&parts, &aside, &marker, size)?;
        Ok(parts.disk.spool.quarantine().remove(&aside)?)
    })
    .await
}

/// The size of the object that has the key, if it holds the same bytes.
async fn compared(ports: &Ports, marker: &Marker) -> Result<u64, Stays> {
    match ports.bucket.head(&marker.key).await {
        Ok(head) if head.metadata.get(CHECKSUM) == Some(&marker.crc64) => Ok(head.size),
        Ok(_) => Err(Stays::Conflict(marker.key.clone())),
        Err(e) if e.kind == Kind::Denied => Err(Stays::Hidden(marker.key.clone())),
        Err(e) => Err(e.into()),
    }
}

/// The object that is to be put; none where the bytes are gone. Blocking.
fn make_ready(parts: &Parts, name: &str) -> Result<(QuarantinedFile, Marker, Option<NewObject>), Stays> {
    let all = parts.disk.spool.quarantine().files()?;
    let aside = all.into_iter().find(|aside| aside.name() == name).ok_or(Stays::Unknown)?;
    let marker = aside.note.as_ref().and_then(|note| note.marker.clone()).ok_or(Stays::NoKey)?;
    let key = ObjectName::parse(&parts.ports.prefix, &marker.key).ok_or(Stays::NoKey)?;
    if key.key(&parts.ports.prefix) != marker.key || key.form() == Form::Dropped {
        return Err(Stays::NoKey);
    }
    let path = &aside.path;
    if path.symlink_metadata().is_err() {
        return Ok((aside, marker, None));
    }
    let file = open_regular(path).at("open", path)?;
    let length = key.length();
    if file.metadata().at("stat", path)?.len() != length {
        return Err(Stays::Damaged);
    }
    let object = NewObject {
        key: marker.key.clone(),
        payload: body(&parts.disk, &SpoolFile::from_start(Arc::new(file)), (length, key.form()), &marker, path)?,
        content_type: key.content_type(),
        metadata: metadata(&parts.ports.prefix, &marker),
        properties: properties::of_marker(&parts.ports, &marker),
    };
    Ok((aside, marker, Some(object)))
}

fn body(
    disk: &Disk,
    file: &SpoolFile,
    (length, form): (u64, Form),
    marker: &Marker,
    path: &Path,
) -> Result<Payload, Stays> {
    let range = SpoolRange { start: SpoolOffset(0), end: SpoolOffset(length) };
    match prepare(disk, (file, path), range, marker, form)? {
        Body::Sound(payload) => Ok(payload),
        Body::Damaged => Err(Stays::Damaged),
    }
}

/// Where the log that it is of is still here, its range is one that S3 has from now on. Blocking.
fn note_in_log(parts: &Parts, aside: &QuarantinedFile, marker: &Marker, size: u64) -> Result<(), FsError> {
    match log_of(&parts.disk, aside, marker) {
        Some((log, name)) => commit::confirm(parts, &log, &name, marker, size),
        None => Ok(()),
    }
}

/// The log that it is of, and the marker of its range there. Numbers of nodes are given again: the key tells.
fn log_of(disk: &Disk, aside: &QuarantinedFile, marker: &Marker) -> Option<(Arc<LogFile>, MarkerName)> {
    let name = aside.name();
    // Behind the marker's name there may be a number, where there were two of the name.
    let numbered = name.rsplit_once('.').map(|(name, _)| name);
    let found = [Some(&*name), numbered].into_iter().flatten().find_map(NodeFile::parse);
    let (node, NodeFile::Marker(sealed)) = found? else { return None };
    let Ok(Open::Live(log)) = disk.namespace.open(node) else { return None };
    let present = log.state().segments.starting_at(sealed.range.start)?;
    let is_same = || Some(Marker::load(log.names(), &present).ok()?.key == marker.key);
    let is_it = present.phase == Phase::Quarantined && present.range == sealed.range && is_same()?;
    is_it.then_some((log, present))
}

async fn blocking<T: Send + 'static>(step: impl FnOnce() -> Result<T, Stays> + Send + 'static) -> Result<T, Stays> {
    match tokio::task::spawn_blocking(step).await {
        Ok(done) => done,
        // It was not begun.
        Err(_) => Err(FsError::Stopping.into()),
    }
}
