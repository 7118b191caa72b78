//! What S3 knows of an object beside its bytes, and how it stays with the file of the object.
//!
//! Owns: the [`Record`] and its place: an extended attribute of the file itself, so that the file and its record appear
//! under a key in the same instant and travel together. Where the file system has no room for it (tmpfs before Linux
//! 6.6, very long headers), a sidecar file named after inode, time and size of the file is written first instead. Does
//! NOT own: when a file becomes an object (see `store`), nor the meaning of the headers.
//!
//! Invariant: a record speaks only for the file as it was recorded. When size or modification time differ, somebody
//! wrote to the file by hand; it is then served as a file without a record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::checksum::Sum;

const ATTRIBUTE: &str = "user.embedded-bucket";

/// The most that goes into the attribute, in bytes: ext4 keeps all attributes of a file within one block of 4 KiB, and
/// one fixed buffer serves to read it.
const ATTRIBUTE_MAX: usize = 4096;

/// The identity of a file's content as far as the file system tells it without reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Modification time, whole seconds since 1970.
    pub seconds: i64,
    /// Modification time, nanoseconds beyond the seconds.
    pub nanos: i64,
}

impl Stamp {
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { size: meta.len(), seconds: meta.mtime(), nanos: meta.mtime_nsec() })
    }

    /// The ETag of a file placed in the directory by hand. It holds a `-` as the ETag of a multipart upload does, so
    /// that nobody takes it for the MD5 of the content.
    fn etag(&self) -> String {
        format!("{:x}{:08x}-{:x}", self.seconds, self.nanos, self.size)
    }
}

/// Everything S3 returns with an object that is neither its bytes, its size nor its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    stamp: Stamp,
    /// Without the quotes.
    pub etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Sum>,
    #[serde(default)]
    pub headers: Headers,
}

/// What the writer said about the object; stored as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Headers {
    /// All fixed headers that were given, by the names of the constants in `headers`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed: BTreeMap<String, String>,
    /// User metadata: names without `x-amz-meta-`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
}

impl Record {
    pub fn new(etag: String, sum: Option<Sum>, headers: Headers) -> Self {
        Self { stamp: Stamp::default(), etag, sum, headers }
    }

    /// Writes the record to stay with `file`, whose content is complete. Returns the sidecar in `sidecars` when one had
    /// to be written.
    pub fn attach(mut self, file: &File, sidecars: &Path) -> io::Result<Option<PathBuf>> {
        self.stamp = Stamp::of(file)?;
        let json = serde_json::to_vec(&self)?;
        if json.len() <= ATTRIBUTE_MAX {
            match rustix::fs::fsetxattr(file, ATTRIBUTE, &json, XattrFlags::empty()) {
                Ok(()) => return Ok(None),
                Err(Errno::NOTSUP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let path = sidecar(file, sidecars)?;
        let mut sidecar = File::create(&path)?;
        sidecar.write_all(&json)?;
        sidecar.sync_data()?;
        Ok(Some(path))
    }

    /// The record of `file`, or one made up from its size and time when it has none.
    pub fn of(file: &File, stamp: Stamp, sidecars: &Path) -> io::Result<Self> {
        let mut buffer = [0; ATTRIBUTE_MAX];
        let recorded: Option<Self> = match rustix::fs::fgetxattr(file, ATTRIBUTE, buffer.as_mut_slice()) {
            Ok(length) => serde_json::from_slice(&buffer[..length]).ok(),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => match std::fs::read(sidecar(file, sidecars)?) {
                Ok(json) => serde_json::from_slice(&json).ok(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error.into()),
        };
        Ok(recorded
            .filter(|record| record.stamp == stamp)
            .unwrap_or_else(|| Self { etag: stamp.etag(), ..Self::default() }))
    }

    /// Removes the sidecar of a file that is no object any more, if it has one.
    pub fn forget(file: &File, sidecars: &Path) -> io::Result<()> {
        match std::fs::remove_file(sidecar(file, sidecars)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn sidecar(file: &File, sidecars: &Path) -> io::Result<PathBuf> {
    let meta = file.metadata()?;
    let name = format!("{:x}-{:x}-{:x}-{:x}", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len());
    Ok(sidecars.join(name))
}
