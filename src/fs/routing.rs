//! Routing: by its path a file is a log of some stream or stays local, and a rename may change that. Owns this decision
//! and what is reported of local files.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::Serialize;
use tracing::warn;

use super::Fs;
use crate::format::naming::{SEGMENTS_ENDING, keys_fit};
use crate::format::stream_map::stream_of;
use crate::log_file::{LogFile, Target};
use crate::namespace::listing::{Listed, Stored};
use crate::namespace::local::WhyLocal;
use crate::namespace::renames::{is_rotation, is_temporary};
use crate::namespace::{NewFile, Open};
use crate::spool::record::Content;
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::NodeId;

impl Fs {
    /// The path of a name in a directory.
    pub(super) fn path_of(&self, parent: NodeId, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let mut path = self.parts.disk.namespace.path(parent)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Ok(path)
    }

    /// What a new file is: local only by its name, else a live file of its path's stream.
    pub(super) fn new_file(&self, parent: NodeId, name: &[u8]) -> Result<NewFile, FsError> {
        let path = self.path_of(parent, name)?;
        match self.policy.routing.exclude.glob_of(&path) {
            Some(glob) => {
                self.say_local(&path, glob);
                Ok(NewFile::Local)
            }
            None => {
                let content = if self.is_named_whole(&path) { self.parts.disk.in_place() } else { Content::Log };
                Ok(NewFile::Live(self.target(&path)?, content, None))
            }
        }
    }

    /// The stream that a log of that path adds to. Fails when S3 has no keys that long.
    fn target(&self, path: &[u8]) -> Result<Target, FsError> {
        let now = self.parts.ports.clock.now();
        let routing = &self.policy.routing;
        let stream = stream_of(&routing.stream_map, &routing.labels, path);
        let partition = self.parts.disk.segmenting.partition.of(now).len();
        let writer = self.parts.disk.spool.identity().writer;
        if !keys_fit(&self.parts.ports.prefix, &stream.path, partition, &writer) {
            let stream = escape_path(&stream.path);
            warn!(%stream, "a path was refused: its keys would be longer than S3's 1,024 bytes");
            return Err(FsError::NameTooLong);
        }
        let labels = stream.labels;
        Ok(Target { stream: self.parts.disk.streams.get(&stream.path, now)?, labels })
    }

    /// The stream that a file gets by a rename; `None` when it stays what it is. A local file becomes a log. A log of
    /// which nothing was sealed goes where the name leads that its program meant for it: out of a temporary name, or in
    /// the place of another log. One that is rotated away stays.
    pub(super) fn target_of_rename(
        &self,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
    ) -> Result<Option<Target>, FsError> {
        let new = self.path_of(new_parent, new_name)?;
        let (log, old) = match self.parts.disk.namespace.live(parent, name) {
            Some(Open::Local(_)) => return self.log_of(&new),
            Some(Open::Live(log)) => (log, self.path_of(parent, name)?),
            _ => return Ok(None),
        };
        if log.state().is_bound() || is_rotation(&old, &new) {
            return Ok(None);
        }
        let target = self.target_out_of(&old, &new, &log)?;
        let routing = &self.policy.routing;
        let stream = |path: &[u8]| stream_of(&routing.stream_map, &routing.labels, path).path;
        let is_own = || log.stream().path == stream(&old);
        match target {
            None if is_own() && self.is_stream(&stream(&new), new_parent, new_name) => self.log_of(&new),
            target => Ok(target),
        }
    }

    /// The same for a second name, by which nothing is put in another's place.
    pub(super) fn target_of_link(&self, id: NodeId, parent: NodeId, name: &[u8]) -> Result<Option<Target>, FsError> {
        let new = self.path_of(parent, name)?;
        match self.parts.disk.namespace.open(id)? {
            Open::Local(_) => self.log_of(&new),
            Open::Live(log) if !log.state().is_bound() => {
                let old = self.parts.disk.namespace.path(id).unwrap_or_default();
                self.target_out_of(&old, &new, &log)
            }
            _ => Ok(None),
        }
    }

    /// The target of a log that has had a temporary name until now.
    fn target_out_of(&self, old: &[u8], new: &[u8], log: &LogFile) -> Result<Option<Target>, FsError> {
        let until_now = is_temporary(old) || is_temporary(&log.stream().path);
        if until_now && !is_temporary(new) { self.log_of(new) } else { Ok(None) }
    }

    /// The target of a path, unless its name keeps a file local.
    fn log_of(&self, path: &[u8]) -> Result<Option<Target>, FsError> {
        let local = self.policy.routing.exclude.glob_of(path).is_some();
        if local { Ok(None) } else { self.target(path).map(Some) }
    }

    /// Whether a name is that of a stream, as far as spool and cached listings tell.
    fn is_stream(&self, stream: &[u8], parent: NodeId, name: &[u8]) -> bool {
        let folder = [name, SEGMENTS_ENDING.as_bytes()].concat();
        self.parts.disk.streams.is_known(stream)
            || matches!(self.known_stored(parent, &folder), Listed::Present(Stored::Prefix))
    }

    /// A local file has become a log: its bytes are counted as a log's, and wait for their seal.
    pub(super) fn took_over(&self, log: &Arc<LogFile>) {
        let bytes = log.state().counted().0;
        self.parts.disk.budget.local.remove(&self.parts.disk.local_account(log.id), bytes);
        self.parts.disk.budget.live.add(self.parts.disk.account(log), bytes);
        self.parts.queues.touch(log);
    }

    /// Names the first file that a glob keeps from the bucket.
    fn say_local(&self, path: &[u8], glob: &str) {
        if self.said_local.lock().insert(glob.to_owned()) {
            let path = escape_path(path);
            warn!(%path, glob, "this file stays local and is never uploaded, since --exclude names it; further ones of this glob are not named");
        }
    }

    /// Why a local file is one.
    pub(super) fn why_local(&self, id: NodeId) -> String {
        let path = self.parts.disk.namespace.path(id).unwrap_or_default();
        let glob = self.policy.routing.exclude.glob_of(&path);
        let by = |glob| format!("excluded by {glob}");
        glob.map_or_else(|| "excluded by the name that it had".to_owned(), by)
    }

    /// The files that stay local, most bytes first and at most so many, and how many there are.
    pub fn local_files(&self, top: usize) -> (Vec<LocalFacts>, usize) {
        let mut files = self.parts.disk.namespace.each_local_file();
        let all = files.len();
        files.sort_unstable_by_key(|file| Reverse(file.bytes));
        files.truncate(top);
        let facts = files.into_iter().map(|file| LocalFacts {
            path: escape_path(&self.parts.disk.namespace.path(file.id).unwrap_or_default()),
            bytes: file.bytes,
            why: match file.why {
                WhyLocal::Excluded => self.why_local(file.id),
                why => why.sentence().to_owned(),
            },
        });
        (facts.collect(), all)
    }
}

/// A file that stays local.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalFacts {
    path: String,
    bytes: u64,
    why: String,
}
