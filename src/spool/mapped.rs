//! Words of a file that are written through a shared mapping, without a system call: a store is in the page cache at
//! once and survives a kill of the process. Owns the mapping.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

/// The first words of a file.
#[derive(Debug)]
pub struct Words {
    map: MmapRaw,
}

impl Words {
    /// Maps the first `count` words. Their disk space is taken at once, since a mapping whose page finds no room on the
    /// disk later would end the process (SIGBUS).
    pub fn map(file: &File, count: usize) -> io::Result<Words> {
        let len = count * size_of::<u64>();
        fallocate(file, FallocateFlags::empty(), 0, len as u64)?;
        Ok(Words { map: MmapOptions::new().len(len).map_raw(file)? })
    }

    /// Stores a word as a file has it, lowest byte first; `false` when it is not mapped.
    pub fn store(&self, at: usize, value: u64) -> bool {
        if at >= self.map.len() / size_of::<u64>() {
            return false;
        }
        // SAFETY: the word lies within the mapping, which lives as long as `self`; a mapping begins on a page, so that
        // the word is aligned; everybody who writes it in this process does so here, atomically. The file is not made
        // shorter.
        let word = unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(at)) };
        word.store(value.to_le(), Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let file = tempfile::tempfile().expect("a file");
        let words = Words::map(&file, 1024).expect("mapped");
        assert!(words.store(3, 0x0102) && !words.store(1024, 1));
        let mut found = [0; 8];
        file.read_exact_at(&mut found, 24).expect("read");
        assert_eq!(found, [2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
