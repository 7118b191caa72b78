//! `logsinkfs tail`: the last lines of streams, and with `-f` those that follow; or those of a whole file's newest
//! version. Reads only the end, searching the last hours first.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use super::explain::explain;
use super::out::{Out, Way};
use super::sources::{Target, targets};
use super::waiting::Waiting;
use super::{Location, ReadError, line_options, shown, tell, to_end};
use crate::flags::{Lines, TailArgs};
use crate::lines::pipeline::LineOptions;
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
/// Where too few lines match, so many times as many are looked at.
const FURTHER: u64 = 16;

/// Prints the last lines, or all from one on; goes on with `-f` until it is interrupted, or the time that was asked for
/// is over.
pub fn run(args: TailArgs) -> ExitCode {
    to_end(async {
        let locations = Location::open_all(args.locations.clone(), &args.span).await?;
        let targets = {
            let _waiting = Waiting::new("looking for streams");
            targets(locations, args.print.recursive).await?
        };
        let Some(first) = targets.first() else { return Ok(ExitCode::SUCCESS) };
        let options = line_options(&first.location, &args.span, &args.print, targets.len() > 1, false)?;
        let follows = args.follow || args.retry;
        let settling = if follows { SETTLING } else { Duration::ZERO };
        let mut tail = Tail { args: &args, options, settling, out: Out::new(args.span.strict, args.print.color) };
        let mut files = Vec::new();
        for target in &targets {
            match tail.begin(target).await {
                Ok(begun) => files.push((target, begun)),
                Err(e) if targets.len() > 1 && e.is_of_one() => {
                    tell(&e);
                    tail.out.fail();
                }
                Err(e) => return Err(e),
            }
        }
        let mut ways: Vec<(&StreamFile, Way<'_>)> = Vec::new();
        for (target, begun) in &mut files {
            let lines = std::mem::take(&mut begun.lines);
            tail.out.print(lines)?;
            if let (Lines::From(line), true) = (args.lines, begun.counts) {
                tail.out.skip(line.saturating_sub(1));
            }
            let mut way = Way::new(&begun.file, begun.at, target.name(), &tail.options);
            tail.out.all_of(&mut way).await?;
            tail.out.skip(0);
            if !follows {
                tail.out.rest_of(&mut way)?;
            }
            if follows && begun.file.versions().is_some() {
                let path = shown(target.name());
                eprintln!(
                    "logsinkfs: warning: {path} is a whole file and does not grow: the next version is another file"
                );
            } else {
                ways.push((&begun.file, way));
            }
        }
        if follows {
            tail.follow(ways, &first.location).await?;
        }
        tail.out.end()
    })
}

/// What is done with each stream.
struct Tail<'a> {
    args: &'a TailArgs,
    options: LineOptions,
    settling: Duration,
    out: Out,
}

/// A stream of which lines are to be printed.
struct Begun {
    file: StreamFile,
    /// Lines that were found already.
    lines: VecDeque<Vec<u8>>,
    /// Where it goes on behind them.
    at: u64,
    /// Whether lines that are printed are still to be counted.
    counts: bool,
}

impl Tail<'_> {
    /// Finds where the lines begin that are asked for.
    async fn begin(&mut self, target: &Target) -> Result<Begun, ReadError> {
        let _waiting = Waiting::new("looking for the last lines");
        if self.args.retry {
            self.wait_for(target).await?;
        }
        let begun = match self.args.lines {
            Lines::From(_) => {
                let file = target.open(&self.args.span, Moment::All, self.settling).await;
                file.map(|file| Begun { file, lines: VecDeque::new(), at: 0, counts: true })
            }
            Lines::Last(lines) => self.last(target, lines).await,
        };
        match begun {
            Ok(begun) => {
                if target.location.is_nothing(&begun.file) {
                    target.location.say_empty();
                }
                Ok(begun)
            }
            Err(e) => Err(explain(&target.location, e).await),
        }
    }

    /// The stream as far back as its last lines need, and where they begin.
    async fn last(&mut self, target: &Target, lines: u64) -> Result<Begun, ReadError> {
        let span = &self.args.span;
        let mut spans = span.since.map_or(SPANS.to_vec(), |since| vec![since]).into_iter();
        let mut looked_at = lines;
        let mut since = spans.next().unwrap_or(Moment::All);
        loop {
            let file = target.open(span, since, self.settling).await?;
            let last = file.last_lines(looked_at).await?;
            let is_all = spans.len() == 0 || file.versions().is_some();
            if !last.all && !is_all {
                since = spans.next().unwrap_or(Moment::All);
                continue;
            }
            if !self.options.filters() || lines == 0 {
                return Ok(Begun { file, lines: VecDeque::new(), at: last.begin, counts: false });
            }
            let (kept, at) = self.matching(&file, target.name(), last.begin, lines).await?;
            if kept.len() as u64 >= lines || (is_all && last.begin == 0) {
                return Ok(Begun { file, lines: kept, at, counts: false });
            }
            looked_at = looked_at.saturating_mul(FURTHER);
        }
    }

    /// The last lines that are asked for, of those from a byte on; and where the stream goes on behind them.
    async fn matching(
        &mut self,
        file: &StreamFile,
        name: &str,
        begin: u64,
        lines: u64,
    ) -> Result<(VecDeque<Vec<u8>>, u64), ReadError> {
        self.out.keep_last(usize::try_from(lines).unwrap_or(usize::MAX));
        let mut way = Way::new(file, begin, name, &self.options);
        let follows = self.args.follow || self.args.retry;
        self.out.all_of(&mut way).await?;
        if !follows {
            self.out.rest_of(&mut way)?;
        }
        let at = match &way {
            Way::Bytes(scan) => scan.at(),
            Way::Lines(lines) => lines.reader.at() - lines.reader.begun(),
        };
        Ok((self.out.kept(), at))
    }

    /// Prints what comes.
    async fn follow(&mut self, mut ways: Vec<(&StreamFile, Way<'_>)>, location: &Location) -> Result<(), ReadError> {
        let mut outage = Outage::default();
        if !ways.is_empty() {
            eprintln!(
                "logsinkfs: following; new lines arrive when their segment is uploaded, after --rotate-interval of \
                 their mount at the latest (5 min unless set), and within {:?} of that",
                self.args.sleep_interval
            );
        }
        while ways.iter().any(|(file, _)| location.clock.now() < file.until()) {
            tokio::time::sleep(self.args.sleep_interval).await;
            for (file, way) in &mut ways {
                let gone_on = match file.refresh(self.args.sleep_interval).await {
                    Ok(()) => self.out.all_of(way).await,
                    Err(e) => Err(e.into()),
                };
                outage.passed(gone_on)?;
            }
        }
        ways.iter_mut().try_for_each(|(_, way)| self.out.rest_of(way))
    }

    /// Waits until there is something of the stream, or the time that was asked for is over.
    async fn wait_for(&self, target: &Target) -> Result<(), ReadError> {
        let location = &target.location;
        let (until, mut said, mut outage) = (location.until(&self.args.span), false, Outage::default());
        while location.clock.now() < until {
            match target.open(&self.args.span, SPANS[0], self.settling).await {
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
            tokio::time::sleep(self.args.sleep_interval).await;
        }
        Ok(())
    }
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
