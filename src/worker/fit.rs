//! Checks whether a worker could serve a mount before it takes over, so that one that could not leaves the serving
//! worker alone. Changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use rustix::fs::Access;
use rustix::io::Errno;

use super::compose::check_bucket;
use super::error::DaemonError;
use crate::settings::writer::{Settings, Source};
use crate::spool::Spool;
use crate::supervisor::protocol::Hello;
use crate::sys::error::SystemError;
use crate::sys::privileges;

/// Whether a worker with these settings would end on the way to serving.
pub fn to_serve(settings: &Settings) -> Result<(), DaemonError> {
    let dir = &settings.spool.dir;
    if let Some(barrier) = privileges::barrier(dir) {
        let uid = rustix::process::getuid().as_raw();
        return Err(DaemonError::Unreachable { uid, path: dir.clone(), barrier });
    }
    if let Source::Embedded { dir } = &settings.spool.source
        && let Err(e) = rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)
        && e != Errno::NOENT
    {
        return Err(DaemonError::Embedded(format!("{}: {e}", dir.display())));
    }
    Ok(Spool::check(dir, &settings.spool.source.url())?)
}

/// The same, and whether what a keeper says of its mount fits as well.
pub fn for_mount(settings: &Settings, mount: &Hello) -> Result<(), DaemonError> {
    to_serve(settings)?;
    let dir = &settings.spool.dir;
    let own = fs::metadata(dir).map_err(|e| SystemError::Directory(dir.clone(), e))?;
    // With another one everything that programs have open would be lost.
    if mount.spool.is_some_and(|spool| spool != (own.dev(), own.ino())) {
        return Err(DaemonError::OtherSpool(dir.clone()));
    }
    // Where nobody serves, any worker is better than none.
    if mount.replaces { to_replace(settings) } else { Ok(()) }
}

/// Whether a worker would be refused if it were to make the mount, as far as that can be judged beside one that serves.
fn to_replace(settings: &Settings) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check_bucket(&settings.spool))?;
    let Some(address) = settings.admin else { return Ok(()) };
    match TcpListener::bind(address) {
        // By the worker that serves, probably.
        Err(e) if e.kind() != ErrorKind::AddrInUse => {
            Err(DaemonError::Admin(format!("cannot listen at {address}: {e}")))
        }
        _ => Ok(()),
    }
}
