//! The body of a PUT: a range of a file, read while it is sent, so that nothing is held in memory.

use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::s3::bucket::Payload;

/// Bytes read from a file at once while sending.
const SEND_CHUNK: u64 = 128 * 1024;

/// A request body that reads a file as it is sent. The file was written or read a moment ago, so that its pages are in
/// memory and a read does not hold the runtime up.
pub(super) struct FileBody {
    payload: Payload,
    at: u64,
}

/// A payload's file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading what is to be sent: {0}")]
pub(super) struct FileBodyError(#[source] std::io::Error);

impl FileBody {
    pub(super) fn new(payload: &Payload) -> FileBody {
        FileBody { at: payload.range.start, payload: payload.clone() }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = FileBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, FileBodyError>>> {
        let left = self.payload.range.end - self.at;
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; usize::try_from(left.min(SEND_CHUNK)).unwrap_or(0)];
        match self.payload.file.read_exact_at(&mut chunk, self.at) {
            Ok(()) => {
                self.at += chunk.len() as u64;
                Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(chunk)))))
            }
            Err(e) => Poll::Ready(Some(Err(FileBodyError(e)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.payload.range.end
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.payload.range.end - self.at)
    }
}
