//! Standard output, and what goes to it: the bytes of a stream as they are, or its lines.

use std::collections::{HashSet, VecDeque};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use super::ReadError;
use super::waiting::Bar;
use crate::lines::colour::{Palette, When};
use crate::lines::cut::TimedLine;
use crate::lines::line_reader::{Line, LineKind, LineReader};
use crate::lines::pipeline::{LineOptions, Pipeline, Rendered};
use crate::read::scan::{Scan, ScanItem};
use crate::read::stream_file::StreamFile;
use crate::types::escape::for_terminal;

/// Bytes that are written at once.
const AT_ONCE: usize = 64 * 1024;

/// A stream on its way to the output.
pub enum Way<'a> {
    /// As it is.
    Bytes(Scan<'a>),
    /// Line by line.
    Lines(Box<LineWay<'a>>),
}

/// The lines of a stream on their way.
pub struct LineWay<'a> {
    /// Where they come from.
    pub reader: LineReader<'a>,
    /// What is done with them.
    pub pipeline: Pipeline,
}

impl<'a> Way<'a> {
    /// What is printed of a stream of that name, from a byte on.
    pub fn new(file: &'a StreamFile, at: u64, name: &str, options: &LineOptions) -> Way<'a> {
        let for_whole = file.versions().map(|_| options.for_whole());
        let options = for_whole.as_ref().unwrap_or(options);
        if options.is_plain() {
            return Way::Bytes(Scan::new(file, at));
        }
        Way::Lines(Box::new(LineWay::new(file, at, name, options)))
    }
}

impl<'a> LineWay<'a> {
    /// The lines of a stream of that name, from a byte on.
    pub fn new(file: &'a StreamFile, at: u64, name: &str, options: &LineOptions) -> LineWay<'a> {
        LineWay { reader: LineReader::new(file, at), pipeline: Pipeline::new(name, options) }
    }
}

/// Standard output, and how far it has come.
pub struct Out {
    out: BufWriter<io::StdoutLock<'static>>,
    /// How far what is printed has come.
    pub bar: Bar,
    strict: bool,
    /// Lines that are left out before the first that is printed.
    skip: u64,
    /// The last lines are kept here, where those alone are wanted.
    last: Option<(usize, VecDeque<Vec<u8>>)>,
    palette: Palette,
    rendered: Rendered,
    /// Whether the bytes that were written last end within a line.
    open_line: bool,
    /// Streams of which it was said that the times of their lines are not recognised.
    inexact: HashSet<String>,
    code: ExitCode,
}

impl Out {
    /// Nothing was printed yet.
    pub fn new(strict: bool, colour: When) -> Out {
        let variable = |name| std::env::var(name).ok();
        let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
        let coloured = colour.is_coloured(io::stdout().is_terminal(), no_color.as_deref(), term.as_deref());
        let out = BufWriter::with_capacity(AT_ONCE, io::stdout().lock());
        let (bar, palette, rendered) = (Bar::new(), Palette::new(coloured), Rendered::default());
        let (inexact, open_line, code) = (HashSet::new(), false, ExitCode::SUCCESS);
        Out { out, bar, strict, skip: 0, last: None, palette, rendered, open_line, inexact, code }
    }

    /// Leaves out the first lines of what comes.
    pub fn skip(&mut self, lines: u64) {
        self.skip = lines;
    }

    /// Keeps the last lines of what comes, instead of printing them.
    pub fn keep_last(&mut self, lines: usize) {
        self.last = Some((lines, VecDeque::new()));
    }

    /// The lines that were kept. What comes now is printed again.
    pub fn kept(&mut self) -> VecDeque<Vec<u8>> {
        self.last.take().map(|(_, lines)| lines).unwrap_or_default()
    }

    /// Prints what was kept.
    pub fn print(&mut self, lines: impl IntoIterator<Item = Vec<u8>>) -> Result<(), ReadError> {
        lines.into_iter().try_for_each(|line| self.out.write_all(&line))?;
        Ok(self.out.flush()?)
    }

    /// The exit code will be that of a failure.
    pub fn fail(&mut self) {
        self.code = ExitCode::FAILURE;
    }

    /// Prints what is there by now.
    pub async fn all_of(&mut self, way: &mut Way<'_>) -> Result<(), ReadError> {
        match way {
            Way::Bytes(scan) => self.bytes_of(scan).await?,
            Way::Lines(lines) => self.lines_of(lines).await?,
        }
        Ok(self.out.flush()?)
    }

    /// Prints what waits for something that does not come any more.
    pub fn rest_of(&mut self, way: &mut Way<'_>) -> Result<(), ReadError> {
        if let Way::Lines(lines) = way {
            if let Some(line) = lines.reader.end() {
                lines.pipeline.take(line);
            }
            lines.pipeline.release();
            self.rendered_of(lines)?;
            self.write_rendered()?;
            self.tell_if_inexact(&lines.pipeline);
        }
        Ok(self.out.flush()?)
    }

    async fn bytes_of(&mut self, scan: &mut Scan<'_>) -> Result<(), ReadError> {
        while let Some(item) = scan.next().await? {
            match item {
                ScanItem::Bytes(bytes, _) => {
                    let from = self.begin_of(&bytes);
                    self.out.write_all(&bytes[from..])?;
                    self.open_line = !bytes.ends_with(b"\n");
                }
                ScanItem::Note(text) if self.strict => {
                    return Err(ReadError::Gap(text.trim_end().to_owned()));
                }
                ScanItem::Note(text) => {
                    let from = self.begin_of(text.as_bytes());
                    self.out.write_all(&text.as_bytes()[from..])?;
                }
                ScanItem::Damaged(segment, why) => {
                    let what = format!("{}: {why}", segment.name(b""));
                    self.damaged(&what)?;
                    let text = format!("\nlogsinkfs: the rest of a segment cannot be read here: {what}\n");
                    self.out.write_all(text.as_bytes())?;
                }
            }
            self.bar.at(scan.at());
        }
        Ok(())
    }

    async fn lines_of(&mut self, way: &mut LineWay<'_>) -> Result<(), ReadError> {
        loop {
            while let Some(line) = way.reader.ready() {
                self.check(&line)?;
                way.pipeline.take(line);
                self.rendered_of(way)?;
            }
            if !way.reader.fill().await? {
                break;
            }
            self.bar.at(way.reader.at());
        }
        way.pipeline.release();
        self.rendered_of(way)?;
        self.tell_if_inexact(&way.pipeline);
        self.write_rendered()
    }

    fn rendered_of(&mut self, way: &mut LineWay<'_>) -> Result<(), ReadError> {
        while let Some(timed) = way.pipeline.next_timed() {
            self.line(&mut way.pipeline, timed)?;
        }
        Ok(())
    }

    /// Prints a line, if what it says is asked for.
    pub fn line(&mut self, pipeline: &mut Pipeline, timed: TimedLine) -> Result<(), ReadError> {
        pipeline.render(timed, &mut self.palette, &mut self.rendered);
        if self.rendered.bytes.len() >= AT_ONCE { self.write_rendered() } else { Ok(()) }
    }

    /// Says once of a stream that the times of its lines are not known, where they were asked for.
    pub fn tell_if_inexact(&mut self, pipeline: &Pipeline) {
        let name = pipeline.stream();
        if pipeline.is_inexact() && self.inexact.insert(name.to_owned()) {
            let name = for_terminal(name);
            eprintln!(
                "logsinkfs: warning: lines of {name} begin with no time that is recognised: --since and --until select \
                 whole segments of it (--time-format says what its times look like)"
            );
        }
    }

    /// Writes what was rendered.
    pub fn write_rendered(&mut self) -> Result<(), ReadError> {
        let Rendered { bytes, ends } = &self.rendered;
        let begins = [0].into_iter().chain(ends.iter().copied());
        if let Some((most, lines)) = &mut self.last {
            for (begin, end) in begins.zip(ends) {
                lines.push_back(bytes[begin..*end].to_vec());
                if lines.len() > *most {
                    lines.pop_front();
                }
            }
        } else {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(ends.len());
            self.skip -= skipped as u64;
            let from = skipped.checked_sub(1).map_or(0, |last| ends[last]);
            // A whole file need not end with a newline; a name begins a line.
            if self.open_line && from < bytes.len() {
                self.out.write_all(b"\n")?;
                self.open_line = false;
            }
            self.out.write_all(&bytes[from..])?;
        }
        self.rendered.clear();
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

    /// Says what a line of ours means.
    pub fn check(&mut self, line: &Line) -> Result<(), ReadError> {
        match &line.kind {
            LineKind::Note if self.strict && !line.text.is_empty() => {
                Err(ReadError::Gap(String::from_utf8_lossy(&line.text).into_owned()))
            }
            LineKind::Damage(what) => self.damaged(what),
            LineKind::Note | LineKind::Written(_) => Ok(()),
        }
    }

    fn damaged(&mut self, what: &str) -> Result<(), ReadError> {
        if self.strict {
            return Err(ReadError::Gap(what.to_owned()));
        }
        eprintln!("logsinkfs: warning: the rest of {}", what.replacen(": ", " cannot be read: ", 1));
        self.code = ExitCode::FAILURE;
        Ok(())
    }

    /// Writes the rest; gives the exit code.
    pub fn end(mut self) -> Result<ExitCode, ReadError> {
        self.write_rendered()?;
        self.out.flush()?;
        Ok(self.code)
    }
}
