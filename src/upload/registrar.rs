//! Writer registration: before its first upload each start puts an object with its name into the bucket, and learns
//! from the result whether this spool is a copy of one in use and whether the service enforces conditional writes.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use tracing::{error, info, warn};

use super::parts::{Disk, Parts, Ports};
use super::properties;
use crate::format::naming::registration_key;
use crate::s3::bucket::{Bucket, Conditional, NewObject, Payload};
use crate::spool::disk::memory_file;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::build;
use crate::types::errors::LocalError;
use crate::types::ids::{Epoch, WriterId};

/// What a registration says.
#[derive(Debug, Serialize)]
struct Registration<'a> {
    writer: &'a WriterId,
    epoch: Epoch,
    /// Tells our own registration, whose reply was lost, from a copy's.
    instance: &'a str,
    version: &'a str,
    host: &'a str,
    pod: Option<&'a str>,
    partition: &'a str,
    started: String,
}

/// The metadata name under which the instance stands.
const INSTANCE: &str = "instance";

/// Who registers.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// Random for each start.
    pub instance: String,
    /// The host's name.
    pub host: String,
    /// The pod's name, when there is one.
    pub pod: Option<String>,
    /// Forms another writer id for a copied spool.
    pub new_writer: fn(&str) -> WriterId,
}

/// A registration did not succeed, and is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// S3 refused or failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The spool failed.
    #[error(transparent)]
    Local(#[from] LocalError),
}

impl Registrar {
    /// Registers this start. Tried again by the caller until it succeeds; nothing is uploaded before.
    pub async fn register(&self, parts: &Parts) -> Result<Conditional, RegistrationError> {
        loop {
            let object = self.registration(parts)?;
            match parts.ports.bucket.put_new(&object).await {
                Ok(()) => return Ok(self.probe(&parts.ports, &object).await?),
                Err(e) if e.kind == Kind::Exists => {
                    if self.is_ours(&*parts.ports.bucket, &object.key).await? {
                        return Ok(self.probe(&parts.ports, &object).await?);
                    }
                    self.become_another(&parts.disk)?;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn registration(&self, parts: &Parts) -> Result<NewObject, LocalError> {
        let identity = parts.disk.spool.identity();
        let registration = Registration {
            writer: &identity.writer,
            epoch: identity.epoch,
            instance: &self.instance,
            version: build::VERSION,
            host: &self.host,
            pod: self.pod.as_deref(),
            partition: parts.disk.segmenting.partition.as_str(),
            started: parts.ports.clock.now().to_name(),
        };
        let in_memory = |e: std::io::Error| LocalError {
            action: "write in memory",
            path: parts.disk.spool.dir().to_owned(),
            source: e,
        };
        let text = serde_json::to_vec_pretty(&registration).map_err(|e| in_memory(std::io::Error::other(e)))?;
        let mut file = memory_file(parts.disk.spool.dir())?;
        file.write_all(&text).map_err(in_memory)?;
        let payload =
            Payload { range: 0..text.len() as u64, crc32: crc_fast::crc32_iso_hdlc(&text), file: Arc::new(file) };
        Ok(NewObject {
            key: registration_key(&parts.ports.prefix, &identity.writer, identity.epoch),
            payload,
            content_type: "application/json",
            metadata: BTreeMap::from([(INSTANCE.to_owned(), self.instance.clone())]),
            properties: properties::of_registration(&parts.ports, &identity.writer),
        })
    }

    /// Puts the registration a second time, which must be refused.
    async fn probe(&self, ports: &Ports, object: &NewObject) -> Result<Conditional, BucketError> {
        match ports.bucket.put_new(object).await {
            Err(e) if e.kind == Kind::Exists => {
                info!(key = %object.key, "registered; the service enforces conditional writes");
                Ok(Conditional::Enforced)
            }
            Ok(()) => {
                error!(
                    "this S3 service ignores If-None-Match, or what --no-overwrite-header names: it would let another client overwrite objects; \
                     every upload is preceded by a HEAD, which is the best that can be done with it"
                );
                Ok(Conditional::Ignored)
            }
            Err(e) => Err(e),
        }
    }

    /// Whether the registration that is there was made by this start. Where nobody lets us look, it counts as ours: the
    /// epoch was counted up durably before the first try.
    async fn is_ours(&self, bucket: &dyn Bucket, key: &str) -> Result<bool, BucketError> {
        match bucket.head(key).await {
            Ok(head) => Ok(head.metadata.get(INSTANCE) == Some(&self.instance)),
            Err(e) if e.kind == Kind::Denied => {
                warn!(key, "this registration exists and may not be read: taken as our own");
                Ok(true)
            }
            Err(e) => Err(e),
        }
    }

    fn become_another(&self, disk: &Disk) -> Result<(), LocalError> {
        let old = disk.spool.identity().writer;
        let new = (self.new_writer)(old.readable());
        warn!(%old, %new, "this spool is a copy of one that is in use: what is not sealed yet gets a new writer id");
        disk.spool.become_writer(new)
    }
}
