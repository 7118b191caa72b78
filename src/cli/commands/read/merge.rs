//! Several streams as one, by the times of their lines. A line without a time follows the one before it. Within a
//! stream the order stays as it is.

use crate::flags::SpanArgs;
use crate::lines::cut::TimedLine;
use crate::lines::line_reader::LineKind;
use crate::lines::pipeline::LineOptions;
use crate::read::stream_file::StreamFile;
use crate::types::time::Utc;

use super::ReadError;
use super::explain::open;
use super::out::{LineWay, Out};
use super::sources::Target;

/// Streams that are read at once: each has up to 64 MiB under way.
const MOST: usize = 16;

/// A stream, and its next line.
struct MergedStream<'a> {
    way: LineWay<'a>,
    next: Option<TimedLine>,
    /// The time of that line, or of the one that it follows.
    time: Utc,
    ended: bool,
}

/// Prints the lines of all streams in the order of their times.
pub async fn merge(targets: &[Target], span: &SpanArgs, options: &LineOptions, out: &mut Out) -> Result<(), ReadError> {
    if targets.len() > MOST {
        return Err(ReadError::TooMany(targets.len(), MOST));
    }
    let mut files: Vec<(&str, StreamFile)> = Vec::new();
    for target in targets {
        let file = open(target, span).await?;
        if file.versions().is_some() {
            return Err(ReadError::WholeMerged(target.name().to_owned()));
        }
        out.bar.add(file.len());
        files.push((target.name(), file));
    }
    let mut streams = Vec::new();
    for (name, file) in &files {
        let way = LineWay::new(file, 0, name, options);
        let mut stream = MergedStream { way, next: None, time: Utc::default(), ended: false };
        stream.advance(out).await?;
        streams.push(stream);
    }
    // The first of those that are equally early, so that what belongs together stays together.
    while let Some(stream) = streams.iter_mut().filter(|stream| stream.next.is_some()).min_by_key(|stream| stream.time)
    {
        let time = stream.time;
        while let Some(line) = stream.next.take() {
            out.line(&mut stream.way.pipeline, line)?;
            stream.advance(out).await?;
            if stream.time > time {
                break;
            }
        }
    }
    out.write_rendered()?;
    streams.iter().for_each(|stream| out.tell_if_inexact(&stream.way.pipeline));
    Ok(())
}

impl MergedStream<'_> {
    /// Comes to the next line.
    async fn advance(&mut self, out: &mut Out) -> Result<(), ReadError> {
        let LineWay { reader, pipeline, .. } = &mut self.way;
        loop {
            if let Some(line) = pipeline.next_timed() {
                let began = match &line.line.kind {
                    LineKind::Written(origin) => Some(origin.segment.start),
                    LineKind::Note | LineKind::Damage(_) => None,
                };
                // A stream without times has those of its segments.
                self.time = line.time.unwrap_or(self.time.max(began.unwrap_or_default()));
                self.next = Some(line);
                return Ok(());
            }
            if let Some(line) = reader.ready() {
                out.check(&line)?;
                pipeline.take(line);
            } else if self.ended {
                return Ok(());
            } else if !reader.fill().await? {
                self.ended = true;
                if let Some(line) = reader.end() {
                    pipeline.take(line);
                }
                pipeline.release();
            }
        }
    }
}
