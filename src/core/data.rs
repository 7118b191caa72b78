//! Operations on bytes: open, read, append, truncate, fsync, close.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tracing::{info, warn};

use super::handles::{Access, Ahead, Handle, Mode};
use super::names::Creator;
use super::{Answer, DEADLINE, Fs};
use crate::local::life::Life;
use crate::local::namespace::{Open, StoredObject};
use crate::tasks::settle;
use crate::values::errors::{AtPath, FsError};
use crate::values::ids::{HandleId, NodeId, SpoolOffset};
use crate::values::naming::Phase;
use crate::values::settings::{FsyncLevel, WhenFull};

impl Fs {
    /// Opens a file.
    pub fn open(&self, id: NodeId, access: Access) -> Result<(HandleId, Mode), FsError> {
        match self.parts.namespace.hold(id, access.write)? {
            Open::Live(life) => match life.file() {
                Ok(file) => {
                    Ok((self.handles.add(Handle::Live { life, file, access }), Mode::Direct))
                }
                Err(e) => {
                    life.let_go(access.write);
                    Err(e.into())
                }
            },
            Open::Local(local) => match local.file() {
                Ok(file) => Ok((self.handles.add(Handle::Local { id, local, file }), Mode::Cached)),
                Err(e) => {
                    local.handles.fetch_sub(1, Ordering::AcqRel);
                    Err(e.into())
                }
            },
            Open::Stored(object) if access.write => self.open_over(id, &object),
            Open::Stored(object) => {
                let ahead = tokio::sync::Mutex::new(Ahead::default());
                Ok((self.handles.add(Handle::Stored { object, ahead }), Mode::Direct))
            }
            Open::Directory => Err(FsError::IsDirectory),
            Open::Symlink(_) => Err(FsError::Invalid),
        }
    }

    /// Opening a stored object's name for writing makes a live file that hides it. The kernel asked
    /// for the object's node, so it is told to look the name up again and finds the live one.
    fn open_over(&self, id: NodeId, object: &StoredObject) -> Result<(HandleId, Mode), FsError> {
        let attr = self.parts.namespace.attr(id)?;
        let path = self.parts.namespace.path(id)?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let parent = self.parts.namespace.parent(id);
        let by = Creator { mode: attr.mode, uid: attr.uid, gid: attr.gid };
        info!(key = %object.key, "a live file hides this object, which stays as it is");
        self.parts.namespace.hide(parent, name)?;
        match self.make_file(parent, name, by) {
            Ok(made) => self.parts.namespace.forget(made.id, 1),
            Err(FsError::Exists) => {}
            Err(e) => return Err(e),
        }
        Err(FsError::Stale)
    }

    /// Reads; fewer bytes than asked only at the end.
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, size: u32) -> Answer<Bytes> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        match &*handle {
            Handle::Live { life, file, .. } => match self.read_spool(life, file, offset, size) {
                Ok(Some(bytes)) => Answer::Now(Ok(bytes)),
                Ok(None) => {
                    let (fs, life) = (self.clone(), life.clone());
                    Answer::later(async move { fs.read_reclaimed(&life, offset, size).await })
                }
                Err(e) => Answer::Now(Err(e)),
            },
            Handle::Local { file, .. } => {
                let mut bytes = vec![0; size as usize];
                let read = Life::read_spool(file, SpoolOffset(offset), &mut bytes);
                Answer::Now(read.at("read", self.parts.spool.dir()).map_err(Into::into).map(|n| {
                    bytes.truncate(n);
                    bytes.into()
                }))
            }
            Handle::Stored { .. } => {
                let (fs, handle) = (self.clone(), handle.clone());
                Answer::later(async move {
                    match &*handle {
                        Handle::Stored { object, ahead } => {
                            fs.read_object(object, ahead, offset, size).await
                        }
                        _ => Err(FsError::BadHandle),
                    }
                })
            }
            Handle::Dir { .. } => Answer::Now(Err(FsError::IsDirectory)),
        }
    }

    /// Reads from the spool file; `None` when some of the range was reclaimed.
    fn read_spool(
        &self,
        life: &Life,
        file: &std::fs::File,
        offset: u64,
        size: u32,
    ) -> Result<Option<Bytes>, FsError> {
        let at = life.state().current().base.at.plus(offset);
        let mut bytes = vec![0; size as usize];
        let read = Life::read_spool(file, at, &mut bytes).at("read", life.folder())?;
        bytes.truncate(read);
        // Looked at after the read: a range that is reclaimed meanwhile has read as zeros.
        let state = life.state();
        let end = at.plus(read as u64);
        let before = state.segments.range(..=at).next_back();
        let reclaimed = before
            .into_iter()
            .chain(state.segments.range(at..end))
            .any(|(_, s)| s.phase == Phase::Reclaimed && s.end > at);
        Ok((!reclaimed || read == 0).then(|| bytes.into()))
    }

    /// Reads piece by piece: from the spool what is there, from S3 what was reclaimed.
    async fn read_reclaimed(
        &self,
        life: &Arc<Life>,
        offset: u64,
        size: u32,
    ) -> Result<Bytes, FsError> {
        let mut bytes = Vec::with_capacity(size as usize);
        let at = life.state().current().base.at.plus(offset);
        let end = life.len()?.min(at.plus(u64::from(size)));
        let mut at = at;
        while at < end {
            let segment = life.state().segment_at(at);
            let piece_end = segment.map_or(end, |s| s.range.end.min(end));
            let mut piece = vec![0; usize::try_from(piece_end.since(at)).unwrap_or(0)];
            match segment.filter(|s| s.phase == Phase::Reclaimed) {
                Some(name) => {
                    let restored = self.restorer.restore(life, &name).await?;
                    let within = at.since(name.range.start);
                    restored.read_exact_at(&mut piece, within).at("read", life.folder())?;
                }
                None => {
                    let read = Life::read_spool(&*life.file()?, at, &mut piece);
                    read.at("read", life.folder())?;
                    let now = life.state().segment_at(at).map(|s| s.phase);
                    if now == Some(Phase::Reclaimed) {
                        continue;
                    }
                }
            }
            bytes.extend_from_slice(&piece);
            at = piece_end;
        }
        Ok(bytes.into())
    }

    /// Writes: at the end of a live file wherever the offset points, at the offset in a local-only
    /// one. Gives the number of bytes written. What was written through a mapping (`mapped`) comes as
    /// whole pages, which nobody could append: a live file refuses it.
    pub fn write(
        self: &Arc<Self>,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        mapped: bool,
    ) -> Answer<usize> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        match &*handle {
            Handle::Live { access: Access { write: false, .. }, .. } => {
                Answer::Now(Err(FsError::BadHandle))
            }
            Handle::Live { life, .. } if mapped => {
                warn!(node = %life.id, "a program writes a log through a mapping: refused");
                Answer::Now(Err(FsError::NotPermitted))
            }
            Handle::Live { life, file, access } => match self.append(life, file, offset, data) {
                Ok(written) if access.sync => {
                    let fs = self.clone();
                    let life = life.clone();
                    Answer::blocking(move || fs.sync_life(&life).map(|()| written))
                }
                Err(FsError::NoSpace) if self.policy.when_full == WhenFull::Block => {
                    let (fs, handle) = (self.clone(), handle.clone());
                    let data = Bytes::copy_from_slice(data);
                    Answer::later(async move { fs.append_when_room(&handle, offset, &data).await })
                }
                other => Answer::Now(other),
            },
            Handle::Local { local, .. } => {
                let written = local.write(&self.parts.room, offset, data);
                Answer::Now(written.map(|()| data.len()))
            }
            Handle::Stored { .. } | Handle::Dir { .. } => Answer::Now(Err(FsError::BadHandle)),
        }
    }

    /// The append path: count the room, write(2) on the spool file, tell the sealer.
    fn append(
        &self,
        life: &Arc<Life>,
        mut file: &std::fs::File,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, FsError> {
        let serving = self.serving.read();
        if !*serving {
            return Err(FsError::Stopping);
        }
        let len = SpoolOffset(file.metadata().at("stat", life.folder())?.len());
        if len.since(life.state().current().base.at) != offset {
            if self.policy.strict_append {
                return Err(FsError::Invalid);
            }
            self.count_misplaced(life.id);
        }
        let bytes = data.len() as u64;
        if self.parts.room.take(bytes).is_err() {
            settle::reclaim(&self.parts, self.parts.room.to_reclaim().max(bytes))?;
            self.parts.room.take(bytes).map_err(|_| FsError::NoSpace)?;
        }
        let written = file.write(data).at("append to", life.folder()).map_err(|e| {
            self.parts.room.give(bytes);
            if e.is_no_space() { FsError::NoSpace } else { e.into() }
        })?;
        self.parts.room.give(bytes - written as u64);
        drop(serving);
        self.parts.touch(life);
        Ok(written)
    }

    async fn append_when_room(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
    ) -> Result<usize, FsError> {
        let Handle::Live { life, file, .. } = handle else { return Err(FsError::BadHandle) };
        let mut progress = self.parts.progress.subscribe();
        let room = async {
            loop {
                progress.borrow_and_update();
                match self.append(life, file, offset, data) {
                    Err(FsError::NoSpace) => {}
                    other => return other,
                }
                if progress.changed().await.is_err() {
                    return Err(FsError::Stopping);
                }
            }
        };
        // A little less than the deadline, so that the writer learns why.
        let patience = DEADLINE - std::time::Duration::from_secs(1);
        tokio::time::timeout(patience, room).await.unwrap_or(Err(FsError::NoSpace))
    }

    /// Sets a file's size: to 0 (a new generation), to what it is, and no other for live files.
    pub fn set_size(&self, id: NodeId, size: u64) -> Result<(), FsError> {
        match self.parts.namespace.open(id)? {
            Open::Live(life) => {
                let now = self.parts.namespace.attr(id)?.size;
                match size {
                    0 => {
                        let serving = self.serving.read();
                        if !*serving {
                            return Err(FsError::Stopping);
                        }
                        if self.parts.namespace.begin_generation(id, self.parts.clock.now())? {
                            self.parts.touch(&life);
                        }
                        Ok(())
                    }
                    size if size == now => Ok(()),
                    _ => Err(FsError::NotPermitted),
                }
            }
            Open::Local(local) => local.set_len(&self.parts.room, size),
            Open::Stored(_) => Err(FsError::NotPermitted),
            Open::Directory => Err(FsError::IsDirectory),
            Open::Symlink(_) => Err(FsError::Invalid),
        }
    }

    /// fallocate(2): room is not set aside for logs; making them longer is no append.
    pub fn allocate(&self, handle: HandleId, keep_size: bool) -> Result<(), FsError> {
        match &*self.handles.get(handle)? {
            Handle::Live { .. } if keep_size => Ok(()),
            Handle::Live { .. } => Err(FsError::Invalid),
            Handle::Local { .. } => Err(FsError::NotSupported),
            Handle::Stored { .. } | Handle::Dir { .. } => Err(FsError::BadHandle),
        }
    }

    /// fsync: bytes, name and folder on the spool's disk; under `--fsync=s3` confirmed by S3.
    pub fn fsync(self: &Arc<Self>, handle: HandleId) -> Answer<()> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        match &*handle {
            Handle::Live { life, .. } => {
                let (fs, life) = (self.clone(), life.clone());
                Answer::later(async move {
                    let (worker, spooled) = (fs.clone(), life.clone());
                    let step = tokio::task::spawn_blocking(move || worker.sync_life(&spooled));
                    step.await.map_err(|_| FsError::TimedOut)??;
                    match fs.policy.fsync {
                        FsyncLevel::Spool => Ok(()),
                        FsyncLevel::S3 => fs.wait_uploaded(&life).await,
                    }
                })
            }
            Handle::Local { id, file, .. } => {
                let (fs, id, file) = (self.clone(), *id, file.clone());
                Answer::blocking(move || {
                    file.sync_all().at("sync", fs.parts.spool.dir())?;
                    fs.parts.namespace.make_durable(id)
                })
            }
            Handle::Dir { id, .. } => {
                let (fs, id) = (self.clone(), *id);
                Answer::blocking(move || fs.parts.namespace.make_durable(id))
            }
            Handle::Stored { .. } => Answer::Now(Ok(())),
        }
    }

    fn sync_life(&self, life: &Life) -> Result<(), FsError> {
        life.file()?.sync_data().at("sync", life.folder())?;
        self.parts.namespace.make_durable(life.id)
    }

    /// Seals what is written now and waits until S3 has it. Fails, once, when something had to be set
    /// aside since the last time: S3 does not have it.
    async fn wait_uploaded(&self, life: &Arc<Life>) -> Result<(), FsError> {
        let target = life.len()?;
        let mut progress = self.parts.progress.subscribe();
        self.parts.force(life);
        loop {
            progress.borrow_and_update();
            {
                let mut state = life.state();
                let mut before = state.segments.range(..target);
                let unsent = before.any(|(_, s)| s.phase == Phase::Sealed);
                if state.sealed_end() >= target && !unsent {
                    return match std::mem::take(&mut state.set_aside) {
                        true => Err(FsError::Bucket("a segment was set aside, not sent".into())),
                        false => Ok(()),
                    };
                }
            }
            progress.changed().await.map_err(|_| FsError::Stopping)?;
        }
    }

    /// The last descriptor of an open file is closed.
    pub fn release(&self, handle: HandleId) -> Result<(), FsError> {
        let Some(handle) = self.handles.remove(handle) else { return Err(FsError::BadHandle) };
        match &*handle {
            Handle::Live { life, access, .. } => {
                life.let_go(access.write);
                self.parts.touch(life);
                Ok(())
            }
            Handle::Local { id, local, .. } => {
                local.handles.fetch_sub(1, Ordering::AcqRel);
                self.drop_local(*id)
            }
            Handle::Stored { .. } | Handle::Dir { .. } => Ok(()),
        }
    }
}
