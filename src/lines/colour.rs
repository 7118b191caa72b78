//! Which colour a writer has. Pure: whether there are colours at all is an argument.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::ids::WriterId;

/// Colours that can be told apart on dark and on light, as SGR parameters.
const OF_WRITERS: [&str; 10] = ["36", "33", "32", "34", "35", "31", "96", "92", "94", "95"];
/// The colour of a stream's name, as grep has it.
const OF_NAME: &str = "35";

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// On a terminal that has colours, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl When {
    /// Whether output is coloured: on a terminal, with `NO_COLOR` and `TERM` as they are.
    pub fn is_coloured(self, terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
        match self {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb"),
        }
    }
}

/// The colours of writers, in the order in which they appear.
#[derive(Debug, Default)]
pub struct Palette {
    coloured: bool,
    writers: HashMap<Arc<WriterId>, usize>,
}

impl Palette {
    /// A palette of all colours, or none.
    pub fn new(coloured: bool) -> Palette {
        Palette { coloured, writers: HashMap::new() }
    }

    /// Writes a text in the colour of a writer.
    pub fn writer(&mut self, writer: &Arc<WriterId>, text: &str, out: &mut Vec<u8>) {
        let next = self.writers.len();
        let at = match self.writers.get(writer) {
            Some(at) => *at,
            None => *self.writers.entry(writer.clone()).or_insert(next),
        };
        self.write(OF_WRITERS[at % OF_WRITERS.len()], text, out);
    }

    /// Writes the name of a stream.
    pub fn name(&self, text: &str, out: &mut Vec<u8>) {
        self.write(OF_NAME, text, out);
    }

    fn write(&self, colour: &str, text: &str, out: &mut Vec<u8>) {
        let parts = if self.coloured { ["\x1b[", colour, "m", text, "\x1b[0m"] } else { ["", "", "", text, ""] };
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert!(When::Auto.is_coloured(true, None, Some("xterm")) && When::Auto.is_coloured(true, Some(""), None));
        assert!(!When::Auto.is_coloured(false, None, None));
        assert!(!When::Auto.is_coloured(true, Some("1"), None) && !When::Auto.is_coloured(true, None, Some("dumb")));
        assert!(When::Always.is_coloured(false, Some("1"), None) && !When::Never.is_coloured(true, None, None));
    }

    #[test]
    fn each_writer_keeps_its_colour() {
        let mut palette = Palette::new(true);
        let writers = [0, 1, 0, 1].map(|n| Arc::new(format!("w{n}-aaaaaaaa").parse::<WriterId>().expect("a writer")));
        let colours = writers.each_ref().map(|writer| {
            let mut out = Vec::new();
            palette.writer(writer, "x", &mut out);
            String::from_utf8(out).expect("text")
        });
        assert_eq!(colours[0], "\x1b[36mx\x1b[0m");
        assert!(colours[0] == colours[2] && colours[1] == colours[3] && colours[0] != colours[1]);
        let mut out = Vec::new();
        Palette::new(false).writer(&writers[0], "x", &mut out);
        assert_eq!(out, b"x");
    }
}
