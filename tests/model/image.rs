//! A spool as it lies on the disk at one moment: what a daemon that is killed at that moment leaves. It can be changed
//! (to the state between two steps, or to a damaged one) and started from.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

/// A file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileImage {
    pub bytes: Vec<u8>,
    pub modified: SystemTime,
}

impl FileImage {
    /// Takes that of a file; `None` for a folder.
    fn take(path: &Path) -> io::Result<Option<FileImage>> {
        let metadata = fs::symlink_metadata(path)?;
        if metadata.is_dir() {
            return Ok(None);
        }
        let bytes = if metadata.is_file() { fs::read(path)? } else { b"a link or a pipe".to_vec() };
        Ok(Some(FileImage { bytes, modified: metadata.modified()? }))
    }
}

/// A spool's folders and files; paths are relative to the spool, folders have no content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image(pub BTreeMap<PathBuf, Option<FileImage>>);

impl Image {
    /// Takes the image of a directory.
    pub fn take(dir: &Path) -> Image {
        let mut image = Image::default();
        image.add(dir, Path::new(""));
        image
    }

    fn add(&mut self, dir: &Path, below: &Path) {
        // What another thread removes meanwhile is as if it had been gone before.
        let entries = match fs::read_dir(dir.join(below)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && below != Path::new("") => return,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let path = below.join(entry.unwrap().file_name());
            match FileImage::take(&dir.join(&path)) {
                Ok(file) => {
                    let is_dir = file.is_none();
                    self.0.insert(path.clone(), file);
                    if is_dir {
                        self.add(dir, &path);
                    }
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::NotFound, "{}: {e}", path.display()),
            }
        }
    }

    /// Lays the image out in a directory, as the snapshot of a disk would: the spool takes it for the place where it
    /// always was.
    pub fn lay_out(&self, dir: &Path) {
        self.copy_to(dir);
        let path = dir.join("spool.json");
        let identity = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(mut identity) = identity.filter(serde_json::Value::is_object) {
            identity["inode"] = fs::metadata(dir.join("lock")).unwrap().ino().into();
            fs::write(&path, serde_json::to_vec(&identity).unwrap()).unwrap();
        }
    }

    /// Lays the image out in a directory, as a program that copies files does.
    pub fn copy_to(&self, dir: &Path) {
        for (path, file) in &self.0 {
            match file {
                None => fs::create_dir_all(dir.join(path)).unwrap(),
                Some(file) => {
                    fs::write(dir.join(path), &file.bytes).unwrap();
                    let opened = fs::File::options().write(true).open(dir.join(path)).unwrap();
                    opened.set_modified(file.modified).unwrap();
                }
            }
        }
    }

    /// All files and folders but those that say who the spool is and how often it was started.
    pub fn without_identity(mut self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        for path in ["spool.json", "lock"] {
            self.remove(path);
        }
        self.0.into_iter().map(|(path, file)| (path, file.map(|f| f.bytes))).collect()
    }

    /// Paths of files whose path ends so.
    pub fn files(&self, end: &str) -> Vec<PathBuf> {
        let files = self.0.iter().filter(|(path, file)| file.is_some() && path.to_string_lossy().ends_with(end));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// The one file whose path ends so.
    pub fn file(&self, end: &str) -> PathBuf {
        let found = self.files(end);
        assert_eq!(found.len(), 1, "files that end in {end}: {found:?}");
        found.into_iter().next().unwrap()
    }

    /// Names in a folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let inside = self.0.keys().filter(|path| path.parent() == Some(Path::new(folder)));
        inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Bytes of a file.
    pub fn bytes(&mut self, path: impl AsRef<Path>) -> &mut Vec<u8> {
        &mut self.0.get_mut(path.as_ref()).unwrap().as_mut().unwrap().bytes
    }

    /// Adds a file, or replaces one.
    pub fn write(&mut self, path: impl AsRef<Path>, bytes: &[u8]) {
        let file = FileImage { bytes: bytes.to_vec(), modified: SystemTime::UNIX_EPOCH };
        self.0.insert(path.as_ref().to_owned(), Some(file));
    }

    /// Removes a file or an empty folder.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        assert!(self.0.remove(path.as_ref()).is_some(), "{:?}", path.as_ref());
    }

    /// Renames a file.
    pub fn rename(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let file = self.0.remove(from.as_ref()).unwrap();
        self.0.insert(to.as_ref().to_owned(), file);
    }

    /// The same spool as a version wrote it that had a folder for each node, with a record in it.
    pub fn of_an_earlier_version(mut self) -> Image {
        let text = String::from_utf8(self.bytes("records").clone()).unwrap();
        let mut records = BTreeMap::new();
        for line in text.lines() {
            let [_, id, change] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
            let folder = Path::new("nodes").join(id);
            match change.strip_prefix("hide ") {
                _ if id == "-" => {}
                _ if change == "gone" => drop(records.remove(&folder)),
                Some(name) => {
                    let record: &mut String = records.get_mut(&folder).unwrap();
                    record.push_str(&format!("{{\"hide\":{name}}}\n"));
                }
                None => drop(records.insert(folder, format!("\n{change}\n"))),
            }
        }
        let mut earlier = Image::default();
        for (path, file) in self.0 {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let of_node = path.starts_with("nodes").then(|| name.split_once('.')).flatten();
            let path = of_node.map_or(path, |(id, rest)| Path::new("nodes").join(id).join(rest));
            earlier.0.insert(path, file);
        }
        for (folder, record) in records {
            earlier.0.insert(folder.clone(), None);
            earlier.write(folder.join("node.json"), record.as_bytes());
        }
        earlier.remove("records");
        earlier.set_identity("format", 2.into());
        earlier
    }

    /// The same spool after the machine was booted again.
    pub fn after_reboot(mut self) -> Image {
        self.set_identity("boot", "the boot before".into());
        self
    }

    fn set_identity(&mut self, what: &str, to: serde_json::Value) {
        let text = self.bytes("spool.json");
        let mut identity: serde_json::Value = serde_json::from_slice(text).unwrap();
        identity[what] = to;
        *text = serde_json::to_vec(&identity).unwrap();
    }
}
