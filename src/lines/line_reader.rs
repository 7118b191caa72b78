//! The lines of a stream, in its order, each with where it was written. A line that goes on in the next segment is one
//! line.
//!
//! Invariant: the part of a line that waits for its end is bounded: a longer line is broken.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::format::timeline::Segment;
use crate::read::range_fetcher::Unreadable;
use crate::read::scan::{Scan, ScanItem};
use crate::read::stream_file::StreamFile;

/// Longest line in one. Twice what any log tool takes for one.
const LINE_MAX: usize = 16 << 20;

/// Where a line began.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The segment.
    pub segment: Arc<Segment>,
    /// Its first byte, in its generation.
    pub offset: u64,
}

/// What a line is.
#[derive(Clone, Debug)]
pub enum LineKind {
    /// A program wrote it.
    Written(Origin),
    /// It says which bytes are not there.
    Note,
    /// It says that the rest of a segment, by its key, cannot be read.
    Damage(String),
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Without its newline.
    pub text: Bytes,
    /// Who says it.
    pub kind: LineKind,
}

/// The lines of a stream.
pub struct LineReader<'a> {
    scan: Scan<'a>,
    chunk: Bytes,
    /// Where the chunk begins; none of what joins two segments.
    origin: Option<Origin>,
    /// A line without its end, and where it began.
    begun: BytesMut,
    begun_at: Option<Origin>,
    queue: VecDeque<Line>,
}

impl<'a> LineReader<'a> {
    /// The lines from a byte on.
    pub fn new(file: &'a StreamFile, at: u64) -> LineReader<'a> {
        let (chunk, begun, queue) = Default::default();
        LineReader { scan: Scan::new(file, at), chunk, origin: None, begun, begun_at: None, queue }
    }

    /// Where it has come to, in the stream.
    pub fn at(&self) -> u64 {
        self.scan.at()
    }

    /// Bytes of a line that waits for its end.
    pub fn begun(&self) -> u64 {
        self.begun.len() as u64
    }

    /// The next line of what has come.
    pub fn ready(&mut self) -> Option<Line> {
        if let Some(line) = self.queue.pop_front() {
            return Some(line);
        }
        if self.chunk.is_empty() {
            return None;
        }
        let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
            let rest = std::mem::take(&mut self.chunk);
            self.begin(&rest);
            return (self.begun.len() > LINE_MAX).then(|| self.end()).flatten();
        };
        let text = self.chunk.split_to(end);
        let _newline = self.chunk.split_to(1);
        if self.begun.is_empty() {
            let kind = self.kind(self.origin.clone());
            self.pass(end + 1);
            return Some(Line { text, kind });
        }
        self.begun.extend_from_slice(&text);
        self.pass(end + 1);
        self.end()
    }

    /// Has more come; `false` at what is the end by now.
    pub async fn fill(&mut self) -> Result<bool, Unreadable> {
        match self.scan.next().await? {
            None => return Ok(false),
            Some(ScanItem::Bytes(bytes, segment)) => {
                self.chunk = bytes;
                self.origin = segment.map(|(segment, offset)| Origin { segment, offset });
            }
            Some(ScanItem::Note(text)) => {
                let text = Bytes::copy_from_slice(text.trim_end().as_bytes());
                self.add(Line { text, kind: LineKind::Note });
            }
            Some(ScanItem::Damaged(segment, why)) => {
                let key = segment.name(b"").to_string();
                let text = format!("logsinkfs: the rest of a segment cannot be read here: {key}: {why}");
                self.add(Line { text: text.into(), kind: LineKind::Damage(format!("{key}: {why}")) });
            }
        }
        Ok(true)
    }

    /// A last line without an end, where nothing more comes.
    pub fn end(&mut self) -> Option<Line> {
        if self.begun.is_empty() {
            return None;
        }
        let text = std::mem::take(&mut self.begun).freeze();
        let kind = self.begun_at.take();
        Some(Line { text, kind: self.kind(kind) })
    }

    fn kind(&self, origin: Option<Origin>) -> LineKind {
        origin.map_or(LineKind::Note, LineKind::Written)
    }

    fn begin(&mut self, rest: &[u8]) {
        if self.begun.is_empty() {
            self.begun_at = self.origin.clone();
        }
        self.begun.extend_from_slice(rest);
        self.pass(rest.len());
    }

    fn pass(&mut self, bytes: usize) {
        if let Some(origin) = &mut self.origin {
            origin.offset += bytes as u64;
        }
    }

    fn add(&mut self, line: Line) {
        let begun = self.end();
        self.queue.extend(begun);
        self.queue.push_back(line);
    }
}
