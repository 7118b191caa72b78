//! A listing of one prefix, page by page, as names of a directory. Owns which keys can be names, and their order. No
//! requests and no clock.
//!
//! Invariants: no page is empty, and none changes, so that an open directory keeps the pages it began with. Names of a
//! page are in the order of S3, in which a prefix ends in `/`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::NAME_MAX;
use crate::format::folders::{
    file_of_folder, folders_of_file, folders_of_log, folders_of_whole, is_files_folder, is_objects_folder,
};
use crate::format::naming::PRIVATE_FOLDER;
use crate::s3::bucket::ListPage;
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// A name directly below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// An object.
    Object(StoredObject),
    /// A whole file, if this folder, which ends in `/`, has a version of it.
    Files {
        /// The folder.
        folder: String,
        /// What the name stands for if it has none.
        otherwise: Option<Box<Stored>>,
    },
    /// A log: all segments in this folder, which ends in `/`.
    Log(String),
    /// A common prefix.
    Prefix,
}

impl Stored {
    /// What a name stands for that is no prefix: what may be a whole file, and what else has the name.
    pub fn of_name(files: Option<String>, otherwise: Option<Stored>) -> Option<Stored> {
        match files {
            Some(folder) => Some(Stored::Files { folder, otherwise: otherwise.map(Box::new) }),
            None => otherwise,
        }
    }
}

/// A name as it is kept. The key is not: it is the prefix and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name.
    pub name: Box<[u8]>,
    /// What an object is told apart by; nothing for a prefix.
    object: Option<ObjectVersion>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ObjectVersion {
    size: u64,
    modified: Utc,
    etag: Box<str>,
}

/// The names of one page.
pub type Page = Arc<Vec<Row>>;

/// What is known of a name in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Nothing: it was not asked for, or too long ago.
    Unknown,
    /// There is nothing of that name.
    Absent,
    /// What it stands for.
    Present(Stored),
}

impl Listed {
    /// What the bucket answered.
    pub fn of(answer: Option<Stored>) -> Listed {
        answer.map_or(Listed::Absent, Listed::Present)
    }

    /// What it stands for, if that is known.
    pub fn present(self) -> Option<Stored> {
        match self {
            Listed::Present(stored) => Some(stored),
            Listed::Unknown | Listed::Absent => None,
        }
    }

    /// The object, if it is known to stand for one.
    pub fn object(self) -> Option<StoredObject> {
        match self.present()? {
            Stored::Object(object) => Some(object),
            Stored::Files { .. } | Stored::Log(_) | Stored::Prefix => None,
        }
    }
}

/// The names below a prefix, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    prefix: Arc<str>,
    pages: Vec<Page>,
    /// Whether each page begins behind the end of the one before. Some services list in no order.
    unordered: bool,
    /// Where S3 goes on; nothing when it has listed all.
    pub next: Option<String>,
}

/// Compares two names in the order of S3; `true` is a prefix or a directory.
pub fn in_order((a, a_folder): (&[u8], bool), (b, b_folder): (&[u8], bool)) -> Ordering {
    let shared = a.len().min(b.len());
    a[..shared].cmp(&b[..shared]).then_with(|| {
        let end = |folder: bool| folder.then_some(&b'/');
        let (a, b) = (a[shared..].iter().chain(end(a_folder)), b[shared..].iter().chain(end(b_folder)));
        a.cmp(b)
    })
}

impl Row {
    /// Whether it is a prefix.
    pub fn is_prefix(&self) -> bool {
        self.object.is_none()
    }

    /// What it stands for below its prefix.
    pub fn stored(&self, prefix: &str) -> Stored {
        let Some(ObjectVersion { size, modified, etag }) = &self.object else {
            return Stored::Prefix;
        };
        let key = format!("{prefix}{}", String::from_utf8_lossy(&self.name));
        let (size, modified, etag) = (*size, *modified, etag.to_string());
        Stored::Object(StoredObject { key, size, modified, etag })
    }

    /// Whether it is the folder of what may be a whole file.
    pub fn is_files(&self) -> bool {
        self.is_prefix() && is_files_folder(&self.name)
    }

    /// The name that a directory lists for it, and whether that is a directory: a folder of segments shows as its log,
    /// one of versions as its whole file.
    pub fn listed(&self) -> Option<(Cow<'_, [u8]>, bool)> {
        if self.is_prefix() && is_objects_folder(&self.name) {
            return file_of_folder(&self.name).map(|file| (file, false));
        }
        Some((Cow::Borrowed(&*self.name), self.is_prefix()))
    }

    /// What the name stands for that a directory lists for it.
    pub fn listed_as(&self, prefix: &str) -> Stored {
        match self.stored(prefix) {
            Stored::Prefix if self.is_files() => Stored::Files { folder: self.folder(prefix), otherwise: None },
            Stored::Prefix if is_objects_folder(&self.name) => Stored::Log(self.folder(prefix)),
            stored => stored,
        }
    }

    fn folder(&self, prefix: &str) -> String {
        format!("{prefix}{}/", String::from_utf8_lossy(&self.name))
    }

    /// Its name, and whether it is a prefix: its place in the order of S3.
    pub fn key(&self) -> (&[u8], bool) {
        (&self.name, self.is_prefix())
    }

    /// Bytes of memory, with those that the allocator adds to two short strings.
    fn weight(&self) -> usize {
        let etag = self.object.as_ref().map_or(0, |facts| facts.etag.len());
        size_of::<Row>() + self.name.len() + etag + 32
    }

    fn of_object(name: &str, object: (u64, Utc, String)) -> Row {
        let (size, modified, etag) = object;
        let facts = ObjectVersion { size, modified, etag: etag.into() };
        Row { name: name.as_bytes().into(), object: Some(facts) }
    }
}

impl Listing {
    /// A listing of which nothing is known yet.
    pub fn of(prefix: &str) -> Listing {
        Listing { prefix: prefix.into(), ..Listing::default() }
    }

    /// The pages so far that have names.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Whether S3 has nothing more to list.
    pub fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.pages.iter().all(|page| page.is_empty())
    }

    /// How many names are known.
    pub fn len(&self) -> usize {
        self.pages.iter().map(|page| page.len()).sum()
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        let rows = self.pages.iter().flat_map(|page| page.iter()).map(Row::weight);
        self.prefix.len() + size_of::<Listing>() + rows.sum::<usize>()
    }

    /// All names, in order; one that is object and prefix at once is there twice.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    /// What a name stands for. A prefix is preferred to a whole file of the same name, that to a log, and a log to an
    /// object; each may come much later than that.
    pub fn get(&self, name: &[u8]) -> Listed {
        let seen = self.seen(name);
        let is_passed = |folder: &[u8]| self.is_behind((folder, true));
        let settled = seen == Some(Stored::Prefix)
            || self.is_whole()
            || is_passed(name) && folders_of_file(name).all(|folder| is_passed(folder.as_bytes()));
        if settled { Listed::of(seen) } else { Listed::Unknown }
    }

    /// What a name stands for by the pages so far.
    pub fn seen(&self, name: &[u8]) -> Option<Stored> {
        if let Some(row) = self.find((name, true)) {
            return Some(row.stored(&self.prefix));
        }
        let there = |folder: String| self.find((folder.as_bytes(), true)).map(|row| row.folder(&self.prefix));
        let log = folders_of_log(name).find_map(there).map(Stored::Log);
        Stored::of_name(folders_of_whole(name).find_map(there), log.or_else(|| self.object(name)))
    }

    /// The object of a name by the pages so far.
    pub fn object(&self, name: &[u8]) -> Option<Stored> {
        self.find((name, false)).map(|row| row.stored(&self.prefix))
    }

    /// Whether a prefix is there; `None` where the pages so far do not tell.
    pub fn has_prefix(&self, name: &[u8]) -> Option<bool> {
        match self.find((name, true)) {
            Some(_) => Some(true),
            None => (self.is_whole() || self.is_behind((name, true))).then_some(false),
        }
    }

    fn find(&self, key: (&[u8], bool)) -> Option<&Row> {
        let within = |page: &'_ Page| page.binary_search_by(|row| in_order(row.key(), key)).ok();
        if self.unordered {
            return self.pages.iter().find_map(|page| within(page).map(|at| &page[at]));
        }
        let page = &self.pages[self.page_of(key)?];
        within(page).map(|at| &page[at])
    }

    /// The page that a key would be on.
    fn page_of(&self, key: (&[u8], bool)) -> Option<usize> {
        let ends_before = |page: &Page| page.last().is_some_and(|last| in_order(last.key(), key) == Ordering::Less);
        let at = self.pages.partition_point(ends_before);
        (at < self.pages.len()).then_some(at)
    }

    /// Whether the pages so far have passed the place of a key.
    fn is_behind(&self, key: (&[u8], bool)) -> bool {
        !self.unordered && self.page_of(key).is_some()
    }

    /// Adds a page. Gives how many of its keys cannot be names in a directory: empty, `.`, `..`, too long, with NUL, or
    /// an object with the name of a prefix or log.
    pub fn add_page(&mut self, root: &str, page: ListPage) -> usize {
        let ListPage { objects, prefixes, next } = page;
        let offered = objects.len() + prefixes.len();
        let (prefix, mut left_out) = (self.prefix.clone(), 0);
        let mut rows = Vec::with_capacity(offered);
        for common in &prefixes {
            match common.strip_prefix(&*prefix).and_then(|rest| rest.strip_suffix('/')) {
                Some(PRIVATE_FOLDER) if *prefix == *root => left_out += 1,
                Some(name) if is_name(name) => {
                    rows.push(Row { name: name.as_bytes().into(), object: None });
                }
                _ => {}
            }
        }
        for object in objects {
            match object.key.strip_prefix(&*prefix) {
                // The "folder" object that consoles make for the prefix itself.
                Some("") => left_out += 1,
                Some(name) if is_name(name) => {
                    rows.push(Row::of_object(name, (object.size, object.modified, object.etag)));
                }
                _ => {}
            }
        }
        rows.sort_by(|a, b| in_order(a.key(), b.key()));
        rows.dedup_by(|a, b| a.key() == b.key());
        let folders = rows.iter().filter(|row| row.is_prefix());
        // What else has the name of a whole file shows where that has no version.
        let file = |row: &Row| row.listed().filter(|_| !row.is_files()).map(|(name, _)| name.into_owned());
        let shown = folders.flat_map(|row| [Some(row.name.to_vec()), file(row)]);
        let shown: HashSet<Vec<u8>> = shown.flatten().collect();
        rows.retain(|row| row.is_prefix() || !shown.contains(&*row.name));
        let skipped = offered - left_out - rows.len();
        self.push(rows);
        self.next = next;
        skipped
    }

    fn push(&mut self, rows: Vec<Row>) {
        let Some(first) = rows.first() else { return };
        if let Some(last) = self.pages.last().and_then(|page| page.last()) {
            self.unordered |= in_order(last.key(), first.key()) != Ordering::Less;
        }
        self.pages.push(Arc::new(rows));
    }

    /// Adds a name that is there by now, when its place is known and empty; `object` is nothing for a prefix. Gives the
    /// bytes of memory that it takes.
    pub fn add_own(&mut self, name: &str, object: Option<(u64, Utc, String)>) -> usize {
        let row = match object {
            Some(object) => Row::of_object(name, object),
            None => Row { name: name.as_bytes().into(), object: None },
        };
        if self.find((&row.name, true)).is_some() || self.find(row.key()).is_some() {
            return 0;
        }
        let at = match self.page_of(row.key()).filter(|_| !self.unordered) {
            Some(at) => at,
            None if self.is_whole() => self.pages.len().saturating_sub(1),
            None => return 0,
        };
        let weight = row.weight();
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        let page = Arc::make_mut(&mut self.pages[at]);
        let within = page.partition_point(|other| in_order(other.key(), row.key()).is_lt());
        page.insert(within, row);
        weight
    }

    /// Names of objects that are not in `newer` as they are here: replaced or gone. Of what this daemon has just stored
    /// itself the ETag is not known; it is not replaced.
    pub fn outdated_by(&self, newer: &Listing) -> Vec<Box<[u8]>> {
        let is_same = |before: &ObjectVersion, now: &ObjectVersion| {
            if before.etag.is_empty() { before.size == now.size } else { before == now }
        };
        let still_there = |row: &Row| match (&row.object, newer.find(row.key())) {
            (Some(before), Some(Row { object: Some(now), .. })) => is_same(before, now),
            _ => false,
        };
        let objects = self.rows().filter(|row| !row.is_prefix());
        objects.filter(|row| !still_there(row)).map(|row| row.name.clone()).collect()
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::stored_object::StoredObject;

    fn object(key: &str) -> StoredObject {
        let (size, modified, etag) = (1, Utc::default(), String::new());
        StoredObject { key: key.into(), size, modified, etag }
    }

    fn page(objects: &[&str], prefixes: &[&str], next: Option<&str>) -> ListPage {
        ListPage {
            objects: objects.iter().map(|key| object(key)).collect(),
            prefixes: prefixes.iter().map(|&p| p.to_owned()).collect(),
            next: next.map(str::to_owned),
        }
    }

    fn names(listing: &Listing) -> Vec<String> {
        listing.rows().map(|row| String::from_utf8_lossy(&row.name).into_owned()).collect()
    }

    #[test]
    fn what_cannot_be_a_name_is_skipped_and_counted() {
        let mut listing = Listing::of("p/");
        let long = format!("p/{}", "x".repeat(256));
        let objects = ["p/", "p/a", "p/b", "p/..", "p/nul\0", &long];
        let prefixes = ["p//", "p/../", "p/b/", "p/.logsinkfs/"];
        let skipped = listing.add_page("p/", page(&objects, &prefixes, None));
        assert_eq!(names(&listing), ["a", "b"]);
        assert_eq!(listing.get(b"b"), Listed::Present(Stored::Prefix));
        assert_eq!(skipped, 6, "two prefixes, three names, and the object `b`");
    }

    #[test]
    fn a_page_says_what_is_absent_up_to_its_end() {
        let mut listing = Listing::of("p/");
        listing.add_page("", page(&["p/a", "p/c", "p/d-1"], &[], Some("more")));
        assert_eq!(listing.get(b"b"), Listed::Absent);
        assert!(matches!(listing.get(b"c"), Listed::Present(Stored::Object(_))));
        assert_eq!(listing.get(b"d"), Listed::Unknown, "`d/` comes after `d-1`");
        listing.add_page("", page(&["p/e"], &["p/d/"], None));
        assert_eq!(listing.get(b"d"), Listed::Present(Stored::Prefix));
        assert_eq!(listing.get(b"f"), Listed::Absent);
    }

    #[test]
    fn a_service_that_lists_in_no_order_is_understood() {
        let mut listing = Listing::of("p/");
        listing.add_page("", page(&["p/x", "p/m"], &[], Some("more")));
        listing.add_page("", page(&["p/a", "p/z"], &["p/n/"], Some("more")));
        for name in ["x", "m", "a", "z", "n"] {
            assert!(listing.seen(name.as_bytes()).is_some(), "{name}");
        }
        assert_eq!(listing.get(b"b"), Listed::Unknown, "it may still come");
    }

    #[test]
    fn own_names_take_their_place() {
        let mut listing = Listing::of("p/");
        listing.add_page("", page(&["p/a", "p/d"], &[], Some("more")));
        let begun = listing.pages()[0].clone();
        listing.add_own("b", None);
        listing.add_own("z", Some((1, Utc::default(), String::new())));
        assert_eq!(names(&listing), ["a", "b", "d"], "where `z` belongs is not known yet");
        assert_eq!(begun.len(), 2, "who goes through the directory keeps what it began with");
        listing.add_page("", page(&["p/e"], &[], None));
        listing.add_own("z", Some((1, Utc::default(), String::new())));
        assert_eq!(names(&listing), ["a", "b", "d", "e", "z"]);
    }
}
