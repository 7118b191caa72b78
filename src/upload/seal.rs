//! The steps of one seal, in durable order: find the end, sync the data, sync name and folder, checksum, key, marker.
//! Blocking. The caller has exclusive use of the log file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::copies;
use super::copies::Verdict;
use super::number::number;
use super::outbox::Job;
use super::parts::{Disk, Parts};
use crate::format::magic::{MAGIC_MAX, is_compressed, is_whole};
use crate::format::naming::{Form, KEY_MAX, MarkerName, Phase, SegmentName};
use crate::format::whole_name::{FILES_ENDING, WholeName};
use crate::log_file::stream::StreamState;
use crate::log_file::{LogFile, SpoolFile};
use crate::metrics::METRICS;
use crate::spool::crash_point::crash_point;
use crate::spool::marker::Marker;
use crate::spool::record::{Content, CopySources, Generation, Numbered};
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::{SpoolOffset, SpoolRange};
use crate::types::rotation::{Reason, Split};

/// Bytes read at once when a range is searched or summed.
const CHUNK: u64 = 256 * 1024;

/// A seal that was decided on.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The range that may be sealed; it begins where the last seal ended.
    pub range: SpoolRange,
    /// Its generation.
    pub generation: Generation,
    /// Why.
    pub reason: Reason,
    /// What happens when no line ends in the range.
    pub split: Split,
    /// Whether the seal ends exactly where the range does.
    pub exact: bool,
}

/// Seals a range. Gives `false` when no line ends in it and none may be split.
pub fn seal(parts: &Parts, log: &Arc<LogFile>, order: Order) -> Result<bool, FsError> {
    let file = log.files.at(order.range.start)?;
    if order.range.start == order.generation.at && !is_log(parts, log, &file, &order)? {
        return Ok(false);
    }
    let reading = |e: std::io::Error| LocalError { action: "read", path: log.path(), source: e };
    let Some(end) = find_end(&parts.disk, &file, &order).map_err(reading)? else { return Ok(false) };
    let range = SpoolRange { start: order.range.start, end };

    file.sync().at("sync", &log.path())?;
    // No marker, no seal: the bytes are the tail of their log.
    crash_point("seal: the data is durable");
    log.bind_stream();
    parts.disk.namespace.make_durable(log.id)?;
    crash_point("seal: the name is durable");
    let sum = checksum(&file, range).map_err(reading)?;

    let in_place = order.generation.content.is_in_place();
    let path = path_of(parts, log);
    let stream = if in_place { versions_of(parts, &path)? } else { log.stream() };
    let numbering = order.generation.numbered.is_none().then(|| stream.numbering());
    // Nobody begins another version of a whole file meanwhile.
    let committing = in_place.then(|| log.committing());
    if committing.is_some() && !is_current(log, &order.generation) {
        return Ok(false);
    }
    let numbered = number(&parts.disk, log, &stream, order.generation)?;
    let (marker, name) = match &committing {
        Some(_) => {
            let version = (path, numbered, &order.generation);
            describe_whole(parts, log, version, (&file, range), sum.0).map_err(reading)?
        }
        None => describe(parts, log, numbered, order.generation.at, range, sum),
    };
    // The number that was just given is given again.
    crash_point("seal: the key is formed");
    marker.store(log.names(), &name)?;
    // The range has its key for ever, and nothing was sent.
    crash_point("seal: the marker is durable");
    stream.seen(numbered);
    drop(numbering);
    if in_place {
        // The marker goes when the file is written again.
        stream.remember()?;
    }
    log.state().sealed(name, marker.first);
    drop(committing);
    log.stream().add_unsent();
    let (start, generation) = (range.start, name.generation);
    parts.queues.outbox.push(Job { log: log.clone(), start, generation, may_have_arrived: false });
    parts.queues.sealed.fetch_add(range.len(), Ordering::Relaxed);
    METRICS.sealed_segments.inc();
    METRICS.sealed_bytes.inc_by(range.len());
    parts.queues.bump();
    Ok(true)
}

/// The marker of a range, but for its key the same as in each try.
fn describe(
    parts: &Parts,
    log: &LogFile,
    Numbered { number: generation, start }: Numbered,
    base: SpoolOffset,
    range: SpoolRange,
    (crc64, last_byte): (u64, u8),
) -> (Marker, MarkerName) {
    let target = log.target();
    let (first, last, next) = {
        let state = log.state();
        let first = if range.start == base { start } else { state.not_before(range.start) };
        (first, state.growth.last().max(first), state.not_before(range.end).max(first))
    };
    let key = SegmentName {
        stream: target.stream.path.clone(),
        partition: parts.disk.segmenting.partition.of(first),
        start: first,
        writer: parts.disk.spool.identity().writer,
        generation,
        offset: range.start.since(base),
        length: range.len(),
        partial: last_byte != b'\n',
        form: parts.disk.segmenting.form,
    }
    .key(&parts.ports.prefix);
    let (crc64, labels) = (format!("{crc64:016x}"), target.labels);
    let marker = Marker { key, crc64, base, first, last, next, birth: None, labels };
    (marker, MarkerName { range, generation, phase: Phase::Sealed })
}

/// The path that a whole file has now, or once had.
fn path_of(parts: &Parts, log: &LogFile) -> Vec<u8> {
    parts.disk.namespace.path(log.id).unwrap_or_else(|_| log.stream().path.clone())
}

/// The numbers of a whole file's versions. They are not those of the log's generations, of which none may be missing.
fn versions_of(parts: &Parts, path: &[u8]) -> Result<Arc<StreamState>, FsError> {
    let path = [path, FILES_ENDING.as_bytes()].concat();
    Ok(parts.disk.streams.get(&path, parts.ports.clock.now())?)
}

/// Whether what is to be sealed first of a generation is that of a log or a whole file. A copy of a log is noted as
/// one, and so is a whole file that nobody writes, known by how it begins: the next look sees what is left to be done.
fn is_log(parts: &Parts, log: &Arc<LogFile>, file: &SpoolFile, order: &Order) -> Result<bool, FsError> {
    let Order { generation, range, .. } = order;
    // However much of it was to be sealed.
    let end = copies::end_of(log, generation.at).at("stat", &log.path())?;
    if generation.stays_local(end.since(generation.at)) {
        copies::forget(parts, log, generation)?;
        return Ok(false);
    }
    if generation.content.is_in_place() {
        return Ok(true);
    }
    if generation.sources != CopySources::default() {
        let verdict = copies::judge(parts, log, generation, end)?;
        if verdict != Verdict::Own || generation.content == Content::Copy {
            return Ok(false);
        }
    }
    let is_closed = {
        let state = log.state();
        state.current().at == generation.at && state.handles.writers() == 0
    };
    let mut beginning = [0; MAGIC_MAX];
    let read = if is_closed { file.read_at(&mut beginning, range.start).at("read", &log.path())? } else { 0 };
    if !is_whole(&beginning[..read]) {
        return Ok(true);
    }
    let _committing = log.committing();
    parts.disk.namespace.begin_version(log, parts.disk.in_place(), parts.ports.clock.now())?;
    parts.disk.count_whole(log, range.len());
    parts.queues.touch(log);
    Ok(false)
}

/// Whether a generation is the one that it was when its seal was decided on.
fn is_current(log: &LogFile, generation: &Generation) -> bool {
    log.state().generation_at(generation.at).is_some_and(|now| now.birth == generation.birth)
}

/// The same of a version of a whole file. It counts as one whose PUT has begun, so that it is never dropped.
fn describe_whole(
    parts: &Parts,
    log: &LogFile,
    (path, Numbered { number, start }, generation): (Vec<u8>, Numbered, &Generation),
    (file, range): (&SpoolFile, SpoolRange),
    crc64: u64,
) -> std::io::Result<(Marker, MarkerName)> {
    let mut beginning = [0; MAGIC_MAX];
    let read = file.read_at(&mut beginning, range.start)?;
    let is_compressed = is_compressed(&beginning[..read]);
    let last = log.state().growth.last().max(start);
    let mut key = WholeName {
        path,
        partition: parts.disk.segmenting.partition.of(start),
        start,
        writer: parts.disk.spool.identity().writer,
        number,
        length: range.len(),
        partial: generation.is_half_written,
        form: if is_compressed { Form::Plain } else { parts.disk.segmenting.form },
    };
    if key.key(&parts.ports.prefix).len() > KEY_MAX {
        // The name that it was made with fits.
        key.path = log.stream().path.clone();
    }
    let marker = Marker {
        key: key.key(&parts.ports.prefix),
        crc64: format!("{crc64:016x}"),
        base: generation.at,
        first: start,
        last,
        next: last,
        birth: Some(generation.birth),
        labels: log.target().labels,
    };
    Ok((marker, MarkerName { range, generation: number, phase: Phase::Sending }))
}

/// Where the segment ends: the range's end when that is asked, else behind its last newline (before its last record,
/// where records have a known beginning and may still grow), else nowhere or at the end.
fn find_end(disk: &Disk, file: &SpoolFile, order: &Order) -> std::io::Result<Option<SpoolOffset>> {
    let SpoolRange { start, end } = order.range;
    if order.exact {
        return Ok(Some(end));
    }
    let growing = matches!(order.reason, Reason::Size | Reason::Interval);
    if let (Some(record), true) = (&disk.segmenting.record_start, growing) {
        let found = last_line(file, order.range, |line| record.find(line).is_some_and(|m| m.start() == 0))?;
        if let Some((begin, _)) = found.filter(|(begin, _)| *begin > start) {
            return Ok(Some(begin));
        }
        if order.split == Split::Never {
            return Ok(None);
        }
    }
    let newline = last_newline(file, order.range)?;
    Ok(newline.or((order.split == Split::Allowed).then_some(end)))
}

/// The position behind the last newline of a range.
fn last_newline(file: &SpoolFile, range: SpoolRange) -> std::io::Result<Option<SpoolOffset>> {
    let mut end = range.end;
    while end > range.start {
        let len = end.since(range.start).min(CHUNK);
        let begin = SpoolOffset(end.0 - len);
        let mut chunk = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut chunk, begin)?;
        if let Some(at) = chunk.iter().rposition(|b| *b == b'\n') {
            return Ok(Some(begin.plus(at as u64 + 1)));
        }
        end = begin;
    }
    Ok(None)
}

/// Bytes of a line that a `--record-start` is matched against.
const RECORD_START_MAX: u64 = 4096;

/// The last line of a range whose beginning fits, as its begin and the end of what was searched.
fn last_line(
    file: &SpoolFile,
    range: SpoolRange,
    fits: impl Fn(&[u8]) -> bool,
) -> std::io::Result<Option<(SpoolOffset, SpoolOffset)>> {
    let mut end = range.end;
    loop {
        let begin = match last_newline(file, SpoolRange { start: range.start, end })? {
            Some(begin) => begin,
            None => range.start,
        };
        let len = range.end.since(begin).min(RECORD_START_MAX);
        let mut line = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut line, begin)?;
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        if !line.is_empty() && fits(line) {
            return Ok(Some((begin, end)));
        }
        if begin <= range.start {
            return Ok(None);
        }
        end = SpoolOffset(begin.0 - 1);
    }
}

/// CRC-64/NVME and last byte of a range.
pub fn checksum(file: &SpoolFile, range: SpoolRange) -> std::io::Result<(u64, u8)> {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let mut last = b'\n';
    for_each_chunk(file, range, |chunk| {
        digest.update(chunk);
        last = chunk.last().copied().unwrap_or(last);
        Ok(())
    })?;
    Ok((digest.finalize(), last))
}

/// Reads a range in pieces.
pub fn for_each_chunk(
    file: &SpoolFile,
    range: SpoolRange,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; usize::try_from(range.len().min(CHUNK)).unwrap_or(0)];
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end.since(at).min(CHUNK)).unwrap_or(0);
        file.read_exact_at(&mut chunk[..len], at)?;
        each(&chunk[..len])?;
        at = at.plus(len as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::Files;
    use crate::spool::NodeFiles;
    use crate::types::ids::NodeId;

    fn file(text: &[u8]) -> SpoolFile {
        let dir = tempfile::tempdir().expect("a folder");
        let file = Files::new(NodeFiles::new(dir.path().into(), NodeId(7)), Vec::new()).make().expect("a file");
        file.append(text).expect("written");
        file
    }

    fn range(start: u64, end: u64) -> SpoolRange {
        SpoolRange { start: SpoolOffset(start), end: SpoolOffset(end) }
    }

    #[test]
    fn a_seal_ends_behind_the_last_newline_however_far_back() {
        let mut text = b"one\ntwo\n".to_vec();
        text.extend(vec![b'x'; 600 * 1024]);
        let file = file(&text);
        let found = |r| last_newline(&file, r).expect("read").map(|p| p.0);
        assert_eq!(found(range(0, text.len() as u64)), Some(8));
        assert_eq!(found(range(0, 7)), Some(4));
        assert_eq!(found(range(8, text.len() as u64)), None);
    }

    #[test]
    fn a_record_of_many_lines_stays_whole() {
        let text = b"2026 a\n  at x\n2026 b\n  at y\n  at z\n";
        let file = file(text);
        let begins = |line: &[u8]| line.starts_with(b"2026");
        let found = last_line(&file, range(0, text.len() as u64), begins).expect("read");
        assert_eq!(found.map(|(begin, _)| begin.0), Some(14));
        let found = last_line(&file, range(7, 14), begins).expect("read");
        assert_eq!(found, None);
    }
}
