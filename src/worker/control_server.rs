//! The worker's side of the control socket: answers `logsinkfs status`, `flush`, `umount` and `quarantine retry`. Owns
//! the answers and the number in progress; the keeper decides who may ask, and `worker::daemon` ends the mount.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info};

use super::status::MountStatus;
use super::stop::force_all;
use super::supervisor_client::Questions;
use crate::fs::Fs;
use crate::log_file::LogFile;
use crate::supervisor::link::{Link, MESSAGE_MAX};
use crate::supervisor::protocol::{Request, ToClient};
use crate::types::ids::SpoolOffset;
use crate::upload::measure::lacking_logs;
use crate::upload::parts::Parts;
use crate::upload::retry::retry;

/// Answers under way that do not wait for S3: each takes milliseconds, and the next one waits for its turn.
const AT_ONCE: usize = 16;
/// How many may wait for S3. What they ask for is the same, and each looks at all logs.
const WAITING: usize = 16;
/// How often it is looked whether somebody who waits for S3 has gone.
const LOOK: Duration = Duration::from_millis(100);

/// Somebody asks for the mount's end, within a time, and is answered by what brings it about.
pub type StopAsked = (Option<Duration>, Link);

/// Answers until the process ends, but for those who ask for that end.
pub async fn serve(mut questions: Questions, status: Arc<MountStatus>, fs: Arc<Fs>, stops: Sender<StopAsked>) {
    let [at_once, waiting] = [AT_ONCE, WAITING].map(|places| Arc::new(Semaphore::new(places)));
    while let Some((request, client)) = questions.recv().await {
        if let Request::Stop { within } = request {
            // One that finds no room is closed: its end has the other side ask again.
            let _ = stops.try_send((within, client));
            continue;
        }
        let (status, fs) = (status.clone(), fs.clone());
        // Whoever waits for S3 keeps nobody else from an answer.
        let place = match request {
            Request::Flush { wait: true } | Request::Retry { .. } => waiting.clone().try_acquire_owned().ok(),
            _ => at_once.clone().acquire_owned().await.ok(),
        };
        tokio::spawn(async move {
            let answer = match (&place, request) {
                (None, _) => Some(refusal()),
                (_, Request::Status) => {
                    let status = tokio::task::spawn_blocking(move || status.status()).await;
                    status.ok().map(ToClient::Status)
                }
                (_, Request::Logs { top }) => {
                    let logs = tokio::task::spawn_blocking(move || logs(&fs, top)).await;
                    logs.ok().map(ToClient::Status)
                }
                (_, Request::Retry { name }) => {
                    let sent = retry(fs.parts(), &name).await;
                    Some(ToClient::Retried(sent.map_err(|why| why.to_string())))
                }
                (_, Request::Flush { wait }) => flush(fs.parts(), wait, &client).await,
                (_, Request::Stop { .. }) => None,
            };
            if let Some(Err(e)) = answer.map(|answer| client.send(&answer)) {
                debug!("the client has gone: {e}");
            }
        });
    }
}

fn refusal() -> ToClient {
    let why = format!("{WAITING} others wait already until S3 has everything");
    ToClient::Refused { why }
}

/// The logs that S3 lacks something of, and the files that stay local, at most so many of each. Blocking.
fn logs(fs: &Fs, top: usize) -> Value {
    let ((logs, all_logs), (local, all_local)) = (lacking_logs(fs.parts(), top), fs.local_files(top));
    let (logs, local) = (fitting(logs), fitting(local));
    json!({
        "logs_left_out": all_logs - logs.len(),
        "local_left_out": all_local - local.len(),
        "logs": logs,
        "local": local,
    })
}

/// Those of a list that a message has room for beside another list, the first ones.
fn fitting(rows: Vec<impl Serialize>) -> Vec<Value> {
    let mut left = MESSAGE_MAX / 3;
    let rows = rows.into_iter().filter_map(|row| serde_json::to_value(row).ok());
    let fits = |row: &Value| {
        let bytes = row.to_string().len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes + 1);
        fits
    };
    rows.take_while(fits).collect()
}

/// Seals everything, and waits until S3 has what was there; `None` when the client has gone.
async fn flush(parts: &Parts, wait: bool, client: &Link) -> Option<ToClient> {
    info!(wait, "flush requested: sealing and uploading everything now");
    let mut progress = parts.queues.progress.subscribe();
    let ends = |log: Arc<LogFile>| (log.len().unwrap_or_default(), log);
    let logs = parts.disk.namespace.logs().into_iter().filter(|log| !log.state().is_being_written());
    let mut left: Vec<(SpoolOffset, Arc<LogFile>)> = logs.map(ends).collect();
    force_all(parts);
    // A log without a name is gone from the spool, and its segments from its state, once S3 has all of it.
    let is_here = |log: &LogFile| parts.disk.namespace.attr(log.id).is_ok();
    loop {
        progress.borrow_and_update();
        left.retain(|(end, log)| !log.state().sent_until(*end) && is_here(log));
        if left.is_empty() || !wait {
            return Some(ToClient::Flushed);
        }
        if client.is_over() {
            return None;
        }
        drop(tokio::time::timeout(LOOK, progress.changed()).await);
    }
}
