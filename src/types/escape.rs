//! The escaping rule (percent) for stream names in keys, names in spool records and values in object metadata. It is
//! reversible for every byte string, and since `%` itself is always escaped, different inputs have different outputs.
//! For text shown on a terminal there is [`for_terminal`].

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Escapes a path for a key: letters and digits of any script, `/` and the punctuation that neither S3 nor people
/// stumble over stay; every other byte becomes `%XX`.
///
/// See "Object key naming guidelines" in the Amazon S3 user guide for what S3 calls safe.
pub fn escape_path(bytes: &[u8]) -> String {
    escape_chars(bytes, |c| c.is_alphanumeric() || "/!-_.*'()=@:,".contains(c))
}

/// Escapes for a place that takes printable ASCII only (an HTTP header, a line of JSON): all but ASCII letters, digits
/// and `-_.~/:` becomes `%XX`.
pub fn escape_ascii(bytes: &[u8]) -> String {
    escape_chars(bytes, |c| c.is_ascii_alphanumeric() || "-_.~/:".contains(c))
}

/// What somebody else said, for a terminal or a line of a log: control characters, by which it could move the cursor,
/// give orders to the terminal or begin a line of its own, become `\u001b`.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.push_str(&format!("\\u{:04x}", u32::from(c))) } else { out.push(c) }
    }
    out.into()
}

fn escape_chars(bytes: &[u8], keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if keep(c) { out.push(c) } else { push_escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()) }
        }
        push_escaped(&mut out, chunk.invalid());
    }
    out
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for b in bytes {
        out.push('%');
        out.push(char::from(HEX[usize::from(b >> 4)]));
        out.push(char::from(HEX[usize::from(b & 15)]));
    }
}

/// Reverses [`escape_path`] and [`escape_ascii`]. A `%` that begins no escape stays as it is.
pub fn unescape(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Serde adapter: a byte string as escaped text, so that records stay readable for people and still carry names that
/// are not UTF-8.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the bytes as escaped text.
    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::escape_path(bytes))
    }

    /// Reads escaped text back.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(super::unescape(&String::deserialize(from)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(for_terminal("plain: ä, 100 %"), "plain: ä, 100 %");
        assert_eq!(for_terminal("\u{1b}[31m\n\u{9b}"), "\\u001b[31m\\u000a\\u009b");
    }

    #[test]
    fn plain_names_stay_readable_and_odd_bytes_are_escaped() {
        assert_eq!(escape_path(b"web/app-1.log"), "web/app-1.log");
        assert_eq!(escape_path("服务/应用.log".as_bytes()), "服务/应用.log");
        assert_eq!(escape_path(b"a b%\n\xff"), "a%20b%25%0A%FF");
        assert_eq!(escape_ascii("服".as_bytes()), "%E6%9C%8D");
    }

    proptest! {
        #[test]
        fn every_byte_string_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unescape(&escape_path(&bytes)), bytes.clone());
            prop_assert_eq!(unescape(&escape_ascii(&bytes)), bytes.clone());
            prop_assert!(escape_ascii(&bytes).is_ascii());
        }
    }
}
