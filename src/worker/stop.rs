//! Shutdown of a mount: gives writers a moment, seals and uploads everything, and reports what is left.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use tracing::{error, info, warn};

use super::signals::Signals;
use crate::fs::Fs;
use crate::log_file::LogFile;
use crate::spool::Account;
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::upload::parts::{Disk, Parts};

/// How often is looked whether somebody wants the spool.
const LOOK: Duration = Duration::from_millis(100);
/// How long programs that have a log open for writing may go on after the daemon was told to stop: they are often being
/// stopped too, and their last lines tell why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What ends a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT.
    Signal,
    /// Somebody unmounted it.
    Unmounted,
    /// `logsinkfs umount`, with how long the upload may take at most.
    Asked(Option<Duration>),
}

/// Ends when the upload may take no longer; gives why. Who asks for the end says how long, until a signal comes: then
/// it is `timeout`, as it is for every other end.
pub async fn impatience(signals: &mut Signals, end: End, timeout: Duration) -> &'static str {
    const TIME_IS_UP: &str = "the time was up";
    if let End::Asked(within) = end {
        tokio::select! {
            () = tokio::time::sleep(within.unwrap_or(Duration::MAX)) => return TIME_IS_UP,
            signal = signals.stop() => info!(signal, "stopping: uploading for up to {timeout:?}"),
        }
    }
    tokio::select! {
        () = tokio::time::sleep(timeout) => TIME_IS_UP,
        signal = signals.impatience(end != End::Unmounted) => {
            warn!(signal, "a second signal: stopping at once");
            "a second signal came"
        }
    }
}

/// Waits until no log is open for writing, briefly; then writes are refused.
pub async fn last_words(fs: &Fs) {
    let closed = async {
        while fs.parts().disk.namespace.logs().iter().any(|log| log.state().handles.writers() > 0) {
            tokio::time::sleep(LAST_WORDS / 40).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, closed).await;
    fs.stop_writes();
}

/// Seals and uploads everything; ends when nothing is left and nothing more can come.
pub async fn drain(fs: &Fs) {
    let parts = fs.parts();
    let mut progress = parts.queues.progress.subscribe();
    let mut writes_stopped = false;
    loop {
        progress.borrow_and_update();
        match (force_all(parts), writes_stopped) {
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

/// Ends when a daemon comes for a spool that was lent.
pub async fn wanted(disk: &Disk) {
    while !disk.spool.is_wanted() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Offers the spool of a mount that is gone to the next one; ends when that comes for it.
pub async fn wanted_by_the_next(disk: &Disk) {
    if let Err(e) = disk.spool.lend() {
        warn!("the next mount has to wait for this spool: {e}");
        std::future::pending::<()>().await;
    }
    wanted(disk).await;
}

/// Asks for everything to be sealed; gives whether there is anything that S3 does not have.
pub fn force_all(parts: &Parts) -> bool {
    let mut left = false;
    for log in parts.disk.namespace.logs() {
        let len = log.len().unwrap_or_default();
        let (tail, sent) = {
            let state = log.state();
            (state.unsealed(len) > 0, state.all_sent(len))
        };
        left |= !sent;
        if tail {
            parts.queues.force(&log);
        }
    }
    left
}

/// What S3 has, for people, when it has every log: all but so many files that stay local.
pub fn everything(local_files: usize, local_bytes: u64) -> String {
    let bytes = ByteSize::b(local_bytes).display().iec();
    match local_files {
        0 => "S3 has everything".to_owned(),
        1 => format!("S3 has everything but a file ({bytes}) that stays local"),
        n => format!("S3 has everything but {n} files ({bytes}) that stay local"),
    }
}

/// What S3 lacks and will not get by itself, for people; `None` when there is nothing.
pub fn lacking(lost: &Account) -> Option<String> {
    let size = |bytes| ByteSize::b(bytes).display().iec();
    let (files, aside) = (lost.quarantined_files, size(lost.quarantined_bytes));
    let aside = format!("{files} files ({aside}) that were quarantined");
    let dropped = format!("{} that were dropped", size(lost.dropped_listed_bytes));
    let what = match (files, lost.dropped_listed_bytes) {
        (0, 0) => return None,
        (0, _) => dropped,
        (_, 0) => aside,
        (_, _) => format!("{aside} and {dropped}"),
    };
    Some(format!("S3 lacks {what}: `logsinkfs quarantine list` names them"))
}

/// Says what stays behind, and why if anything does; gives the exit code that goes with it, and the same for people.
pub fn report(parts: &Parts, why: &str) -> (u8, String) {
    let logs = parts.disk.namespace.logs();
    let behind = |log: &&Arc<LogFile>| {
        let len = log.len().unwrap_or_default();
        !log.state().all_sent(len)
    };
    let files = logs.iter().filter(behind).count();
    let spool = parts.disk.spool.dir().display();
    let lost = lacking(&parts.disk.spool.quarantine().account());
    if let Some(lost) = &lost {
        error!(%spool, "stopped; {lost}");
    }
    let left = (files > 0).then(|| {
        let unsent = parts.disk.unsent();
        error!(unsent, files, %spool, why,
            "stopped with data left in the spool; the next mount with this spool uploads it");
        let logs = if files == 1 { "log" } else { "logs" };
        let away = parts.queues.s3.borrow().outage.as_ref().map(|outage| outage.error.to_string());
        let away = away.map(|error| format!("; S3 is away: {error}")).unwrap_or_default();
        format!(
            "{} of {files} {logs} are left in the spool {spool} ({why}{away}): the next mount with this spool uploads it, or `logsinkfs recover {spool}`",
            ByteSize::b(unsent).display().iec()
        )
    });
    let what: Vec<String> = [left, lost].into_iter().flatten().collect();
    if what.is_empty() {
        let (files, bytes) = parts.disk.namespace.local_files();
        let what = everything(files, bytes);
        info!("stopped; {what}");
        return (0, what);
    }
    (EXIT_DATA_LEFT, what.join("; "))
}
