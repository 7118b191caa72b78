//! Reads: from the spool, from S3 where bytes were reclaimed, from the bucket for stored objects.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::handles::Handle;
use super::{Answer, Fs};
use crate::format::naming::Phase;
use crate::log_file::{LogFile, SpoolFile};
use crate::types::errors::{AtPath, FsError};
use crate::types::ids::{HandleId, SpoolOffset, SpoolRange};

impl Fs {
    /// Reads; fewer bytes than asked only at the end.
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, size: u32) -> Answer<Bytes> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let log = match handle.what.log() {
            Ok(log) => log,
            Err(e) => return Answer::Now(Err(e)),
        };
        match (&handle.what, log) {
            (_, Some((log, file, _))) => match self.read_spool(&log, &file, offset, size) {
                Ok(Some(bytes)) => Answer::Now(Ok(bytes)),
                Ok(None) => {
                    let fs = self.clone();
                    Answer::later(async move { fs.read_reclaimed(&log, offset, size).await })
                }
                Err(e) => Answer::Now(Err(e)),
            },
            (Handle::Local { file, .. }, None) => {
                let mut bytes = vec![0; size as usize];
                let read = SpoolFile::from_start(file.clone()).read_at(&mut bytes, SpoolOffset(offset));
                Answer::Now(read.at("read", self.parts.disk.spool.dir()).map_err(Into::into).map(|n| {
                    bytes.truncate(n);
                    bytes.into()
                }))
            }
            (Handle::Stored(reader), None) => {
                if let Some(read) = reader.read_kept(offset, size) {
                    return Answer::Now(read);
                }
                let handle = handle.clone();
                Answer::later(async move {
                    match &handle.what {
                        Handle::Stored(reader) => reader.read(offset, size).await,
                        _ => Err(FsError::BadHandle),
                    }
                })
            }
            (Handle::Live { .. } | Handle::Dir { .. }, None) => Answer::Now(Err(FsError::IsDirectory)),
        }
    }

    /// Reads from the spool file; `None` when some of the range was reclaimed.
    fn read_spool(&self, log: &LogFile, file: &SpoolFile, offset: u64, size: u32) -> Result<Option<Bytes>, FsError> {
        let at = log.state().current().at.plus(offset);
        let mut bytes = vec![0; size as usize];
        let read = file.read_at(&mut bytes, at).at("read", &log.path())?;
        bytes.truncate(read);
        // Looked at after the read: a range that is reclaimed meanwhile has read as zeros.
        let end = at.plus(read as u64);
        let reclaimed = log.state().segments.is_reclaimed(SpoolRange { start: at, end });
        Ok((!reclaimed || read == 0).then(|| bytes.into()))
    }

    /// Reads piece by piece: from the spool what is there, from S3 what was reclaimed.
    async fn read_reclaimed(&self, log: &Arc<LogFile>, offset: u64, size: u32) -> Result<Bytes, FsError> {
        let mut bytes = Vec::with_capacity(size as usize);
        let at = log.state().current().at.plus(offset);
        let end = log.len()?.min(at.plus(u64::from(size)));
        let mut at = at;
        while at < end {
            let segment = log.state().segments.holding(at);
            let piece_end = segment.map_or(end, |s| s.range.end.min(end));
            if segment.is_some_and(|s| s.phase.is_dropped()) {
                // What is before the gap is read; a read that begins in it fails.
                return if bytes.is_empty() { Err(FsError::Dropped) } else { Ok(bytes.into()) };
            }
            let mut piece = vec![0; usize::try_from(piece_end.since(at)).unwrap_or(0)];
            match segment.filter(|s| s.phase == Phase::Reclaimed) {
                Some(name) => {
                    let restored = self.restorer.restore(log, &name).await?;
                    let within = at.since(name.range.start);
                    restored.read_exact_at(&mut piece, within).at("read", &log.path())?;
                }
                None => {
                    let read = log.file()?.read_at(&mut piece, at);
                    read.at("read", &log.path())?;
                    let now = log.state().segments.holding(at).map(|s| s.phase);
                    if now.is_some_and(|phase| !phase.is_here()) {
                        continue;
                    }
                }
            }
            bytes.extend_from_slice(&piece);
            at = piece_end;
        }
        Ok(bytes.into())
    }
}
