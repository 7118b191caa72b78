//! An open directory as one reader sees it: live entries and names in the bucket in one order, extended page by page.
//! Owns the order and the cursors; fetches nothing.
//!
//! Invariants: an entry never changes its position, so that each entry that stays is returned exactly once, whatever
//! happens to the directory meanwhile. A cursor names the entry before it, so that another worker can continue from it
//! with a listing of its own.

use std::borrow::Cow;

use crate::format::folders::{folders_of_file, folders_of_whole};
use crate::namespace::listing::{Page, Row, in_order};
use crate::namespace::{FileKind, LiveEntry};
use crate::types::ids::NodeId;

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry<'a> {
    /// Its name.
    pub name: Cow<'a, [u8]>,
    /// Its node, where it has one already.
    pub id: Option<NodeId>,
    /// What it is.
    pub kind: FileKind,
    /// Where to go on behind it.
    pub next: u64,
    /// What the bucket's listing says of it; nothing for a live entry.
    pub(super) row: Option<&'a Row>,
}

/// What has a place: small, since a directory may have a million.
#[derive(Clone, Copy, Debug)]
enum SnapshotEntry {
    Own,
    Above,
    Live(u32),
    /// Page, and row on it.
    Row(u32, u32),
}

/// What a reader is shown, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct DirSnapshot {
    /// The directory, and the one that it is in.
    dots: [NodeId; 2],
    live: Vec<LiveEntry>,
    /// How many of the live entries have their place.
    placed: usize,
    pages: Vec<Page>,
    order: Vec<SnapshotEntry>,
    whole: bool,
}

/// Whether a page shows something of that key.
fn shows(page: &Page, key: (&[u8], bool), is_hidden: impl Fn(&Row) -> bool) -> bool {
    let at = page.binary_search_by(|row| in_order(row.key(), key)).ok();
    at.is_some_and(|at| !is_hidden(&page[at]))
}

/// Whether an object's name shows as a whole file that is on the same page.
fn is_shown_as_file(name: &[u8], page: &Page, is_hidden: impl Fn(&Row) -> bool) -> bool {
    folders_of_whole(name).any(|folder| shows(page, (folder.as_bytes(), true), &is_hidden))
}

fn key(entry: &LiveEntry) -> (&[u8], bool) {
    (&entry.name, entry.kind == FileKind::Directory)
}

impl DirSnapshot {
    /// A directory of which only the live entries are known.
    pub fn begin(id: NodeId, parent: NodeId, mut live: Vec<LiveEntry>) -> DirSnapshot {
        live.sort_by(|a, b| in_order(key(a), key(b)));
        let (dots, order) = ([id, parent], vec![SnapshotEntry::Own, SnapshotEntry::Above]);
        DirSnapshot { dots, live, placed: 0, pages: Vec::new(), order, whole: false }
    }

    /// How many pages of the listing are in it.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Adds the bucket's next names but those that are hidden; a live entry hides the name in the bucket. A folder of
    /// segments shows as its log, one of versions as its whole file.
    pub fn add_page(&mut self, page: Page, is_hidden: impl Fn(&Row) -> bool) {
        let has_files = page.iter().any(Row::is_files);
        for (at, row) in page.iter().enumerate() {
            while let Some(live) = self.live.get(self.placed)
                && in_order(key(live), row.key()).is_le()
            {
                self.order.push(SnapshotEntry::Live(self.placed as u32));
                self.placed += 1;
            }
            let Some((name, _)) = row.listed().filter(|_| !is_hidden(row)) else { continue };
            if has_files && !row.is_prefix() && is_shown_as_file(&name, &page, &is_hidden) {
                continue;
            }
            if !self.is_live(&name) && !self.is_shown_by_another(row, &name, &page, &is_hidden) {
                self.order.push(SnapshotEntry::Row(self.pages.len() as u32, at as u32));
            }
        }
        self.pages.push(page);
    }

    /// There is no further page.
    pub fn finish(&mut self) {
        self.order.extend((self.placed..self.live.len()).map(|at| SnapshotEntry::Live(at as u32)));
        self.placed = self.live.len();
        self.whole = true;
    }

    fn is_live(&self, name: &[u8]) -> bool {
        let has = |folder| self.live.binary_search_by(|live| in_order(key(live), (name, folder))).is_ok();
        has(false) || has(true)
    }

    /// Whether the name of a prefix or file has its place by something else: by what is on an earlier page, whatever
    /// that is, or, for a file, by what the same page has of that name.
    fn is_shown_by_another(&self, row: &Row, name: &[u8], page: &Page, is_hidden: impl Fn(&Row) -> bool) -> bool {
        if !row.is_prefix() {
            return false;
        }
        let is_file = row.name.len() != name.len();
        let shows = |page: &Page, key: (&[u8], bool)| key != row.key() && shows(page, key, &is_hidden);
        let has_place = |key: (&[u8], bool), here: bool| {
            let earlier = page.first().is_some_and(|first| in_order(key, first.key()).is_lt());
            here && shows(page, key) || earlier && self.pages.iter().any(|page| shows(page, key))
        };
        // Of two folders of one file the first shows.
        let mut is_first = false;
        let mut of_folder = |folder: String| {
            is_first |= folder.as_bytes() == &*row.name;
            has_place((folder.as_bytes(), true), is_file && !is_first)
        };
        // The object of a whole file's name gives way to it on the same page.
        let of_name = has_place((name, false), is_file && !row.is_files()) || is_file && has_place((name, true), true);
        of_name || folders_of_file(name).any(&mut of_folder)
    }

    /// Whether the entries from a cursor on can be shown: there is one, or it is known that none comes. Gives the place
    /// where they begin. That of a reader who begins is behind `.` and `..` too.
    pub fn place_of(&self, cursor: u64) -> Option<usize> {
        let at = match self.find(cursor) {
            Some(at) => at,
            None if !self.whole => return None,
            // The entry is gone: as far from the beginning as it was.
            None => ((cursor >> 32) as usize).min(self.order.len()),
        };
        (self.whole || at.max(2) < self.order.len()).then_some(at)
    }

    /// The place behind the entry that a cursor names, nearest to where that was.
    fn find(&self, cursor: u64) -> Option<usize> {
        let (at, sum) = ((cursor >> 32) as usize, cursor as u32);
        if at == 0 {
            return Some(0);
        }
        let is = |place: usize| self.entry(place).is_some_and(|entry| entry.next as u32 == sum);
        let before = at - 1;
        let around = (0..before.max(self.order.len()) + 1)
            .flat_map(|far| [before.checked_sub(far), before.checked_add(far)].into_iter().flatten());
        let mut around = around.filter(|place| *place < self.order.len());
        around.find(|place| is(*place)).map(|place| place + 1)
    }

    fn entry(&self, place: usize) -> Option<DirEntry<'_>> {
        let (name, id, kind, row) = match *self.order.get(place)? {
            SnapshotEntry::Own => (b".".as_slice().into(), Some(self.dots[0]), FileKind::Directory, None),
            SnapshotEntry::Above => (b"..".as_slice().into(), Some(self.dots[1]), FileKind::Directory, None),
            SnapshotEntry::Live(at) => {
                let live = self.live.get(at as usize)?;
                (live.name.as_slice().into(), Some(live.id), live.kind, None)
            }
            SnapshotEntry::Row(page, at) => {
                let row = self.pages.get(page as usize)?.get(at as usize)?;
                let (name, folder) = row.listed()?;
                (name, None, if folder { FileKind::Directory } else { FileKind::File }, Some(row))
            }
        };
        let next = (place as u64 + 1) << 32 | u64::from(checksum(&name));
        Some(DirEntry { name, id, kind, next, row })
    }

    /// The entries from a place on, as far as they are known.
    pub fn entries(&self, from: usize) -> impl Iterator<Item = DirEntry<'_>> {
        (from..self.order.len()).filter_map(|place| self.entry(place))
    }
}

/// The same for every worker.
fn checksum(name: &[u8]) -> u32 {
    crc_fast::crc32_iso_hdlc(name)
}
