//! The composition root: builds the parts of a mount in order, starts the tasks, mounts, waits for the
//! end, and stops everything in the reverse order without losing a byte.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::fuse::{Adapter, MountOptions, mount};
use super::launch;
use super::mountpoint::{self, MountpointError};
use crate::core::{Fs, Policy};
use crate::local::catalog::Catalog;
use crate::local::namespace::Namespace;
use crate::local::recover::{Circumstances, recover};
use crate::local::room::Room;
use crate::local::spool::{Spool, SpoolError};
use crate::local::stream::Streams;
use crate::tasks::parts::Parts;
use crate::tasks::registrar::{Registrar, RegistrationError};
use crate::tasks::uploader::{self, Pace};
use crate::tasks::{sealer, settle};
use crate::values::errors::LocalError;
use crate::values::ids::WriterId;
use crate::values::naming::Phase;
use crate::values::settings::{S3Settings, Settings, Source};
use crate::world::bucket::Bucket;
use crate::world::clock::{Clock, SystemClock};
use crate::world::s3::{FixedCredentials, S3Bucket};

/// Stopped, with data left in the spool.
const EXIT_DATA_LEFT: u8 = 3;
/// How often finished logs are looked for.
const RETIRE_EVERY: Duration = Duration::from_secs(30);
/// Longest wait for the bucket under `--require-bucket`.
const REQUIRE_PATIENCE: Duration = Duration::from_secs(20);
/// Name of the embedded bucket behind `file:///DIR`.
#[cfg(feature = "embedded-bucket")]
const EMBEDDED_NAME: &str = "logs";

/// A mount could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The mount point.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool's disk.
    #[error("the spool cannot be used: {0}")]
    Local(#[from] LocalError),
    /// The embedded bucket.
    #[error("the embedded bucket cannot be started: {0}")]
    Embedded(String),
    /// `--require-bucket` and no bucket.
    #[error("the bucket cannot be used: {0}")]
    Bucket(#[source] RegistrationError),
    /// `--require-bucket` and no answer.
    #[error("the bucket did not answer within {REQUIRE_PATIENCE:?}")]
    NoAnswer,
    /// The kernel refuses the mount.
    #[error("mounting on {0} failed: {1}")]
    Mount(PathBuf, #[source] std::io::Error),
    /// The system refuses threads or signals.
    #[error("the daemon could not be started: {0}")]
    System(#[from] std::io::Error),
}

impl DaemonError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            DaemonError::Mountpoint(e) => e.hint(),
            DaemonError::Spool(e) => e.hint(),
            DaemonError::Local(_) => "the spool needs a local disk with room: --spool-dir",
            DaemonError::Embedded(_) => "choose a directory that this user can write",
            DaemonError::Bucket(RegistrationError::Bucket(e)) => e.kind.hint(),
            DaemonError::Bucket(RegistrationError::Local(_)) => "look at the local file system",
            DaemonError::NoAnswer => {
                "check --endpoint-url and the network, or leave --require-bucket away: the mount then serves and uploads later"
            }
            DaemonError::Mount(..) => {
                "FUSE is needed: /dev/fuse, and the package fuse3 for ordinary users; --allow-other needs user_allow_other in /etc/fuse.conf then"
            }
            DaemonError::System(_) => "look at the limits of this process",
        }
    }
}

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

/// Builds the parts of a mount from what its spool holds. Nothing runs yet.
pub fn recover_parts(
    settings: &Settings,
    spool: Spool,
    bucket: Arc<dyn Bucket>,
    clock: Arc<dyn Clock>,
) -> Result<Parts, DaemonError> {
    let spool = Arc::new(spool);
    let streams = Streams::new(&spool.streams());
    let room = Room::new(spool.dir(), &settings.limits, settings.segmenting.rules.size)?;
    let at = Circumstances {
        streams: &streams,
        room: &room,
        now: clock.now(),
        interval: settings.segmenting.rules.interval,
    };
    let found = recover(&spool, at)?;
    let namespace = Namespace::load(spool.clone(), settings.ownership, found, clock.now());
    Ok(Parts {
        spool,
        namespace: Arc::new(namespace),
        streams,
        room,
        catalog: Catalog::new(settings.metadata_ttl),
        bucket,
        clock,
        segmenting: settings.segmenting.clone(),
        prefix: settings.source.prefix().to_owned(),
        retire_after: settings.retire_after,
        watch_list: Default::default(),
        outbox: Default::default(),
        progress: watch::Sender::new(0),
    })
}

/// Puts what recovery found on the lists of those who go on with it.
pub fn resume(parts: &Parts) {
    let (mut segments, mut tails) = (0, 0);
    for life in parts.namespace.lives() {
        let sealed: Vec<_> = {
            let state = life.state();
            let sealed = state.segments.iter().filter(|(_, s)| s.phase == Phase::Sealed);
            sealed.map(|(start, _)| *start).collect()
        };
        for start in sealed {
            segments += 1;
            // The daemon before may have sent it and died before the answer.
            let job =
                crate::tasks::outbox::Job { life: life.clone(), start, may_have_arrived: true };
            parts.outbox.push(job);
        }
        tails += usize::from(life.len().unwrap_or_default() > life.state().sealed_end());
        // A tail is sealed in its time, an ended life removed.
        parts.touch(&life);
    }
    if segments + tails > 0 {
        info!(segments, tails, unsent = parts.unsent(), "recovered from the spool");
    }
}

/// What the file system is told of the settings.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        view: settings.view,
        routing: settings.routing.clone(),
        strict_append: settings.strict_append,
        fsync: settings.fsync,
        when_full: settings.limits.when_full,
        metadata_ttl: settings.metadata_ttl,
    }
}

fn serve(
    settings: &Settings,
    runtime: &Runtime,
    parts: Arc<Parts>,
    registrar: Registrar,
    point: &Path,
) -> Result<ExitCode, DaemonError> {
    let fs = Arc::new(Fs::new(parts.clone(), policy(settings), runtime.handle().clone()));
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
        tokio::select! {
            name = signals.next() => info!(signal = name, "stopping"),
            _ = session_ended.wait_for(|ended| *ended) => info!("unmounted: stopping"),
        }
    });
    mountpoint::detach(point, &source);
    let _ = pace.send(Pace::Stopping);
    let finished = runtime.block_on(async {
        tokio::select! {
            () = async { last_words(&fs).await; drain(&fs).await } => true,
            () = tokio::time::sleep(settings.shutdown_timeout) => false,
            name = signals.next() => {
                warn!(signal = name, "a second signal: stopping at once");
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

/// How long programs that have a log open for writing may go on after the daemon was told to stop:
/// they are often being stopped too, and their last lines tell why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Waits until no log is open for writing, briefly; then writes are refused.
async fn last_words(fs: &Fs) {
    let closed = async {
        while fs.parts().namespace.lives().iter().any(|life| life.state().writers > 0) {
            tokio::time::sleep(LAST_WORDS / 40).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, closed).await;
    fs.stop_writes();
}

/// Seals and uploads everything; ends when nothing is left and nothing more can come.
pub async fn drain(fs: &Fs) {
    let parts = fs.parts();
    let mut progress = parts.progress.subscribe();
    let mut writes_stopped = false;
    loop {
        progress.borrow_and_update();
        let mut left = false;
        for life in parts.namespace.lives() {
            let len = life.len().unwrap_or_default();
            let (tail, unsent) = {
                let state = life.state();
                (len > state.sealed_end(), !state.all_sent(len))
            };
            left |= unsent;
            if tail {
                parts.force(&life);
            }
        }
        match (left, writes_stopped) {
            (false, true) => return,
            (false, false) => {
                // Open files could be written until now; whatever came in since is looked for again.
                fs.stop_writes();
                writes_stopped = true;
            }
            (true, _) => {
                // Growth shows without a signal: look again now and then.
                let _ = tokio::time::timeout(Duration::from_millis(100), progress.changed()).await;
            }
        }
    }
}

fn report(parts: &Parts, finished: bool) -> ExitCode {
    let unsent = parts.unsent();
    if unsent == 0 {
        info!("stopped; S3 has everything");
        return ExitCode::SUCCESS;
    }
    let lives = parts.namespace.lives();
    let behind = |life: &&Arc<crate::local::life::Life>| {
        let len = life.len().unwrap_or_default();
        !life.state().all_sent(len)
    };
    let files = lives.iter().filter(behind).count();
    let why = if finished { "it was written last" } else { "the time was up" };
    error!(unsent, files, spool = %parts.spool.dir().display(), why,
        "stopped with data left in the spool; the next mount with this spool uploads it");
    ExitCode::from(EXIT_DATA_LEFT)
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

fn registrar() -> Registrar {
    let uname = rustix::system::uname();
    Registrar {
        instance: format!("{:016x}", fastrand::u64(..)),
        host: uname.nodename().to_string_lossy().into_owned(),
        pod: std::env::var("POD_NAME").ok(),
        new_writer,
    }
}

fn new_writer(readable: &str) -> WriterId {
    WriterId::compose(readable, |bound| fastrand::usize(..bound))
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

/// The signals that stop the daemon.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

#[cfg(feature = "embedded-bucket")]
type Embedded = Option<crate::embedded::EmbeddedBucket>;
#[cfg(not(feature = "embedded-bucket"))]
type Embedded = ();

#[cfg(feature = "embedded-bucket")]
fn connect(runtime: &Runtime, settings: &Settings) -> Result<(S3Bucket, Embedded), DaemonError> {
    use crate::embedded::EmbeddedBucket;
    match &settings.source {
        Source::S3 { bucket, .. } => {
            Ok((runtime.block_on(S3Bucket::connect(bucket, &settings.s3, None)), None))
        }
        Source::Embedded { dir } => {
            let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
            let server = EmbeddedBucket::start(dir, EMBEDDED_NAME, any)
                .map_err(|e| DaemonError::Embedded(e.to_string()))?;
            let reach = S3Settings {
                endpoint_url: Some(server.endpoint().to_owned()),
                region: Some(server.region().to_owned()),
                force_path_style: true,
                profile: None,
                ..settings.s3.clone()
            };
            let keys = FixedCredentials {
                access_key_id: server.access_key_id().to_owned(),
                secret_access_key: server.secret_access_key().to_owned(),
            };
            println!(
                "logsinkfs: the embedded bucket `{EMBEDDED_NAME}` is at {} (AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_REGION={})",
                server.endpoint(),
                keys.access_key_id,
                keys.secret_access_key,
                server.region(),
            );
            let bucket = runtime.block_on(S3Bucket::connect(EMBEDDED_NAME, &reach, Some(keys)));
            Ok((bucket, Some(server)))
        }
    }
}

#[cfg(not(feature = "embedded-bucket"))]
fn connect(runtime: &Runtime, settings: &Settings) -> Result<(S3Bucket, Embedded), DaemonError> {
    match &settings.source {
        Source::S3 { bucket, .. } => {
            Ok((runtime.block_on(S3Bucket::connect(bucket, &settings.s3, None)), ()))
        }
        Source::Embedded { .. } => {
            Err(DaemonError::Embedded("this program was built without it".to_owned()))
        }
    }
}
