//! What people ask of a mount over the keeper's socket (`logsinkfs status`, `logsinkfs flush`), as the worker answers
//! it. Owns the answers and how many are under way; who may ask is the keeper's to know.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::keeper::link::Link;
use super::keeper::protocol::{Request, ToClient};
use super::remote::Questions;
use super::stop::force_all;
use super::watched::Watched;
use crate::local::life::Life;
use crate::tasks::parts::Parts;
use crate::values::ids::SpoolOffset;

/// Answers under way. Nobody is harmed who waits: a status takes milliseconds, and who flushes waits anyway.
const AT_ONCE: usize = 16;
/// How often it is looked whether somebody who waits for S3 has gone.
const LOOK: Duration = Duration::from_millis(100);

/// Answers until the process ends.
pub async fn serve(mut questions: Questions, watched: Arc<Watched>, parts: Arc<Parts>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some((request, client)) = questions.recv().await {
        let (watched, parts) = (watched.clone(), parts.clone());
        let place = places.clone().acquire_owned().await;
        tokio::spawn(async move {
            let _place = place;
            let answer = match request {
                Request::Status => {
                    let status = tokio::task::spawn_blocking(move || watched.status()).await;
                    status.ok().map(ToClient::Status)
                }
                Request::Flush { wait } => flush(&parts, wait, &client).await,
            };
            if let Some(Err(e)) = answer.map(|answer| client.send(&answer)) {
                debug!("whoever asked has gone: {e}");
            }
        });
    }
}

/// Seals everything, and waits until S3 has what was there; `None` when whoever asked has gone.
async fn flush(parts: &Parts, wait: bool, client: &Link) -> Option<ToClient> {
    info!(wait, "everything is sealed and uploaded now: somebody asks for it");
    let mut progress = parts.progress.subscribe();
    let ends = |life: Arc<Life>| (life.len().unwrap_or_default(), life);
    let mut left: Vec<(SpoolOffset, Arc<Life>)> =
        parts.namespace.lives().into_iter().map(ends).collect();
    force_all(parts);
    // A log without a name is gone from the spool, and its segments from its state, once S3 has all of it.
    let is_here = |life: &Life| parts.namespace.attr(life.id).is_ok();
    loop {
        progress.borrow_and_update();
        left.retain(|(end, life)| !life.state().sent_until(*end) && is_here(life));
        match left.is_empty() || !wait {
            true => return Some(ToClient::Flushed),
            false if client.is_over() => return None,
            false => drop(tokio::time::timeout(LOOK, progress.changed()).await),
        }
    }
}
