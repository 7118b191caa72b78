//! The composition root of a writer mount: builds the parts in order, starts the tasks, serves, waits for the end, and
//! stops everything in reverse order without losing a byte.

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::compose::{check_bucket, connect, new_writer, policy, recover_parts, registrar, resume};
use super::control_server::StopAsked;
use super::error::{DaemonError, REQUIRE_PATIENCE};
use super::served_mount::ServedMount;
use super::signals::{SignalAction, Signals};
use super::status::{MountStatus, Writing};
use super::stop::{End, drain, force_all, impatience, last_words, report, wanted_by_the_next};
use super::write_path::Choice;
use super::{control_server, serve, write_path};
use crate::fs::{Fs, chores};
use crate::fuse::{Adapter, Session, answer, ask_again, caches_of};
use crate::s3::metered::Observed;
use crate::settings::writer::{Settings, WritePath};
use crate::spool::backing::Backings;
use crate::spool::disk::{Durable, load_json, store_json};
use crate::spool::{Spool, SpoolError, pinned};
use crate::supervisor::error::SupervisorError;
use crate::supervisor::link::Link;
use crate::supervisor::protocol::ToClient;
use crate::sys::{launch, privileges, spool_owner};
use crate::types::clock::{Clock, SystemClock};
use crate::types::time::Utc;
use crate::upload::outage::Backlog;
use crate::upload::parts::{Parts, Queues, S3State};
use crate::upload::registrar::Registrar;
use crate::upload::uploader::Pace;
use crate::upload::{evict, sealer, uploader};

/// How often finished logs are looked for.
const RETIRE_EVERY: Duration = Duration::from_secs(30);

/// Longest wait for S3's first answer before a mount in the background is announced.
const CONTACT_PATIENCE: Duration = Duration::from_secs(2);

/// People who ask for the mount's end at once: more are told to ask again.
const STOPS_MAX: usize = 8;

/// Longest wait for a spool whose daemon is just dying.
const SPOOL_PATIENCE: Duration = Duration::from_secs(5);

/// Makes a mount and serves it, in one process, until it is unmounted or stopped.
pub fn run_alone(settings: &Settings) -> Result<ExitCode, DaemonError> {
    if launch::is_background() {
        launch::leave_session();
    }
    let user = privileges::own_user();
    let spool = spool_owner::prepare(settings, user)?;
    pinned::pin(&spool, &settings.spool.dir, &settings.spool.source.url())?;
    let served = ServedMount::alone(settings, spool, user.uid)?;
    let ended = run(settings, &served);
    if ended.is_err() {
        served.detach();
    }
    ended
}

/// Serves a mount until it is unmounted or stopped.
pub fn run(settings: &Settings, served: &ServedMount) -> Result<ExitCode, DaemonError> {
    raise_file_limit();
    end_at_panics();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut spool = open_spool(settings, &*clock)?;
    let runtime = serve::runtime()?;
    let session = served.session.as_ref().map(|(session, _)| session);
    if let Some(session) = session {
        spool.begin_session(session, served.resumed)?;
    }
    // Who opens a file in the moment in which we ask whether anybody writes to it has the kernel send this signal,
    // which nobody has to hear but which must not end the process.
    let _lease_breaks = runtime.block_on(async { signal(SignalKind::io()) })?;
    let (bucket, _embedded) = connect(&settings.spool, spool.dir(), session)?;
    if !served.resumed {
        // Programs wait for a later worker, which uploads when it can.
        runtime.block_on(check_bucket(&settings.spool))?;
    }
    let bucket = Observed::new(Arc::new(bucket), clock.clone());
    let parts = Arc::new(recover_parts(&settings.spool, spool, Arc::new(bucket), clock)?);
    let registrar = registrar();
    if settings.require_bucket && !served.resumed {
        require_bucket(&runtime, &registrar, &parts)?;
    }
    serve_until_the_end(settings, &runtime, parts, registrar, served)
}

/// Opens the spool; the one who had it may be dying in this moment, killed or replaced.
fn open_spool(settings: &Settings, clock: &dyn Clock) -> Result<Spool, DaemonError> {
    let end = clock.monotonic() + SPOOL_PATIENCE;
    loop {
        let (dir, source) = (&settings.spool.dir, settings.spool.source.url());
        match Spool::open(dir, &source, &settings.spool.writer_name, new_writer) {
            Err(SpoolError::Locked(..)) if clock.monotonic() < end => {
                std::thread::sleep(SPOOL_PATIENCE / 100);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Threads that read FUSE requests. One is slower than two or three wherever writer and daemon are on different cores,
/// because then waking it costs more than the write (docs/BENCHMARKS.md).
const READERS: usize = 3;

fn serve_until_the_end(
    settings: &Settings,
    runtime: &Runtime,
    parts: Arc<Parts>,
    registrar: Registrar,
    served: &ServedMount,
) -> Result<ExitCode, DaemonError> {
    let backings = backings(settings, served)?;
    let backlog = Arc::new(Mutex::new(Backlog::default()));
    let writing = Writing {
        since: mounted_since(&parts, served),
        parts: parts.clone(),
        backlog: backlog.clone(),
        by_kernel: backings.is_some(),
        worker_restarts: served.restarts,
    };
    let status = Arc::new(MountStatus::new(&settings.spool.source, &served.point, Some(writing)));
    serve::tell(runtime, settings.admin, &status, served.resumed)?;
    let runtime_handle = runtime.handle().clone();
    let fs = Arc::new(Fs::new(parts.clone(), policy(settings), runtime_handle, backings));
    let (asks_to_stop, mut stops) = mpsc::channel(STOPS_MAX);
    if let Some(questions) = served.questions() {
        runtime.spawn(control_server::serve(questions, status.clone(), fs.clone(), asks_to_stop));
    }
    let adapter = Adapter::new(fs.clone(), runtime.handle().clone());
    let session = served.session(adapter, READERS).map_err(|e| SupervisorError::Mount(served.point.clone(), e))?;
    fs.set_caches(caches_of(&session, runtime.handle().clone())?);
    resume(&parts);
    let tasks = Tasks::start(runtime, &parts, registrar, backlog);
    let mut signals = runtime.block_on(async { served.signals() })?;
    let session_ended = run_session(session, served)?;
    status.serves(true);
    announce(settings, runtime, &parts, served)?;
    let (end, client) = runtime.block_on(until_the_end(&fs, &mut signals, &mut stops, session_ended));
    status.serves(false);
    served.detach();
    tasks.hurry();
    let why_left = runtime.block_on(async {
        tokio::select! {
            () = async { last_words(&fs).await; drain(&fs).await } => "it was written last",
            () = wanted_by_the_next(&parts.disk) => "the next mount goes on with it",
            why = impatience(&mut signals, end, settings.shutdown_timeout) => why,
        }
    });
    fs.stop_writes();
    tasks.stop(runtime);
    let (code, what) = report(&parts, why_left);
    let others = std::iter::from_fn(|| stops.try_recv().ok().map(|(_, client)| client));
    // Whoever asked may have gone.
    client.into_iter().chain(others).for_each(|client| {
        let _ = client.send(&ToClient::Stopped { code, what: what.clone() });
    });
    served.stopped(code);
    Ok(ExitCode::from(code))
}

/// Answers the kernel on threads of its own. Gives what says when that is over.
fn run_session(session: Session, served: &ServedMount) -> Result<watch::Receiver<bool>, DaemonError> {
    if served.resumed
        && let Err(e) = ask_again(served.fuse.as_fd())
    {
        // A mount that ended meanwhile shows in the session.
        warn!("the kernel did not resend the requests that the previous worker left unanswered: {e}");
    }
    Ok(answer(session)?)
}

/// Says that the mount serves: in the log, to the parent process and to the keeper.
fn announce(settings: &Settings, runtime: &Runtime, parts: &Parts, served: &ServedMount) -> Result<(), DaemonError> {
    let identity = parts.disk.spool.identity();
    info!(source = %settings.spool.source.url(), mountpoint = %served.point.display(),
        writer = %identity.writer, spool = %parts.disk.spool.dir().display(), "serving");
    if launch::is_background() && !served.resumed {
        runtime.block_on(first_contact(&parts.queues));
        launch::announce_log(&parts.disk.spool.dir().join(launch::LOG));
    }
    let namespace = parts.disk.namespace.clone();
    served.announce(runtime.handle(), Arc::new(move || namespace.touch_locks()))?;
    if launch::is_background() {
        launch::let_go(launch::open_log(std::fs::File::open(parts.disk.spool.dir())?)?)?;
    }
    Ok(())
}

/// Waits until something ends the mount. Gives what it was, and the client that asked for it.
async fn until_the_end(
    fs: &Fs,
    signals: &mut Signals,
    stops: &mut mpsc::Receiver<StopAsked>,
    mut session_ended: watch::Receiver<bool>,
) -> (End, Option<Link>) {
    loop {
        tokio::select! {
            _ = session_ended.wait_for(|ended| *ended) => {
                info!("unmounted: stopping");
                return (End::Unmounted, None);
            }
            Some((within, client)) = stops.recv() => {
                info!(?within, "stopping on request");
                return (End::Asked(within), Some(client));
            }
            action = signals.next() => match action {
                SignalAction::Stop(signal) => {
                    info!(signal, "stopping");
                    return (End::Signal, None);
                }
                SignalAction::Leave => {
                    info!("leaving the mount to the next worker");
                    // At once, so that nobody waits longer than needed: the spool keeps everything.
                    std::process::exit(0);
                }
                SignalAction::Seal => {
                    info!("SIGUSR1: sealing and uploading everything now");
                    force_all(fs.parts());
                }
                SignalAction::Refresh => {
                    info!("SIGHUP: cached listings dropped");
                    fs.forget_stored();
                }
            }
        }
    }
}

/// The tasks between spool and bucket.
struct Tasks {
    stop: watch::Sender<bool>,
    pace: watch::Sender<Pace>,
    running: [JoinHandle<()>; 3],
    retirer: JoinHandle<()>,
}

impl Tasks {
    fn start(runtime: &Runtime, parts: &Arc<Parts>, registrar: Registrar, backlog: Arc<Mutex<Backlog>>) -> Tasks {
        let (stop, stopped) = watch::channel(false);
        let (pace, uploader_pace) = watch::channel(Pace::Normal);
        let running = [
            runtime.spawn(chores::run(parts.clone(), stopped.clone())),
            runtime.spawn(sealer::run(parts.clone(), stopped)),
            runtime.spawn(uploader::run(parts.clone(), registrar, uploader_pace)),
        ];
        let retirer = runtime.spawn(retire(parts.clone(), backlog));
        Tasks { stop, pace, running, retirer }
    }

    /// Uploads with more parallelism from now on.
    fn hurry(&self) {
        let _ = self.pace.send(Pace::Stopping);
    }

    fn stop(self, runtime: &Runtime) {
        let _ = self.stop.send(true);
        let _ = self.pace.send(Pace::Stopped);
        self.retirer.abort();
        runtime.block_on(async {
            // What does not end is cut off by the process's end, as a crash would: nothing is lost.
            let all = futures_util::future::join_all(self.running);
            let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
        });
    }
}

/// Waits briefly for S3's first answer, while the mount serves: what S3 said is logged where the user who mounts sees
/// it.
async fn first_contact(queues: &Queues) {
    let mut s3 = queues.s3.subscribe();
    let answered = tokio::time::timeout(CONTACT_PATIENCE, s3.wait_for(S3State::is_known)).await;
    if answered.is_err() {
        warn!(
            "S3 has not answered within {CONTACT_PATIENCE:?}; what is written goes into the spool, and to S3 when it does"
        );
    }
}

/// Since when the mount has been served, by this worker and those before it.
fn mounted_since(parts: &Parts, served: &ServedMount) -> Utc {
    let now = parts.ports.clock.now();
    let Some((session, _)) = &served.session else { return now };
    let file = parts.disk.spool.dir().join(format!("session/{}.since", session.0));
    load_json(&file).unwrap_or_else(|_| {
        // A full disk forgets it with the worker.
        if let Err(e) = store_json(&file, &now, Durable::Later) {
            debug!("since when the mount is served is not kept: {e}");
        }
        now
    })
}

/// Who registers spool files with the kernel, where that is to write into them itself.
fn backings(settings: &Settings, served: &ServedMount) -> Result<Option<Arc<dyn Backings>>, DaemonError> {
    let able = match settings.write_path {
        WritePath::Daemon => Ok(()),
        WritePath::Auto | WritePath::Passthrough => served.probe(),
    };
    match write_path::choose(settings.write_path, settings.spool.limits.when_full, able) {
        Choice::Passthrough => {
            info!("write path: the kernel writes into the spool itself");
            Ok(Some(served.backings()))
        }
        Choice::Daemon(why) if settings.write_path == WritePath::Passthrough && !served.resumed => {
            Err(DaemonError::NoPassthrough(why))
        }
        Choice::Daemon(why) => {
            info!(why, "write path: the daemon writes");
            Ok(None)
        }
    }
}

async fn retire(parts: Arc<Parts>, backlog: Arc<Mutex<Backlog>>) {
    let every = RETIRE_EVERY.min(parts.disk.retire_after.max(Duration::from_millis(100)));
    loop {
        tokio::time::sleep(every).await;
        let (parts, backlog) = (parts.clone(), backlog.clone());
        let housekeeping = move || {
            evict::retire_finished(&parts);
            parts.disk.spool.refill_ballast();
            backlog.lock().look(&parts);
        };
        let _ = tokio::task::spawn_blocking(housekeeping).await;
    }
}

fn require_bucket(runtime: &Runtime, registrar: &Registrar, parts: &Parts) -> Result<(), DaemonError> {
    let registered =
        runtime.block_on(async { tokio::time::timeout(REQUIRE_PATIENCE, registrar.register(parts)).await });
    registered.map_err(|_| DaemonError::NoAnswer)?.map_err(DaemonError::Bucket)?;
    // The uploader registers again, as another start.
    parts.disk.spool.next_epoch()?;
    Ok(())
}

/// A thread that panics leaves a request unanswered, and its program waits for ever. So the process ends: the next
/// worker is sent the request again.
fn end_at_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Thousands of open logs need as many descriptors; the default soft limit is 1,024.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit on open files could not be raised: {e}");
    }
}
