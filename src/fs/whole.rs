//! Files that are written in place: whole files. A log becomes one by the first write that is neither at its end nor
//! where the handle's own last write ended, or by its name.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::handles::Opened;
use super::{Aim, Fs};
use crate::log_file::LogFile;
use crate::namespace::Open;
use crate::spool::record::Content;
use crate::types::errors::{AtPath, FsError};
use crate::types::ids::{NodeId, Origin, SpoolOffset};
use crate::upload::evict;

impl Fs {
    /// Makes a log a file that is written in place, with all its bytes. Invalid where the kernel appends to it, or some
    /// of its bytes are not here any more.
    pub(super) fn make_whole(&self, log: &LogFile) -> Result<(), FsError> {
        let _committing = log.committing();
        if log.state().content().is_in_place() {
            return Ok(());
        }
        if log.state().handles.has_unseen() {
            return Err(FsError::Invalid);
        }
        let size = log.len()?.since(log.state().current().at);
        self.count_whole(log, size)?;
        let now = self.parts.ports.clock.now();
        let made = self.parts.disk.namespace.begin_version(log, self.parts.disk.in_place(), now);
        made.inspect_err(|_| {
            self.parts.disk.count_whole(log, 0);
        })
    }

    /// A program writes elsewhere than at the end of a log: makes it a whole file, or says why that cannot be.
    pub(super) fn make_whole_or_say(&self, log: &LogFile) -> Result<(), FsError> {
        let why = "a program writes elsewhere than at the end of this log, which cannot become a whole file any more";
        self.make_whole(log).inspect_err(|e| self.say_refused(log, why, e))
    }

    /// Names a file that cannot be written in place: after 1, 2, 4, 8, ... such writes.
    fn say_refused(&self, log: &LogFile, why: &str, e: &FsError) {
        let count = log.state().count_misplaced();
        if count.is_power_of_two() {
            let path = self.parts.disk.path_of(log);
            warn!(%path, count, "{why}: refused: {e}");
        }
    }

    /// A log that is about to get the name of a whole file becomes one, if it can.
    pub(super) fn make_whole_by_name(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8])) {
        if let Some(Open::Live(log)) = self.parts.disk.namespace.live(from.0, from.1)
            && self.path_of(to.0, to.1).is_ok_and(|path| self.is_named_whole(&path))
            && let Err(e) = self.make_whole(&log)
        {
            let path = self.parts.disk.path_of(&log);
            warn!(%path, "this log stays one under the name of a whole file: {e}");
        }
    }

    /// What a file with that log's name is, when it begins anew.
    pub(super) fn content_of(&self, log: &LogFile) -> Content {
        let path = self.parts.disk.namespace.path(log.id).unwrap_or_default();
        if self.is_named_whole(&path) { self.parts.disk.in_place() } else { Content::Log }
    }

    /// Whether a file with that path is no log by its name.
    pub(super) fn is_named_whole(&self, path: &[u8]) -> bool {
        self.policy.routing.whole.glob_of(path).is_some()
    }

    /// O_TRUNC: a log begins another generation, and so does a file that is written in place, unless somebody else has
    /// it open: it is another file from then on, and what was in it is uploaded.
    pub(super) fn truncate_at_open(&self, log: &Arc<LogFile>, origin: Origin) -> Result<(), FsError> {
        let shared = log.state().content().is_in_place() && !log.state().handles.is_alone();
        if shared {
            return self.resize(log, 0);
        }
        self.truncate(log, origin)?;
        self.note_sources(log, origin);
        Ok(())
    }

    /// A file is closed: once all who wrote to it have done so, it is written.
    pub(super) fn end_writing(&self, log: &LogFile) -> Result<(), FsError> {
        let (current, writers) = {
            let state = log.state();
            (state.current(), state.handles.writers())
        };
        if writers == 0 {
            log.note_close(self.parts.ports.clock.monotonic());
        }
        if writers > 0 || !current.is_half_written {
            return Ok(());
        }
        self.parts.disk.namespace.note(log.id, current.at, |generation| generation.is_half_written = false)
    }

    /// fallocate(2) of a file that is written in place, up to `end` where it is plain.
    pub(super) fn allocate_in_place(
        &self,
        log: &Arc<LogFile>,
        keep_size: bool,
        end: Option<u64>,
    ) -> Result<(), FsError> {
        match end {
            // Room is counted when it is written to.
            Some(_) if keep_size => Ok(()),
            Some(end) => {
                let size = log.len()?.since(log.state().current().at);
                self.resize(log, end.max(size))
            }
            None => Err(FsError::NotSupported),
        }
    }

    /// Writes at a position, or at the end where that is asked for. Gives the number of bytes.
    pub(super) fn write_in_place(
        &self,
        handle: &Opened,
        log: &Arc<LogFile>,
        (aim, origin): (Aim, Origin),
        data: &[u8],
    ) -> Result<usize, FsError> {
        let serving = self.serving.read();
        if !*serving {
            return Err(FsError::Stopping);
        }
        self.before_change(log)?;
        let (base, len) = (log.state().current().at, log.len()?);
        let at = if aim.append { len } else { base.plus(aim.offset) };
        let end = at.0.checked_add(data.len() as u64).filter(|end| *end <= i64::MAX.cast_unsigned());
        let end = end.map(SpoolOffset).ok_or(FsError::TooLarge)?;
        let growth = end.since(len);
        self.reserve_whole(log, end.max(len).since(base), growth)?;
        if aim.append {
            // At a position, a write that comes again changes nothing.
            self.parts.disk.spool.session().intend(handle.place, origin, len, data.len() as u64)?;
        }
        let (start, file) = log.in_place()?;
        let written = file.write_all_at(data, at.since(start)).at("write", &log.path());
        if let Err(e) = written {
            self.recount(log)?;
            return Err(super::data::no_room(e));
        }
        log.state().changed(self.parts.ports.clock.now(), growth);
        drop(serving);
        self.parts.queues.touch(log);
        Ok(data.len())
    }

    /// Makes a file that is written in place as long as that.
    pub(super) fn resize(&self, log: &Arc<LogFile>, size: u64) -> Result<(), FsError> {
        let serving = self.serving.read();
        if !*serving {
            return Err(FsError::Stopping);
        }
        self.before_change(log)?;
        let (base, len) = (log.state().current().at, log.len()?);
        let end = base.0.checked_add(size).filter(|end| *end <= i64::MAX.cast_unsigned());
        let end = end.map(SpoolOffset).ok_or(FsError::TooLarge)?;
        let growth = end.since(len);
        self.reserve_whole(log, size, growth)?;
        let (start, file) = log.in_place()?;
        let resized = file.set_len(end.since(start)).at("truncate", &log.path());
        log.state().changed(self.parts.ports.clock.now(), growth);
        self.recount(log)?;
        drop(serving);
        self.parts.queues.touch(log);
        Ok(resized?)
    }

    /// What is sealed of the file counts no more, before it is changed; nor is it complete.
    fn before_change(&self, log: &LogFile) -> Result<(), FsError> {
        let is_open = |log: &LogFile| {
            let state = log.state();
            let current = state.current();
            let is_sealed = state.segments.iter().any(|s| s.range.start >= current.at);
            !is_sealed && current.is_half_written
        };
        if is_open(log) {
            return Ok(());
        }
        let _committing = log.committing();
        if is_open(log) {
            return Ok(());
        }
        let (now, content) = (self.parts.ports.clock.now(), log.state().content());
        let begun = self.parts.disk.namespace.begin_version(log, content, now);
        let why = "a whole file of which bytes are no longer in the spool cannot be changed";
        begun.inspect_err(|e| self.say_refused(log, why, e))
    }

    /// Reserves room in the spool and in the budget of whole files, in which the file is to have `size` bytes.
    fn reserve_whole(&self, log: &LogFile, size: u64, growth: u64) -> Result<(), FsError> {
        if growth == 0 {
            return Ok(());
        }
        self.count_whole(log, size)?;
        self.reserve(log, growth).inspect_err(|_| {
            self.parts.disk.count_whole(log, size - growth);
        })
    }

    /// Counts a file's size in the budget of whole files, unless that is exceeded, which is said once.
    fn count_whole(&self, log: &LogFile, size: u64) -> Result<(), FsError> {
        let before = log.whole_bytes.load(Ordering::Relaxed);
        let count = || {
            let then = self.parts.disk.count_whole(log, size);
            let is_shared = self.parts.disk.namespace.is_shared();
            if is_shared { then.is_fair() } else { then.is_within() }
        };
        if count() || size <= before {
            return Ok(());
        }
        // What S3 has of others makes room.
        if evict::reclaim_whole(&self.parts, size - before)? > 0 && count() {
            return Ok(());
        }
        self.parts.disk.count_whole(log, before);
        if !self.warned_of_whole.swap(true, Ordering::Relaxed) {
            let (path, max) = (self.parts.disk.path_of(log), self.parts.disk.budget.whole.max());
            warn!(%path, max, "whole files have as many bytes in the spool as they may (--whole-max): what makes one larger is refused; this is said once");
        }
        Err(FsError::NoSpace)
    }

    /// Counts what is there, after a change that may have been made in part.
    fn recount(&self, log: &LogFile) -> Result<(), FsError> {
        let len = log.len()?;
        let mut state = log.state();
        let base = state.current().at;
        self.parts.disk.count(self.parts.disk.account(log), &mut state, len);
        drop(state);
        self.parts.disk.count_whole(log, len.since(base));
        Ok(())
    }
}
