//! What is open in a reader mount.

use std::sync::Arc;

use parking_lot::Mutex;

use super::names::Target;
use crate::namespace::FileKind;
use crate::read::objects::ObjectReader;
use crate::read::stream_file::{Reader, StreamFile};
use crate::read::streams::OpenStream;
use crate::types::ids::NodeId;

/// Something open.
pub(super) enum Handle {
    Stream { open: OpenStream, reader: Mutex<Reader> },
    Version { file: Box<StreamFile>, reader: Mutex<Reader> },
    Object(ObjectReader),
    Dir { id: NodeId, entries: Mutex<Option<Arc<Vec<Entry>>>> },
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// Its node, where it has one already.
    pub id: Option<NodeId>,
    /// What it is.
    pub kind: FileKind,
    /// `None` for `.` and `..`.
    pub(super) target: Option<Target>,
}
