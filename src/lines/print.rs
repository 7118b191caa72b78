//! A line as it is printed: as it was written, with the names of its stream and writer before it, or as an object of
//! JSON. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::colour::Palette;
use super::cut::TimedLine;
use super::line_reader::{LineKind, Origin};
use crate::types::escape::for_terminal;
use crate::types::time::Utc;

/// What stands before lines, and around them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrintStyle {
    /// The name of the stream.
    pub name: bool,
    /// The writer.
    pub writer: bool,
    /// One object of JSON a line.
    pub json: bool,
}

/// A line as JSON. A line that is not UTF-8 is in Base64.
#[derive(Serialize)]
struct JsonLine<'a> {
    stream: &'a str,
    writer: &'a str,
    generation: u64,
    offset: u64,
    time: String,
    /// Whose time it is: that of the `line`, or of its `segment`'s beginning.
    time_of: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_base64: Option<String>,
}

/// What is said of a stream as JSON.
#[derive(Serialize)]
struct JsonNote<'a> {
    stream: &'a str,
    note: &'a str,
}

impl PrintStyle {
    /// Whether lines are printed as they were written, and nothing else.
    pub fn is_plain(&self) -> bool {
        !self.name && !self.writer && !self.json
    }

    /// Writes a line of a stream.
    pub fn write(&self, stream: &str, timed: &TimedLine, palette: &mut Palette, out: &mut Vec<u8>) {
        let TimedLine { line, time } = timed;
        let text = &*line.text;
        if self.json {
            match &line.kind {
                LineKind::Written(origin) => json(&JsonLine::of(stream, origin, *time, text), out),
                LineKind::Note | LineKind::Damage(_) => {
                    json(&JsonNote { stream, note: &String::from_utf8_lossy(text) }, out);
                }
            }
        } else {
            self.write_prefix(stream, &line.kind, palette, out);
            out.extend_from_slice(text);
        }
        out.push(b'\n');
    }

    /// Writes a mark between lines that do not follow each other.
    pub fn write_apart(&self, out: &mut Vec<u8>) {
        if !self.json {
            out.extend_from_slice(b"--\n");
        }
    }

    fn write_prefix(&self, stream: &str, kind: &LineKind, palette: &mut Palette, out: &mut Vec<u8>) {
        if self.name {
            palette.name(&for_terminal(stream), out);
        }
        if let (true, LineKind::Written(origin)) = (self.writer, kind) {
            if self.name {
                out.push(b' ');
            }
            let writer = &origin.segment.writer;
            palette.writer(writer, writer.as_str(), out);
        } else if !self.name {
            return;
        }
        out.extend_from_slice(b": ");
    }
}

impl<'a> JsonLine<'a> {
    fn of(stream: &'a str, origin: &'a Origin, time: Option<Utc>, text: &'a [u8]) -> JsonLine<'a> {
        let Origin { segment, offset } = origin;
        let (time, time_of) = match time {
            Some(time) => (time, "line"),
            None => (segment.start, "segment"),
        };
        let line = str::from_utf8(text).ok();
        let line_base64 = line.is_none().then(|| STANDARD.encode(text));
        JsonLine {
            stream,
            writer: segment.writer.as_str(),
            generation: segment.generation.0,
            offset: *offset,
            time: time.to_rfc3339(),
            time_of,
            line,
            line_base64,
        }
    }
}

fn json(what: &impl Serialize, out: &mut Vec<u8>) {
    // Text and numbers, into memory: nothing can fail.
    let _ = serde_json::to_writer(out, what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::cut::tests::line;
    use crate::lines::line_reader::Line;

    fn printed(style: PrintStyle, line: Line) -> String {
        let mut out = Vec::new();
        style.write("web/a.log", &TimedLine { line, time: None }, &mut Palette::new(false), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_asked_stands_before_a_line() {
        let style = |name, writer| PrintStyle { name, writer, json: false };
        let print = |style| printed(style, line("w-aaaaaaaa", 3, 15, "x"));
        assert_eq!(print(style(false, false)), "x\n");
        assert_eq!(print(style(true, false)), "web/a.log: x\n");
        assert_eq!(print(style(false, true)), "w-aaaaaaaa: x\n");
        assert_eq!(print(style(true, true)), "web/a.log w-aaaaaaaa: x\n");
        let note = Line { text: "said".into(), kind: LineKind::Note };
        assert_eq!(printed(style(false, true), note.clone()), "said\n");
        assert_eq!(printed(style(true, true), note), "web/a.log: said\n");
    }

    #[test]
    fn json_keeps_every_byte() {
        let style = PrintStyle { json: true, ..PrintStyle::default() };
        let text = printed(style, line("w-aaaaaaaa", 3, 15, "a \"b\" ä"));
        let expected = concat!(
            r#"{"stream":"web/a.log","writer":"w-aaaaaaaa","generation":3,"offset":7,"#,
            r#""time":"2026-11-23T08:15:00.000000Z","time_of":"segment","line":"a \"b\" ä"}"#,
        );
        assert_eq!(text.trim_end(), expected);
        let mut odd = line("w-aaaaaaaa", 3, 15, "");
        odd.text = vec![0xff, 0x00, b'a'].into();
        assert!(printed(style, odd).ends_with("\"line_base64\":\"/wBh\"}\n"));
    }
}
