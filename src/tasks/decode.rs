//! Decompression: what an object's bytes were before they were stored, fed piece by piece, written to whatever
//! takes them. Owns no limit: an object may decompress to any length, so the sink has to refuse.

use std::io::{self, Write};

use flate2::write::GzDecoder;

use crate::values::naming::Form;

/// Takes an object's bytes and writes what they decompress to.
pub enum Decoder<W: Write> {
    /// As it is.
    Plain(W),
    /// One gzip member.
    Gzip(Box<GzDecoder<W>>),
    /// One zstd frame.
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
}

impl<W: Write> Decoder<W> {
    /// A decoder of objects of that form.
    pub fn new(form: Form, sink: W) -> io::Result<Decoder<W>> {
        Ok(match form {
            Form::Plain | Form::Dropped => Decoder::Plain(sink),
            Form::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(sink))),
            Form::Zstd => Decoder::Zstd(Box::new(zstd::stream::write::Decoder::new(sink)?)),
        })
    }

    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Decoder::Plain(sink) => sink.write_all(piece),
            Decoder::Gzip(decoder) => decoder.write_all(piece),
            Decoder::Zstd(decoder) => decoder.write_all(piece),
        }
    }

    /// All is there; gives the sink back. An object that breaks off is an error.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Decoder::Plain(sink) => Ok(sink),
            Decoder::Gzip(decoder) => decoder.finish(),
            Decoder::Zstd(mut decoder) => {
                decoder.flush()?;
                Ok(decoder.into_inner())
            }
        }
    }
}
