//! Checks an object against its key and metadata: read in chunks, decompressed and summed, one chunk in memory at a
//! time. Owns the list of possible faults; callers choose the objects and act on the result.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::decode::decode;
use super::range_fetcher::in_turn;
use crate::format::naming::{Form, SegmentName};
use crate::format::object_metadata::{CHECKSUM, FIRST, PATH, STREAM, of_key, of_whole_key};
use crate::format::whole_name::{WholeName, folder_of};
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::BucketError;
use crate::types::stored_object::StoredObject;

/// What the key of an object says.
#[derive(Clone, Debug)]
pub enum ObjectName {
    /// That it is a segment.
    Segment(SegmentName),
    /// That it is a version of a whole file.
    Version(WholeName),
}

impl ObjectName {
    /// Reads a key, that of a segment below `prefix`; `None` for a foreign one.
    pub fn parse(prefix: &str, key: &str) -> Option<ObjectName> {
        let segment = SegmentName::parse(prefix, key).map(ObjectName::Segment);
        segment.or_else(|| Some(ObjectName::Version(WholeName::parse_in(folder_of(key)?, key)?)))
    }

    /// How its bytes are stored, and how many they are.
    fn content(&self) -> (Form, u64) {
        match self {
            ObjectName::Segment(name) => (name.form, name.length),
            ObjectName::Version(name) => (name.form, name.length),
        }
    }

    /// What its metadata have to say.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            ObjectName::Segment(name) => of_key(name).into_iter().chain([(FIRST, name.start.to_name())]).collect(),
            ObjectName::Version(name) => of_whole_key(name).into(),
        }
    }
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there any more, or no longer the one of the listing.
    #[error("it could not be read as it was listed: {0}")]
    Gone(String),
    /// Its bytes are not of the form that its suffix names, or do not end where they should.
    #[error("its content cannot be read: {0}")]
    Broken(io::Error),
    /// It is too small for what its name says.
    #[error("it holds {0} bytes at most, by its name {1}")]
    Short(u64, u64),
    /// It holds more or fewer bytes.
    #[error("it holds {0} bytes, by its name {1}")]
    Length(u64, u64),
    /// It holds other bytes.
    #[error("its bytes have the checksum {0}, by its metadata {1}")]
    Checksum(String, String),
    /// Its last byte and the `p` in its name contradict each other.
    #[error("its last byte is {}a newline, by its name it is{}", if *.0 { "" } else { "not " }, if *.0 { " not" } else { "" })]
    End(bool),
    /// Its metadata say something else than its name.
    #[error("its metadata say {field} {found}, its name {named}")]
    Metadata {
        /// Which of them.
        field: &'static str,
        /// What is there.
        found: String,
        /// What should be.
        named: String,
    },
}

/// What is wrong with an object by its listing alone.
pub fn shortness(object: &StoredObject, name: &ObjectName) -> Option<Fault> {
    let (form, length) = name.content();
    let most = form.holds_at_most(object.size);
    let short = form != Form::Dropped && most < length;
    short.then_some(Fault::Short(most, length))
}

/// Examines an object of a listing. Fails when the bucket cannot be asked.
pub async fn examine(bucket: &dyn Bucket, object: &StoredObject, name: &ObjectName) -> Result<Vec<Fault>, BucketError> {
    match faults(bucket, object, name).await {
        Err(e) if !e.kind.is_outage() => Ok(vec![Fault::Gone(e.message)]),
        other => other,
    }
}

async fn faults(bucket: &dyn Bucket, object: &StoredObject, name: &ObjectName) -> Result<Vec<Fault>, BucketError> {
    let metadata = bucket.head(&object.key).await?.metadata;
    let mut faults = contradictions(name, &metadata);
    let (form, length) = name.content();
    let sums = match content(bucket, object, form, length).await? {
        Ok(sums) => sums,
        Err(e) => {
            faults.push(Fault::Broken(e));
            return Ok(faults);
        }
    };
    // A mark holds nothing; its metadata are those of the bytes that were dropped.
    let mark = form == Form::Dropped;
    let length = if mark { 0 } else { length };
    if sums.length != length {
        faults.push(Fault::Length(sums.length, length));
    }
    if mark {
        return Ok(faults);
    }
    let newline = sums.last == Some(b'\n');
    if let ObjectName::Segment(name) = name
        && newline == name.partial
    {
        faults.push(Fault::End(newline));
    }
    let (found, said) = (format!("{:016x}", sums.crc64.finalize()), metadata.get(CHECKSUM));
    if said != Some(&found) {
        faults.push(Fault::Checksum(found, said.map_or("none", String::as_str).to_owned()));
    }
    Ok(faults)
}

/// Where metadata and name differ. A path that is too long for the metadata is left out there, and is named there as
/// it is below the prefix that its writer had mounted, which may be longer than the one that is looked at.
fn contradictions(name: &ObjectName, metadata: &BTreeMap<String, String>) -> Vec<Fault> {
    let is_path = |field| field == STREAM || field == PATH;
    let differs = |(field, named): (&'static str, String)| match metadata.get(field) {
        Some(found) if *found == named => None,
        Some(found) if is_path(field) && named.ends_with(&format!("/{found}")) => None,
        None if is_path(field) => None,
        found => {
            let found = found.map_or("none", String::as_str).to_owned();
            Some(Fault::Metadata { field, found, named })
        }
    };
    name.metadata().into_iter().filter_map(differs).collect()
}

/// Sums an object's uncompressed bytes. The inner error is that of the decompressor.
async fn content(
    bucket: &dyn Bucket,
    object: &StoredObject,
    form: Form,
    length: u64,
) -> Result<io::Result<Sums>, BucketError> {
    let crc64 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let sums = Sums { crc64, length: 0, last: None };
    let chunks = in_turn(bucket, &object.key, object.size, Some(&object.etag));
    let decoded = decode(chunks, form, length, sums).await?;
    Ok(decoded.map(|(sums, _)| sums))
}

/// What is kept of the uncompressed bytes.
struct Sums {
    crc64: crc_fast::Digest,
    length: u64,
    last: Option<u8>,
}

impl Write for Sums {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc64.update(bytes);
        self.length += bytes.len() as u64;
        self.last = bytes.last().copied().or(self.last);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
