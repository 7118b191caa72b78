//! Segments and whole files that no mount has written: of any time, by any writer, with any damage.
//!
//! Owns: the forming of keys, written from docs/FORMAT.md and not from the program's own code.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};

use super::bucket::Bucket;
use super::rig::PREFIX;

/// How the bytes are stored.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Plain,
    Gzip,
    Zstd,
}

/// A writer of one stream; its offsets go on by themselves.
pub struct Planter<'a> {
    pub bucket: &'a Bucket,
    /// As it stands in keys.
    pub stream: &'a str,
    pub id: &'a str,
    pub generation: u64,
    pub offset: u64,
    pub form: Form,
}

impl<'a> Planter<'a> {
    /// A writer that has written nothing yet.
    pub fn new(bucket: &'a Bucket, stream: &'a str, id: &'a str) -> Self {
        Self { bucket, stream, id, generation: 1, offset: 0, form: Form::Gzip }
    }

    /// Stores the next segment; gives its key.
    pub fn put(&mut self, start: Timestamp, bytes: &[u8]) -> String {
        let key = self.skip(start, bytes);
        self.bucket.put(&key, &stored(self.form, bytes));
        key
    }

    /// The key of the next segment, which is not there.
    pub fn skip(&mut self, start: Timestamp, bytes: &[u8]) -> String {
        let suffix = match self.form {
            Form::Plain => "log",
            Form::Gzip => "log.gz",
            Form::Zstd => "log.zst",
        };
        let partial = if bytes.last() == Some(&b'\n') { "" } else { "p" };
        let key = self.key(start, bytes.len(), &format!("{partial}.{suffix}"));
        self.offset += bytes.len() as u64;
        key
    }

    /// Marks bytes as dropped.
    pub fn drop(&mut self, start: Timestamp, length: usize) {
        self.bucket.put(&self.key(start, length, ".dropped"), b"");
        self.offset += length as u64;
    }

    /// Begins the next generation.
    pub fn truncate(&mut self) {
        (self.generation, self.offset) = (self.generation + 1, 0);
    }

    fn key(&self, start: Timestamp, length: usize, end: &str) -> String {
        let Self { stream, id, generation, offset, .. } = self;
        let (partition, start) = times(start);
        format!("{PREFIX}{stream}.segments/{partition}/{start}_{id}_{generation:08}_{offset:015}_{length:012}{end}")
    }
}

/// A writer of one whole file; its versions are numbered by themselves.
pub struct FilePlanter<'a> {
    pub bucket: &'a Bucket,
    /// As it stands in keys.
    pub path: &'a str,
    pub id: &'a str,
    pub number: u64,
    pub form: Form,
    pub partial: bool,
}

impl<'a> FilePlanter<'a> {
    /// A writer that has written nothing yet.
    pub fn new(bucket: &'a Bucket, path: &'a str, id: &'a str) -> Self {
        Self { bucket, path, id, number: 1, form: Form::Gzip, partial: false }
    }

    /// Stores the next version; gives its key.
    pub fn put(&mut self, start: Timestamp, bytes: &[u8]) -> String {
        let key = self.key(start, bytes.len() as u64);
        self.bucket.put(&key, &stored(self.form, bytes));
        self.number += 1;
        key
    }

    /// The key of the next version if it had that length.
    pub fn key(&self, start: Timestamp, length: u64) -> String {
        let Self { path, id, number, .. } = self;
        let partial = if self.partial { ".partial" } else { "" };
        let extension = path.rfind('.').map_or("", |dot| &path[dot..]);
        let compressed = match self.form {
            Form::Plain => "",
            Form::Gzip => ".gz",
            Form::Zstd => ".zst",
        };
        let (partition, start) = times(start);
        format!(
            "{PREFIX}{path}.files/{partition}/{start}_{id}_{number:08}_{length:012}{partial}{extension}{compressed}"
        )
    }
}

/// A time as a partition, and as it stands in a name.
fn times(start: Timestamp) -> (String, String) {
    let micros = start.as_microsecond().rem_euclid(1_000_000);
    let partition = start.strftime("dt=%Y-%m-%d/hour=%H").to_string();
    (partition, format!("{}.{micros:06}Z", start.strftime("%Y%m%dT%H%M%S")))
}

fn stored(form: Form, bytes: &[u8]) -> Vec<u8> {
    match form {
        Form::Plain => bytes.to_vec(),
        Form::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        }
        Form::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

/// A time so many minutes ago.
#[allow(clippy::disallowed_methods, reason = "the tests run on the real clock")]
pub fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

/// A time that is written down.
pub fn at(time: &str) -> Timestamp {
    format!("{time}Z").parse().unwrap()
}
