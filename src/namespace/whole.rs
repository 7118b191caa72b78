//! Versions of files that are written in place. Before a change, what is sealed of the file counts no more: the record
//! says so durably, then the markers go, and then the bytes change.

use std::sync::Arc;

use super::Namespace;
use super::tree::Body;
use crate::log_file::LogFile;
use crate::spool::crash_point::crash_point;
use crate::spool::marker;
use crate::spool::record::{Content, Generation};
use crate::types::errors::FsError;
use crate::types::ids::{NodeId, SpoolOffset};
use crate::types::time::Utc;

impl Namespace {
    /// Has what applications see of a file begin another version, which is to be `content`. Invalid where some of its
    /// bytes are not here any more. To be called under [`LogFile::committing`].
    pub fn begin_version(&self, log: &LogFile, content: Content, now: Utc) -> Result<(), FsError> {
        let segments = {
            let mut tree = self.tree.lock();
            let birth = tree.next_number();
            let node = tree.node_mut(log.id)?;
            if !matches!(node.body, Body::Live(_)) {
                return Err(FsError::NotPermitted);
            }
            let Some((before, segments)) = log.state().begin_version(now, birth, content) else {
                return Err(FsError::Invalid);
            };
            if let Err(e) = self.store(node, log.id) {
                log.state().undo_version(before, segments);
                return Err(e);
            }
            segments
        };
        if segments.is_empty() {
            return Ok(());
        }
        self.make_durable(log.id)?;
        // The markers are those of a version that is no more.
        crash_point("version: the record has the next one");
        for segment in segments {
            marker::remove(log.names(), &segment)?;
            if segment.phase.owes_object() {
                log.stream().take_unsent();
            }
        }
        Ok(())
    }

    /// The live file beside a file that has its name without the last suffix: a JVM that dumps its heap with several
    /// threads has each write `dump.hprof.p0` and so on, and puts these together in `dump.hprof`.
    pub fn named_after(&self, id: NodeId) -> Option<Arc<LogFile>> {
        let tree = self.tree.lock();
        let (parent, name) = tree.node(id).ok()?.place()?;
        let end = name.iter().rposition(|byte| *byte == b'.')?;
        let other = tree.directory(parent).ok()?.live.get(&name[..end])?;
        match &tree.node(*other).ok()?.body {
            Body::Live(log) => Some(log.clone()),
            _ => None,
        }
    }

    /// Notes something of the generation of a file that begins at `at`, in its record too.
    pub fn note(&self, id: NodeId, at: SpoolOffset, change: impl FnOnce(&mut Generation)) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let node = tree.node_mut(id)?;
        if let Body::Live(log) = &node.body {
            log.state().generation_at(at).map(change);
        }
        self.store(node, id)
    }
}
