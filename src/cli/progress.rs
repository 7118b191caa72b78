//! Progress on a terminal: one line on standard error, redrawn each second. Prints nothing where standard error is not
//! a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use crate::cli::commands::status_text::s3_state;
use crate::supervisor::control_client::Keeper;
use crate::supervisor::protocol::{Request, ToClient};
use crate::types::clock::{Clock, SystemClock};
use crate::types::escape::for_terminal;
use crate::types::time::Monotonic;

/// How long a status may take before the line stays as it was.
const PATIENCE: Duration = Duration::from_secs(5);
/// Columns where the terminal does not say how many it has.
const COLUMNS: usize = 80;

/// What is waited for.
pub(super) struct Progress<'a> {
    keeper: &'a Keeper,
    clock: SystemClock,
    is_shown: bool,
    is_drawn: bool,
    /// What there was to send in all when it was first looked at, and when that was.
    first: Option<(Monotonic, Sent)>,
}

/// Bytes that were written since the worker began, and those of them that S3 lacks.
#[derive(Clone, Copy)]
struct Sent {
    appended: u64,
    unsent: u64,
}

impl<'a> Progress<'a> {
    /// Nothing is drawn yet, and never where `quiet` says so.
    pub(super) fn new(keeper: &'a Keeper, quiet: bool) -> Progress<'a> {
        let is_shown = !quiet && io::stderr().is_terminal();
        Progress { keeper, clock: SystemClock::new(), is_shown, is_drawn: false, first: None }
    }

    /// Draws how it is now.
    pub(super) fn draw(&mut self) {
        if !self.is_shown {
            return;
        }
        let Some(status) = status(self.keeper) else { return };
        let count = |name: &str| status[name].as_u64().unwrap_or_default();
        let sent = Sent { appended: count("appended_bytes"), unsent: count("unuploaded_bytes") };
        let rate = self.rate(sent);
        let rate = rate.map(|rate| format!(", {}/s", ByteSize::b(rate).display().iec()));
        let text = format!("logsinkfs: {}{}", left(&status), rate.unwrap_or_default());
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
        let columns = if columns == 0 { COLUMNS } else { columns.into() };
        let line: String = for_terminal(&text).chars().take(columns.saturating_sub(1)).collect();
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
        self.is_drawn = true;
    }

    /// Bytes that S3 got in a second, since the first look; another worker counts anew.
    fn rate(&mut self, now: Sent) -> Option<u64> {
        let at = self.clock.monotonic();
        let (since, first) = *self.first.get_or_insert((at, now));
        let Some(grown) = now.appended.checked_sub(first.appended) else {
            self.first = Some((at, now));
            return None;
        };
        let sent = (first.unsent + grown).saturating_sub(now.unsent);
        let took = at.since(since).as_secs_f64();
        (sent > 0).then(|| (sent as f64 / took) as u64)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn status(keeper: &Keeper) -> Option<Value> {
    match keeper.ask_worker(Request::Status, Some(PATIENCE)) {
        Ok(ToClient::Status(status)) => Some(status),
        // Somebody else says what is wrong.
        Ok(_) | Err(_) => None,
    }
}

/// What S3 lacks at this moment, for people; `None` when nobody says.
pub(super) fn what_is_left(keeper: &Keeper) -> Option<String> {
    status(keeper).map(|status| left(&status))
}

fn left(status: &Value) -> String {
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let logs = match count("unuploaded_logs") {
        1 => "1 log".to_owned(),
        logs => format!("{logs} logs"),
    };
    let size = ByteSize::b(count("unuploaded_bytes")).display().iec();
    let away = status["s3"]["error"].as_str();
    let away = away.map(|why| format!("; S3 is {}: {why}", s3_state(status)));
    format!("{size} of {logs} are not in S3 yet{}", away.unwrap_or_default())
}
