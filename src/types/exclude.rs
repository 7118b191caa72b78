//! Files that stay local: the globs of `--exclude`, their default, and which of them matches a path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{Error, GlobBuilder, GlobSet, GlobSetBuilder};

/// What is no log by its name alone: process ids, locks, and what editors leave beside a file.
pub const DEFAULT: &str = "*.pid *.lock *.lck *.swp *.sw[a-p] *~";

/// The globs of a mount. Nothing is excluded by none.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    set: GlobSet,
    globs: Vec<String>,
}

impl Exclude {
    /// Reads globs; `*` does not match `/`. They replace the default, unless each begins with `+`: then they are added
    /// to it.
    pub fn parse<'a>(given: impl IntoIterator<Item = &'a str> + Clone) -> Result<Exclude, Error> {
        let adds = given.clone().into_iter().all(|glob| glob.starts_with('+'));
        let default = DEFAULT.split(' ').filter(|_| adds);
        let given = given.into_iter().map(|glob| glob.strip_prefix('+').unwrap_or(glob));
        let globs: Vec<_> = default.chain(given).filter(|glob| !glob.is_empty()).map(str::to_owned).collect();
        let mut set = GlobSetBuilder::new();
        for glob in &globs {
            set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
        }
        Ok(Exclude { set: set.build()?, globs })
    }

    /// The glob that a path below the mount, or its last part, matches.
    pub fn glob_of(&self, path: &[u8]) -> Option<&str> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let first = |text: &[u8]| self.set.matches(OsStr::from_bytes(text)).first().copied();
        first(name).or_else(|| first(path)).map(|at| self.globs[at].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(given: &[&str]) -> Exclude {
        Exclude::parse(given.iter().copied()).expect("globs")
    }

    #[test]
    fn a_log_is_no_log_by_few_names() {
        let default = globs(&DEFAULT.split(' ').collect::<Vec<_>>());
        for name in ["web/app.pid", ".app.log.swp", "x.swo", "app.log~", "app.log.lck"] {
            assert!(default.glob_of(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["app.log", "app.log.0", "app.log.1", "core.log", "app.log.gz", "x.pid/a"] {
            assert_eq!(default.glob_of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn globs_replace_the_default_or_add_to_it() {
        let glob = |given: &[&str], path: &str| globs(given).glob_of(path.as_bytes()).is_some();
        assert!(glob(&["*.db"], "a/b.db") && !glob(&["*.db"], "a.pid"));
        assert!(glob(&["+*.db", "+tmp/*"], "tmp/x") && glob(&["+*.db"], "a.pid"));
        assert!(glob(&["*.db", "+*.x"], "a.x") && !glob(&["*.db", "+*.x"], "a.pid"));
        assert!(!glob(&[""], "a.pid"));
        assert!(!glob(&["tmp/*"], "tmp/x/y"), "a star stays within a folder");
    }
}
