//! What a new file may be a copy of: the logs that a program has just opened for reading, or opens just after.

use std::sync::Arc;

use super::Fs;
use crate::log_file::LogFile;
use crate::namespace::Open;
use crate::spool::record::{CopySource, CopySources};
use crate::types::errors::FsError;
use crate::types::ids::HandleId;

impl Fs {
    /// A file begins: notes the logs that somebody reads.
    pub(super) fn note_sources(&self, log: &Arc<LogFile>) -> Result<(), FsError> {
        let sources = self.parts.queues.readers.begins(log, self.parts.ports.clock.monotonic());
        self.add_sources(log, &sources)
    }

    /// A log is opened for reading: files that have just begun, and have nothing in them yet, may become copies of it.
    pub(super) fn note_reader(&self, log: &Arc<LogFile>, handle: HandleId) -> Result<(), FsError> {
        let source = CopySource { node: log.id, at: log.state().current().at, handle };
        let begun = self.parts.queues.readers.opened(source, self.parts.ports.clock.monotonic());
        for begun in begun {
            let is_empty = begun.len()? == begun.state().current().at;
            if is_empty && begun.state().handles.writers() > 0 {
                self.add_sources(&begun, &[Some(source), None, None, None])?;
            }
        }
        Ok(())
    }

    fn add_sources(&self, log: &Arc<LogFile>, sources: &CopySources) -> Result<(), FsError> {
        if sources.iter().all(Option::is_none) {
            return Ok(());
        }
        for source in sources.iter().flatten() {
            if let Ok(Open::Live(original)) = self.parts.disk.namespace.open(source.node) {
                original.suspect(log);
            }
        }
        let at = log.state().current().at;
        self.parts.disk.namespace.note(log.id, at, |generation| {
            let mut added = sources.iter().flatten();
            generation
                .sources
                .iter_mut()
                .filter(|place| place.is_none())
                .for_each(|place| *place = added.next().copied());
        })
    }
}
