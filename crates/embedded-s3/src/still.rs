//! Connections that stand still: opened and silent, with half a request, or with an answer that nobody reads.
//!
//! Owns: when bytes last went through each connection, and which are closed for that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// When bytes last went through a connection.
#[derive(Clone)]
pub struct Moved {
    began: Instant,
    /// Milliseconds later.
    last: Arc<AtomicU64>,
}

impl Moved {
    fn now(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A connection that tells when bytes go through it.
pub struct Watched {
    stream: TcpStream,
    moved: Moved,
}

impl Watched {
    pub fn new(stream: TcpStream) -> (Self, Moved) {
        // Small responses must not wait for the acknowledgement of the ones before.
        let _ = stream.set_nodelay(true);
        let moved = Moved { began: Instant::now(), last: Arc::default() };
        (Self { stream, moved: moved.clone() }, moved)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.moved.now();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.moved.now();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, bytes))?;
        self.moved.now();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections that are open.
#[derive(Default)]
pub struct Connections(Vec<(Moved, AbortHandle)>);

impl Connections {
    pub fn add(&mut self, moved: Moved, task: AbortHandle) {
        self.0.push((moved, task));
    }

    /// Where there are `max`, closes the one that has stood still for longest.
    pub fn make_room(&mut self, max: usize) {
        self.0.retain(|(_, task)| !task.is_finished());
        let stillest = (0..self.0.len()).min_by_key(|at| self.0[*at].0.at());
        if let Some(at) = stillest.filter(|_| self.0.len() >= max) {
            self.0.swap_remove(at).1.abort();
        }
    }

    pub fn close_those_still_for(&mut self, long: Duration) {
        for (_, task) in self.0.iter().filter(|(moved, _)| moved.at().elapsed() >= long) {
            task.abort();
        }
    }
}
