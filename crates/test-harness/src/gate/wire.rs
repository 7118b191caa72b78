//! A connection that can be made to behave badly while it is used.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Failure;

/// So many bytes at a time on a slow connection, and the pause between them.
const DRIP: usize = 128;
const DRIP_PAUSE: Duration = Duration::from_millis(1);

/// How a connection behaves from now on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Well,
    /// A few bytes at a time.
    Drip,
    /// It ends with a reset.
    Reset,
    /// It says this instead of what it is told to say, and ends.
    Garbage(&'static [u8]),
}

/// The connection as hyper uses it.
pub struct Wire {
    stream: TcpStream,
    manner: Arc<Mutex<Manner>>,
    /// Until the next bytes may be read, and until some may be written.
    pauses: [Pin<Box<Sleep>>; 2],
}

impl Wire {
    /// A connection, and the handle by which it is told how to behave.
    pub fn new(stream: TcpStream) -> (Self, Arc<Mutex<Manner>>) {
        let manner = Arc::<Mutex<Manner>>::default();
        let pauses = [(); 2].map(|()| Box::pin(sleep(DRIP_PAUSE)));
        (Self { stream, manner: Arc::clone(&manner), pauses }, manner)
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.manner() == Manner::Reset {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.manner() != Manner::Drip {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        ready!(self.pauses[0].as_mut().poll(context));
        self.pauses[0].set(sleep(DRIP_PAUSE));
        let mut few = [0; DRIP];
        let mut part = ReadBuf::new(&mut few[..DRIP.min(buffer.remaining())]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.manner() {
            Manner::Well | Manner::Reset => Pin::new(&mut self.stream).poll_write(context, bytes),
            Manner::Drip => {
                ready!(self.pauses[1].as_mut().poll(context));
                self.pauses[1].set(sleep(DRIP_PAUSE));
                let few = &bytes[..DRIP.min(bytes.len())];
                Pin::new(&mut self.stream).poll_write(context, few)
            }
            Manner::Garbage(garbage) => {
                ready!(Pin::new(&mut self.stream).poll_write(context, garbage))?;
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of an answer that breaks off: it says that it is longer than what it has.
pub struct BreaksOff {
    pub bytes: Option<Bytes>,
    pub claimed: u64,
    /// What there is has been sent.
    pub flushed: bool,
}

impl Body for BreaksOff {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        // hyper flushes when there is nothing to send at the moment.
        if !std::mem::replace(&mut self.flushed, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err("the answer breaks off on purpose".into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.claimed)
    }
}
