//! What the files of one node are called in the spool's folder `nodes`: its number, then what the file is. Owns these
//! names and nothing behind them.
//!
//! ```text
//! ID.data                            spool file that begins at the log's first byte; all bytes of a local file
//! ID.data.START                      spool file that begins at a position of the log
//! ID.START_END_GENERATION.PHASE      seal marker
//! *.new                              any of these before it has its own name
//! ```

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::sync_folder;
use crate::format::naming::MarkerName;
use crate::types::errors::LocalError;
use crate::types::ids::{NodeId, SpoolOffset};

/// The folder of all nodes' files.
pub const NODES: &str = "nodes";
const DATA: &str = "data";
/// What a file is called before it has its own name.
const HALF_WRITTEN: &str = "new";

/// The path of a spool file below the spool.
pub fn data_path(node: NodeId, start: SpoolOffset) -> String {
    format!("{NODES}/{node}.{}", data_name(start))
}

fn data_name(start: SpoolOffset) -> String {
    match start {
        SpoolOffset(0) => DATA.to_owned(),
        SpoolOffset(start) => format!("{DATA}.{start:016x}"),
    }
}

fn parse_data_name(name: &str) -> Option<SpoolOffset> {
    let start = match name.strip_prefix(DATA)? {
        "" => 0,
        rest => u64::from_str_radix(rest.strip_prefix('.')?, 16).ok()?,
    };
    Some(SpoolOffset(start)).filter(|start| data_name(*start) == name)
}

/// A file of a node, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFile {
    /// A spool file, and where it begins.
    Data(SpoolOffset),
    /// A seal marker.
    Marker(MarkerName),
    /// One of these whose writing was not finished.
    HalfWritten,
}

impl NodeFile {
    /// Reads a file's name; `None` for any other file.
    pub fn parse(name: &str) -> Option<(NodeId, NodeFile)> {
        let (id, rest) = name.split_once('.')?;
        let node = u64::from_str_radix(id, 16).map(NodeId).ok();
        let node = node.filter(|node| node.to_string() == id)?;
        NodeFile::of(rest).map(|file| (node, file))
    }

    /// Reads what stands behind the node's number.
    pub fn of(rest: &str) -> Option<NodeFile> {
        if let Some(start) = parse_data_name(rest) {
            return Some(NodeFile::Data(start));
        }
        if let Some(stem) = rest.strip_suffix(HALF_WRITTEN).and_then(|stem| stem.strip_suffix('.')) {
            let marker = MarkerName::parse(&format!("{stem}.sealed"));
            let known = marker.is_some() || parse_data_name(stem).is_some();
            return known.then_some(NodeFile::HalfWritten);
        }
        MarkerName::parse(rest).map(NodeFile::Marker)
    }
}

/// Where the files of one node are.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    folder: Arc<Path>,
    id: NodeId,
}

impl NodeFiles {
    /// Those of a node in a folder.
    pub fn new(folder: Arc<Path>, id: NodeId) -> NodeFiles {
        NodeFiles { folder, id }
    }

    /// The node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The spool file that begins at a position.
    pub fn data(&self, start: SpoolOffset) -> PathBuf {
        self.named(data_name(start))
    }

    /// That file before it has its name.
    pub fn new_data(&self, start: SpoolOffset) -> PathBuf {
        self.data(start).with_added_extension(HALF_WRITTEN)
    }

    /// A seal marker.
    pub fn marker(&self, name: &MarkerName) -> PathBuf {
        self.named(name)
    }

    /// Makes the names of all files durable.
    pub fn sync(&self) -> Result<(), LocalError> {
        sync_folder(&self.folder)
    }

    fn named(&self, what: impl Display) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        let files = NodeFiles::new(Path::new("/nodes").into(), NodeId(0x2a));
        let parse = |path: &Path| NodeFile::parse(&path.file_name()?.to_string_lossy());
        for start in [0, 1, 4096, u64::MAX] {
            let start = SpoolOffset(start);
            assert_eq!(parse(&files.data(start)), Some((NodeId(0x2a), NodeFile::Data(start))));
            assert_eq!(parse(&files.new_data(start)), Some((NodeId(0x2a), NodeFile::HalfWritten)));
        }
        let text = "0000000000000000_0000000000000005_00000001.sealed";
        let marker = MarkerName::parse(text).expect("a marker");
        let path = files.marker(&marker);
        assert_eq!(parse(&path), Some((NodeId(0x2a), NodeFile::Marker(marker))));
        assert_eq!(parse(&path.with_extension(HALF_WRITTEN)), Some((NodeId(0x2a), NodeFile::HalfWritten)));
        for other in ["data.", "data.1", "data.0000000000000000", "dat", "data.00000000000000FF", "new", ""] {
            assert_eq!(NodeFile::of(other), None, "{other}");
        }
        assert_eq!(NodeFile::parse("2a.data"), None, "a number has all its digits");
    }
}
