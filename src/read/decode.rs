//! Decompression of object bodies, chunk by chunk. Owns the limit: whatever an object decompresses to, no more is
//! produced than the length in its key.

use std::io::{self, Write};

use flate2::write::GzDecoder;

use crate::format::naming::Form;

/// Takes an object's bytes and writes what they decompress to.
pub enum Decoder<W: Write> {
    /// As it is.
    Plain(Limited<W>),
    /// One gzip member.
    Gzip(Box<GzDecoder<Limited<W>>>),
    /// One zstd frame.
    Zstd(Box<zstd::stream::write::Decoder<'static, Limited<W>>>),
}

/// Takes so many bytes and no more.
pub struct Limited<W> {
    sink: W,
    most: u64,
    left: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(format!("it goes on behind {} bytes", self.most)));
        }
        let written = self.sink.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<W: Write> Decoder<W> {
    /// A decoder of objects of that form, which are to hold `most` bytes.
    pub fn new(form: Form, sink: W, most: u64) -> io::Result<Decoder<W>> {
        let sink = Limited { sink, most, left: most };
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
        let limited = match self {
            Decoder::Plain(sink) => sink,
            Decoder::Gzip(decoder) => decoder.finish()?,
            Decoder::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok(limited.sink)
    }
}
