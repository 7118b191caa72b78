//! Globs that say what files are by their names: those of `--exclude` stay local, those of `--whole` are whole files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{Error, GlobBuilder, GlobSet, GlobSetBuilder};

/// What is no log by its name alone: process ids, locks, and what editors leave beside a file.
pub const EXCLUDE: &str = "*.pid *.lock *.lck *.swp *.sw[a-p] *~";

/// What programs write when they die, or are looked into: heap dumps of JVMs (with the parts of one that is written in
/// parallel) and of OpenJ9, recordings of the Flight Recorder, dumps of .NET and of Windows, cores.
pub const WHOLE: &str = "*.hprof *.hprof.p[0-9]* *.jfr *.dmp *.phd javacore.* core core.[0-9]*";

/// Some globs. Nothing matches none.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    set: GlobSet,
    globs: Vec<String>,
}

impl Globs {
    /// Reads globs; `*` does not match `/`. They replace `default`, unless each begins with `+`: then they are added
    /// to it.
    pub fn parse<'a>(default: &str, given: impl IntoIterator<Item = &'a str> + Clone) -> Result<Globs, Error> {
        let adds = given.clone().into_iter().all(|glob| glob.starts_with('+'));
        let default = default.split(' ').filter(|_| adds);
        let given = given.into_iter().map(|glob| glob.strip_prefix('+').unwrap_or(glob));
        let globs: Vec<_> = default.chain(given).filter(|glob| !glob.is_empty()).map(str::to_owned).collect();
        let mut set = GlobSetBuilder::new();
        for glob in &globs {
            set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
        }
        Ok(Globs { set: set.build()?, globs })
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

    fn globs(given: &[&str]) -> Globs {
        Globs::parse(EXCLUDE, given.iter().copied()).expect("globs")
    }

    #[test]
    fn dumps_are_whole_by_their_names_and_logs_are_not() {
        let whole = Globs::parse(WHOLE, []).expect("globs");
        let is_whole = |path: &str| whole.glob_of(path.as_bytes()).is_some();
        for name in ["java_pid7.hprof", "d/x.hprof.p0", "rec.jfr", "core", "core.4711", "javacore.2026.txt", "x.dmp"] {
            assert!(is_whole(name), "{name}");
        }
        for name in ["app.log", "core.log", "score", "app.hprof.log", "hs_err_pid7.log", "gc.log.0"] {
            assert!(!is_whole(name), "{name}");
        }
    }

    #[test]
    fn a_log_is_no_log_by_few_names() {
        let default = globs(&EXCLUDE.split(' ').collect::<Vec<_>>());
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
