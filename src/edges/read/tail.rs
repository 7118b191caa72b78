//! `logsinkfs tail`: the last lines of a stream, and with `-f` those that come. Reads only the end, and looks for it
//! in the last hours first.

use std::process::ExitCode;
use std::time::Duration;

use super::cat::Out;
use super::open::Location;
use super::{ReadError, to_end};
use crate::edges::cli::TailArgs;
use crate::tasks::streamed::{SETTLING, StreamFile};
use crate::tasks::walk::Walk;
use crate::values::span::Moment;

/// Where the end is looked for, one after the other, until there are lines enough: most streams were written a moment
/// ago, and a stream of years is not listed for its last hundred lines.
const SPANS: [Moment; 4] = [
    Moment::Ago(Duration::from_secs(3600)),
    Moment::Ago(Duration::from_secs(24 * 3600)),
    Moment::Ago(Duration::from_secs(30 * 24 * 3600)),
    Moment::All,
];

/// Prints the last lines; goes on with `-f` until it is interrupted.
pub fn run(args: TailArgs) -> ExitCode {
    to_end(async {
        let location = Location::open(args.location).await?;
        let mut out = Out::new(args.span.strict, 0);
        let spans = args.span.since.map_or(SPANS.to_vec(), |since| vec![since]);
        let settling = if args.follow { SETTLING } else { Duration::ZERO };
        let mut last = None;
        for span in spans {
            let file = location.stream(&args.span, span, settling).await?;
            let lines = file.last_lines(args.lines).await?;
            last = Some((file, lines.begin));
            if lines.all {
                break;
            }
        }
        let Some((file, begin)) = last else { return Ok(ExitCode::SUCCESS) };
        let mut walk = Walk::new(&file, begin);
        out.all_of(&mut walk).await?;
        if args.follow {
            follow(&file, &mut walk, &mut out, args.sleep_interval).await?;
        }
        Ok(out.end()?)
    })
}

/// Prints what comes. An outage is said once and waited for.
async fn follow(
    file: &StreamFile,
    walk: &mut Walk<'_>,
    out: &mut Out,
    every: Duration,
) -> Result<(), ReadError> {
    let mut away = false;
    loop {
        tokio::time::sleep(every).await;
        let gone_on = match file.refresh(every).await {
            Ok(()) => out.all_of(walk).await,
            Err(e) => Err(e.into()),
        };
        match gone_on {
            Err(ReadError::Bucket(e)) if e.kind.is_outage() => {
                if !away {
                    eprintln!("logsinkfs: warning: {e} ({}); going on", e.kind.hint());
                }
                away = true;
            }
            gone_on => {
                gone_on?;
                away = false;
            }
        }
    }
}
