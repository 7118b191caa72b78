//! The body of an object: a sealed range, read once, checked against its marker and compressed into an anonymous file.
//! So length and checksum are known before the request begins, and a retry sends the same bytes. An uncompressed body
//! is the range of the spool file itself.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::write::GzEncoder;

use super::parts::Disk;
use super::seal::for_each_chunk;
use crate::format::naming::Form;
use crate::log_file::SpoolFile;
use crate::s3::bucket::Payload;
use crate::settings::writer::Levels;
use crate::spool::disk::{memory_file, unnamed_file};
use crate::spool::marker::Marker;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::SpoolRange;

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
    let encoder = |sink| Encoder::new(form, disk.segmenting.levels, Sink::new(sink));
    match compress(file, range, marker, encoder(sink)) {
        // The disk has no room for the body: memory has.
        Err(e) if e.kind() == io::ErrorKind::StorageFull => {
            let sink = memory_file(disk.spool.dir())?;
            compress(file, range, marker, encoder(sink))
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

fn compress(
    file: &SpoolFile,
    range: SpoolRange,
    marker: &Marker,
    encoder: io::Result<Encoder<Sink>>,
) -> io::Result<Body> {
    let mut encoder = encoder?;
    let crc64 = feed(file, range, &mut encoder)?;
    Ok(checked(marker, crc64, encoder.finish()?.into_payload()))
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

/// Compresses what is written to it.
pub(super) enum Encoder<W: Write> {
    /// gzip, also of what has no form of its own.
    Gzip(GzEncoder<BufWriter<W>>),
    /// zstd.
    Zstd(zstd::Encoder<'static, BufWriter<W>>),
}

impl<W: Write> Encoder<W> {
    /// Writes to `sink` in this form.
    pub(super) fn new(form: Form, levels: Levels, sink: W) -> io::Result<Encoder<W>> {
        let sink = BufWriter::with_capacity(WRITE_BUFFER, sink);
        Ok(match form {
            Form::Zstd => Encoder::Zstd(zstd::Encoder::new(sink, levels.zstd)?),
            Form::Gzip | Form::Plain | Form::Dropped => {
                Encoder::Gzip(GzEncoder::new(sink, flate2::Compression::new(levels.gzip)))
            }
        })
    }

    /// Where all of it has gone by now.
    pub(super) fn sink(&mut self) -> &mut W {
        match self {
            Encoder::Gzip(encoder) => encoder.get_mut().get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut().get_mut(),
        }
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> io::Result<W> {
        let buffered = match self {
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        buffered.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// A file that sums what is written to it.
pub(super) struct Sink {
    file: File,
    at: u64,
    crc32: crc_fast::Digest,
}

impl Sink {
    /// Of an empty file.
    pub(super) fn new(file: File) -> Sink {
        Sink { file, at: 0, crc32: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc) }
    }

    /// Bytes that were written.
    pub(super) fn len(&self) -> u64 {
        self.at
    }

    /// Goes on in another file, which has the same bytes.
    pub(super) fn move_to(&mut self, file: File) {
        self.file = file;
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What was written, to be sent.
    pub(super) fn into_payload(self) -> Payload {
        let crc32 = self.crc32.finalize() as u32;
        Payload { range: 0..self.at, file: Arc::new(self.file), crc32 }
    }
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
