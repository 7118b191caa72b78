//! Maps the path of a live file to its stream and labels: ordered `REGEX=REPLACEMENT` rules, of which the first that
//! matches the whole path applies.

use std::collections::BTreeMap;

use regex::bytes::Regex;

/// One rule of `--stream-map`.
#[derive(Clone, Debug)]
pub struct StreamRule {
    source: String,
    pattern: Regex,
    replacement: String,
}

/// A rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// There is no `=` in it.
    #[error("`{0}` is no REGEX=REPLACEMENT (a `=` within the regex is written \\x3d)")]
    NoReplacement(String),
    /// The regular expression is wrong.
    #[error("`{rule}`: {cause}")]
    Regex {
        /// The rule as given.
        rule: String,
        /// What the regex parser said.
        cause: String,
    },
    /// The replacement stands for a group that the regular expression does not have: it would be replaced by nothing.
    #[error(
        "`{rule}`: the regex has no group `{group}`, for which `${group}` stands (`${{1}}` ends a name, `$$` is a dollar sign)"
    )]
    NoSuchGroup {
        /// The rule as given.
        rule: String,
        /// The group.
        group: String,
    },
}

/// How the replacement refers to a group: `$name`, `${name}`; `$$` refers to none.
/// <https://docs.rs/regex/latest/regex/bytes/struct.Captures.html#method.expand>
const REFERENCE: &str = r"\$(?:\$|\{(?<braced>[^}]+)\}|(?<bare>[0-9A-Za-z_]+))";

impl StreamRule {
    /// Reads `REGEX=REPLACEMENT`; the regex is taken to match the whole path, `$name` and `$1` in the replacement stand
    /// for its groups.
    pub fn parse(rule: &str) -> Result<StreamRule, BadRule> {
        let (regex, replacement) = rule.split_once('=').ok_or_else(|| BadRule::NoReplacement(rule.into()))?;
        let compile =
            |regex: &str| Regex::new(regex).map_err(|e| BadRule::Regex { rule: rule.into(), cause: e.to_string() });
        let pattern = compile(&format!("^(?:{regex})$"))?;
        let has = |group: &str| match group.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|name| name == group),
        };
        for reference in compile(REFERENCE)?.captures_iter(replacement.as_bytes()) {
            let group = reference.name("braced").or(reference.name("bare"));
            let group = group.map(|group| String::from_utf8_lossy(group.as_bytes()));
            if let Some(group) = group.filter(|group| !has(group)) {
                return Err(BadRule::NoSuchGroup { rule: rule.into(), group: group.into_owned() });
            }
        }
        Ok(StreamRule { source: rule.into(), pattern, replacement: replacement.into() })
    }
}

impl PartialEq for StreamRule {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A stream and the labels of what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The path, raw bytes, `/` between parts.
    pub path: Vec<u8>,
    /// Those of the mount, and named groups of the rule that matched, which win.
    pub labels: Labels,
}

/// What all streams of a mount are labelled with.
pub type Labels = BTreeMap<String, String>;

/// The stream of a path below the mount. A rule whose result is no path (empty, or with an empty, `.` or `..` part) is
/// passed over: a wrong rule must not lose a log.
pub fn stream_of(rules: &[StreamRule], labels: &Labels, path: &[u8]) -> Stream {
    let mapped = rules.iter().find_map(|rule| apply(rule, path));
    let stream = mapped.unwrap_or_else(|| Stream { path: path.to_vec(), labels: Labels::new() });
    Stream { labels: labels.clone().into_iter().chain(stream.labels).collect(), ..stream }
}

fn apply(rule: &StreamRule, path: &[u8]) -> Option<Stream> {
    let groups = rule.pattern.captures(path)?;
    let mut mapped = Vec::new();
    groups.expand(rule.replacement.as_bytes(), &mut mapped);
    if mapped.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return None;
    }
    let labels = rule
        .pattern
        .capture_names()
        .flatten()
        .filter_map(|name| {
            let value = groups.name(name)?.as_bytes();
            Some((name.to_owned(), String::from_utf8_lossy(value).into_owned()))
        })
        .collect();
    Some(Stream { path: mapped, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [("node", "n1"), ("pod", "of the mount")].map(|(k, v)| (k.into(), v.into())).into()
    }

    #[test]
    fn dated_files_become_one_stream_and_groups_become_labels() {
        let rules: Vec<_> =
            [r"(?<base>.*)-\d{4}-\d\d-\d\d\.log=$base.log", r"(?<namespace>[^/]+)/(?<pod>[^/]+)/(.*)=$namespace/$3"]
                .iter()
                .map(|r| StreamRule::parse(r).expect("legal"))
                .collect();
        assert_eq!(stream_of(&rules, &labels(), b"web/app-2026-11-23.log").path, b"web/app.log");
        let mapped = stream_of(&rules, &labels(), b"shop/web-0/app.log");
        assert_eq!(mapped.path, b"shop/app.log");
        assert_eq!((&*mapped.labels["pod"], &*mapped.labels["node"]), ("web-0", "n1"));
        assert_eq!(stream_of(&rules, &labels(), b"plain.log").path, b"plain.log");
    }

    #[test]
    fn a_rule_that_gives_no_path_is_passed_over() {
        let rules = [StreamRule::parse("(.*)/x=../$1").expect("legal")];
        assert_eq!(stream_of(&rules, &labels(), b"a/x").path, b"a/x");
        assert!(StreamRule::parse("no-equals").is_err());
        assert!(StreamRule::parse("(=x").is_err());
    }

    #[test]
    fn a_replacement_names_only_groups_that_there_are() {
        for rule in ["(.*)=$2", "(?<a>.*)=$b.log", "(.*)=$1_all", "(.*)=${one}", "a=$1"] {
            let refused = StreamRule::parse(rule);
            assert!(matches!(refused, Err(BadRule::NoSuchGroup { .. })), "{rule}: {refused:?}");
        }
        for rule in ["(.*)=$1", "(?<a>.*)=${a}_all", "(?<a>.*)=$0", "a=$$1", "a=b$", "a=$-x"] {
            StreamRule::parse(rule).expect(rule);
        }
    }
}
