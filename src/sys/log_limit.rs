//! Rate limit for log lines. Strangers cause lines (programs in the mount, users at the keeper's socket, clients of the
//! admin endpoint, objects in the bucket) and could fill the disk that the spool is on.
//!
//! Invariant: each call site has its own allowance, so that a flood of one kind of line hides no other; suppressed
//! lines are counted and reported.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::types::clock::{Clock, SystemClock};
use crate::types::time::Monotonic;
use crate::types::token_bucket::TokenBucket;

/// Lines of one kind at once: a spool with hundreds of damaged logs names each.
const BURST: u32 = 200;
/// One more each: 1 MB a day.
const EVERY: Duration = Duration::from_secs(10);

/// Formats events as another format does, as long as their kind has allowance left.
pub struct Limited<F> {
    format: F,
    /// Makes a line of a remark.
    note: fn(String) -> String,
    clock: SystemClock,
    kinds: Mutex<HashMap<Identifier, Allowance>>,
}

impl<F> Limited<F> {
    /// Limits lines of this format, in which a remark is a line like this.
    pub fn new(format: F, note: fn(String) -> String) -> Limited<F> {
        Limited { format, note, clock: SystemClock::new(), kinds: Mutex::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Whoever asks for more than the usual lines wants them all.
        if *event.metadata().level() <= Level::INFO {
            let kind = event.metadata().callsite();
            let now = self.clock.monotonic();
            match self.kinds.lock().entry(kind).or_default().take(now) {
                Admission::No => return Ok(()),
                Admission::Yes => {}
                Admission::Last => {
                    let note =
                        format!("logsinkfs: of lines like the next one, one in {EVERY:?} is logged from here on");
                    writeln!(writer, "{}", (self.note)(note))?;
                }
                Admission::After(left_out) => {
                    let note = format!("logsinkfs: {left_out} lines like the next one were left out");
                    writeln!(writer, "{}", (self.note)(note))?;
                }
            }
        }
        self.format.format_event(context, writer, event)
    }
}

/// What one kind of line may still do.
#[derive(Debug)]
struct Allowance {
    lines: TokenBucket,
    left_out: u64,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { lines: TokenBucket::new(BURST, EVERY), left_out: 0 }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Yes,
    /// There is no allowance for another one.
    Last,
    /// So many were left out.
    After(u64),
    No,
}

impl Allowance {
    fn take(&mut self, now: Monotonic) -> Admission {
        if self.lines.take(now).is_err() {
            self.left_out += 1;
            return Admission::No;
        }
        match std::mem::take(&mut self.left_out) {
            0 if !self.lines.has_more_than(0, now) => Admission::Last,
            0 => Admission::Yes,
            left_out => Admission::After(left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_logged_and_then_a_line_now_and_then_with_the_number_of_those_left_out() {
        let (mut lines, mut now) = (Allowance::default(), Monotonic::after_start(Duration::from_secs(1_000)));
        assert!((1..BURST).all(|_| lines.take(now) == Admission::Yes));
        assert_eq!(lines.take(now), Admission::Last);
        assert!((0..1_000).all(|_| lines.take(now) == Admission::No));
        now = now + EVERY;
        assert_eq!(lines.take(now), Admission::After(1_000));
        assert_eq!(lines.take(now), Admission::No);
        now = now + 2 * BURST * EVERY;
        let taken = (0..1_000).filter(|_| lines.take(now) != Admission::No).count();
        assert_eq!(taken, BURST as usize, "not more than once");
    }
}
