//! The port of the embedded bucket, stored in the spool for the length of a session: clients know its address, so the
//! next worker listens on the same port.

use std::fs;
use std::path::{Path, PathBuf};

use crate::spool::disk::{Durable, load_json, store_json};
use crate::spool::session::SESSION;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::SessionId;

/// Where a session's port is.
pub struct KeptPort {
    folder: PathBuf,
    name: String,
}

impl KeptPort {
    /// The place for the port of a session.
    pub fn new(spool: &Path, session: &SessionId) -> KeptPort {
        KeptPort { folder: spool.join(SESSION), name: format!("{}.port", session.0) }
    }

    /// The port that a worker before had, if one has said.
    pub fn read(&self) -> Option<u16> {
        load_json(&self.folder.join(&self.name)).ok()
    }

    /// Keeps the port of an endpoint, and forgets those of sessions that are over.
    pub fn write(&self, endpoint: &str) -> Result<(), LocalError> {
        let Some(port) = endpoint.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) else {
            return Ok(());
        };
        fs::create_dir_all(&self.folder).at("create", &self.folder)?;
        for entry in fs::read_dir(&self.folder).at("list", &self.folder)?.flatten() {
            if entry.path().extension().is_some_and(|is| is == "port") {
                let _ = fs::remove_file(entry.path());
            }
        }
        // A power cut ends the session as well.
        store_json(&self.folder.join(&self.name), &port, Durable::Later)
    }
}
