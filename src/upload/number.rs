//! Generation numbers. Within a writer and stream they follow the order of birth, because readers order generations by
//! number. Owns this rule; the counters are in `log_file::stream`. Blocking.
//!
//! Invariants: an empty generation has no number, so that a missing number shows a loss. When a number is in a marker,
//! all older generations with bytes have theirs in a durable record.

use std::io::ErrorKind;
use std::sync::Arc;

use super::parts::Disk;
use crate::log_file::LogFile;
use crate::log_file::stream::StreamState;
use crate::namespace::Open;
use crate::spool::crash_point::crash_point;
use crate::spool::record::{Birth, Generation, Numbered};
use crate::types::errors::{AtPath, FsError};
use crate::types::time::Utc;

/// Another generation of the stream, with bytes and without a number that would survive.
struct Sibling {
    log: Arc<LogFile>,
    generation: Generation,
    /// None of its bytes was written before.
    not_before: Utc,
}

impl Sibling {
    fn order(&self) -> Birth {
        self.generation.order(self.log.id)
    }
}

/// What the generation `own` of a log is called, now that something of it is to be sealed. The elder ones of the stream
/// that have bytes get their numbers before it, whenever they will be sealed themselves. To be called under
/// [`StreamState::numbering`], held until the number is in a marker.
pub fn number(disk: &Disk, log: &Arc<LogFile>, stream: &StreamState, own: Generation) -> Result<Numbered, FsError> {
    let given = |log: &LogFile| log.state().generation_at(own.at).and_then(|g| g.numbered);
    if let Some(numbered) = given(log) {
        return Ok(numbered);
    }
    let mut siblings = siblings(disk, log, stream, own)?;
    siblings.sort_by_key(Sibling::order);
    // A start is a lower bound: lowered to those of the younger ones, names sort as numbers do.
    let youngest = siblings.partition_point(|sibling| sibling.order() < own.order(log.id));
    let younger = siblings.drain(youngest..).map(|sibling| sibling.not_before);
    let not_before = younger.fold(log.state().not_before(own.at), Utc::min);
    let mut latest = not_before;
    for elder in siblings.iter_mut().rev() {
        elder.not_before = elder.not_before.min(latest);
        latest = elder.not_before;
    }
    for elder in siblings {
        number_elder(disk, stream, elder)?;
    }
    let numbered = stream.next_generation(not_before);
    // Also when the marker cannot be stored: the next try must not leave a number out.
    assign(log, own, numbered);
    Ok(numbered)
}

fn siblings(disk: &Disk, log: &Arc<LogFile>, stream: &StreamState, own: Generation) -> Result<Vec<Sibling>, FsError> {
    let mut found = Vec::new();
    for id in stream.logs() {
        let Ok(Open::Live(other)) = disk.namespace.open(id) else { continue };
        let len = match other.len() {
            // It was finished and removed: S3 has all of it.
            Err(e) if e.source.kind() == ErrorKind::NotFound => continue,
            len => len?,
        };
        for (generation, not_before) in other.state().with_bytes(len) {
            let itself = (id, generation.at) == (log.id, own.at);
            let stored = generation.number().is_some_and(|number| stream.is_stored(number));
            if !itself && !stored {
                found.push(Sibling { log: other.clone(), generation, not_before });
            }
        }
    }
    Ok(found)
}

/// Gives an elder generation its number, durably, with its bytes: a number must not outlive them.
fn number_elder(disk: &Disk, stream: &StreamState, elder: Sibling) -> Result<(), FsError> {
    let Sibling { log, generation, not_before } = elder;
    let Some(numbered) = log.number(stream, generation.at, not_before) else {
        // It was renamed, and adds to another stream by now; or all of it is sealed.
        return Ok(());
    };
    log.files.at(generation.at)?.sync().at("sync", &log.path())?;
    disk.namespace.store_durably(log.id)?;
    stream.seen(numbered);
    // The elder has its number, and the one for which it got it has none.
    crash_point("number: an elder generation has its number");
    Ok(())
}

fn assign(log: &LogFile, of: Generation, numbered: Numbered) {
    if let Some(generation) = log.state().generation_at(of.at) {
        generation.numbered = Some(numbered);
    }
}
