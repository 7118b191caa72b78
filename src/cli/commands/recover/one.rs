//! Recovery of one spool without a mount: seals and uploads everything, in a process of the spool's own user. A daemon
//! that wants the spool meanwhile gets it at once, with what is left.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::flags::RecoverArgs;
use crate::fs::chores;
use crate::log_file::LogFile;
use crate::settings::writer::SpoolSettings;
use crate::spool::{Spool, SpoolError};
use crate::sys::telemetry;
use crate::types::clock::SystemClock;
use crate::types::ids::SpoolOffset;
use crate::types::processes::RunAs;
use crate::upload::parts::{Parts, Queues};
use crate::upload::uploader::Pace;
use crate::upload::{sealer, uploader};
use crate::worker::compose::{connect, new_writer, recover_parts, registrar, resume};
use crate::worker::daemon::raise_file_limit;
use crate::worker::error::DaemonError;
use crate::worker::run;
use crate::worker::signals::{Direct, Signals};
use crate::worker::stop::{everything, wanted};

use super::Ended;

/// How often is looked whether somebody wants the spool, and whether it grew.
const LOOK: Duration = Duration::from_millis(100);
/// Under `--watch`, how long nothing may come to an end before the next spool has its turn.
const STALLED: Duration = Duration::from_secs(120);

/// Uploads what a spool holds, as this user. To be called first, while there is one thread.
pub fn run(args: &RecoverArgs, settings: &SpoolSettings, user: RunAs) -> Result<ExitCode, DaemonError> {
    let hidden = run::drop_privileges(user)?;
    telemetry::start(&args.log.logging());
    hidden.warn();
    raise_file_limit();
    // Whoever ends the recovery ends all of it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(std::io::Error::from)?;
    let dir = &settings.dir;
    let (source, name) = (settings.source.url(), &settings.writer_name);
    let spool = match Spool::open(dir, &source, name, new_writer) {
        Err(SpoolError::Locked(..)) => return Ok(Ended::InUse.into()),
        opened => opened?,
    };
    spool.lend()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("logsinkfs").build()?;
    // Programs of a dead mount may open a file in the moment in which we ask whether they write to it.
    let _lease_breaks = runtime.block_on(async { signal(SignalKind::io()) })?;
    let (bucket, _embedded) = connect(settings, spool.dir(), None)?;
    runtime.block_on(bucket.check()).map_err(|e| DaemonError::Bucket(e.into()))?;
    let clock = Arc::new(SystemClock::new());
    let parts = Arc::new(recover_parts(settings, spool, Arc::new(bucket), clock)?);
    Ok(runtime.block_on(upload(&parts, args.watch))?.into())
}

async fn upload(parts: &Arc<Parts>, in_turns: bool) -> Result<Ended, DaemonError> {
    let (stop, sealer_stops) = watch::channel(false);
    let (pace, uploader_pace) = watch::channel(Pace::Stopping);
    let mut signals = Signals::new(None, Direct::Stops)?;
    let unsent = parts.disk.unsent();
    resume(parts);
    let tasks = [
        tokio::spawn(chores::run(parts.clone(), sealer_stops.clone())),
        tokio::spawn(sealer::run(parts.clone(), sealer_stops)),
        tokio::spawn(uploader::run(parts.clone(), registrar(), uploader_pace)),
    ];
    let spool = parts.disk.spool.dir().display();
    let all = tokio::select! {
        () = all_sent(parts) => true,
        () = stalled(&parts.queues), if in_turns => {
            warn!(%spool, "nothing could be uploaded for {STALLED:?}; retrying later");
            false
        }
        () = wanted(&parts.disk) => {
            info!(%spool, "a daemon took over this spool");
            false
        }
        signal = signals.stop() => {
            info!(%spool, signal, "stopping");
            false
        }
    };
    let _ = (stop.send(true), pace.send(Pace::Stopped));
    for task in tasks {
        // What does not end is cut off by the process's end, as a crash would: nothing is lost.
        let _ = tokio::time::timeout(Duration::from_millis(500), task).await;
    }
    let orphaned = parts.disk.namespace.logs().iter().any(|log| log.state().handles.is_orphaned());
    if orphaned {
        warn!(%spool, "programs of a mount that is gone still write into this spool");
    }
    let left = parts.disk.unsent();
    if all && !orphaned {
        let (local_files, local_bytes) = parts.disk.namespace.local_files();
        info!(%spool, bytes = unsent, "{}", everything(local_files, local_bytes));
    } else {
        warn!(%spool, unsent = left, "left in the spool")
    }
    Ok(match (all && !orphaned, parts.disk.spool.quarantine().account().is_empty()) {
        (false, _) => Ended::Left,
        (true, false) => Ended::Kept,
        (true, true) => Ended::Done,
    })
}

/// Ends when S3 has everything that is there now; programs of a dead mount may write on for ever.
async fn all_sent(parts: &Parts) {
    let mut progress = parts.queues.progress.subscribe();
    let there = |log: Arc<LogFile>| {
        parts.queues.force(&log);
        let len = log.len().unwrap_or_default();
        (log, len)
    };
    let there: Vec<_> = parts.disk.namespace.logs().into_iter().map(there).collect();
    let sent = |(log, len): &(Arc<LogFile>, SpoolOffset)| log.state().all_sent(*len);
    while !there.iter().all(sent) {
        let _ = tokio::time::timeout(LOOK, progress.changed()).await;
    }
}

/// Ends when nothing has come to an end for long.
async fn stalled(queues: &Queues) {
    let mut progress = queues.progress.subscribe();
    while tokio::time::timeout(STALLED, progress.changed()).await.is_ok() {}
}
