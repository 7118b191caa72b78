//! The key pair of a store.
//!
//! Owns: the file that keeps it, making it once. Does NOT own: checking signatures (s3s).
//!
//! Invariant: a pair is random and never changes; of two servers that start in a new directory at once, both end up
//! with the same pair.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use super::objects::hex;
use super::store::Store;

const FILE: &str = "credentials.json";

/// Random bytes in the identifier and in the secret; the secret is as strong as its signature (SHA-256).
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Credentials {
    /// The pair of `store`, made when there is none yet.
    pub fn of(store: &Store) -> io::Result<Self> {
        let _turn = store.turn()?;
        let path = store.private().join(FILE);
        match std::fs::read(&path) {
            Ok(json) => return Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let made = Self {
            access_key_id: format!("EMBEDDED{}", random(ID_BYTES)?.to_ascii_uppercase()),
            secret_access_key: random(SECRET_BYTES)?,
        };
        let interim = store.private().join(format!("{FILE}.new"));
        let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&interim)?;
        file.write_all(&serde_json::to_vec_pretty(&made)?)?;
        file.sync_all()?;
        std::fs::rename(interim, path)?;
        Ok(made)
    }
}

fn random(count: usize) -> io::Result<String> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}
