//! The composition root of a reader mount: no spool and no keeper, and no state worth keeping. One made by root is held
//! by another process (`worker::holder`).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tracing::{info, warn};

use super::daemon::raise_file_limit;
use super::error::{DaemonError, REQUIRE_PATIENCE};
use super::signals::{Direct, SignalAction, Signals};
use super::status::MountStatus;
use super::{connect, serve};
use crate::fuse;
use crate::listing::catalog::Catalog;
use crate::read::objects::{BUDGET_OF_READERS, Objects};
use crate::read::stream_file::{SETTLING, Source};
use crate::read::streams::{LISTS_A_MINUTE, REMEMBERED_MAX};
use crate::read::unpack_cache::UnpackCache;
use crate::reader_fs::{ReaderConfig, ReaderFs};
use crate::s3::bucket::Bucket;
use crate::s3::metered::Observed;
use crate::s3::rate_limited::Capped;
use crate::settings::reader::ReaderSettings;
use crate::supervisor::error::SupervisorError;
use crate::supervisor::{Device, Plan};
use crate::sys::launch;
use crate::sys::state_path::state_path;
use crate::types::clock::{Clock, SystemClock};

/// Threads that read FUSE requests: none of them waits for S3.
const READERS: usize = 2;
/// What the log of a mount in the background ends in.
const LOG: &str = "reader.log";

/// Makes a reader mount and serves it until it is unmounted or stopped.
pub fn run(settings: &ReaderSettings) -> Result<ExitCode, DaemonError> {
    if launch::is_background() {
        launch::leave_session();
    }
    try_cache(settings)?;
    serve_on(settings, || Ok(Device::new(plan(settings))?))
}

/// Serves a mount that another process holds, until it ends.
pub fn serve_held(settings: &ReaderSettings, fuse: OwnedFd) -> Result<ExitCode, DaemonError> {
    // Not looked at: nobody serves it yet.
    let point = std::path::absolute(&settings.mountpoint)?;
    serve_on(settings, || Ok(Device::held(fuse, point, &settings.source)))
}

fn serve_on(
    settings: &ReaderSettings,
    device: impl FnOnce() -> Result<Device, DaemonError>,
) -> Result<ExitCode, DaemonError> {
    raise_file_limit();
    let runtime = serve::runtime()?;
    let reached = connect::to_read(&settings.source, &settings.s3);
    let (bucket, _embedded) = reached.map_err(DaemonError::Embedded)?;
    let bucket = Observed::new(Arc::new(bucket), Arc::new(SystemClock::new()));
    first_contact(&runtime, &bucket, settings.source.prefix())?;
    let reader_config = reader_config(settings, Arc::new(bucket), &runtime);
    let fs = Arc::new(ReaderFs::new(reader_config, runtime.handle().clone()));
    let device = device()?;
    let served = serve_until_the_end(settings, &runtime, &fs, &device);
    device.detach();
    served.map(|()| ExitCode::SUCCESS)
}

/// What the mount is to be.
pub(super) fn plan(settings: &ReaderSettings) -> Plan<'_> {
    Plan {
        source: &settings.source,
        mountpoint: &settings.mountpoint,
        apart: Vec::new(),
        allow_other: settings.allow_other,
        read_only: true,
        guard: None,
    }
}

/// Lists the prefix once: what S3 refuses is told at the start, and not by each read.
fn first_contact(runtime: &Runtime, bucket: &Observed, prefix: &str) -> Result<(), DaemonError> {
    let listed = async { timeout(REQUIRE_PATIENCE, bucket.list_page(prefix, None)).await };
    match runtime.block_on(listed) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(DaemonError::Unreadable(e)),
        Err(_) => Err(DaemonError::Silent),
    }
}

/// Tries to make a file in the cache, so that an error is told at the start and not by each read. A cache below the
/// mount would be hidden by it.
pub(super) fn try_cache(settings: &ReaderSettings) -> Result<(), DaemonError> {
    let dir = &settings.cache_dir;
    let failed = |e| DaemonError::Cache(dir.clone(), e);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
    let point = fs::canonicalize(&settings.mountpoint);
    match fs::canonicalize(dir).map_err(failed)? {
        inside if point.is_ok_and(|point| inside.starts_with(point)) => {
            Err(failed(io::Error::other("it is below the mount point")))
        }
        _ => Ok(()),
    }
}

fn reader_config(settings: &ReaderSettings, bucket: Arc<dyn Bucket>, runtime: &Runtime) -> ReaderConfig {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let bucket: Arc<dyn Bucket> = Arc::new(Capped::new(bucket, clock.clone(), LISTS_A_MINUTE));
    let (dir, handle) = (settings.cache_dir.clone(), runtime.handle().clone());
    let objects = Arc::new(Objects::new(bucket.clone(), handle.clone(), BUDGET_OF_READERS));
    let unpack_cache = UnpackCache::new(bucket.clone(), dir, settings.cache_max, handle);
    let (unpack_cache, strict) = (Arc::new(unpack_cache), settings.strict);
    ReaderConfig {
        source: Source { bucket, clock, unpack_cache, objects, strict, settling: SETTLING },
        catalog: Arc::new(Catalog::new(settings.freshness)),
        prefix: settings.source.prefix().to_owned(),
        since: settings.since,
        ttl: settings.freshness.listed,
        remembered: REMEMBERED_MAX,
        ownership: settings.ownership,
    }
}

fn serve_until_the_end(
    settings: &ReaderSettings,
    runtime: &Runtime,
    fs: &Arc<ReaderFs>,
    device: &Device,
) -> Result<(), DaemonError> {
    let status = Arc::new(MountStatus::new(&settings.source, &device.point, None));
    serve::tell(runtime, settings.admin, &status, false)?;
    let adapter = fuse::Reader::new(fs.clone(), runtime.handle().clone());
    let session = fuse::begin(adapter, device.fuse.as_fd().try_clone_to_owned()?, READERS)
        .map_err(|e| SupervisorError::Mount(device.point.clone(), e))?;
    fs.set_caches(fuse::caches_of(&session, runtime.handle().clone())?);
    let mut signals = runtime.block_on(async { Signals::new(None, Direct::Stops) })?;
    let mut session_ended = fuse::answer(session)?;
    info!(source = %settings.source.url(), mountpoint = %device.point.display(), "serving, read-only");
    status.serves(true);
    let log = if launch::is_background() { Some(open_log(settings, &device.point)?) } else { None };
    launch::announce(&device.point);
    if let Some(log) = log {
        launch::let_go(log)?;
    }
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = session_ended.wait_for(|ended| *ended) => break info!("unmounted: stopping"),
                action = signals.next() => match action {
                    SignalAction::Stop(signal) => break info!(signal, "stopping"),
                    SignalAction::Refresh => {
                        info!("SIGHUP: cached listings dropped");
                        fs.distrust();
                    }
                    SignalAction::Leave | SignalAction::Seal => {}
                }
            }
        }
    });
    Ok(())
}

/// The log of a mount in the background: beside the spools of mounts that write. Where the machine has no place for it
/// there is none.
pub(super) fn open_log(settings: &ReaderSettings, point: &Path) -> io::Result<File> {
    let open = || -> io::Result<File> {
        let place = state_path(&settings.source, point);
        let mut name = place.ok_or_else(|| io::Error::other("HOME is not set"))?.into_os_string();
        name.push(format!(".{LOG}"));
        if let Some(folder) = Path::new(&name).parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = File::options();
        options.create(true).append(true).mode(0o644).custom_flags(libc::O_NOFOLLOW);
        let log = options.open(&name)?;
        launch::announce_log(Path::new(&name));
        Ok(log)
    };
    open().or_else(|e| {
        warn!("logging ends here: {e}");
        File::options().write(true).open("/dev/null")
    })
}
