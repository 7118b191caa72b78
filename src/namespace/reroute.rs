//! Renames that change what a file is: a log without a sealed range may get another stream, a local file may become a
//! log. Stored with the name, in one step.

use std::sync::Arc;

use super::Namespace;
use super::tree::{Body, Node};
use crate::log_file::{LogFile, Target};
use crate::spool::record::Generation;
use crate::types::errors::FsError;
use crate::types::ids::NodeId;
use crate::types::time::Utc;

impl Namespace {
    /// Stores a node with a new name and, where one is given, the stream that it adds to by that. Gives the log file of
    /// a local file that has become a log.
    pub(super) fn store_rerouted(
        &self,
        node: &mut Node,
        id: NodeId,
        target: Option<Target>,
        now: Utc,
    ) -> Result<Option<Arc<LogFile>>, FsError> {
        // In its stream it is as old as its name.
        let birth = node.claims.last().map_or(0, |claim| claim.number);
        match (&node.body, target) {
            (Body::Live(log), Some(target)) => {
                let log = log.clone();
                log.assign_stream(target, birth, || self.store(node, id))?;
                Ok(None)
            }
            (Body::Local(local), Some(Target { stream, labels })) => {
                let local = local.clone();
                // No byte is older than the file.
                let made = local.metadata()?.created().map_or(now, Utc::from);
                let first = Generation { since: made.min(now), birth, ..Generation::default() };
                let (files, starts) = (self.spool.node_files(id), vec![first.at]);
                let log = LogFile::new(files, stream, labels, &[first], starts);
                let log = Arc::new(log);
                let before = std::mem::replace(&mut node.body, Body::Live(log.clone()));
                let stored = local.become_log(log.clone(), || {
                    let len = log.len()?;
                    log.state().found_local(len);
                    self.store(node, id)
                });
                if stored.is_err() {
                    node.body = before;
                }
                stored.map(|()| Some(log))
            }
            (_, _) => self.store(node, id).map(|()| None),
        }
    }
}
