//! The composition root: builds the parts of a mount in order, starts the tasks, mounts, waits for the
//! end, and stops everything in the reverse order without losing a byte.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::compose::{connect, new_writer, policy, recover_parts, registrar, resume};
use super::error::{DaemonError, REQUIRE_PATIENCE};
use super::fuse::{Adapter, MountOptions, mount};
use super::launch;
use super::mountpoint::{self};
use super::stop::{drain, force_all, last_words, report};
use crate::core::Fs;
use crate::local::spool::Spool;
use crate::tasks::parts::Parts;
use crate::tasks::registrar::Registrar;
use crate::tasks::uploader::{self, Pace};
use crate::tasks::{sealer, settle};
use crate::values::settings::{Settings, Source};
use crate::world::clock::{Clock, SystemClock};

/// How often finished logs are looked for.
const RETIRE_EVERY: Duration = Duration::from_secs(30);

/// Runs a mount until it is unmounted or stopped.
pub fn run(settings: Settings) -> Result<ExitCode, DaemonError> {
    if launch::is_background() {
        launch::leave_session();
    }
    raise_file_limit();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut apart: Vec<&Path> = vec![&settings.spool_dir];
    if let Source::Embedded { dir } = &settings.source {
        apart.push(dir);
    }
    let point = mountpoint::prepare(&settings.mountpoint, &apart)?;
    let name = settings.writer_name.clone();
    let spool = Spool::open(&settings.spool_dir, &settings.source.url(), &name, new_writer)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .thread_name("logsinkfs")
        .build()?;
    let (bucket, _embedded) = connect(&runtime, &settings)?;
    let parts = Arc::new(recover_parts(&settings, spool, Arc::new(bucket), clock)?);
    let registrar = registrar();
    if settings.require_bucket {
        require_bucket(&runtime, &registrar, &parts)?;
    }
    serve(&settings, &runtime, parts, registrar, &point)
}

/// Threads that read FUSE requests. One is slower than two or three wherever writer and daemon are on
/// different cores, because then waking it costs more than the write (docs/BENCHMARKS.md).
const READERS: usize = 3;
/// Threads for S3 and for what waits: the work is the network's and the disk's.
const WORKERS: usize = 2;

fn serve(
    settings: &Settings,
    runtime: &Runtime,
    parts: Arc<Parts>,
    registrar: Registrar,
    point: &Path,
) -> Result<ExitCode, DaemonError> {
    let fs = Arc::new(Fs::new(parts.clone(), policy(settings), runtime.handle().clone(), None));
    let source = settings.source.url();
    let options = MountOptions {
        source: source.clone(),
        allow_other: settings.allow_other,
        threads: READERS,
    };
    let adapter = Adapter::new(fs.clone(), runtime.handle().clone());
    let session =
        mount(adapter, point, &options).map_err(|e| DaemonError::Mount(point.to_owned(), e))?;
    resume(&parts);

    let (stop_sealer, sealer_stops) = watch::channel(false);
    let (pace, uploader_pace) = watch::channel(Pace::Normal);
    let sealer = runtime.spawn(sealer::run(parts.clone(), sealer_stops));
    let uploader = runtime.spawn(uploader::run(parts.clone(), registrar, uploader_pace));
    let retirer = runtime.spawn(retire(parts.clone()));
    let mut signals = runtime.block_on(async { Signals::new() })?;

    let (ended, mut session_ended) = watch::channel(false);
    std::thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(e) = session.run() {
            error!("the FUSE session ended: {e}");
        }
        let _ = ended.send(true);
    })?;
    let identity = parts.spool.identity();
    info!(%source, mountpoint = %point.display(), writer = %identity.writer,
        spool = %parts.spool.dir().display(), "serving");
    launch::announce(point);
    if launch::is_background() {
        launch::let_go(&parts.spool.dir().join("logsinkfs.log"))?;
    }

    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = session_ended.wait_for(|ended| *ended) => break info!("unmounted: stopping"),
                wish = signals.next() => match wish {
                    Wish::Stop(signal) => break info!(signal, "stopping"),
                    Wish::Seal => {
                        info!("SIGUSR1: everything is sealed and uploaded now");
                        force_all(&parts);
                    }
                    Wish::Refresh => {
                        info!("SIGHUP: listings are forgotten");
                        parts.catalog.clear();
                    }
                }
            }
        }
    });
    mountpoint::detach(point, &source);
    let _ = pace.send(Pace::Stopping);
    let finished = runtime.block_on(async {
        tokio::select! {
            () = async { last_words(&fs).await; drain(&fs).await } => true,
            () = tokio::time::sleep(settings.shutdown_timeout) => false,
            signal = signals.stop() => {
                warn!(signal, "a second signal: stopping at once");
                false
            }
        }
    });
    fs.stop_writes();
    let _ = stop_sealer.send(true);
    let _ = pace.send(Pace::Stopped);
    retirer.abort();
    runtime.block_on(async {
        let both = async { tokio::join!(sealer, uploader) };
        // What does not end is cut off by the process's end, as a crash would: nothing is lost.
        let _ = tokio::time::timeout(Duration::from_millis(500), both).await;
    });
    Ok(report(&parts, finished))
}

async fn retire(parts: Arc<Parts>) {
    let every = RETIRE_EVERY.min(parts.retire_after.max(Duration::from_millis(100)));
    loop {
        tokio::time::sleep(every).await;
        let parts = parts.clone();
        let _ = tokio::task::spawn_blocking(move || settle::retire_finished(&parts)).await;
    }
}

fn require_bucket(
    runtime: &Runtime,
    registrar: &Registrar,
    parts: &Parts,
) -> Result<(), DaemonError> {
    let registered = runtime.block_on(async {
        tokio::time::timeout(REQUIRE_PATIENCE, registrar.register(parts)).await
    });
    registered.map_err(|_| DaemonError::NoAnswer)?.map_err(DaemonError::Bucket)?;
    // The uploader registers again, as another start.
    parts.spool.next_epoch()?;
    Ok(())
}

/// Thousands of open logs need as many descriptors; the default soft limit is 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit on open files stays as it is: {e}");
    }
}

/// What a signal asks for.
enum Wish {
    Stop(&'static str),
    Seal,
    Refresh,
}

/// The signals that the daemon listens to.
struct Signals {
    term: Signal,
    int: Signal,
    seal: Signal,
    refresh: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            seal: signal(SignalKind::user_defined1())?,
            refresh: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::Stop("SIGTERM"),
            _ = self.int.recv() => Wish::Stop("SIGINT"),
            _ = self.seal.recv() => Wish::Seal,
            _ = self.refresh.recv() => Wish::Refresh,
        }
    }

    async fn stop(&mut self) -> &'static str {
        loop {
            if let Wish::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
