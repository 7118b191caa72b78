//! The numbers that streams have come to, in one file: a hash table on the disk, in which a number outlives the logs,
//! the folders and the markers that showed it. Owns the file `numbers` of the spool.
//!
//! ```text
//! head, 512 bytes   magic, number of slots (a power of two), floor, CRC-64 of these
//! slot, 64 bytes    SHA-256 of the stream's path, number, its start in us, CRC-64 of these, 8 unused
//! ```
//!
//! A stream's slot is the first one from where its hash points that is its own or free. It is changed in place: it lies
//! within a sector. Words have 8 bytes, their lowest first.
//!
//! Invariant: no number is ever lowered. Whatever is lost, by damage or because there are too many, is made up for by
//! the floor, which no lost number is above: a stream without a slot goes on from there.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tracing::{error, info};

use super::Spool;
use super::crash_point::crash_point;
use super::disk::{Durable, load_json, store};
use super::record::Numbered;
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::as_text;
use crate::types::ids::GenerationNo;
use crate::types::time::Utc;

/// The file's name in the spool.
pub const NUMBERS: &str = "numbers";
const MAGIC: u64 = u64::from_le_bytes(*b"lsfnums1");
const HEAD: usize = 512;
const SLOT: usize = 64;
/// Slots of a new table.
const SLOTS: usize = 64;
/// Most slots, half of which are used: 32,768 streams take 4 MiB. Then those that were quiet longest are forgotten.
const SLOTS_MAX: usize = 1 << 16;
/// Of earlier versions: a file for each stream.
const STREAMS: &str = "streams";

/// The numbers of a spool's streams.
#[derive(Debug)]
pub struct Numbers {
    path: PathBuf,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    file: Arc<File>,
    slots: usize,
    used: usize,
    floor: GenerationNo,
}

type Hash = [u8; 32];
type Slot = [u8; SLOT];

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Free,
    Damaged,
    Stream(Hash, Numbered),
}

impl Numbers {
    /// Makes the table of a new spool, unless it has one.
    pub fn create(spool: &Path) -> Result<(), LocalError> {
        let path = spool.join(NUMBERS);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                store(&path, &text_of(HashMap::new(), GenerationNo(0)), Durable::Now)
            }
            _ => Ok(()),
        }
    }

    /// Opens the table of a spool. One that is missing, or damaged in any place, is made anew of what can be read of
    /// it, with a floor that no stream has counted up to: the seconds of now.
    pub fn open(spool: &Spool, now: Utc) -> Result<Numbers, LocalError> {
        let (path, before) = (spool.dir().join(NUMBERS), spool.dir().join(STREAMS));
        let text = read_file(&path)?;
        let (mut entries, floor, mut sound) = parse(text.as_deref().unwrap_or_default());
        let earlier = read_earlier(&before)?;
        if let Some((found, all)) = &earlier {
            // Without a table when they are taken over for the first time, else a crash came between.
            sound = (sound || text.is_none()) && *all;
            found.iter().for_each(|(hash, numbered)| raise(&mut entries, *hash, *numbered));
        }
        if !sound {
            for damaged in [&path, &before].into_iter().filter(|path| fs::symlink_metadata(path).is_ok()) {
                let name = damaged.file_name().unwrap_or_default().to_string_lossy();
                spool.quarantine().add(damaged, &name)?;
            }
        }
        let lost = GenerationNo(if sound { 0 } else { u64::try_from(now.micros() / 1_000_000).unwrap_or(0) });
        if !sound {
            error!(
                streams = entries.len(),
                floor = lost.0,
                "the numbers of some streams are lost; streams without one continue from the spool's highest"
            );
        }
        if !sound || earlier.is_some() {
            store(&path, &text_of(entries, floor.max(lost)), Durable::Now)?;
            match fs::remove_dir_all(&before) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).at("remove", &before),
                _ => {}
            }
        }
        Ok(Numbers { table: Mutex::new(Table::open(&path)?), path })
    }

    /// The number that a stream has come to, and its start.
    pub fn get(&self, stream: &[u8]) -> Result<Numbered, LocalError> {
        let table = self.table.lock();
        let found = table.find(&hash(stream)).at("read", &self.path)?;
        Ok(match found {
            (_, Content::Stream(_, numbered)) => numbered,
            _ => Numbered { number: table.floor, start: Utc::default() },
        })
    }

    /// Whether the stream has come to a number.
    pub fn knows(&self, stream: &[u8]) -> bool {
        let found = self.table.lock().find(&hash(stream));
        matches!(found, Ok((_, Content::Stream(..))))
    }

    /// Keeps the number that a stream has come to, durably, unless a higher one is kept.
    pub fn put(&self, stream: &[u8], numbered: Numbered) -> Result<(), LocalError> {
        let hash = hash(stream);
        let mut table = self.table.lock();
        let (at, content) = table.find(&hash).at("read", &self.path)?;
        let numbered = match content {
            Content::Stream(_, known) => {
                Numbered { number: known.number.max(numbered.number), start: known.start.max(numbered.start) }
            }
            _ => numbered,
        };
        table.file.write_all_at(&slot(&hash, numbered), at).at("write", &self.path)?;
        crash_point("numbers: written");
        if content == Content::Free {
            table.used += 1;
            if table.used > table.slots / 2 {
                *table = table.grown(&self.path)?;
            }
        }
        // Others go on meanwhile. Should they have made another file of it, that one is durable already.
        let file = table.file.clone();
        drop(table);
        file.sync_data().at("sync", &self.path)
    }
}

impl Table {
    fn open(path: &Path) -> Result<Table, LocalError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).at("open", path)?;
        let text = read_file(path)?.unwrap_or_default();
        let (entries, floor, _) = parse(&text);
        let slots = (text.len().saturating_sub(HEAD) / SLOT).max(1);
        Ok(Table { file: Arc::new(file), slots, used: entries.len(), floor })
    }

    /// Where a stream is, or is to be.
    fn find(&self, hash: &Hash) -> std::io::Result<(u64, Content)> {
        let first = home(hash, self.slots);
        for n in 0..self.slots {
            let at = (HEAD + (first + n) % self.slots * SLOT) as u64;
            let mut slot = [0; SLOT];
            self.file.read_exact_at(&mut slot, at)?;
            match content(&slot) {
                Content::Stream(other, _) if other != *hash => {}
                Content::Damaged => {}
                found => return Ok((at, found)),
            }
        }
        Err(std::io::Error::other("the table is full"))
    }

    /// A table with more slots.
    fn grown(&self, path: &Path) -> Result<Table, LocalError> {
        let (entries, floor, _) = parse(&read_file(path)?.unwrap_or_default());
        store(path, &text_of(entries, floor), Durable::Now)?;
        Table::open(path)
    }
}

/// The table's text; `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, LocalError> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        // A link, a folder: it is damaged.
        Err(_) | Ok(_) if !fs::symlink_metadata(path).is_ok_and(|m| m.is_file()) => {
            return Ok(Some(Vec::new()));
        }
        file => file.at("open", path)?,
    };
    let mut text = Vec::new();
    let most = HEAD + SLOTS_MAX * SLOT + 1;
    file.take(most as u64).read_to_end(&mut text).at("read", path)?;
    Ok(Some(text))
}

type Entries = HashMap<Hash, Numbered>;

fn raise(entries: &mut Entries, hash: Hash, Numbered { number, start }: Numbered) {
    let known = entries.entry(hash).or_insert(Numbered { number, start });
    (known.number, known.start) = (known.number.max(number), known.start.max(start));
}

/// What earlier versions kept, and whether all of it could be read; `None` when there is none.
fn read_earlier(folder: &Path) -> Result<Option<(Entries, bool)>, LocalError> {
    #[derive(Deserialize)]
    struct Highest {
        #[serde(with = "as_text")]
        stream: Vec<u8>,
        generation: GenerationNo,
        #[serde(default)]
        start: Utc,
    }
    let list = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotADirectory => return Ok(Some((Entries::new(), false))),
        list => list.at("list", folder)?,
    };
    let (mut entries, mut all) = (Entries::new(), true);
    for entry in list {
        let path = entry.at("list", folder)?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            continue;
        }
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            all = false;
            continue;
        }
        match load_json::<Highest>(&path) {
            Ok(Highest { stream, generation: number, start }) => {
                raise(&mut entries, hash(&stream), Numbered { number, start });
            }
            Err(e) if e.is_damage() => all = false,
            // No descriptor is left, say: the number is there, and another time it can be read.
            Err(e) => return Err(e),
        }
    }
    Ok(Some((entries, all)))
}

/// The slots of a table's text, its floor, and whether all of it is as it was written.
fn parse(text: &[u8]) -> (Entries, GenerationNo, bool) {
    let sound = text.len() >= HEAD && word(text, 0) == MAGIC && word(text, 24) == sum(&text[..24]);
    let mut whole = sound && text.len() as u64 == HEAD as u64 + word(text, 8) * SLOT as u64;
    let floor = if sound { word(text, 16) } else { 0 };
    let mut entries = Entries::new();
    for slot in text.get(HEAD..).unwrap_or_default().as_chunks().0 {
        match content(slot) {
            Content::Free => {}
            Content::Damaged => whole = false,
            Content::Stream(hash, numbered) => raise(&mut entries, hash, numbered),
        }
    }
    (entries, GenerationNo(floor), whole)
}

/// The text of a table. Of too many streams it has those that began a generation last.
fn text_of(entries: Entries, mut floor: GenerationNo) -> Vec<u8> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    if entries.len() > SLOTS_MAX / 2 {
        entries.sort_by_key(|(hash, numbered)| (std::cmp::Reverse(numbered.start), *hash));
        let forgotten = entries.split_off(SLOTS_MAX / 4);
        floor = forgotten.iter().map(|(_, numbered)| numbered.number).fold(floor, Ord::max);
        info!(
            streams = forgotten.len(),
            floor = floor.0,
            "forgot the numbers of the streams that were quiet longest; they continue from the highest forgotten one"
        );
    }
    let slots = (4 * entries.len()).next_power_of_two().clamp(SLOTS, SLOTS_MAX);
    let mut text = vec![0; HEAD + slots * SLOT];
    for (n, word) in [MAGIC, slots as u64, floor.0].into_iter().enumerate() {
        put_word(&mut text, 8 * n, word);
    }
    let head = sum(&text[..24]);
    put_word(&mut text, 24, head);
    let places = text[HEAD..].as_chunks_mut::<SLOT>().0;
    for (hash, numbered) in entries {
        let mut at = home(&hash, slots);
        while places[at] != [0; SLOT] {
            at = (at + 1) % slots;
        }
        places[at] = slot(&hash, numbered);
    }
    text
}

fn hash(stream: &[u8]) -> Hash {
    Sha256::digest(stream).into()
}

/// The slot that is looked at first.
fn home(hash: &Hash, slots: usize) -> usize {
    (word(hash, 0) % slots as u64) as usize
}

fn slot(hash: &Hash, Numbered { number, start }: Numbered) -> Slot {
    let mut slot = [0; SLOT];
    slot[..32].copy_from_slice(hash);
    put_word(&mut slot, 32, number.0);
    put_word(&mut slot, 40, start.micros() as u64);
    let sum = sum(&slot[..48]);
    put_word(&mut slot, 48, sum);
    slot
}

fn content(slot: &Slot) -> Content {
    if *slot == [0; SLOT] {
        return Content::Free;
    }
    if word(slot, 48) != sum(&slot[..48]) {
        return Content::Damaged;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(&slot[..32]);
    let (number, start) = (GenerationNo(word(slot, 32)), Utc::from_micros(word(slot, 40) as i64));
    Content::Stream(hash, Numbered { number, start })
}

fn sum(bytes: &[u8]) -> u64 {
    crc_fast::crc64_nvme(bytes)
}

fn word(text: &[u8], at: usize) -> u64 {
    let bytes = text.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

fn put_word(text: &mut [u8], at: usize, word: u64) {
    text[at..at + 8].copy_from_slice(&word.to_le_bytes());
}
