//! `logsinkfs tail`: the last lines of a stream, and with `-f` those that follow; or those of a whole file's newest
//! version. Reads only the end, searching the last hours first.

use std::process::ExitCode;
use std::time::Duration;

use super::cat::Out;
use super::open::Location;
use super::{ReadError, shown, to_end};
use crate::cli::flags::{Lines, SpanArgs, TailArgs};
use crate::read::scan::Scan;
use crate::read::stream_file::{SETTLING, StreamFile};
use crate::types::span::Moment;

/// Where the end is looked for, one after the other, until there are lines enough: most streams were written a moment
/// ago, and a stream of years is not listed for its last hundred lines.
const SPANS: [Moment; 4] = [
    Moment::Ago(Duration::from_secs(3600)),
    Moment::Ago(Duration::from_secs(24 * 3600)),
    Moment::Ago(Duration::from_secs(30 * 24 * 3600)),
    Moment::All,
];

/// Prints the last lines, or all from one on; goes on with `-f` until it is interrupted, or the time that was asked for
/// is over.
pub fn run(args: TailArgs) -> ExitCode {
    to_end(async {
        let follows = args.follow || args.retry;
        let location = Location::open(args.location.clone()).await?;
        let (mut out, mut outage) = (Out::new(args.span.strict, 0), Outage::default());
        let settling = if follows { SETTLING } else { Duration::ZERO };
        if args.retry {
            wait_for(&location, &args, settling, &mut outage).await?;
        }
        let (file, begin) = match args.lines {
            Lines::From(line) => {
                out.skip(line.saturating_sub(1));
                (location.stream(&args.span, Moment::All, settling).await?, 0)
            }
            Lines::Last(lines) => last(&location, &args.span, lines, settling).await?,
        };
        location.say_if_empty(&file);
        let mut walk = Scan::new(&file, begin);
        out.all_of(&mut walk).await?;
        if follows && file.versions().is_some() {
            let path = shown(&location.path);
            eprintln!("logsinkfs: warning: {path} is a whole file and does not grow: the next version is another file");
            return Ok(out.end()?);
        }
        while follows && location.clock.now() < file.until() {
            tokio::time::sleep(args.sleep_interval).await;
            let gone_on = match file.refresh(args.sleep_interval).await {
                Ok(()) => out.all_of(&mut walk).await,
                Err(e) => Err(e.into()),
            };
            outage.passed(gone_on)?;
        }
        Ok(out.end()?)
    })
}

/// The stream as far back as its last lines need, and where they begin.
async fn last(
    location: &Location,
    span: &SpanArgs,
    lines: u64,
    settling: Duration,
) -> Result<(StreamFile, u64), ReadError> {
    let mut spans = span.since.map_or(SPANS.to_vec(), |since| vec![since]).into_iter();
    loop {
        let file = location.stream(span, spans.next().unwrap_or(Moment::All), settling).await?;
        let last = file.last_lines(lines).await?;
        if last.all || spans.len() == 0 || file.versions().is_some() {
            return Ok((file, last.begin));
        }
    }
}

/// Waits until there is something of the stream, or the time that was asked for is over.
async fn wait_for(
    location: &Location,
    args: &TailArgs,
    settling: Duration,
    outage: &mut Outage,
) -> Result<(), ReadError> {
    let until = args.span.until.unwrap_or(Moment::All).end(location.clock.now());
    let mut said = false;
    while location.clock.now() < until {
        match location.stream(&args.span, SPANS[0], settling).await {
            Err(ReadError::NoStream(path)) => {
                if !said {
                    eprintln!("logsinkfs: warning: there is no object of {path} yet; waiting for it");
                }
                said = true;
            }
            found => {
                if outage.passed(found)?.is_some() {
                    break;
                }
            }
        }
        tokio::time::sleep(args.sleep_interval).await;
    }
    Ok(())
}

/// Whether S3 is away: that is said once, and waited for.
#[derive(Default)]
struct Outage {
    away: bool,
}

impl Outage {
    /// What was done, if it could be.
    fn passed<T>(&mut self, done: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match done {
            Err(ReadError::Bucket(e)) if e.kind.is_outage() => {
                if !self.away {
                    eprintln!("logsinkfs: warning: {e} ({}); going on", e.kind.hint());
                }
                self.away = true;
                Ok(None)
            }
            done => {
                self.away &= done.is_err();
                done.map(Some)
            }
        }
    }
}
