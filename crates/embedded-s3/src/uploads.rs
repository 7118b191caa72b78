//! Multipart uploads under way, as folders of the private folder.
//!
//! Owns: the folder of an upload, its description, its parts. Does NOT own: the rules of multipart uploads
//! (`multipart`), the object that becomes of one (`store`).
//!
//! Invariants: a part is a complete file with its record, as an object is; uploading it again replaces it in one
//! instant. An upload is found by its identifier alone, so that every server of the directory can go on with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::checksum::Algorithm;
use super::record::{Headers, Record, Stamp};
use super::staged::Staged;
use super::store::{Store, unique_name};

const DESCRIPTION: &str = "upload.json";

/// What was said when the upload was begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    pub key: String,
    pub headers: Headers,
    /// The algorithm the client asked for, if any.
    pub algorithm: Option<Algorithm>,
    /// Whether the sum of the object is one over the sums of its parts.
    pub composite: bool,
}

/// An upload under way.
pub struct Upload {
    pub id: String,
    pub description: Description,
    /// When it began, seconds since 1970.
    pub initiated: i64,
    dir: PathBuf,
}

/// A part that arrived.
pub struct Part {
    pub number: u32,
    pub file: File,
    pub stamp: Stamp,
    pub record: Record,
}

impl Upload {
    pub fn begin(store: &Store, description: &Description) -> io::Result<String> {
        let id = unique_name();
        let dir = folder(store).join(&id);
        fs::create_dir(&dir)?;
        let mut file = File::create(dir.join(DESCRIPTION))?;
        file.write_all(&serde_json::to_vec(description)?)?;
        file.sync_all()?;
        Ok(id)
    }

    /// The upload `id`, if it is there and writes `key`.
    pub fn find(store: &Store, id: &str, key: &str) -> io::Result<Option<Self>> {
        // Any other text is no identifier of ours, and might be a path.
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let upload = if is_id { Self::open(store, id)? } else { None };
        Ok(upload.filter(|upload| upload.description.key == key))
    }

    /// All uploads under way, by key and then by time.
    pub fn all(store: &Store) -> io::Result<Vec<Self>> {
        let mut uploads = Vec::new();
        for entry in fs::read_dir(folder(store))? {
            let name = entry?.file_name();
            uploads.extend(name.to_str().map(|id| Self::open(store, id)).transpose()?.flatten());
        }
        uploads.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(uploads)
    }

    fn order(&self) -> (&str, i64, &str) {
        (&self.description.key, self.initiated, &self.id)
    }

    fn open(store: &Store, id: &str) -> io::Result<Option<Self>> {
        let dir = folder(store).join(id);
        let file = match File::open(dir.join(DESCRIPTION)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let initiated = Stamp::of(&file)?.seconds;
        // One that is not whole was being begun when its server was killed.
        let description = serde_json::from_reader(io::BufReader::new(file)).ok();
        Ok(description.map(|description| Self { id: id.to_owned(), description, initiated, dir }))
    }

    /// Makes the complete file `staged` the part `number`; an error of kind `NotFound` when the upload has ended
    /// meanwhile.
    pub fn add(&self, mut staged: Staged, number: u32) -> io::Result<()> {
        staged.rename(&self.path_of(number))?;
        staged.keep();
        Ok(())
    }

    pub fn part(&self, store: &Store, number: u32) -> io::Result<Option<Part>> {
        let file = match File::open(self.path_of(number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = Stamp::of(&file)?;
        let record = Record::of(&file, stamp, &store.sidecars())?;
        Ok(Some(Part { number, file, stamp, record }))
    }

    /// The numbers of all parts, in order.
    pub fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Forgets the upload and its parts.
    pub fn end(&self, store: &Store) -> io::Result<()> {
        for number in self.numbers()? {
            if let Some(part) = self.part(store, number)? {
                Record::forget(&part.file, &store.sidecars())?;
            }
        }
        fs::remove_dir_all(&self.dir)
    }

    fn path_of(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:05}"))
    }
}

fn folder(store: &Store) -> PathBuf {
    store.private().join("uploads")
}
