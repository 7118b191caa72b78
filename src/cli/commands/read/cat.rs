//! `logsinkfs cat`: the lines of a stream on standard output, all writers and restarts joined in time order; or the
//! bytes of a whole file's newest version.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::open::Location;
use super::{ReadError, to_end};
use crate::cli::flags::CatArgs;
use crate::format::timeline::Segment;
use crate::read::scan::{Scan, ScanItem};
use crate::types::span::Moment;

/// Prints a stream; exit code 1 when something of it could not be read.
pub fn run(args: CatArgs) -> ExitCode {
    to_end(async {
        let location = Location::open(args.location).await?;
        let file = location.stream(&args.span, Moment::All, Duration::ZERO).await?;
        location.say_if_empty(&file);
        let mut out = Out::new(args.span.strict, file.len());
        let mut walk = Scan::new(&file, 0);
        out.all_of(&mut walk).await?;
        Ok(out.end()?)
    })
}

/// Standard output, and how far it has come.
pub(super) struct Out {
    out: io::StdoutLock<'static>,
    bar: Option<ProgressBar>,
    strict: bool,
    /// Lines that are left out before the first that is printed.
    skip: u64,
    code: ExitCode,
}

impl Out {
    /// A bar is shown to who waits for a file to be written, on a terminal that nothing else is printed to.
    pub fn new(strict: bool, len: u64) -> Out {
        let out = io::stdout().lock();
        let shown = io::stderr().is_terminal() && !out.is_terminal();
        let bar = shown.then(|| {
            let style = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style);
            ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Out { out, bar, strict, skip: 0, code: ExitCode::SUCCESS }
    }

    /// Leaves out the first lines of what comes.
    pub fn skip(&mut self, lines: u64) {
        self.skip = lines;
    }

    /// Prints what is there by now.
    pub async fn all_of(&mut self, walk: &mut Scan<'_>) -> Result<(), ReadError> {
        while let Some(piece) = walk.next().await? {
            match piece {
                ScanItem::Bytes(bytes) => {
                    let from = self.begin_of(&bytes);
                    self.out.write_all(&bytes[from..])?;
                }
                ScanItem::Note(text) if self.strict => {
                    return Err(ReadError::Gap(text.trim_end().to_owned()));
                }
                ScanItem::Note(text) => {
                    let from = self.begin_of(text.as_bytes());
                    self.out.write_all(&text.as_bytes()[from..])?;
                }
                ScanItem::Damaged(segment, why) => self.damaged(&segment, &why)?,
            }
            if let Some(bar) = &self.bar {
                bar.set_position(walk.at());
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Where in the next bytes the first line begins that is to be printed.
    fn begin_of(&mut self, bytes: &[u8]) -> usize {
        let mut from = 0;
        while self.skip > 0 {
            let Some(end) = memchr::memchr(b'\n', &bytes[from..]) else { return bytes.len() };
            from += end + 1;
            self.skip -= 1;
        }
        from
    }

    fn damaged(&mut self, segment: &Segment, why: &str) -> Result<(), ReadError> {
        let name = segment.name(b"");
        if self.strict {
            return Err(ReadError::Gap(format!("{name}: {why}")));
        }
        let text = format!("\nlogsinkfs: the rest of a segment cannot be read here: {name}: {why}\n");
        self.out.write_all(text.as_bytes())?;
        eprintln!("logsinkfs: warning: the rest of {name} cannot be read: {why}");
        self.code = ExitCode::FAILURE;
        Ok(())
    }

    /// Takes the bar away; gives the exit code.
    pub fn end(mut self) -> io::Result<ExitCode> {
        self.out.flush()?;
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        Ok(self.code)
    }
}
