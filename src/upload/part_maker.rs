//! Makes the parts of a large object, one after the other, from a range of a spool file that is read once. An
//! uncompressed part is a range of the spool file itself; compressed ones are in anonymous files. All parts but the
//! last have the same size, which some services insist on.
//!
//! Invariant: no part is in memory, unless the spool's disk is full or has no anonymous files.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::body::{Encoder, Sink};
use super::seal::for_each_chunk;
use crate::format::naming::Form;
use crate::log_file::SpoolFile;
use crate::s3::bucket::Payload;
use crate::settings::writer::Levels;
use crate::spool::disk::{by_descriptor, memory_file, unnamed_file};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{PartNumber, SpoolOffset, SpoolRange};

/// Bytes of a part, unless the object needs larger ones. S3 wants 5 MiB at least.
const PART_SIZE: u64 = 16 << 20;
/// Parts have whole MiB.
const MIB: u64 = 1 << 20;
/// Bytes that are compressed before it is looked whether a part is full.
const STEP: u64 = 256 << 10;

/// What is sent in parts.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: SpoolFile,
    /// Its path, for errors.
    pub path: PathBuf,
    /// The bytes of it that are the object.
    pub range: SpoolRange,
    /// How they are stored.
    pub form: Form,
    /// How hard they are compressed.
    pub levels: Levels,
    /// CRC-64/NVME of them, as it was sealed, 16 hex digits.
    pub crc64: String,
    /// Bytes of each part but the last: [`part_size`].
    pub part_size: u64,
    /// The folder of anonymous files.
    pub spool: PathBuf,
}

/// How large parts have to be for so many bytes, even where compression makes them a little more.
pub fn part_size(length: u64) -> u64 {
    let most = length + length / 1024 + MIB;
    most.div_ceil(u64::from(PartNumber::MAX.0)).next_multiple_of(MIB).max(PART_SIZE)
}

/// A part that can be sent, again and again.
pub(super) struct Part {
    /// Its place.
    pub number: PartNumber,
    /// Its bytes.
    pub payload: Payload,
    /// Whether its bytes are in memory.
    pub in_memory: bool,
    /// With the last part: CRC-64/NVME of all bytes of the range, as they were read.
    pub crc64: Option<u64>,
}

/// Makes the parts.
pub(super) struct PartMaker {
    source: Source,
    at: SpoolOffset,
    made: u16,
    crc64: crc_fast::Digest,
    /// While there is something to compress.
    encoder: Option<Encoder<PartFiles>>,
    /// What is left when all is compressed.
    rest: VecDeque<(Payload, bool)>,
}

impl PartMaker {
    /// Begins with the first part.
    pub fn new(source: Source) -> Result<PartMaker, LocalError> {
        let encoder = match source.form {
            Form::Plain | Form::Dropped => None,
            Form::Gzip | Form::Zstd => {
                let files = PartFiles::new(source.spool.clone(), source.part_size);
                Some(Encoder::new(source.form, source.levels, files).at("compress", &source.path)?)
            }
        };
        let crc64 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        Ok(PartMaker { at: source.range.start, source, made: 0, crc64, encoder, rest: VecDeque::new() })
    }

    /// Makes the next part; nothing after the last. Blocking.
    pub fn next(&mut self) -> Result<Option<Part>, LocalError> {
        let made = match self.source.form {
            Form::Plain | Form::Dropped => self.plain().at("read", &self.source.path)?,
            Form::Gzip | Form::Zstd => self.compressed().at("compress", &self.source.path)?,
        };
        let Some((payload, in_memory)) = made else { return Ok(None) };
        if self.made == PartNumber::MAX.0 {
            let many = io::Error::new(io::ErrorKind::FileTooLarge, "it has more parts than S3 takes");
            return Err(many).at("send", &self.source.path);
        }
        self.made += 1;
        let is_last = self.at == self.source.range.end && self.encoder.is_none() && self.rest.is_empty();
        let crc64 = is_last.then(|| self.crc64.clone().finalize());
        Ok(Some(Part { number: PartNumber(self.made), payload, in_memory, crc64 }))
    }

    fn plain(&mut self) -> io::Result<Option<(Payload, bool)>> {
        let range = self.ahead(self.source.part_size);
        if range.is_empty() && self.made > 0 {
            return Ok(None);
        }
        let (crc64, mut crc32) = (&mut self.crc64, crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc));
        for_each_chunk(&self.source.file, range, |chunk| {
            crc64.update(chunk);
            crc32.update(chunk);
            Ok(())
        })?;
        self.at = range.end;
        let (file, range) = self.source.file.part(range);
        Ok(Some((Payload { file, range, crc32: crc32.finalize() as u32 }, false)))
    }

    fn compressed(&mut self) -> io::Result<Option<(Payload, bool)>> {
        let ahead = |maker: &PartMaker| maker.ahead(STEP);
        let mut step = ahead(self);
        while let Some(encoder) = &mut self.encoder {
            if let Some(full) = encoder.sink().full.pop_front() {
                return Ok(Some(full));
            }
            if step.is_empty() {
                break;
            }
            let crc64 = &mut self.crc64;
            for_each_chunk(&self.source.file, step, |chunk| {
                crc64.update(chunk);
                encoder.write_all(chunk)
            })?;
            self.at = step.end;
            step = ahead(self);
        }
        if let Some(encoder) = self.encoder.take() {
            self.rest = encoder.finish()?.into_payloads();
        }
        Ok(self.rest.pop_front())
    }

    /// The next bytes, at most so many.
    fn ahead(&self, most: u64) -> SpoolRange {
        SpoolRange { start: self.at, end: self.at.plus(most).min(self.source.range.end) }
    }
}

/// Files that are filled one after the other.
struct PartFiles {
    spool: PathBuf,
    part_size: u64,
    current: Option<Sink>,
    full: VecDeque<(Payload, bool)>,
}

impl PartFiles {
    fn new(spool: PathBuf, part_size: u64) -> PartFiles {
        PartFiles { spool, part_size, current: None, full: VecDeque::new() }
    }

    /// The last one, and what is full.
    fn into_payloads(mut self) -> VecDeque<(Payload, bool)> {
        self.close();
        self.full
    }

    fn close(&mut self) {
        let Some(sink) = self.current.take() else { return };
        let in_memory = is_in_memory(sink.file());
        self.full.push_back((sink.into_payload(), in_memory));
    }
}

impl Write for PartFiles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sink = match &mut self.current {
            Some(sink) => sink,
            none => none.insert(Sink::new(unnamed_file(&self.spool).map_err(|e| e.source)?)),
        };
        let left = usize::try_from(self.part_size - sink.len()).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        let written = match sink.write(bytes) {
            Err(e) if is_full(&e) && !is_in_memory(sink.file()) => {
                let memory = memory_file(&self.spool).map_err(|e| e.source)?;
                copy(sink.file(), sink.len(), &memory)?;
                sink.move_to(memory);
                sink.write(bytes)?
            }
            other => other?,
        };
        if sink.len() == self.part_size {
            self.close();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the disk, or our part of it, has no room.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a file is one of `memory_file`, as it also is on file systems that have no anonymous files.
fn is_in_memory(file: &File) -> bool {
    std::fs::read_link(by_descriptor(file)).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:"))
}

/// Copies the first bytes of a file.
fn copy(mut from: &File, length: u64, mut to: &File) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    io::copy(&mut from.take(length), &mut to).map(|_| ())
}

/// Whether a payload's file still has the bytes that the payload was made of. Blocking.
pub(super) fn is_intact(payload: &Payload) -> bool {
    let mut crc32 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc);
    let range = SpoolRange { start: SpoolOffset(payload.range.start), end: SpoolOffset(payload.range.end) };
    let read = for_each_chunk(&SpoolFile::from_start(payload.file.clone()), range, |chunk| {
        crc32.update(chunk);
        Ok(())
    });
    read.is_ok() && crc32.finalize() as u32 == payload.crc32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_so_large_that_any_object_has_few_enough() {
        for length in [0, 1, 64 << 20, 100 << 30, 157 << 30, 1 << 40, (5 << 40) - 1, 5 << 40] {
            let size = part_size(length);
            let worst = length + length / 1024;
            assert!(worst.div_ceil(size) <= 10_000, "{length}");
            assert!(((5 << 20)..(5 << 30)).contains(&size), "{length}: {size}");
        }
        assert_eq!(part_size(100 << 30), PART_SIZE);
        assert_eq!(part_size(5 << 40), 525 * MIB);
    }

    #[test]
    fn when_the_disk_is_full_a_part_goes_on_in_memory_and_the_next_one_tries_the_disk() {
        let spool = tempfile::tempdir().expect("a folder");
        let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").expect("it is always there");
        let mut files = PartFiles::new(spool.path().into(), 10);
        files.current = Some(Sink::new(full));
        files.write_all(b"0123456789abc").expect("written");
        let parts: Vec<_> = files.into_payloads().into();
        let read = |payload: &Payload| {
            let mut bytes = vec![0; payload.len() as usize];
            std::os::unix::fs::FileExt::read_exact_at(&*payload.file, &mut bytes, 0).expect("read");
            assert!(is_intact(payload));
            bytes
        };
        let found: Vec<_> = parts.iter().map(|(payload, in_memory)| (read(payload), *in_memory)).collect();
        assert_eq!(found, [(b"0123456789".to_vec(), true), (b"abc".to_vec(), false)]);
    }

    #[test]
    fn a_part_that_moves_takes_along_what_it_has() {
        let (spool, mut from) = (tempfile::tempdir().expect("a folder"), tempfile::tempfile().expect("a file"));
        from.write_all(b"0123456789").expect("written");
        let to = memory_file(spool.path()).expect("a file");
        copy(&from, 7, &to).expect("copied");
        let mut found = [0; 7];
        std::os::unix::fs::FileExt::read_exact_at(&to, &mut found, 0).expect("read");
        assert_eq!((&found, to.metadata().expect("there").len()), (b"0123456", 7));
    }
}
