//! Copies of logs: files with the bytes of the beginning of a log of this mount, written by somebody who had that log
//! open for reading (logrotate's `copytruncate`, `cp`, `gzip` of a rotated log). S3 has their bytes as those of the
//! log, so they are not sealed. A file is judged before its first seal, and before the bytes leave that it is compared
//! with. Blocking.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::parts::Parts;
use crate::format::naming::Phase;
use crate::format::unpack::unpacked;
use crate::log_file::readers::Reading;
use crate::log_file::{LogFile, SpoolFile};
use crate::namespace::Open;
use crate::spool::marker::Marker;
use crate::spool::record::{Content, CopySource, Generation};
use crate::types::errors::FsError;
use crate::types::ids::SpoolOffset;

/// Bytes compared at once.
const CHUNK: u64 = 256 * 1024;

/// A program that copies closes the log within this time after the copy, also on a busy machine.
const CLOSES: Duration = Duration::from_secs(5);
/// A program that has read a log before the copy began truncates it within this time: it was read in one go.
const TRUNCATES: Duration = Duration::from_secs(10);
/// A program closes the copy of a log within this time after the log: it may compress.
const WRITES_ON: Duration = Duration::from_secs(600);

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A copy, up to its present length.
    Copy,
    /// A file of its own.
    Own,
    /// Not known yet: who reads the log may be about to close it.
    Later,
}

/// Judges a generation that ends at `len`, before its first seal, and notes what it is.
pub fn judge(parts: &Parts, log: &Arc<LogFile>, generation: &Generation, len: SpoolOffset) -> Result<Verdict, FsError> {
    let mut verdict = Verdict::Own;
    for source in log.sources(generation) {
        let Ok(Open::Live(original)) = parts.disk.namespace.open(source.node) else { continue };
        match reads(parts, log, (&source, &original)) {
            Verdict::Own => continue,
            Verdict::Later => verdict = Verdict::Later,
            Verdict::Copy => {
                let _kept = original.committing();
                match compare(&original, source.at, log, generation, len) {
                    Likeness::Same => {
                        verdict = Verdict::Copy;
                        break;
                    }
                    Likeness::SoFar if log.state().handles.writers() > 0 => verdict = Verdict::Later,
                    Likeness::SoFar | Likeness::Differs => {}
                }
            }
        }
    }
    if verdict != Verdict::Later {
        note(parts, log, generation, verdict, len)?;
    }
    Ok(verdict)
}

/// Judges the files that may be copies of a log whose bytes are about to leave the disk. To be called under
/// [`LogFile::committing`] of the log.
pub fn settle(parts: &Parts, original: &LogFile) {
    for log in original.take_suspects() {
        // One that is gone, or cannot be read, is no trouble of this log.
        for (generation, end) in unsealed(&log).unwrap_or_default() {
            let sources = log.sources(&generation);
            let mut of_original = sources.iter().filter(|source| source.node == original.id);
            let is_copy = |source: &CopySource| {
                (!source.was_closed || is_truncated(original, source))
                    && compare(original, source.at, &log, &generation, end) == Likeness::Same
            };
            if of_original.any(is_copy)
                && let Err(e) = note(parts, &log, &generation, Verdict::Copy, end)
            {
                debug!("a copy is not noted as one: {e}");
            }
        }
        if log.state().handles.writers() > 0 {
            // What is written to it from now on is compared too.
            original.suspect(&log);
        }
    }
}

/// The generations of a log of which nothing is sealed and that are no whole files, and where each ends.
fn unsealed(log: &LogFile) -> Result<Vec<(Generation, SpoolOffset)>, FsError> {
    let len = log.len()?;
    let state = log.state();
    let bases = state.bases();
    let ends = bases.iter().skip(1).map(|next| next.at).chain([len]);
    let is_unsealed = |(generation, _): &(Generation, SpoolOffset)| {
        generation.at >= state.sealed_end() && !generation.content.is_in_place()
    };
    Ok(bases.iter().copied().zip(ends).filter(is_unsealed).collect())
}

/// Gives back the bytes of a generation that has ended and stays local.
pub fn forget(parts: &Parts, log: &Arc<LogFile>, generation: &Generation) -> Result<(), FsError> {
    let _committing = log.committing();
    settle(parts, log);
    let Some(range) = log.state().forget_oldest(generation.at) else { return Ok(()) };
    parts.disk.namespace.store_durably(log.id)?;
    log.punch(range)?;
    parts.disk.give(log, range.len());
    parts.queues.touch(log);
    Ok(())
}

/// Whether the generation of a log that was read has ended.
fn is_truncated(original: &LogFile, source: &CopySource) -> bool {
    original.state().current().at > source.at
}

/// Whether somebody reads the log for this file: he opened the two together, and has read to the end when the file is
/// closed, or he truncates the log then.
fn reads(parts: &Parts, log: &LogFile, (source, original): (&CopySource, &LogFile)) -> Verdict {
    let (now, closed) = (parts.ports.clock.monotonic(), log.last_close());
    let is_written = log.state().handles.writers() > 0;
    match (parts.queues.readers.reading(source.handle), is_written) {
        _ if source.was_closed && is_truncated(original, source) => Verdict::Copy,
        (Reading::Closed(at), true) if source.was_closed && now.since(at) < TRUNCATES => Verdict::Later,
        (Reading::Closed(_), false) if source.was_closed && now.since(closed) < CLOSES => Verdict::Later,
        _ if source.was_closed => Verdict::Own,
        // Who saw it is dead; they were opened together.
        (Reading::Unknown, _) | (Reading::Open, true) => Verdict::Copy,
        (Reading::Open, false) if now.since(closed) < CLOSES => Verdict::Later,
        (Reading::Open, false) => Verdict::Own,
        // Who compresses may go on for long after the last read.
        (Reading::Closed(at), true) if now.since(at) < WRITES_ON => Verdict::Copy,
        (Reading::Closed(at), false) if closed.since(at) < WRITES_ON => Verdict::Copy,
        (Reading::Closed(_), _) => Verdict::Own,
    }
}

/// Notes what the file is; a file of its own is a log from its first byte.
fn note(
    parts: &Parts,
    log: &LogFile,
    generation: &Generation,
    verdict: Verdict,
    len: SpoolOffset,
) -> Result<(), FsError> {
    debug!(path = parts.disk.path_of(log), ?verdict, "compared with the logs that were read when it began");
    parts.disk.namespace.note(log.id, generation.at, |generation| {
        if verdict == Verdict::Copy {
            (generation.content, generation.compared) = (Content::Copy, len.since(generation.at));
        } else {
            (generation.content, generation.sources) = (Content::Log, Default::default());
        }
    })?;
    parts.queues.bump();
    Ok(())
}

/// How the bytes of a file compare with those at the beginning of a generation of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    Same,
    /// The same, up to the middle of a segment that is not here any more: of that, only the checksum is known.
    SoFar,
    Differs,
}

/// Compares the bytes of a file, as they are or unpacked, with those of a generation of a log. What was compared before
/// is not compared again.
fn compare(original: &LogFile, at: SpoolOffset, log: &LogFile, generation: &Generation, len: SpoolOffset) -> Likeness {
    // What is written in place may be something else by now; a copy of a whole file is one itself.
    if original.state().generations().any(|generation| generation.at == at && generation.content.is_in_place()) {
        return Likeness::Differs;
    }
    let compared = || -> io::Result<Likeness> {
        let file = log.files.at(generation.at).map_err(io::Error::other)?;
        let known = if generation.content == Content::Copy { generation.compared } else { 0 };
        let known = comparable_from(original, at, known);
        let rest = SpoolReader { file: file.clone(), at: generation.at.plus(known), end: len };
        let plain = begins_with(original, at, known, rest)?;
        let all = SpoolReader { file, at: generation.at, end: len };
        match unpacked(all)? {
            Some(unpacked) if plain == Likeness::Differs => begins_with(original, at, 0, unpacked),
            _ => Ok(plain),
        }
    };
    // What cannot be read or unpacked is no copy.
    compared().unwrap_or(Likeness::Differs)
}

/// Where to go on comparing: a segment that is not here any more is compared as a whole.
fn comparable_from(original: &LogFile, base: SpoolOffset, known: u64) -> u64 {
    let segment = original.state().segments.holding(base.plus(known));
    let gone = segment.filter(|segment| !segment.phase.is_here());
    gone.map_or(known, |segment| segment.range.start.max(base).since(base))
}

/// Whether a generation of a log has these bytes from its byte `from` on. Those that were reclaimed are compared by the
/// checksums of their segments.
fn begins_with(log: &LogFile, base: SpoolOffset, from: u64, mut copy: impl Read) -> io::Result<Likeness> {
    let end = end_of(log, base)?;
    let mut at = base.plus(from);
    let (mut copied, mut own) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    loop {
        let segment = log.state().segments.holding(at);
        let most = segment.map_or(end, |segment| segment.range.end).since(at).min(CHUNK);
        let gone = segment.filter(|segment| !segment.phase.is_here());
        if let Some(segment) = gone {
            if segment.phase != Phase::Reclaimed || segment.range.start != at {
                return Ok(Likeness::Differs);
            }
            let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
            let mut left = segment.range.len();
            while left > 0 {
                let read = fill(&mut copy, &mut copied[..left.min(CHUNK) as usize])?;
                if read == 0 {
                    let is_at_end = left == segment.range.len();
                    return Ok(if is_at_end { Likeness::Same } else { Likeness::SoFar });
                }
                digest.update(&copied[..read]);
                left -= read as u64;
            }
            let marker = Marker::load(log.names(), &segment).map_err(io::Error::other)?;
            if marker.crc64 != format!("{:016x}", digest.finalize()) {
                return Ok(Likeness::Differs);
            }
            at = segment.range.end;
            continue;
        }
        // One byte more than there is, to see where the copy ends.
        let read = fill(&mut copy, &mut copied[..most.max(1) as usize])?;
        if read == 0 {
            return Ok(Likeness::Same);
        }
        let file = log.files.at(at).map_err(io::Error::other)?;
        if read as u64 > most || file.read_at(&mut own[..read], at)? < read || own[..read] != copied[..read] {
            return Ok(Likeness::Differs);
        }
        at = at.plus(read as u64);
    }
}

/// Where a generation of a log ends.
pub fn end_of(log: &LogFile, base: SpoolOffset) -> io::Result<SpoolOffset> {
    let len = log.len().map_err(io::Error::other)?;
    let next = log.state().generations().map(|generation| generation.at).find(|at| *at > base);
    Ok(next.unwrap_or(len))
}

/// Reads until the buffer is full or nothing comes any more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A range of a spool file, from its beginning to its end.
struct SpoolReader {
    file: SpoolFile,
    at: SpoolOffset,
    end: SpoolOffset,
}

impl Read for SpoolReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end.since(self.at)).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..most], self.at)?;
        self.at = self.at.plus(read as u64);
        Ok(read)
    }
}
