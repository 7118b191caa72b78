//! Journal of the stored nodes that the kernel knows by number: appended lines, compacted when it has grown. Owns that
//! file of a session.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::spool::disk::read_regular;
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::as_text;
use crate::types::ids::NodeId;
use crate::types::stored_object::StoredObject;

/// The journal is written anew when it has grown to this, and to twice what was needed.
const REWRITE_MIN: u64 = 4 << 20;

/// A stored node that the kernel may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNode {
    /// Its number.
    pub id: NodeId,
    /// The directory that it is in.
    pub parent: NodeId,
    /// Its name there.
    #[serde(with = "as_text")]
    pub name: Vec<u8>,
    /// The object; a prefix has none.
    pub object: Option<StoredObject>,
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    len: u64,
    rewrite_at: u64,
}

impl Journal {
    /// Opens the journal of the worker before, or begins one.
    pub fn open(path: PathBuf, resumed: bool) -> Result<Journal, LocalError> {
        if !resumed {
            let _ = fs::remove_file(&path);
        }
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path).at("open", &path)?;
        let len = file.metadata().at("stat", &path)?.len();
        let state = Mutex::new(State { file, len, rewrite_at: REWRITE_MIN.max(len) });
        Ok(Journal { path, state })
    }

    /// Adds a node. Says whether the journal should be written anew.
    pub fn keep(&self, node: &StoredNode) -> Result<bool, LocalError> {
        let line = self.line(node)?;
        let mut state = self.state.lock();
        state.file.write_all(&line).at("write", &self.path)?;
        state.len += line.len() as u64;
        Ok(state.len > state.rewrite_at)
    }

    /// Writes the journal anew.
    pub fn rewrite(&self, nodes: &[StoredNode]) -> Result<(), LocalError> {
        let (path, fresh) = (&self.path, self.path.with_extension("new"));
        let mut text = Vec::new();
        for node in nodes {
            text.extend(self.line(node)?);
        }
        fs::write(&fresh, &text).at("write", &fresh)?;
        fs::rename(&fresh, path).at("rename", &fresh)?;
        let file = OpenOptions::new().append(true).open(path).at("open", path)?;
        let len = text.len() as u64;
        *self.state.lock() = State { file, len, rewrite_at: REWRITE_MIN.max(2 * len) };
        Ok(())
    }

    /// Reads all. A line that was being written when the worker died is no loss: the kernel had not been told.
    pub fn read(&self) -> Vec<StoredNode> {
        let text = read_regular(&self.path, u64::MAX).unwrap_or_default();
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    fn line(&self, node: &StoredNode) -> Result<Vec<u8>, LocalError> {
        let mut line = serde_json::to_vec(node).map_err(std::io::Error::other).at("encode", &self.path)?;
        line.push(b'\n');
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_nodes_survive_a_line_cut_short() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a1.stored");
        let open = |resumed| Journal::open(path.clone(), resumed).expect("a journal");
        let node =
            |id: u64| StoredNode { id: NodeId(id), parent: NodeId::ROOT, name: b"dt=2026 \xff".to_vec(), object: None };
        let first = open(false);
        first.keep(&node(5)).expect("kept");
        OpenOptions::new().append(true).open(&path).expect("open").write_all(b"{\"id\":6").expect("");
        assert_eq!(open(true).read(), [node(5)]);
        first.rewrite(&[node(8)]).expect("written");
        first.keep(&node(9)).expect("kept");
        assert_eq!(open(true).read(), [node(8), node(9)]);
        assert_eq!(open(false).read(), []);
    }
}
