//! Making a mount: the options that every mount has, and those that the settings add.

use std::path::Path;

use super::Adapter;
use crate::edges::mountpoint::SUBTYPE;

/// How a mount is made.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// What `df` and `mount` show as the source.
    pub source: String,
    /// Let other users in.
    pub allow_other: bool,
    /// Threads that read requests.
    pub threads: usize,
}

/// Mounts; gives the session that has to be run.
pub fn mount(
    adapter: Adapter,
    mountpoint: &Path,
    options: &MountOptions,
) -> std::io::Result<fuser::Session<Adapter>> {
    use fuser::MountOption::{DefaultPermissions, FSName, NoAtime, NoDev, NoExec, NoSuid, Subtype};
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        FSName(options.source.clone()),
        Subtype(SUBTYPE.to_owned()),
        DefaultPermissions,
        NoSuid,
        NoDev,
        NoExec,
        NoAtime,
    ];
    if options.allow_other {
        config.acl = fuser::SessionACL::All;
    }
    config.n_threads = Some(options.threads);
    fuser::Session::new(adapter, mountpoint, &config)
}
