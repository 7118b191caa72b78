//! Paths with globs, as shells expand them: `api/*.log`, `**/app-[0-9].log`. `*` stays within a directory, `**` does
//! not. Pure: whoever lists directories asks which of them to look into.

use globset::{Error, GlobBuilder, GlobMatcher};

/// A path of which some parts are globs.
#[derive(Clone, Debug)]
pub struct PathPattern {
    /// The directory that everything that matches is below; empty, or without a slash at its end.
    pub base: String,
    whole: GlobMatcher,
    /// The parts before the first `**`.
    parts: Vec<GlobMatcher>,
    /// Whether it goes on to any depth behind them.
    deep: bool,
}

impl PathPattern {
    /// Whether a path is one with globs.
    pub fn is_pattern(path: &str) -> bool {
        path.contains(['*', '?', '[', '{'])
    }

    /// Reads a path.
    pub fn parse(path: &str) -> Result<PathPattern, Error> {
        let all: Vec<&str> = path.split('/').collect();
        let plain = all.iter().take_while(|part| !PathPattern::is_pattern(part)).count();
        let (base, globs) = all.split_at(plain.min(all.len() - 1));
        // Alternatives may have a slash in them.
        let torn = |part: &&str| part.contains('{') && !part.contains('}');
        let named: Vec<&str> = globs.iter().copied().take_while(|part| *part != "**" && !torn(part)).collect();
        let deep = named.len() < globs.len();
        let glob = |text: &str| Ok(GlobBuilder::new(text).literal_separator(true).build()?.compile_matcher());
        let parts = named.into_iter().map(glob).collect::<Result<Vec<_>, Error>>()?;
        Ok(PathPattern { base: base.join("/"), whole: glob(&globs.join("/"))?, parts, deep })
    }

    /// Whether a path below the base matches.
    pub fn matches(&self, path: &str) -> bool {
        self.whole.is_match(path)
    }

    /// Whether something below a directory, which is below the base, may match.
    pub fn may_match_below(&self, directory: &str) -> bool {
        let parts: Vec<&str> = directory.split('/').collect();
        let fits = parts.iter().zip(&self.parts).all(|(part, glob)| glob.is_match(part));
        fits && (self.deep || parts.len() < self.parts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_as_in_a_shell() {
        for (pattern, base, path, matches) in [
            ("api/*.log", "api", "a.log", true),
            ("api/*.log", "api", "v1/a.log", false),
            ("team/*/app-?.log", "team", "web/app-1.log", true),
            ("*.{log,txt}", "", "a.txt", true),
            ("**/app.log", "", "a/b/app.log", true),
            ("**/app.log", "", "app.log", true),
            ("web/**", "web", "a/b.log", true),
            ("[ab].log", "", "a.log", true),
        ] {
            let read = PathPattern::parse(pattern).expect(pattern);
            assert_eq!((read.base.as_str(), read.matches(path)), (base, matches), "{pattern} {path}");
        }
        assert!(PathPattern::parse("a/[").is_err());
        assert!(!PathPattern::is_pattern("web/app.log@2026-11-23T08"));
    }

    #[test]
    fn only_directories_that_may_hold_something_are_looked_into() {
        let below =
            |pattern: &str, directory: &str| PathPattern::parse(pattern).expect(pattern).may_match_below(directory);
        assert!(below("t/*/app.log", "web") && !below("t/*/app.log", "web/old") && !below("t/*.log", "x.log"));
        assert!(below("t/w*/app.log", "web") && !below("t/w*/app.log", "api"));
        assert!(below("**/app.log", "a/b/c") && below("w*/**", "web/a") && !below("w*/**/x", "api"));
        assert!(below("{a,b/c}/x.log", "b"));
    }
}
