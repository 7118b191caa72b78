//! Which files go where: by its path a file is a log of some stream, or stays local. Owns that decision and what is
//! said of files that stay local.

use tracing::warn;

use super::Fs;
use crate::local::life::Target;
use crate::local::namespace::NewFile;
use crate::values::errors::FsError;
use crate::values::escape::escape_path;
use crate::values::ids::NodeId;
use crate::values::naming::keys_fit;
use crate::values::stream_map::stream_of;

impl Fs {
    /// The path of a name in a directory.
    pub(super) fn path_of(&self, parent: NodeId, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let mut path = self.parts.namespace.path(parent)?;
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
            None => Ok(NewFile::Live(self.target(&path)?)),
        }
    }

    /// The stream that a log of that path adds to. Fails when S3 has no keys that long.
    fn target(&self, path: &[u8]) -> Result<Target, FsError> {
        let now = self.parts.clock.now();
        let routing = &self.policy.routing;
        let stream = stream_of(&routing.stream_map, &routing.labels, path);
        let partition = self.parts.segmenting.partition.of(now).len();
        let writer = self.parts.spool.identity().writer;
        if !keys_fit(&self.parts.prefix, &stream.path, partition, &writer) {
            let stream = escape_path(&stream.path);
            warn!(%stream, "a path was refused: its keys would be longer than S3's 1,024 bytes");
            return Err(FsError::NameTooLong);
        }
        let labels = stream.labels;
        Ok(Target { stream: self.parts.streams.get(&stream.path, now)?, labels })
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
        let path = self.parts.namespace.path(id).unwrap_or_default();
        let glob = self.policy.routing.exclude.glob_of(&path);
        let by = |glob| format!("excluded by {glob}");
        glob.map_or_else(|| "excluded by the name that it had".to_owned(), by)
    }
}
