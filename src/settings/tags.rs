//! Tags of new objects (`--tag`): `KEY=VALUE`, where a value may have placeholders that stand for what is known of the
//! object. Owns S3's [rules](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html) of number,
//! length and characters: what is fixed is refused where it breaks one, what a placeholder stands for is made to fit.

use std::collections::BTreeMap;

use crate::types::duration::BadSetting;

/// Most tags of an object.
const TAGS_MAX: usize = 10;
/// Longest key, in UTF-16 units, as S3 counts.
const KEY_MAX: usize = 128;
/// Longest value.
const VALUE_MAX: usize = 256;
/// Most bytes of an object's tags as they are sent: S3 takes headers of 8 KB, of which metadata has 2 KB.
const ENCODED_MAX: usize = 4096;
/// Stands for a character that a tag cannot have.
const REFUSED: char = '_';

/// One tag: its key, and how its value is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate {
    key: String,
    value: Vec<TagPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TagPart {
    Text(String),
    Stream,
    Writer,
    Host,
    Label(String),
}

/// What is known of an object. A placeholder for what is not known stands for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct TagFacts<'a> {
    /// The stream of a segment, or the path of a whole file.
    pub stream: &'a [u8],
    /// The whole writer id.
    pub writer: &'a str,
    /// The labels of the log.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl TagTemplate {
    /// Reads `KEY=VALUE`.
    pub fn parse(text: &str) -> Result<TagTemplate, BadSetting> {
        let bad = |why| BadSetting { what: "tag", given: text.into(), why };
        let (key, value) = text.split_once('=').ok_or(bad("a tag is KEY=VALUE"))?;
        if !(1..=KEY_MAX).contains(&length(key)) || !key.chars().all(is_legal) {
            return Err(bad("a key is 1 to 128 letters, digits, spaces and + - . _ : / @"));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(bad("keys that begin with aws: are Amazon's own"));
        }
        let value = parts(value).map_err(bad)?;
        let fixed = || value.iter().filter_map(|part| if let TagPart::Text(text) = part { Some(text) } else { None });
        if fixed().map(|text| length(text)).sum::<usize>() > VALUE_MAX {
            return Err(bad("a value has at most 256 characters"));
        }
        if !fixed().all(|text| text.chars().all(is_legal)) {
            return Err(bad("a value has letters, digits, spaces and + - = . _ : / @ alone"));
        }
        Ok(TagTemplate { key: key.into(), value })
    }

    /// The same where the name of the host is known.
    pub fn on_host(self, host: &str) -> TagTemplate {
        let known = |part| if part == TagPart::Host { TagPart::Text(fitting(host).collect()) } else { part };
        TagTemplate { value: self.value.into_iter().map(known).collect(), ..self }
    }

    fn value(&self, facts: TagFacts<'_>) -> String {
        let mut value = String::new();
        for part in &self.value {
            match part {
                TagPart::Text(text) => value.push_str(text),
                TagPart::Stream => value.extend(fitting(&String::from_utf8_lossy(facts.stream))),
                TagPart::Writer => value.extend(fitting(facts.writer)),
                TagPart::Label(name) => {
                    let label = facts.labels.and_then(|labels| labels.get(name));
                    value.extend(fitting(label.map_or("", String::as_str)));
                }
                TagPart::Host => {}
            }
        }
        cut(value)
    }
}

/// Refuses tags that no object can have together.
pub fn check(tags: &[TagTemplate]) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("an object has at most {TAGS_MAX} tags, and {} are given", tags.len()));
    }
    for (at, tag) in tags.iter().enumerate() {
        if tags[..at].iter().any(|other| other.key == tag.key) {
            return Err(format!("the tag `{}` is given twice", tag.key));
        }
    }
    if all(tags, TagFacts::default()).len() < tags.len() {
        return Err(format!("the tags are longer than {ENCODED_MAX} bytes, as they are sent"));
    }
    Ok(())
}

/// The tags of an object. One that does not fit beside those before it is left out.
pub fn all(tags: &[TagTemplate], facts: TagFacts<'_>) -> Vec<(String, String)> {
    let mut left = ENCODED_MAX;
    let tags = tags.iter().map(|tag| (tag.key.clone(), tag.value(facts)));
    tags.filter(|(key, value)| {
        let size = encoded(key) + encoded(value) + "=&".len();
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    })
    .collect()
}

fn parts(text: &str) -> Result<Vec<TagPart>, &'static str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or("a placeholder is not closed with }")?;
        if !before.is_empty() {
            parts.push(TagPart::Text(before.to_owned()));
        }
        parts.push(match name {
            "stream" => TagPart::Stream,
            "writer" => TagPart::Writer,
            "host" => TagPart::Host,
            _ => match name.strip_prefix("label:") {
                Some(label) if !label.is_empty() => TagPart::Label(label.to_owned()),
                _ => return Err("placeholders are {stream}, {writer}, {host} and {label:NAME}"),
            },
        });
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(TagPart::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn is_legal(c: char) -> bool {
    c.is_alphanumeric() || " +-=._:/@".contains(c)
}

fn fitting(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().map(|c| if is_legal(c) { c } else { REFUSED })
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The first characters of a value that is too long.
fn cut(value: String) -> String {
    let mut left = VALUE_MAX;
    let fits = |c: &char| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        fits
    };
    value.chars().take_while(fits).collect()
}

/// Bytes of a text in a request: what is neither letter nor digit is sent as three.
fn encoded(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(tag: &str, facts: TagFacts<'_>) -> String {
        let tags = [TagTemplate::parse(tag).expect(tag).on_host("node 7!")];
        all(&tags, facts).remove(0).1
    }

    #[test]
    fn a_placeholder_stands_for_what_is_known_made_to_fit() {
        let labels = BTreeMap::from([("team".to_owned(), "a&b".to_owned())]);
        let facts = TagFacts { stream: "web/{é}\u{fe0f}\n.log".as_bytes(), writer: "w-1", labels: Some(&labels) };
        for (tag, value) in [
            ("k=fixed", "fixed"),
            ("k=", ""),
            ("k=a=b", "a=b"),
            ("k={stream}", "web/_é___.log"),
            ("k={writer}@{host}", "w-1@node 7_"),
            ("k={label:team}", "a_b"),
            ("k=x{label:none}y", "xy"),
        ] {
            assert_eq!(made(tag, facts), value, "{tag}");
        }
        assert_eq!(made("k={stream}", TagFacts { stream: b"a\xffb", ..facts }), "a_b");
        let long = TagFacts { stream: &[b'x'; 400], ..facts };
        assert_eq!(made("k=ab{stream}", long), format!("ab{}", "x".repeat(254)));
        let wide = "\u{20000}".repeat(200);
        let wide = TagFacts { stream: wide.as_bytes(), ..facts };
        assert_eq!(made("k=a{stream}", wide), format!("a{}", "\u{20000}".repeat(127)), "in UTF-16 units");
    }

    #[test]
    fn what_s3_would_refuse_is_refused() {
        let long = format!("k={}", "x".repeat(257));
        for bad in
            ["", "k", "=v", "aws:k=v", "AWS:k=v", "k=a,b", "k?=v", "k={no}", "k={stream", "k={label:}", "k=}", &long]
        {
            assert!(TagTemplate::parse(bad).is_err(), "{bad}");
        }
        let tag = |n: usize| TagTemplate::parse(&format!("k{n}=v")).expect("a tag");
        assert_eq!(check(&(0..10).map(tag).collect::<Vec<_>>()), Ok(()));
        assert!(check(&(0..11).map(tag).collect::<Vec<_>>()).is_err());
        assert!(check(&[tag(1), tag(1)]).is_err());
        let wide = |n| TagTemplate::parse(&format!("k{n}={}", "/".repeat(256))).expect("a tag");
        assert!(check(&(0..10).map(wide).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn a_tag_that_does_not_fit_is_left_out() {
        let tags: Vec<_> = ["a={stream}", "b={stream}", "c=v"].map(|tag| TagTemplate::parse(tag).expect(tag)).into();
        let stream = "服".repeat(256);
        let facts = TagFacts { stream: stream.as_bytes(), ..TagFacts::default() };
        let keys: Vec<_> = all(&tags, facts).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "c"]);
    }
}
