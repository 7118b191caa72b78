//! Drives a daemon and the reference side by side, step by step, through crashes at any crash point.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{ThreadId, current};
use std::time::Duration;

use super::watch::watch;
use logsinkfs::format::naming::Form;
use logsinkfs::namespace::Open;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::WriterId;
use logsinkfs::types::time::Utc;

use super::check::generations;
use super::daemon::{Daemon, Log, World};
use super::faulty::{Fault, Op};
use super::image::Image;
use super::logs::{Logs, NAMES, Step};

/// Long enough for everything that is under way, shorter than every timer.
const MOMENT: Duration = Duration::from_millis(1);

/// A daemon, and what it has accepted.
pub struct Driver {
    pub world: Arc<World>,
    pub logs: Logs,
    daemon: Option<Daemon>,
    open: HashMap<usize, Log>,
    taken: u64,
    trap: Arc<Trap>,
}

impl Driver {
    /// A daemon on a bucket of its own.
    pub fn new(form: Form) -> Driver {
        let mut world = World::new();
        world.settings.spool.segmenting.form = form;
        world.settings.spool.segmenting.rules.size = 1024;
        Driver::on(Arc::new(world))
    }

    /// A daemon with an empty spool on a bucket that others may use.
    pub fn on(world: Arc<World>) -> Driver {
        let daemon = Some(world.boot());
        let (logs, open, trap) = Default::default();
        Driver { world, logs, daemon, open, taken: 0, trap }
    }

    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// Waits until the daemon has nothing to do at once.
    pub async fn quiet(&self) {
        self.daemon().pass(MOMENT).await;
    }

    /// The log of a name, opened when it is not, and made when there is none.
    fn opened(&mut self, name: &'static str) -> Result<Log, FsError> {
        let known = self.logs.named(name).and_then(|file| self.open.get(&file).copied());
        known.map_or_else(|| self.daemon().try_open(name), Ok)
    }

    /// What there is when a step is made now.
    pub fn logs_after(&self, step: &Step, latest: Utc) -> Logs {
        let mut logs = self.logs.clone();
        logs.apply(step, latest);
        if let Step::Rename(from, to) = step
            && self.takes_stream(NAMES[*from], NAMES[*to])
        {
            logs.take_stream(NAMES[*to], latest);
        }
        logs
    }

    /// Whether a log takes the stream of the name that it gets: nothing of it was sealed, it was not renamed before,
    /// and there is such a stream.
    fn takes_stream(&self, from: &str, to: &str) -> bool {
        let Some(attr) = self.daemon().stat(from).filter(|_| from != to) else { return false };
        let log = match self.daemon().parts.disk.namespace.open(attr.id) {
            Ok(Open::Live(log)) => log,
            other => panic!("{from} is {other:?}"),
        };
        let sealed = log.state().is_bound();
        let own = log.stream().path == from.as_bytes();
        !sealed && own && self.daemon().parts.disk.streams.is_known(to.as_bytes())
    }

    /// Notes what a step has done.
    fn done(&mut self, step: &Step, log: Option<(&str, Log)>) {
        self.logs.apply(step, self.world.clock.latest());
        if let Some((file, log)) = log.and_then(|(name, log)| Some((self.logs.named(name)?, log))) {
            self.open.insert(file, log);
        }
    }

    fn close(&mut self, file: usize) {
        if let Some(log) = self.open.remove(&file) {
            self.daemon().close(log);
        }
    }

    /// Makes one step. A crash that was asked for may come before its end.
    pub async fn step(&mut self, step: &Step) {
        let trap = self.trap.clone();
        trap.state.lock().unwrap().heeded = true;
        let crashed = tokio::select! {
            biased;
            crashed = trap.sprung() => Some(crashed),
            () = async {
                // What applications do falls between two steps of the daemon.
                self.quiet().await;
                self.daemon().assert_account();
                self.act(step).await;
            } => None,
        };
        trap.state.lock().unwrap().heeded = false;
        if let Some(released) = crashed {
            let mut daemon = self.daemon.take().unwrap();
            let image = daemon.image_in_place();
            daemon.stop_tasks().await;
            drop(released);
            drop(daemon);
            self.start(&image);
        }
    }

    async fn act(&mut self, step: &Step) {
        match step {
            Step::Append(at, bytes) => {
                let (at, name) = (*at, NAMES[*at]);
                let Ok(log) = self.opened(name) else { return };
                let accepted = match self.daemon().try_append(log, bytes) {
                    Ok(()) => bytes.clone(),
                    // The log is there all the same.
                    Err(FsError::NoSpace) if self.taken > 0 => Vec::new(),
                    Err(e) => panic!("{e}"),
                };
                self.done(&Step::Append(at, accepted), Some((name, log)));
            }
            Step::Truncate(name) => {
                let name = NAMES[*name];
                let Ok(log) = self.opened(name) else { return };
                self.daemon().truncate(log);
                self.done(step, Some((name, log)));
            }
            Step::OpenAnew(name) => {
                let name = NAMES[*name];
                if let Some(file) = self.logs.named(name) {
                    self.close(file);
                }
                let Ok(log) = self.daemon().try_open_anew(name) else { return };
                self.done(step, Some((name, log)));
            }
            Step::Rename(from, to) => {
                if self.logs.named(NAMES[*from]).is_some() && from != to {
                    let after = self.logs_after(step, self.world.clock.latest());
                    self.daemon().rename(NAMES[*from], NAMES[*to]).await;
                    self.logs = after;
                }
            }
            Step::Unlink(name) => {
                if self.logs.named(NAMES[*name]).is_some() {
                    self.daemon().unlink(NAMES[*name]);
                    self.done(step, None);
                }
            }
            Step::Close(name) => {
                if let Some(file) = self.logs.named(NAMES[*name]) {
                    self.close(file);
                }
            }
            Step::FailNextPut => self.script(Fault::Before(Kind::Unreachable)),
            Step::LoseNextReply => self.script(Fault::After(Kind::Unreachable)),
            Step::Pass(seconds) => self.daemon().pass(Duration::from_secs(*seconds)).await,
            Step::ClockBack(seconds) => self.world.clock.jump_back(Duration::from_secs(*seconds)),
            Step::DiskFull(full) => self.fill(*full),
            Step::Flush => self.daemon().flush().await,
            Step::SealAll => {
                self.daemon().seal_all();
                self.daemon().sealed().await;
            }
            Step::Reclaim => {
                self.daemon().reclaim_all();
                self.check_reads().await;
            }
            Step::Crash => {
                let image = self.daemon.take().unwrap().crash();
                self.start(&image);
                self.check_reads().await;
            }
            Step::CrashAt(count) => self.trap.clone().set(*count),
            Step::Restart => {
                self.daemon.as_mut().unwrap().stop().await;
                let image = self.daemon.take().unwrap().crash();
                assert!(image.files(".sealed").is_empty(), "an orderly stop leaves nothing");
                self.start(&image);
                self.check_reads().await;
            }
        }
    }

    fn script(&self, fault: Fault) {
        self.world.bucket.script(Op::Put, ".segments/", 1, fault);
    }

    fn fill(&mut self, full: bool) {
        let budget = &self.daemon().parts.disk.budget;
        let others = budget.live.account(&b"others"[..].into());
        if full {
            let left = budget.available();
            budget.live.add(&others, left);
            self.taken += left;
        } else {
            budget.live.remove(&others, self.taken);
            self.taken = 0;
        }
    }

    fn start(&mut self, image: &Image) {
        self.trap.clear();
        self.open.clear();
        self.taken = 0;
        self.daemon = Some(self.world.boot_from(image));
    }

    /// Every log of the view reads as what was accepted since it was truncated last.
    pub async fn check_reads(&self) {
        for name in NAMES {
            match (self.daemon().stat(name), self.logs.content(name)) {
                (None, None) => {}
                (Some(attr), Some(content)) => {
                    assert_eq!(attr.size, content.len() as u64, "size of {name}");
                    assert_eq!(self.daemon().read(attr.id).await.unwrap(), content, "{name}");
                }
                (found, _) => panic!("{name} is {found:?} in the view"),
            }
        }
    }

    /// Has everything uploaded, and compares the bucket with what was accepted.
    pub async fn check_all_arrived(&mut self) {
        self.trap.clear();
        self.fill(false);
        self.check_reads().await;
        for file in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(file);
        }
        self.daemon().flush().await;
        let own = self.writer();
        let of_own = generations(&self.world).into_iter().filter(|g| g.writer == own).collect();
        self.logs.compare(of_own).unwrap_or_else(|differs| panic!("{differs}"));
        let quarantine = self.daemon().image().names("quarantine");
        assert!(quarantine.is_empty(), "{quarantine:?}");
    }

    /// The writer id of the daemon.
    pub fn writer(&self) -> WriterId {
        self.daemon().parts.disk.spool.identity().writer
    }
}

/// Where a daemon dies: it stops at a crash point, and does nothing more.
#[derive(Default)]
struct Trap {
    state: Mutex<State>,
    news: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    set: Set,
    /// Somebody waits for the death. Where two daemons live in one process, only then.
    heeded: bool,
}

#[derive(Default)]
enum Set {
    #[default]
    Off,
    /// Springs after so many crash points.
    On(usize),
    /// Dropped when the daemon may go on, unseen by anybody.
    Sprung(Sender<()>),
}

impl Trap {
    /// The daemon dies at the crash point after so many others. Steps that the test itself makes are not counted: they
    /// are over when the test goes on.
    fn set(self: Arc<Self>, count: usize) {
        self.state.lock().unwrap().set = Set::On(count);
        let test: ThreadId = current().id();
        watch(move |_| {
            let mut state = self.state.lock().unwrap();
            if current().id() == test || !state.heeded {
                return;
            }
            match &mut state.set {
                Set::On(0) => {
                    let (sender, goes_on) = channel();
                    state.set = Set::Sprung(sender);
                    drop(state);
                    self.news.notify_one();
                    let _ = goes_on.recv();
                }
                Set::On(left) => *left -= 1,
                Set::Off | Set::Sprung(_) => {}
            }
        });
    }

    fn clear(&self) {
        self.state.lock().unwrap().set = Set::Off;
    }

    /// Ends when the daemon has died; it goes on when what is given is dropped.
    async fn sprung(&self) -> Sender<()> {
        loop {
            {
                let mut state = self.state.lock().unwrap();
                match std::mem::take(&mut state.set) {
                    Set::Sprung(sender) => return sender,
                    other => state.set = other,
                }
            }
            self.news.notified().await;
        }
    }
}
