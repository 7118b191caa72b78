//! Data operations of a writer mount: append, truncate, fallocate, fsync.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handles::{Access, Handle, Opened};
use super::resent::written_before;
use super::{Answer, DEADLINE, Fs};
use crate::log_file::local_file::IsLog;
use crate::log_file::{LogFile, SpoolFile};
use crate::namespace::{Open, SetAttr};
use crate::settings::writer::{FsyncLevel, WhenFull};
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::{HandleId, NodeId, Origin, SpoolOffset};
use crate::upload::drop;

/// How long a write waits, under `drop-oldest`, for something that can be dropped.
const DROP_PATIENCE: Duration = Duration::from_secs(2);
/// How often a write that waits looks for room of which nobody tells it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A full disk is a full spool, whichever step found it.
pub(super) fn no_room(e: LocalError) -> FsError {
    if e.is_no_space() { FsError::NoSpace } else { e.into() }
}

/// Where a write is aimed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aim {
    /// The offset that the kernel gives it.
    pub offset: u64,
    /// O_APPEND: at the end, of which the kernel knows what it was when it asked last.
    pub append: bool,
    /// Through a mapping.
    pub mapped: bool,
}

impl From<u64> for Aim {
    fn from(offset: u64) -> Aim {
        Aim { offset, ..Aim::default() }
    }
}

impl Fs {
    /// Writes: at the end of a log, or where the handle's own last write ended; a write elsewhere makes it a whole
    /// file, to which is written where the offset points, as to a local file. Gives the number of bytes written. What
    /// was written through a mapping comes as whole pages, which nobody could append.
    pub fn write(self: &Arc<Self>, id: HandleId, aim: impl Into<Aim>, data: &[u8], origin: Origin) -> Answer<usize> {
        let aim = aim.into();
        let handle = match self.handles.get(id) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let log = match handle.what.log() {
            Ok(log) => log,
            Err(e) => return Answer::Now(Err(e)),
        };
        match (&handle.what, log) {
            (_, Some((.., Access { write: false, .. }))) => Answer::Now(Err(FsError::BadHandle)),
            (_, Some((log, file, access))) => match self.write_log(&handle, (&log, &file), aim, data, origin) {
                Ok(written) if access.sync => {
                    let fs = self.clone();
                    Answer::blocking(move || fs.sync_log(&log).map(|()| written))
                }
                Err(FsError::NoSpace)
                    if self.parts.disk.when_full != WhenFull::Error && !log.state().content().is_in_place() =>
                {
                    let (fs, handle) = (self.clone(), handle.clone());
                    let data = Bytes::copy_from_slice(data);
                    Answer::later(async move { fs.append_when_room(&handle, (&log, &file), aim, &data, origin).await })
                }
                other => Answer::Now(other),
            },
            (Handle::Local { id: node, local, .. }, None) => {
                let account = self.parts.disk.local_account(*node);
                match local.write((&self.parts.disk.budget, &account), aim.offset, data) {
                    Ok(written) => Answer::Now(written.map(|()| data.len())),
                    Err(IsLog) => self.write(id, aim, data, origin),
                }
            }
            (_, None) => Answer::Now(Err(FsError::BadHandle)),
        }
    }

    /// Appends to a log, or writes to a whole file, also to one that the log becomes by this.
    fn write_log(
        &self,
        handle: &Opened,
        (log, file): (&Arc<LogFile>, &SpoolFile),
        aim: Aim,
        data: &[u8],
        origin: Origin,
    ) -> Result<usize, FsError> {
        match self.append(handle, (log, file), aim, data, origin) {
            Err(FsError::Misplaced) => {
                self.make_whole_or_say(log)?;
                self.write_in_place(handle, log, (aim, origin), data)
            }
            done => done,
        }
    }

    /// The append path: count the room, write(2) on the spool file, tell the sealer.
    fn append(
        &self,
        handle: &Opened,
        (log, file): (&Arc<LogFile>, &SpoolFile),
        aim: Aim,
        data: &[u8],
        origin: Origin,
    ) -> Result<usize, FsError> {
        let serving = self.serving.read();
        if !*serving {
            return Err(FsError::Stopping);
        }
        let len = self.end_of(log, file)?;
        let session = self.parts.disk.spool.session();
        if let Some(from) = session.intended(origin)
            && let Some(written) = written_before(file, from, len, data).at("read", &log.path())?
        {
            handle.went_to(session, aim.offset.saturating_add(written as u64));
            self.parts.queues.touch(log);
            return Ok(written);
        }
        let base = {
            let mut state = log.state();
            let current = state.current();
            if aim.mapped || current.content.is_in_place() {
                return Err(FsError::Misplaced);
            }
            state.will_grow(len, || self.parts.ports.clock.now());
            current.at
        };
        if len.since(base) != aim.offset && !aim.append {
            if self.policy.strict_append {
                return Err(FsError::Invalid);
            }
            // Who goes on where its own last write ended has had its file truncated, or shares it.
            if !handle.goes_on_at(aim.offset) {
                return Err(FsError::Misplaced);
            }
        }
        let bytes = data.len() as u64;
        self.reserve(log, bytes)?;
        let written = session
            .intend(handle.place, origin, len, bytes)
            .map_err(FsError::from)
            .and_then(|()| self.append_reserved(log, file, data))
            .inspect_err(|_| self.parts.disk.give(log, bytes))?;
        self.parts.disk.give(log, bytes - written as u64);
        handle.went_to(session, aim.offset.saturating_add(written as u64));
        log.state().appended(written as u64, len.plus(written as u64));
        drop(serving);
        self.parts.queues.touch(log);
        Ok(written)
    }

    /// Reserves room in the spool. Where it is full, what can be reclaimed or dropped makes room.
    pub(super) fn reserve(&self, log: &LogFile, bytes: u64) -> Result<(), FsError> {
        let account = self.parts.disk.account(log);
        if self.parts.disk.budget.reserve(account, bytes).is_err() {
            drop::make_room(&self.parts, bytes).map_err(no_room)?;
            let budget = &self.parts.disk.budget;
            let reserved = if self.parts.disk.namespace.is_shared() {
                budget.reserve(account, bytes)
            } else {
                budget.reserve_whole(account, bytes)
            };
            reserved.map_err(|_| FsError::NoSpace)?;
        }
        Ok(())
    }

    /// Appends to the spool file. Gives how many bytes that were.
    fn append_reserved(&self, log: &LogFile, file: &SpoolFile, data: &[u8]) -> Result<usize, FsError> {
        let append = || file.append(data).at("append to", &log.path());
        match append() {
            Err(e) if e.is_no_space() => {
                // Others have taken what the spool counted on.
                self.parts.disk.budget.disk_is_full();
                drop::make_room(&self.parts, data.len() as u64).map_err(no_room)?;
                append().map_err(no_room)
            }
            written => written.map_err(no_room),
        }
    }

    /// Where the spool file ends, which is known while nobody but this process appends: the kernel makes one write
    /// after the other.
    fn end_of(&self, log: &LogFile, file: &SpoolFile) -> Result<SpoolOffset, FsError> {
        let known = log.state().known_end();
        match known {
            Some(end) => Ok(end),
            None => Ok(file.end().at("stat", &log.path())?),
        }
    }

    async fn append_when_room(
        &self,
        handle: &Opened,
        log: (&Arc<LogFile>, &SpoolFile),
        aim: Aim,
        data: &[u8],
        origin: Origin,
    ) -> Result<usize, FsError> {
        let mut progress = self.parts.queues.progress.subscribe();
        let room = async {
            loop {
                progress.borrow_and_update();
                match self.write_log(handle, log, aim, data, origin) {
                    Err(FsError::NoSpace) => {}
                    other => return other,
                }
                // Who fills the disk gives room back without telling us.
                let told = tokio::time::timeout(LOOK_AGAIN, progress.changed()).await;
                if told.is_ok_and(|told| told.is_err()) {
                    return Err(FsError::Stopping);
                }
            }
        };
        let patience = match self.parts.disk.when_full {
            // Something to give up is being sealed, or there is nothing: the writer is not held up.
            WhenFull::DropOldest => DROP_PATIENCE,
            // A little less than the deadline, so that the writer learns why.
            WhenFull::Block | WhenFull::Error => DEADLINE - Duration::from_secs(1),
        };
        tokio::time::timeout(patience, room).await.unwrap_or(Err(FsError::NoSpace))
    }

    /// Sets a file's size: of a log to 0 (a new generation), to what it is, and no other; an empty one becomes a whole
    /// file that long.
    pub fn set_size(&self, id: NodeId, size: u64, origin: Origin) -> Result<(), FsError> {
        match self.parts.disk.namespace.open(id)? {
            Open::Live(log) if log.state().content().is_in_place() => self.resize(&log, size),
            Open::Live(log) => {
                let same = self.parts.disk.namespace.attr(id)?.size;
                match size {
                    0 => self.truncate(&log, origin),
                    size if size == same => {
                        let now = self.parts.ports.clock.now();
                        let modified = SetAttr { modified: Some(now.into()), ..SetAttr::default() };
                        self.parts.disk.namespace.set_attr(id, modified, now).map(drop)
                    }
                    // It is no log yet.
                    size if same == 0 => self.make_whole(&log).and_then(|()| self.resize(&log, size)),
                    _ => Err(FsError::NotPermitted),
                }
            }
            Open::Local(local) => local.set_len((&self.parts.disk.budget, &self.parts.disk.local_account(id)), size),
            Open::Stored(_) => Err(FsError::NotPermitted),
            Open::Directory => Err(FsError::IsDirectory),
            Open::Symlink(_) => Err(FsError::Invalid),
        }
    }

    /// Truncates a live file to nothing: what is there will be sealed, and the next generation begins.
    pub(super) fn truncate(&self, log: &Arc<LogFile>, origin: Origin) -> Result<(), FsError> {
        let serving = self.serving.read();
        if !*serving {
            return Err(FsError::Stopping);
        }
        let content = self.content_of(log);
        if self.parts.disk.namespace.begin_generation(log.id, content, self.stamp(origin))? {
            self.parts.queues.touch(log);
            self.parts.tidy();
        }
        Ok(())
    }

    /// fallocate(2): room is not reserved for logs; making them longer is no append.
    pub fn allocate(&self, handle: HandleId, keep_size: bool, end: Option<u64>) -> Result<(), FsError> {
        let handle = self.handles.get(handle)?;
        match (&handle.what, handle.what.log()?) {
            (_, Some((log, ..))) if log.state().content().is_in_place() => self.allocate_in_place(&log, keep_size, end),
            (_, Some(_)) if keep_size => Ok(()),
            (_, Some(_)) => Err(FsError::Invalid),
            (Handle::Local { .. }, None) => Err(FsError::NotSupported),
            (_, None) => Err(FsError::BadHandle),
        }
    }

    /// fsync: bytes, name and folder on the spool's disk; under `--fsync=s3` confirmed by S3.
    pub fn fsync(self: &Arc<Self>, handle: HandleId) -> Answer<()> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let log = match handle.what.log() {
            Ok(log) => log,
            Err(e) => return Answer::Now(Err(e)),
        };
        match (&handle.what, log) {
            (_, Some((log, ..))) => {
                let fs = self.clone();
                Answer::later(async move {
                    let (worker, spooled) = (fs.clone(), log.clone());
                    let step = tokio::task::spawn_blocking(move || worker.sync_log(&spooled));
                    step.await.map_err(|_| FsError::TimedOut)??;
                    match fs.policy.fsync {
                        // It is uploaded when it is closed.
                        FsyncLevel::S3 if !log.state().content().is_in_place() => fs.wait_uploaded(&log).await,
                        FsyncLevel::Spool | FsyncLevel::S3 => Ok(()),
                    }
                })
            }
            (Handle::Local { id, file, .. }, None) => {
                let (fs, id, file) = (self.clone(), *id, file.clone());
                Answer::blocking(move || {
                    file.sync_all().at("sync", fs.parts.disk.spool.dir())?;
                    fs.parts.disk.namespace.make_durable(id)
                })
            }
            (Handle::Dir { id, .. }, None) => {
                let (fs, id) = (self.clone(), *id);
                Answer::blocking(move || fs.parts.disk.namespace.make_durable(id))
            }
            (Handle::Stored(_) | Handle::Live { .. }, None) => Answer::Now(Ok(())),
        }
    }

    fn sync_log(&self, log: &LogFile) -> Result<(), FsError> {
        // fdatasync(2) is of the file, whoever wrote to it.
        log.file()?.sync().at("sync", &log.path())?;
        self.parts.disk.namespace.make_durable(log.id)
    }

    /// Seals what is written now and waits until S3 has it. Fails, once, when something had to be quarantined since the
    /// last time: S3 does not have it.
    async fn wait_uploaded(&self, log: &Arc<LogFile>) -> Result<(), FsError> {
        let target = log.len()?;
        let mut progress = self.parts.queues.progress.subscribe();
        self.parts.queues.force(log);
        loop {
            progress.borrow_and_update();
            {
                let mut state = log.state();
                if state.sent_until(target) {
                    return if state.take_loss() { Err(FsError::Lost) } else { Ok(()) };
                }
            }
            progress.changed().await.map_err(|_| FsError::Stopping)?;
        }
    }
}
