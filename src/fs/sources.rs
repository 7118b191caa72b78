//! What a new file may be a copy of: the logs that a program has just opened for reading, or opens just after.

use std::sync::Arc;

use tracing::debug;

use super::Fs;
use crate::log_file::LogFile;
use crate::namespace::Open;
use crate::spool::record::CopySource;
use crate::types::ids::{HandleId, Origin};

impl Fs {
    /// A file begins: notes the logs that somebody reads.
    pub(super) fn note_sources(&self, log: &Arc<LogFile>, by: Origin) {
        let now = self.parts.ports.clock.monotonic();
        let sources = self.parts.queues.readers.begins(log, by.thread, now);
        self.add_sources(log, &sources);
    }

    /// A log is opened for reading: files that have just begun, and have nothing in them yet, may become copies of it.
    pub(super) fn note_reader(&self, log: &Arc<LogFile>, handle: HandleId, by: Origin) {
        let source = CopySource { node: log.id, at: log.state().current().at, handle };
        let now = self.parts.ports.clock.monotonic();
        let begun = self.parts.queues.readers.opened(source, by.thread, now);
        for begun in begun {
            // One that is gone again becomes nothing.
            if begun.len().is_ok_and(|len| len == begun.state().current().at) {
                self.add_sources(&begun, &[source]);
            }
        }
    }

    /// What cannot be noted costs a copy that is stored, and nobody his open file.
    fn add_sources(&self, log: &Arc<LogFile>, sources: &[CopySource]) {
        if sources.is_empty() {
            return;
        }
        let at = log.state().current().at;
        let mut added = sources.iter().copied();
        let noted = self.parts.disk.namespace.note(log.id, at, |generation| {
            let free = generation.sources.iter_mut().filter(|place| place.is_none());
            free.for_each(|place| *place = added.next());
        });
        // The rest is known to this worker alone.
        log.add_sources(added);
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
