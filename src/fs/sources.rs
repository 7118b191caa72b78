//! What a new file may be a copy of: the logs that a program has just opened for reading, or opens just after.

use std::array;
use std::cmp::Reverse;
use std::sync::Arc;

use tracing::debug;

use super::Fs;
use crate::log_file::LogFile;
use crate::log_file::readers::TOGETHER;
use crate::namespace::Open;
use crate::spool::record::CopySource;
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, Origin};

impl Fs {
    /// A file begins: notes the logs that somebody reads.
    pub(super) fn note_sources(&self, log: &Arc<LogFile>, by: Origin) {
        let now = self.parts.ports.clock.monotonic();
        let sources = self.parts.queues.readers.begins(log, by.thread, now);
        self.add_sources(log, &sources);
    }

    /// The worker before saw that a file began, and nothing was written to it since: whoever writes to it may be about
    /// to open the log that he copies.
    pub(super) fn note_begun(&self, log: &Arc<LogFile>) -> Result<(), FsError> {
        let current = log.state().current();
        let is_young = self.parts.ports.clock.now().since(current.since) < TOGETHER;
        if is_young && log.len()? == current.at {
            self.note_sources(log, Origin::default());
        }
        Ok(())
    }

    /// A log is opened for reading: files that have just begun, and have nothing in them yet, may become copies of it.
    pub(super) fn note_reader(&self, log: &Arc<LogFile>, handle: HandleId, by: Origin) {
        let source = CopySource { node: log.id, at: log.state().current().at, handle, was_closed: false };
        let now = self.parts.ports.clock.monotonic();
        let begun = self.parts.queues.readers.opened(source, by.thread, now);
        for begun in begun {
            // One that is gone again becomes nothing.
            if begun.len().is_ok_and(|len| len == begun.state().current().at) {
                self.add_sources(&begun, &[source]);
            }
        }
    }

    /// How alike the paths of a file and of a log are: a copy is mostly called after its log.
    fn likeness(&self, log: &LogFile, source: &CopySource) -> usize {
        let [path, other] = [log.id, source.node].map(|id| self.parts.disk.namespace.path(id).unwrap_or_default());
        path.iter().zip(other).take_while(|(byte, other)| *byte == other).count()
    }

    /// The record has room for a few, and takes the likeliest. What cannot be noted costs a copy that is stored, and
    /// nobody his open file.
    fn add_sources(&self, log: &Arc<LogFile>, sources: &[CopySource]) {
        if sources.is_empty() {
            return;
        }
        let current = log.state().current();
        let known = current.sources.iter().flatten().chain(sources);
        let mut ranked: Vec<_> = known.map(|source| (self.likeness(log, source), *source)).collect();
        ranked.sort_by_key(|(likeness, _)| Reverse(*likeness));
        let mut likeliest = ranked.into_iter().map(|(_, source)| source);
        let noted = self.parts.disk.namespace.note(log.id, current.at, |generation| {
            generation.sources = array::from_fn(|_| likeliest.next());
        });
        // The rest is known to this worker alone.
        log.add_sources(likeliest);
        if let Err(e) = noted {
            return debug!("what a file may be a copy of is not noted: {e}");
        }
        for source in sources {
            if let Ok(Open::Live(original)) = self.parts.disk.namespace.open(source.node) {
                original.suspect(log);
            }
        }
    }
}
