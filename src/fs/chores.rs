//! Deferred work of the namespace, so that no operation waits for it: deletes the files of removed nodes and compacts
//! records. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::upload::parts::Parts;

/// What is left to be done meanwhile is done at once: a program that removes a thousand logs is not disturbed by as
/// many wakes.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until it is told to stop; then it does what is left.
pub async fn run(parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    let mut stops = false;
    while !stops {
        tokio::select! {
            () = async { parts.queues.chores.notified().await; tokio::time::sleep(PAUSE).await } => {}
            _ = stop.wait_for(|stop| *stop) => stops = true,
        }
        let parts = parts.clone();
        let _ = tokio::task::spawn_blocking(move || parts.disk.namespace.do_chores()).await;
    }
}
