//! What tests do to files of a mount, and look up about them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use rustix::io::Errno;

use super::wait::eventually;

/// Appends to a file, which is made where it is missing, by one write(2).
pub fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// The names that a directory shows, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// All files below a folder by their paths in it, symbolic links left out.
pub fn below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(here) = folders.pop() {
        for entry in fs::read_dir(here).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
            }
        }
    }
    found
}

/// Waits until a directory is there and has these names: what the bucket has is found out only so long.
pub fn await_names(dir: &Path, expected: &[&str]) {
    eventually(&format!("{} to show {expected:?}", dir.display()), || {
        (dir.is_dir() && names(dir) == expected).then_some(())
    });
}

/// Waits until a path is there: a cold look waits for S3 only so long.
pub fn await_there(path: &Path) {
    eventually(&format!("{} to be there", path.display()), || path.exists().then_some(()));
}

/// Waits until a file has this content.
pub fn await_bytes(path: &Path, bytes: impl AsRef<[u8]>) {
    let what = format!("{} to have {} certain bytes", path.display(), bytes.as_ref().len());
    eventually(&what, || (fs::read(path).ok()? == bytes.as_ref()).then_some(()));
}

/// An attribute of the program's own, `user.logsinkfs.NAME`, of a file.
pub fn attribute(path: &Path, name: &str) -> Option<String> {
    let mut value = [0; 1024];
    let read = rustix::fs::getxattr(path, format!("user.logsinkfs.{name}"), &mut value[..]).ok()?;
    Some(String::from_utf8(value[..read].to_vec()).unwrap())
}

/// Why an operation that must fail did.
pub fn errno(result: io::Result<impl Sized>) -> Errno {
    Errno::from_io_error(&result.map(drop).expect_err("this operation must fail")).unwrap()
}

/// Bytes of any kind, which do not end with a newline and compress a little.
pub fn binary(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state & 0x300 == 0 { 0 } else { state as u8 }
    };
    let mut bytes: Vec<u8> = (0..len).map(|_| next()).collect();
    if let Some(last) = bytes.last_mut() {
        *last = 0xff;
    }
    bytes
}
