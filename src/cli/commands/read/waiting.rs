//! What a command waits for, on standard error, where it takes more than a second and that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::types::clock::{Clock, SystemClock};
use crate::types::escape::for_terminal;
use crate::types::time::Monotonic;

/// Who waits no longer than this is not told what for.
const UNNOTICED: Duration = Duration::from_secs(1);

/// A line that is there as long as this value, once a second has passed.
pub struct Waiting {
    shown: Arc<Mutex<Option<bool>>>,
    task: Option<AbortHandle>,
}

impl Waiting {
    /// Begins to wait for something, which is told with the seconds that it takes.
    pub fn new(what: &str) -> Waiting {
        let shown = Arc::new(Mutex::new(Some(false)));
        let task = io::stderr().is_terminal().then(|| {
            let (shown, what) = (shown.clone(), for_terminal(what).into_owned());
            let draw = async move {
                for seconds in 1.. {
                    tokio::time::sleep(UNNOTICED).await;
                    let mut shown = shown.lock();
                    if shown.is_none() {
                        return;
                    }
                    *shown = Some(true);
                    let _ = write!(io::stderr(), "\rlogsinkfs: {what}: {seconds} s\x1b[K");
                }
            };
            tokio::spawn(draw).abort_handle()
        });
        Waiting { shown, task }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if self.shown.lock().take() == Some(true) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// How far what is printed has come; for who waits for a file to be written, on a terminal that nothing else is printed
/// to.
pub struct Bar {
    bar: Option<ProgressBar>,
    clock: SystemClock,
    began: Monotonic,
    /// What the streams before the one at hand had.
    before: u64,
}

impl Bar {
    /// Nothing is to be done yet.
    pub fn new() -> Bar {
        let shown = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let bar = shown.then(|| {
            let style = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style);
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let clock = SystemClock::new();
        let began = clock.monotonic();
        Bar { bar, clock, began, before: 0 }
    }

    /// So many bytes more are to be printed.
    pub fn add(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            self.before = bar.length().unwrap_or_default();
            bar.inc_length(bytes);
        }
    }

    /// So many of them were.
    pub fn at(&self, bytes: u64) {
        let Some(bar) = self.bar.as_ref().filter(|bar| bar.length() > Some(0)) else { return };
        if bar.is_hidden() && self.clock.monotonic().since(self.began) >= UNNOTICED {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(self.before + bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
