//! The one engine that turns the chunks of an object into the bytes of its segment, for whichever sink takes them: a
//! file, a queue, a checksum. Owns the limit: whatever an object decompresses to, no more is produced than the length
//! in its key.

use std::io::{self, Write};
use std::pin::pin;

use flate2::write::GzDecoder;
use futures_util::{Stream, StreamExt};

use super::range_fetcher::Chunk;
use crate::format::naming::Form;

/// Decompresses chunks as they come, and writes the bytes of the segment, of which there are to be `length`. Gives the
/// sink back, with how many bytes are missing. The inner error is that of the decompressor or of the sink.
///
/// The sink may block: it is written to on threads that may wait.
pub async fn decode<W: Write + Send + 'static, E>(
    chunks: impl Stream<Item = Result<Chunk, E>>,
    form: Form,
    length: u64,
    sink: W,
) -> Result<io::Result<(W, u64)>, E> {
    let mut chunks = pin!(chunks);
    let mut decoder = match Decoder::new(form, sink, length) {
        Ok(decoder) => decoder,
        Err(e) => return Ok(Err(e)),
    };
    while let Some(chunk) = chunks.next().await {
        let (bytes, place) = chunk?;
        // Decompressing 4 MiB takes long enough to hold other requests up.
        let fed = tokio::task::spawn_blocking(move || {
            let fed = decoder.feed(&bytes);
            drop(place);
            fed.map(|()| decoder)
        });
        decoder = match fed.await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(decoder) => decoder,
            Err(e) => return Ok(Err(e)),
        };
    }
    let finished = tokio::task::spawn_blocking(move || decoder.finish());
    Ok(finished.await.unwrap_or_else(|e| Err(io::Error::other(e))))
}

/// Takes an object's bytes and writes what they decompress to. One that is dropped before its end writes nothing more.
pub struct Decoder<W: Write>(Option<Engine<W>>);

enum Engine<W: Write> {
    /// As it is.
    Plain(Limited<W>),
    /// One gzip member.
    Gzip(Box<GzDecoder<Limited<W>>>),
    /// One zstd frame.
    Zstd(Box<zstd::stream::write::Decoder<'static, Limited<W>>>),
}

/// Takes so many bytes and no more.
struct Limited<W> {
    sink: W,
    most: u64,
    left: u64,
    closed: bool,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
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
        let sink = Limited { sink, most, left: most, closed: false };
        let engine = match form {
            Form::Plain | Form::Dropped => Engine::Plain(sink),
            Form::Gzip => Engine::Gzip(Box::new(GzDecoder::new(sink))),
            Form::Zstd => Engine::Zstd(Box::new(zstd::stream::write::Decoder::new(sink)?)),
        };
        Ok(Decoder(Some(engine)))
    }

    /// Takes the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Some(Engine::Plain(sink)) => sink.write_all(chunk),
            Some(Engine::Gzip(decoder)) => decoder.write_all(chunk),
            Some(Engine::Zstd(decoder)) => decoder.write_all(chunk),
            None => Ok(()),
        }
    }

    /// All is there; gives the sink back, and how many bytes are missing. An object that breaks off is an error.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let limited = match self.0.take().ok_or(io::ErrorKind::BrokenPipe)? {
            Engine::Plain(sink) => sink,
            Engine::Gzip(decoder) => decoder.finish()?,
            Engine::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok((limited.sink, limited.left))
    }
}

impl<W: Write> Drop for Decoder<W> {
    fn drop(&mut self) {
        // A gzip decoder writes what it still has when it is dropped, maybe where nobody may wait for the sink.
        if let Some(Engine::Gzip(decoder)) = &mut self.0 {
            decoder.get_mut().closed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("compressed");
        encoder.finish().expect("compressed")
    }

    #[test]
    fn one_that_is_dropped_writes_nothing_more() {
        let sink = Sink::default();
        let mut decoder = Decoder::new(Form::Gzip, sink.clone(), 1 << 20).expect("a decoder");
        let body = gzip(&b"a line of text\n".repeat(1000));
        decoder.feed(&body[..body.len() / 2]).expect("fed");
        let before = sink.0.lock().len();
        drop(decoder);
        assert_eq!(sink.0.lock().len(), before);
    }

    #[test]
    fn what_is_missing_is_counted() {
        let mut decoder = Decoder::new(Form::Gzip, Sink::default(), 10).expect("a decoder");
        decoder.feed(&gzip(b"seven b")).expect("fed");
        assert_eq!(decoder.finish().expect("finished").1, 3);
    }
}
