//! The body of an object: a sealed range, read once, checked against its marker and compressed into an anonymous file.
//! So length and checksum are known before the request begins, and a retry sends the same bytes. An uncompressed body
//! is the range of the spool file itself.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::write::GzEncoder;

use super::parts::Disk;
use super::seal::for_each_chunk;
use crate::format::naming::Form;
use crate::log_file::SpoolFile;
use crate::s3::bucket::Payload;
use crate::spool::disk::{memory_file, unnamed_file};
use crate::spool::marker::Marker;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::SpoolRange;

/// gzip level 6 and zstd level 3: the defaults of the tools that people know.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// Bytes gathered before they go to the file.
const WRITE_BUFFER: usize = 256 * 1024;

/// A body that can be sent, again and again.
#[derive(Clone, Debug)]
pub enum Body {
    /// The bytes are what was sealed.
    Sound(Payload),
    /// The spool file holds other bytes by now than what was sealed.
    Damaged,
}

/// Makes the body of a sealed range of a file. Blocking; reads the range once.
pub fn prepare(
    disk: &Disk,
    (file, path): (&SpoolFile, &Path),
    range: SpoolRange,
    marker: &Marker,
    form: Form,
) -> Result<Body, LocalError> {
    let sink = match form {
        Form::Plain => return plain(file, range, marker).at("read", path),
        Form::Dropped => return empty(disk.spool.dir()),
        Form::Gzip | Form::Zstd => unnamed_file(disk.spool.dir())?,
    };
    match compress(file, range, marker, form, sink) {
        // The disk has no room for the body: memory has.
        Err(e) if e.kind() == io::ErrorKind::StorageFull => {
            let sink = memory_file(disk.spool.dir())?;
            compress(file, range, marker, form, sink)
        }
        other => other,
    }
    .at("compress", path)
}

/// The body of a mark.
fn empty(named_for: &Path) -> Result<Body, LocalError> {
    let file = Arc::new(memory_file(named_for)?);
    let crc32 = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, b"") as u32;
    Ok(Body::Sound(Payload { file, range: 0..0, crc32 }))
}

fn plain(file: &SpoolFile, range: SpoolRange, marker: &Marker) -> io::Result<Body> {
    let mut crc64 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let mut crc32 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc);
    for_each_chunk(file, range, |chunk| {
        crc64.update(chunk);
        crc32.update(chunk);
        Ok(())
    })?;
    let (file, range) = file.part(range);
    let payload = Payload { file, range, crc32: crc32.finalize() as u32 };
    Ok(checked(marker, crc64.finalize(), payload))
}

fn compress(file: &SpoolFile, range: SpoolRange, marker: &Marker, form: Form, sink: File) -> io::Result<Body> {
    let sink = Sink { file: sink, at: 0, crc32: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc) };
    let buffered = io::BufWriter::with_capacity(WRITE_BUFFER, sink);
    let (crc64, buffered) = match form {
        Form::Zstd => {
            let mut encoder = zstd::Encoder::new(buffered, ZSTD_LEVEL)?;
            let crc64 = feed(file, range, &mut encoder)?;
            (crc64, encoder.finish()?)
        }
        Form::Gzip | Form::Plain | Form::Dropped => {
            let mut encoder = GzEncoder::new(buffered, flate2::Compression::new(GZIP_LEVEL));
            let crc64 = feed(file, range, &mut encoder)?;
            (crc64, encoder.finish()?)
        }
    };
    let sink = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    let crc32 = sink.crc32.finalize() as u32;
    let payload = Payload { range: 0..sink.at, file: Arc::new(sink.file), crc32 };
    Ok(checked(marker, crc64, payload))
}

fn feed(file: &SpoolFile, range: SpoolRange, encoder: &mut impl Write) -> io::Result<u64> {
    let mut crc64 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    for_each_chunk(file, range, |chunk| {
        crc64.update(chunk);
        encoder.write_all(chunk)
    })?;
    Ok(crc64.finalize())
}

fn checked(marker: &Marker, crc64: u64, payload: Payload) -> Body {
    if marker.crc64 == format!("{crc64:016x}") { Body::Sound(payload) } else { Body::Damaged }
}

/// A file that sums what is written to it.
struct Sink {
    file: File,
    at: u64,
    crc32: crc_fast::Digest,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.crc32.update(&bytes[..written]);
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
