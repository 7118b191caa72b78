//! A daemon without a mount: the parts, the file system and the tasks, put together as the program does it, over a
//! bucket in memory and on a spool in a temporary folder.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use logsinkfs::fs::Answer;
use logsinkfs::fs::names::Creator;
use logsinkfs::fs::{Access, Fs, chores};
use logsinkfs::log_file::LogFile;
use logsinkfs::namespace::{Attr, Open};
use logsinkfs::settings::writer::Settings;
use logsinkfs::spool::backing::{BackingError, Backings};
use logsinkfs::spool::{NodeFile, Spool, SpoolError};
use logsinkfs::types::clock::Clock;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::{BackingId, HandleId, NodeId, Origin, SessionId, SpoolOffset, WriterId};
use logsinkfs::types::time::FileTime;
use logsinkfs::upload::parts::Parts;
use logsinkfs::upload::registrar::Registrar;
use logsinkfs::upload::uploader::Pace;
use logsinkfs::upload::{evict, sealer, uploader};
use logsinkfs::worker::{compose, stop};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::TestClock;
use super::faulty::Faulty;
use super::image::Image;
use super::memory::MemoryBucket;

/// Longest wait, in virtual time, for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(3600);
/// How often a condition is looked at that nobody announces; virtual as well.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a test in virtual time: it passes only when every task waits for it. One blocking thread, so that steps on the
/// disk happen one after the other and an image falls between two of them.
pub fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).max_blocking_threads(1);
    runtime.build().unwrap().block_on(test);
}

/// Waits for an answer of the file system.
pub async fn answer<T>(answer: Answer<T>) -> Result<T, FsError> {
    match answer {
        Answer::Now(result) => result,
        Answer::Later(wait) => wait.await,
    }
}

/// What is outside of a daemon and outlives it, and what it is told.
pub struct World {
    pub clock: Arc<TestClock>,
    pub bucket: Arc<Faulty<MemoryBucket>>,
    pub settings: Settings,
    pub kernel: Arc<Registered>,
    /// How many handles there may be, where that is not the process's limit.
    pub handles_max: Option<u64>,
    /// How many nodes of stored objects the kernel may know, where that is not the usual number.
    pub nodes_max: Option<usize>,
}

/// Spool files that are registered with a kernel that is not there.
#[derive(Default)]
pub struct Registered {
    nodes: Mutex<BTreeSet<NodeId>>,
    /// Asked for like a keeper, so that there are spare ones.
    pub is_remote: AtomicBool,
}

impl Registered {
    /// As if the worker had died before it could say that the last handle was closed.
    pub fn register_again(&self, node: NodeId) {
        self.nodes.lock().unwrap().insert(node);
    }

    /// The nodes that are registered now.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.lock().unwrap().iter().copied().collect()
    }
}

impl Backings for Registered {
    fn register(&self, node: NodeId, _: SpoolOffset) -> Result<BackingId, BackingError> {
        self.nodes.lock().unwrap().insert(node);
        Ok(BackingId(u32::try_from(node.0).unwrap()))
    }

    fn is_remote(&self) -> bool {
        self.is_remote.load(Ordering::Relaxed)
    }

    fn unregister(&self, node: NodeId) {
        assert!(self.nodes.lock().unwrap().remove(&node), "{node} is not registered");
    }

    fn registered(&self) -> Vec<NodeId> {
        self.nodes()
    }
}

/// The prefix of all keys in these tests. The session of the first mount with a spool, and that of the next.
const MOUNT: &str = "5e55";
const NEXT_MOUNT: &str = "a11e";
pub const PREFIX: &str = "logs/";

impl World {
    /// An empty bucket, and settings with which nothing is sealed but by the rule that a test is about.
    pub fn new() -> World {
        World {
            clock: Arc::new(TestClock::start()),
            bucket: Arc::new(Faulty::new(MemoryBucket::new(1000))),
            settings: super::settings::settings(),
            kernel: Arc::default(),
            handles_max: None,
            nodes_max: None,
        }
    }

    /// Starts a daemon with an empty spool.
    pub fn boot(&self) -> Daemon {
        self.boot_from(&Image::default())
    }

    /// Starts a daemon with a copy of a spool.
    pub fn boot_from(&self, image: &Image) -> Daemon {
        self.try_boot_from(image).unwrap()
    }

    /// Starts a daemon with a copy of a spool that may be refused.
    pub fn try_boot_from(&self, image: &Image) -> Result<Daemon, SpoolError> {
        let daemon = self.recover(image)?;
        Ok(self.start(daemon))
    }

    /// Starts a daemon with a spool that a program has copied file by file.
    pub fn boot_copy(&self, image: &Image) -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        image.copy_to(dir.path());
        self.start(self.recover_in(dir).unwrap())
    }

    /// Recovers a spool and starts nothing.
    pub fn recover(&self, image: &Image) -> Result<Daemon, SpoolError> {
        let dir = tempfile::tempdir().unwrap();
        image.lay_out(dir.path());
        self.recover_in(dir)
    }

    /// Recovers the spool in a directory and starts nothing.
    pub fn recover_in(&self, dir: TempDir) -> Result<Daemon, SpoolError> {
        self.serve(dir, None)
    }

    /// Starts a daemon with the spool that lies in a folder of that name.
    pub fn try_boot_in(&self, dir: TempDir, name: &str) -> Result<Daemon, SpoolError> {
        let path = dir.path().join(name);
        let daemon = self.serve_at(dir, path, None)?;
        Ok(self.start(daemon))
    }

    /// The first worker of a session, with files that the kernel may append to.
    pub fn boot_worker(&self) -> Daemon {
        let daemon = self.serve(tempfile::tempdir().unwrap(), Some((MOUNT, false))).unwrap();
        self.start(daemon)
    }

    /// The next worker of the session: the one before is killed, the mount and what it has open go on.
    pub async fn next_worker(&self, before: Daemon) -> Daemon {
        let daemon = self.serve(before.kill().await, Some((MOUNT, true))).unwrap();
        self.start(daemon)
    }

    /// A daemon with the spool of one that was killed with its mount, in the same place.
    pub async fn next_mount(&self, before: Daemon) -> Daemon {
        let daemon = self.serve(before.kill().await, Some((NEXT_MOUNT, false))).unwrap();
        self.start(daemon)
    }

    fn serve(&self, dir: TempDir, session: Option<(&str, bool)>) -> Result<Daemon, SpoolError> {
        let path = dir.path().to_owned();
        self.serve_at(dir, path, session)
    }

    fn serve_at(&self, dir: TempDir, path: PathBuf, session: Option<(&str, bool)>) -> Result<Daemon, SpoolError> {
        let name = self.settings.spool.writer_name.clone();
        let mut spool = Spool::open(&path, &self.settings.spool.source.url(), &name, new_writer)?;
        if let Some((id, resumed)) = session {
            spool.begin_session(&SessionId(id.to_owned()), resumed).unwrap();
        }
        let backings = session.map(|_| self.kernel.clone() as Arc<dyn Backings>);
        let (bucket, clock) = (self.bucket.clone(), self.clock.clone());
        let parts = Arc::new(compose::recover_parts(&self.settings.spool, spool, bucket, clock).unwrap());
        let runtime = tokio::runtime::Handle::current();
        let mut policy = compose::policy(&self.settings);
        policy.handles_max = self.handles_max.unwrap_or(policy.handles_max);
        policy.nodes_max = self.nodes_max.unwrap_or(policy.nodes_max);
        let fs = Arc::new(Fs::new(parts.clone(), policy, runtime, backings));
        let (stop, pace) = (watch::Sender::new(false), watch::Sender::new(Pace::Normal));
        let (clock, tasks) = (self.clock.clone(), JoinSet::new());
        Ok(Daemon { fs, parts, clock, pace, stop, tasks, dir })
    }

    /// Starts the tasks of a daemon that has recovered.
    pub fn start(&self, mut daemon: Daemon) -> Daemon {
        let parts = daemon.parts.clone();
        compose::resume(&parts);
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let registrar = Registrar {
            instance: format!("start-{}", STARTS.fetch_add(1, Ordering::Relaxed)),
            host: "host".into(),
            pod: None,
            new_writer,
        };
        daemon.tasks.spawn(chores::run(parts.clone(), daemon.stop.subscribe()));
        daemon.tasks.spawn(sealer::run(parts.clone(), daemon.stop.subscribe()));
        daemon.tasks.spawn(uploader::run(parts, registrar, daemon.pace.subscribe()));
        daemon
    }
}

/// Writer ids that differ, and are the same in each run of one test.
fn new_writer(readable: &str) -> WriterId {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut rest = NEXT.fetch_add(1, Ordering::Relaxed);
    WriterId::compose(readable, |bound| {
        let digit = rest % bound;
        rest /= bound;
        digit
    })
}

/// An open log.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub id: NodeId,
    pub handle: HandleId,
}

pub const WRITE: Access =
    Access { read: false, write: true, append: true, sync: false, exclusive: false, truncate: false };
const READ: Access = Access { read: true, write: false, append: false, sync: false, exclusive: false, truncate: false };
pub const ONCE: Origin = Origin { unique: 0, resent: false, thread: 0 };
pub const BY: Creator = Creator { mode: 0o644, uid: 0, gid: 0 };

/// A daemon and its spool.
pub struct Daemon {
    pub fs: Arc<Fs>,
    pub parts: Arc<Parts>,
    clock: Arc<TestClock>,
    pace: watch::Sender<Pace>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    dir: TempDir,
}

impl Daemon {
    /// Opens a log to append to it, making it and the directories above it when they are not there.
    pub fn open(&self, path: &str) -> Log {
        self.try_open(path).unwrap()
    }

    /// Opens a log, which may be refused.
    pub fn try_open(&self, path: &str) -> Result<Log, FsError> {
        self.try_open_as(path, WRITE)
    }

    /// Opens a file to write anywhere in it, without O_APPEND.
    pub fn open_in_place(&self, path: &str) -> Log {
        self.try_open_as(path, Access { append: false, ..WRITE }).unwrap()
    }

    /// Writes at a position.
    pub fn write_at(&self, log: Log, offset: u64, text: impl AsRef<[u8]>) {
        let bytes = text.as_ref();
        match self.fs.write(log.handle, offset, bytes, ONCE) {
            Answer::Now(written) => assert_eq!(written.unwrap(), bytes.len()),
            Answer::Later(_) => panic!("a write waits"),
        }
    }

    /// Opens a log with O_TRUNC, which may be refused.
    pub fn try_open_anew(&self, path: &str) -> Result<Log, FsError> {
        self.try_open_as(path, Access { truncate: true, ..WRITE })
    }

    fn try_open_as(&self, path: &str, access: Access) -> Result<Log, FsError> {
        let (parent, name) = self.place(path);
        let (entry, handle, _) = self.fs.create(parent, name.as_bytes(), BY, access, ONCE)?;
        Ok(Log { id: entry.attr.id, handle })
    }

    /// The directory of a path, made when it is not there, and the name in it.
    pub fn place<'a>(&self, path: &'a str) -> (NodeId, &'a str) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut parent = NodeId::ROOT;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            let made = self.fs.mkdir(parent, part.as_bytes(), BY, ONCE);
            parent = match made {
                Ok(entry) => entry.attr.id,
                Err(FsError::Exists) => self.child(parent, part).unwrap().id,
                Err(e) => panic!("{path}: {e}"),
            };
        }
        (parent, name)
    }

    fn child(&self, parent: NodeId, name: &str) -> Result<Attr, FsError> {
        let attr = self.parts.disk.namespace.lookup(parent, name.as_bytes())?;
        self.parts.disk.namespace.forget(attr.id, 1);
        Ok(attr)
    }

    /// Attributes of a path, when it is in the live view.
    pub fn stat(&self, path: &str) -> Option<Attr> {
        let mut parts = path.split('/').map(|part| part.to_owned());
        let first = self.child(NodeId::ROOT, &parts.next()?).ok()?;
        parts.try_fold(first, |at, part| self.child(at.id, &part).ok())
    }

    /// Appends to a log; the kernel's clock, which dates the spool file, follows the test's.
    pub fn append(&self, log: Log, text: impl AsRef<[u8]>) {
        self.try_append(log, text.as_ref()).unwrap();
    }

    /// Appends to a log what may be refused.
    pub fn try_append(&self, log: Log, bytes: &[u8]) -> Result<(), FsError> {
        let offset = self.fs.getattr(log.id)?.size;
        match self.fs.write(log.handle, offset, bytes, ONCE) {
            Answer::Now(written) => assert_eq!(written?, bytes.len()),
            Answer::Later(_) => panic!("an append waits"),
        }
        let now = FileTime::from(self.clock.now());
        self.log(log).file().unwrap().set_modified(now.into()).unwrap();
        Ok(())
    }

    /// Closes a log.
    pub fn close(&self, log: Log) {
        self.fs.release(log.handle, ONCE).unwrap();
    }

    /// Truncates a log to nothing.
    pub fn truncate(&self, log: Log) {
        self.fs.set_size(log.id, 0, ONCE).unwrap();
    }

    /// Takes a log's name away.
    pub fn unlink(&self, path: &str) {
        let (parent, name) = self.place(path);
        self.fs.unlink(parent, name.as_bytes(), ONCE).unwrap();
    }

    /// Renames a log, over another one if there is one.
    pub async fn rename(&self, from: &str, to: &str) {
        let (from, to) = (self.place(from), self.place(to));
        let names = ((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()));
        answer(self.fs.rename(names.0, names.1, true, ONCE)).await.unwrap();
    }

    /// Reads a whole file of the view.
    pub async fn read(&self, id: NodeId) -> Result<Vec<u8>, FsError> {
        let (handle, _) = self.fs.open(id, READ, ONCE)?;
        let mut bytes = Vec::new();
        let result = loop {
            match answer(self.fs.read(handle, bytes.len() as u64, 64 << 10)).await {
                Ok(piece) if piece.is_empty() => break Ok(()),
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(e) => break Err(e),
            }
        };
        self.fs.release(handle, ONCE)?;
        result.map(|()| bytes)
    }

    /// The life behind an open log.
    pub fn log(&self, log: Log) -> Arc<LogFile> {
        match self.parts.disk.namespace.open(log.id).unwrap() {
            Open::Live(log) => log,
            other => panic!("{log:?} is {other:?}"),
        }
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, done: impl Fn(&Parts) -> bool) {
        let mut progress = self.parts.queues.progress.subscribe();
        let wait = async {
            loop {
                progress.borrow_and_update();
                if done(&self.parts) {
                    return;
                }
                let _ = tokio::time::timeout(LOOK, progress.changed()).await;
            }
        };
        let end = tokio::time::timeout(PATIENCE, wait).await;
        assert!(end.is_ok(), "it never came to this: {what}");
    }

    /// Asserts that what is said of logs' ranges (unsent, uploaded, quarantined, dropped) is what the spool says. For
    /// moments in which nothing is under way.
    pub fn assert_account(&self) {
        let logs = self.parts.disk.namespace.logs();
        let said: BTreeSet<String> = logs
            .iter()
            .flat_map(|log| {
                let markers: Vec<_> = log.state().segments.iter().collect();
                markers.into_iter().map(|marker| format!("{}.{marker}", log.id))
            })
            .collect();
        let mut kept = BTreeSet::new();
        for entry in std::fs::read_dir(self.parts.disk.spool.nodes()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            match NodeFile::parse(&name) {
                // Those of removed logs go behind the operation.
                Some((node, NodeFile::Marker(_))) if logs.iter().any(|log| log.id == node) => {
                    kept.insert(name);
                }
                _ => {}
            }
        }
        assert_eq!(said, kept, "what is said of segments, and what the spool has");
    }

    /// Has everything sealed that is written now, and waits until S3 has it or it was quarantined.
    pub async fn flush(&self) {
        self.seal_all();
        self.until("nothing is unsent", |parts| parts.disk.unsent() == 0).await;
    }

    /// Asks for everything to be sealed that is written now.
    pub fn seal_all(&self) {
        for log in self.parts.disk.namespace.logs() {
            self.parts.queues.force(&log);
        }
    }

    /// Waits until no byte is without a seal.
    pub async fn sealed(&self) {
        self.until("everything is sealed", |parts| {
            let sealed = |log: &Arc<LogFile>| {
                let len = log.len().unwrap();
                len <= log.state().sealed_end()
            };
            parts.disk.namespace.logs().iter().all(sealed)
        })
        .await;
    }

    /// Waits until the spool has no node left.
    pub async fn emptied(&self) {
        self.until("the spool has no node left", |parts| {
            fs::read_dir(parts.disk.spool.nodes()).unwrap().next().is_none()
        })
        .await;
    }

    /// Frees the room of everything that S3 has.
    pub fn reclaim_all(&self) -> u64 {
        evict::reclaim(&self.parts, u64::MAX).unwrap()
    }

    /// Takes finished logs out of the view, as the daemon does now and then.
    pub fn retire(&self) {
        evict::retire_finished(&self.parts);
    }

    /// The spool as a kill at this moment would leave it: between two steps on the disk.
    pub fn image(&self) -> Image {
        let (sender, image) = std::sync::mpsc::channel();
        let dir = self.parts.disk.spool.dir().to_owned();
        // The one blocking thread does nothing else meanwhile, and this thread waits.
        tokio::task::spawn_blocking(move || sender.send(Image::take(&dir)));
        image.recv().unwrap()
    }

    /// The spool as it is, for whoever knows that nobody works on it at the moment.
    pub fn image_in_place(&self) -> Image {
        Image::take(self.dir.path())
    }

    /// Ends the tasks wherever they wait.
    pub async fn stop_tasks(&mut self) {
        self.tasks.shutdown().await;
    }

    /// The spool's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the daemon, and leaves the spool where it is.
    async fn kill(mut self) -> TempDir {
        self.stop_tasks().await;
        let Daemon { fs, parts, dir, .. } = self;
        // Steps on the disk that were under way end.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        drop((fs, parts));
        dir
    }

    /// Kills the daemon. What it left on the disk is all that there is of it.
    pub fn crash(self) -> Image {
        self.image()
    }

    /// Stops the daemon as a signal does. What it leaves on the disk is all that there is of it.
    pub async fn shut_down(mut self) -> Image {
        self.stop().await;
        self.image()
    }

    /// Has everything uploaded and ends the tasks.
    pub async fn stop(&mut self) {
        self.pace.send_replace(Pace::Stopping);
        stop::drain(&self.fs).await;
        self.stop.send_replace(true);
        self.pace.send_replace(Pace::Stopped);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Changes bytes of a log's spool file behind the daemon's back.
    pub fn scribble(&self, log: Log, at: u64, bytes: &[u8]) {
        let path = self.log(log).path();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }
}
