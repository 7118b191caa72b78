//! `logsinkfs recover`: uploads what spools without a mount hold. Owns which spools there are, their order, and the
//! removal of empty ones. Each spool is handled by a process of its own (`recover::one`), since it belongs to a user of
//! its own.
//!
//! Invariant: no file of a spool is removed unless its process reported that S3 has everything and nobody has used the
//! spool since.
//!
//! - `one`: the process of one spool; `remove` removes an empty one; `dead_mounts` mounts whose processes are dead;
//!   `error` why a spool is not recovered.

mod dead_mounts;
mod error;
mod one;
mod remove;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{Mode, OFlags, fstat};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::error::RecoverError;
use self::remove::{Who, remove};
use crate::flags::RecoverArgs;
use crate::settings::writer::Source;
use crate::spool::{IDENTITY, QUARANTINE, Spool, pinned};
use crate::sys::{privileges, relaunch, spool_owner, telemetry};
use crate::types::clock::{Clock, SystemClock};
use crate::types::errors::AtPath;
use crate::types::escape::for_terminal;
use crate::types::processes::RunAs;
use crate::types::span::in_words;
use crate::types::time::Monotonic;
use crate::worker::signals::{Direct, Signals};

/// Tells a process which spool is its own.
const SPOOL_ENV: &str = "LOGSINKFS_RECOVER_SPOOL";
/// Tells it the source that was judged: the spool's owner may have changed what the spool says meanwhile.
const SOURCE_ENV: &str = "LOGSINKFS_RECOVER_SOURCE";
/// Tells it which user to become: the owner of the directory that was judged. If another directory has taken its path
/// meanwhile, the process can reach no more than that user can.
const USER_ENV: &str = "LOGSINKFS_RECOVER_USER";
/// Spools under way at once: each takes the memory of a small daemon.
const PARALLEL: usize = 4;
/// Wrong usage, as clap's own.
const EXIT_USAGE: u8 = 2;
/// How deep below a directory spools are looked for: namespace, pod, volume.
const DEPTH: usize = 4;
/// How often `--watch` looks for spools. A spool is recovered that was free two times in a row, so that a daemon that
/// is just being restarted is not kept waiting.
const LOOK: Duration = Duration::from_secs(5);
/// How long `--watch` leaves a spool alone that could not be emptied.
const AGAIN: Duration = Duration::from_secs(30);
/// How long stopped processes may take.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How the work on a spool ended; the exit code of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// S3 has everything.
    Done = 0,
    /// It could not be read.
    Failed = 1,
    /// Something is left.
    Left = 3,
    /// A daemon uses it.
    InUse = 4,
    /// S3 has everything but what is in the quarantine.
    Kept = 5,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> ExitCode {
        ExitCode::from(ended as u8)
    }
}

impl Ended {
    fn of(code: Option<i32>) -> Ended {
        let all = [Ended::Done, Ended::Left, Ended::InUse, Ended::Kept];
        all.into_iter().find(|ended| code == Some(*ended as i32)).unwrap_or(Ended::Failed)
    }
}

/// Recovers spools; this process may be the one of a single spool.
pub fn run(args: &RecoverArgs) -> ExitCode {
    if let Err(e) = args.storage.check() {
        eprintln!("logsinkfs: error: {e}");
        return ExitCode::from(EXIT_USAGE);
    }
    let judged = [SOURCE_ENV, USER_ENV].map(|name| std::env::var(name).unwrap_or_default());
    let done = match std::env::var_os(SPOOL_ENV) {
        Some(dir) => recover_one(args, Path::new(&dir), &judged),
        None => recover_all(args),
    };
    done.unwrap_or_else(|e| {
        eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
        ExitCode::FAILURE
    })
}

fn recover_one(args: &RecoverArgs, dir: &Path, [source, user]: &[String; 2]) -> Result<ExitCode, RecoverError> {
    let unknown = || RecoverError::NoSpool(dir.to_owned(), format!("{USER_ENV} is not UID:GID"));
    let user = RunAs::from_numbers(user).ok_or_else(unknown)?;
    Ok(one::run(args, &args.settings(dir, parse_source(dir, source)?), user)?)
}

fn parse_source(dir: &Path, url: &str) -> Result<Source, RecoverError> {
    Source::from_url(url).map_err(|e| RecoverError::NoSpool(dir.to_owned(), e.to_string()))
}

fn recover_all(args: &RecoverArgs) -> Result<ExitCode, RecoverError> {
    telemetry::start(&args.log.logging());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new(None, Direct::Stops)?;
        if let Some(dir) = &args.dead_mounts {
            dead_mounts::clear(dir, args)?;
        }
        let mut recovery =
            Recovery { clock: SystemClock::new(), args, spools: HashMap::new(), running: JoinSet::new() };
        recovery.look()?;
        loop {
            recovery.remove_what_may();
            recovery.start_what_may();
            if recovery.running.is_empty() && !args.watch {
                return Ok(recovery.code());
            }
            tokio::select! {
                Some(ended) = recovery.running.join_next() => recovery.apply(ended),
                () = tokio::time::sleep(LOOK), if args.watch => recovery.look()?,
                signal = signals.stop() => {
                    info!(signal, "stopping");
                    recovery.stop().await;
                    return Ok(recovery.code());
                }
            }
        }
    })
}

/// What is known of a spool.
#[derive(Default)]
struct SpoolWork {
    /// How often in a row it was free.
    free: u32,
    running: Option<u32>,
    ended: Option<Ended>,
    /// When the work on it ended, and who it was then.
    since: Option<(Monotonic, Who)>,
}

struct Recovery<'a> {
    clock: SystemClock,
    args: &'a RecoverArgs,
    spools: HashMap<PathBuf, SpoolWork>,
    running: JoinSet<(PathBuf, Ended)>,
}

impl Recovery<'_> {
    fn look(&mut self) -> Result<(), RecoverError> {
        let mut found = Vec::new();
        for root in &self.args.spools {
            let before = found.len();
            find(root, DEPTH, &mut found);
            if found.len() == before && !self.args.watch {
                let why = "there is no spool in it".to_owned();
                return Err(RecoverError::NoSpool(root.clone(), why));
            }
        }
        self.spools.retain(|dir, known| known.running.is_some() || found.contains(dir));
        for dir in found {
            let known = self.spools.entry(dir.clone()).or_default();
            if known.running.is_none() {
                known.free = if Spool::is_free(&dir) { known.free + 1 } else { 0 };
            }
        }
        Ok(())
    }

    fn start_what_may(&mut self) {
        let (watch, now) = (self.args.watch, self.clock.monotonic());
        let waits = |dir: &Path, known: &SpoolWork| match &known.since {
            // A spool is the same as long as nobody has started with it.
            Some((_, who)) if matches!(known.ended, Some(Ended::Done | Ended::Kept)) => watch && Who::of(dir) != *who,
            Some((at, _)) => watch && now.since(*at) >= AGAIN,
            None => true,
        };
        let ready = self
            .spools
            .iter()
            .filter(|(dir, known)| known.running.is_none() && (!watch || known.free >= 2) && waits(dir, known));
        let mut ready: Vec<_> = ready.map(|(dir, known)| (known.since.as_ref().map(|s| s.0), dir.clone())).collect();
        ready.sort();
        for (_, dir) in ready {
            if self.running.len() >= PARALLEL {
                return;
            }
            let known = self.spools.entry(dir.clone()).or_default();
            match start(self.args, &dir) {
                Ok(mut child) => {
                    known.running = child.id();
                    self.running.spawn(async move {
                        let code = child.wait().await.ok().and_then(|status| status.code());
                        (dir, Ended::of(code))
                    });
                }
                Err(e) => {
                    error!(hint = e.hint(), "{}: {e}", dir.display());
                    known.ended = Some(Ended::Failed);
                    known.since = Some((now, Who::of(&dir)));
                }
            }
        }
    }

    fn apply(&mut self, ended: Result<(PathBuf, Ended), tokio::task::JoinError>) {
        let (dir, ended) = match ended {
            Ok(ended) => ended,
            Err(e) => return error!("could not wait for a process: {e}"),
        };
        let Some(known) = self.spools.get_mut(&dir) else { return };
        let who = Who::of(&dir);
        *known = SpoolWork { ended: Some(ended), ..SpoolWork::default() };
        match ended {
            Ended::Done if self.args.remove && self.args.watch => {
                let after = in_words(self.args.remove_after);
                info!(spool = %dir.display(), "to be removed once nobody has used it for {after}");
            }
            Ended::Kept => {
                let quarantine = dir.join(QUARANTINE);
                warn!(kept = %quarantine.display(), "S3 has everything but what was quarantined");
            }
            Ended::Failed => error!(spool = %dir.display(), "it could not be emptied"),
            Ended::Done | Ended::Left | Ended::InUse => {}
        }
        known.since = Some((self.clock.monotonic(), who));
    }

    /// Removes the spools of which S3 has everything, and which nobody has used for long enough since.
    fn remove_what_may(&mut self) {
        if !self.args.remove {
            return;
        }
        let (patience, done, now) = (self.args.patience(), Some(Ended::Done), self.clock.monotonic());
        self.spools.retain(|dir, known| {
            let Some((at, who)) = &known.since else { return true };
            if known.ended != done || now.since(*at) < patience {
                return true;
            }
            let removed = remove(dir, who);
            match removed {
                Ok(true) => info!(spool = %dir.display(), "removed"),
                Ok(false) => {
                    info!(spool = %dir.display(), "in use again");
                    *known = SpoolWork::default();
                }
                Err(ref e) => {
                    error!(spool = %dir.display(), "it could not be removed: {e}");
                    known.ended = Some(Ended::Failed);
                }
            }
            !matches!(removed, Ok(true))
        });
    }

    /// Has all processes end. What they have not sent stays.
    async fn stop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        for pid in self.spools.values().filter_map(|known| known.running) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended in this moment.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                self.apply(ended);
            }
        };
        let _ = tokio::time::timeout(STOP_PATIENCE, all).await;
    }

    fn code(&self) -> ExitCode {
        let ended = |what| self.spools.values().any(|known| known.ended == Some(what));
        // A spool that was found beside others may be in use; one that was named may not.
        let in_use = self
            .args
            .spools
            .iter()
            .any(|dir| self.spools.get(dir).is_some_and(|known| known.ended == Some(Ended::InUse)));
        let running = self.spools.values().any(|known| known.running.is_some());
        if ended(Ended::Failed) {
            Ended::Failed.into()
        } else if ended(Ended::Left) || ended(Ended::Kept) || in_use || running {
            Ended::Left.into()
        } else {
            Ended::Done.into()
        }
    }
}

/// Adds the spools at and below a directory; nothing is followed, nothing in a spool looked at.
fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if fs::symlink_metadata(dir.join(IDENTITY)).is_ok() {
        found.push(dir.to_owned());
        return;
    }
    // What lies in a directory that a mount had for its spool is its owner's, and no spool that anybody else has made.
    let kept = open_dir(dir, OFlags::empty()).and_then(pinned::source);
    if !kept.is_ok_and(|source| source.is_none()) {
        return;
    }
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|_| depth > 0) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), depth - 1, found);
        }
    }
}

fn open_dir(dir: &Path, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Starts the process of a spool.
fn start(args: &RecoverArgs, dir: &Path) -> Result<Child, RecoverError> {
    let (spool, source) = judge(args, dir)?;
    let user = privileges::spool_user(&spool)?;
    // A spool of root is handed over, as a mount does.
    spool_owner::give_spool(&spool, dir, user)?;
    spool_owner::make_bucket(&source, user)?;
    let mut process = Command::new(std::env::current_exe()?);
    process.args(relaunch::arguments()).env(relaunch::TOLD.0, relaunch::TOLD.1).env(SPOOL_ENV, dir);
    process.env(SOURCE_ENV, source.url()).env(USER_ENV, user.to_string());
    // What a terminal sends comes from here.
    process.process_group(0).kill_on_drop(true);
    Ok(process.spawn()?)
}

/// A spool that may be recovered, and its source. All that is judged is of one directory, whatever takes its name
/// meanwhile; what is done with root's rights is done with that directory.
fn judge(args: &RecoverArgs, dir: &Path) -> Result<(OwnedFd, Source), RecoverError> {
    // The path that the user gave may lead over links; what was found may not.
    let is_named = args.spools.iter().any(|named| named == dir);
    let links = if is_named { OFlags::empty() } else { OFlags::NOFOLLOW };
    let spool = open_dir(dir, links).at("open", dir)?;
    let source = parse_source(dir, &Spool::source_of(&spool, dir)?)?;
    may_recover(args, dir, &source, fstat(&spool).at("stat", dir)?.st_uid)?;
    match pinned::source(&spool).at("read the source of", dir)? {
        Some(mounted) if mounted != source.url() => {
            let named = for_terminal(&source.url()).into_owned();
            Err(RecoverError::Altered { dir: dir.to_owned(), named, mounted })
        }
        _ => Ok((spool, source)),
    }
}

/// What a spool says of itself its owner can change. Root neither serves a folder that it names, nor writes, with
/// rights that its owner may not have, where nobody said that it may.
fn may_recover(args: &RecoverArgs, dir: &Path, source: &Source, owner: u32) -> Result<(), RecoverError> {
    let foreign = |why: String| Err(RecoverError::Foreign(dir.to_owned(), why));
    let is_below = |allowed: &Source| source.url().starts_with(&allowed.url());
    let url = for_terminal(&source.url()).into_owned();
    if !args.sources.is_empty() && !args.sources.iter().any(is_below) {
        return foreign(format!("it belongs to {url}, which --source does not name"));
    }
    if !rustix::process::geteuid().is_root() || owner == 0 {
        return Ok(());
    }
    match source {
        Source::Embedded { .. } => foreign(format!("it belongs to {url}, a folder of this machine")),
        Source::S3 { .. } if args.sources.is_empty() => {
            foreign(format!("it says that it belongs to {url}, and user {owner} could have made it say so"))
        }
        Source::S3 { .. } => Ok(()),
    }
}
