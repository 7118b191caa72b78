//! Where a machine keeps what outlives a mount.

use std::path::{Path, PathBuf};

use crate::settings::writer::Source;

/// Where something of a mount is kept that outlives it; `None` where the machine has no place for it.
pub(crate) fn state_path(source: &Source, mountpoint: &Path) -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib")
    } else {
        from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")))?
    };
    let point = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_owned());
    let both = format!("{}\n{}", source.url(), point.display());
    let readable: String = match source {
        // Of the ARN of an access point, its name.
        Source::S3 { bucket, .. } => bucket.rsplit(['/', ':']).next().unwrap_or_default().to_owned(),
        Source::Embedded { .. } => "embedded".to_owned(),
    };
    let name = format!("{readable}-{:08x}", crc_fast::crc32_iso_hdlc(both.as_bytes()));
    Some(state.join("logsinkfs").join(name))
}
