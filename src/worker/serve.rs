//! What writer and reader mounts have in common while they serve: the runtime, and the address that tells how the mount
//! is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tracing::error;

use super::admin;
use super::error::DaemonError;
use super::status::MountStatus;

/// Threads for S3 and for what waits: the work is the network's and the disk's. Decompression has threads of its own.
const WORKERS: usize = 2;

/// The runtime.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().thread_name("logsinkfs").build()
}

/// Tells over HTTP how the mount is, where that is asked for. A worker for which programs wait does not wait for the
/// address.
pub(super) fn tell(
    runtime: &Runtime,
    address: Option<SocketAddr>,
    status: &Arc<MountStatus>,
    at_once: bool,
) -> Result<(), DaemonError> {
    let (Some(address), status) = (address, status.clone()) else { return Ok(()) };
    if at_once {
        runtime.spawn(async move {
            match admin::listen(address, true).await {
                Ok(listener) => admin::serve(listener, status).await,
                Err(e) => error!("the mount goes on without it: {e}"),
            }
        });
    } else {
        let listener = runtime.block_on(admin::listen(address, false))?;
        runtime.spawn(admin::serve(listener, status));
    }
    Ok(())
}
