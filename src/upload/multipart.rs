//! One large range as one object, sent in parts that go in parallel. Owns one attempt: what an earlier one left
//! unfinished is aborted, parts are sent, and the upload is finished if all is as it was sealed, or aborted.
//! `upload::part_maker` makes the parts.
//!
//! A part that fails is sent again a few times; then the whole has failed, and who asked decides when to try anew.
//! Dropping the future ends it: nothing goes on being sent, but the upload stays unfinished at the service until the
//! next attempt for the key, or a lifecycle rule of the bucket, aborts it.
//!
//! Invariant: nothing is finished before the CRC-64/NVME of the bytes that were sent was found to be the sealed one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, error, info};

use super::backoff::backoff;
use super::part_maker::{Part, PartMaker, Source, is_intact};
use crate::format::naming::Form;
use crate::s3::bucket::{Bucket, Conditional, NewUpload, PartedUpload, StoredPart};
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::causes;
use crate::types::random;

/// Parts of one object that are ready or under way at once: as many as the uploader has PUTs.
const PARTS_AT_ONCE: u32 = 8;
/// The same for parts that are in files of their own: each takes room on the spool's disk.
const FILES_AT_ONCE: u32 = 4;
/// Tries of a part, and of the end of an upload; together they last some seconds.
const TRIES: u32 = 6;
/// For so many parts that arrived, one more try: the more is lost, the longer is worth waiting.
const PARTS_PER_TRY: usize = 100;
/// Most tries: together they last a minute or two.
const TRIES_MAX: u32 = 12;

/// Where parts are sent.
#[derive(Clone, Copy)]
pub struct PartsTarget<'a> {
    /// The bucket.
    pub bucket: &'a dyn Bucket,
    /// Has a permit for each PUT that may be under way in the mount; each part takes one, so that who asks holds none.
    pub puts: &'a Semaphore,
    /// What the service does with conditions.
    pub conditional: Conditional,
    /// Whether an earlier attempt may have stored the object: all bytes would be sent in vain.
    pub may_be_there: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentInParts {
    /// The bucket has the object, of so many bytes as they are stored.
    Stored(u64),
    /// The spool file holds other bytes by now than what was sealed.
    Damaged,
    /// It was not wanted any more.
    Unwanted,
}

/// Sends a range as one object under a key that has none. An error is of the kind that a PUT of the object would have
/// had: `Exists` when the key has an object, `Busy` when another write of the key was under way. Where finishing may
/// have been carried out although it failed, so says the kind, and the next attempt has to know it (`may_be_there`).
/// `still_wanted` is asked before each part, and before the end.
pub async fn put_in_parts(
    to: PartsTarget<'_>,
    object: &NewUpload,
    source: Source,
    still_wanted: impl Fn() -> bool + Sync,
) -> Result<SentInParts, BucketError> {
    if to.may_be_there {
        refuse_if_there(to.bucket, &object.key).await?;
    }
    abort_unfinished(to.bucket, &object.key).await?;
    let upload = to.bucket.begin_upload(object).await?;
    let at_once = if source.form == Form::Plain { PARTS_AT_ONCE } else { FILES_AT_ONCE };
    let rooms = Arc::new(Semaphore::new(at_once as usize));
    let sealed = source.crc64.clone();
    let sending = Sending { to, upload: &upload, still_wanted, rooms, at_once, arrived: AtomicUsize::new(0) };
    let ended = match sending.send_all(source).await {
        Ok(sent) => sending.finish_if_sound(sent, &sealed).await,
        Err(stop) => Err(stop),
    };
    let stop = match ended {
        Ok(size) => return Ok(SentInParts::Stored(size)),
        Err(stop) => stop,
    };
    if let Err(e) = to.bucket.abort_upload(&upload).await {
        // The next attempt tries it again.
        debug!("an upload in parts could not be aborted: {e}");
    }
    match stop {
        Stop::Damaged => {
            error!(key = %object.key, "the spool holds other bytes than what was sealed (written through a mapping, or a damaged disk)");
            Ok(SentInParts::Damaged)
        }
        Stop::Unwanted => Ok(SentInParts::Unwanted),
        Stop::Failed(e) => Err(e),
    }
}

/// Asks whether a key has an object, where that can be asked.
async fn refuse_if_there(bucket: &dyn Bucket, key: &str) -> Result<(), BucketError> {
    match bucket.head(key).await {
        Ok(_) => {
            let found = "found by a HEAD before the upload in parts";
            Err(BucketError::new(Kind::Exists, "CompleteMultipartUpload", key, found))
        }
        Err(e) if matches!(e.kind, Kind::NotFound | Kind::Denied) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Aborts what a daemon that died had begun for the key, so that its parts are not paid for. The key has the writer's
/// name in it, and a writer sends it once at a time. Where it may not be asked, the bucket's lifecycle does it.
async fn abort_unfinished(bucket: &dyn Bucket, key: &str) -> Result<(), BucketError> {
    let uploads = match bucket.unfinished_uploads(key).await {
        Err(e) if e.kind.is_outage() && !matches!(e.kind, Kind::Denied | Kind::Unsupported) => return Err(e),
        Err(e) => {
            debug!("unfinished uploads cannot be listed: {e}");
            return Ok(());
        }
        Ok(uploads) => uploads,
    };
    for upload in uploads {
        match bucket.abort_upload(&upload).await {
            Ok(()) => info!(key, "an unfinished upload of an earlier attempt was aborted"),
            Err(e) => debug!("an unfinished upload could not be aborted: {e}"),
        }
    }
    Ok(())
}

/// Why an upload is aborted.
enum Stop {
    Damaged,
    Unwanted,
    Failed(BucketError),
}

/// What was sent.
#[derive(Default)]
struct Sent {
    parts: Vec<StoredPart>,
    size: u64,
    crc64: Option<u64>,
}

/// An upload under way.
struct Sending<'a, W> {
    to: PartsTarget<'a>,
    upload: &'a PartedUpload,
    still_wanted: W,
    /// Has a permit for each part that may be ready or under way.
    rooms: Arc<Semaphore>,
    at_once: u32,
    arrived: AtomicUsize,
}

impl<W: Fn() -> bool + Sync> Sending<'_, W> {
    async fn send_all(&self, source: Source) -> Result<Sent, Stop> {
        let maker = PartMaker::new(source).map_err(|e| self.failed_here(e))?;
        let mut sending = FuturesUnordered::new();
        let mut making = Some(Box::pin(self.make(maker, 1)));
        let mut sent = Sent::default();
        loop {
            let may_make = making.is_some() && sending.len() < PARTS_AT_ONCE as usize;
            let made = async {
                match &mut making {
                    Some(making) => making.await,
                    None => Ok(None),
                }
            };
            tokio::select! {
                made = made, if may_make => {
                    making = None;
                    if let Some(((part, room), (maker, rooms))) = made? {
                        sending.push(self.send(part, room));
                        making = Some(Box::pin(self.make(maker, rooms)));
                    }
                }
                Some(stored) = sending.next(), if !sending.is_empty() => {
                    let (stored, size, crc64) = stored?;
                    self.arrived.fetch_add(1, Ordering::Relaxed);
                    sent.parts.push(stored);
                    sent.size += size;
                    sent.crc64 = sent.crc64.or(crc64);
                }
                else => break,
            }
        }
        sent.parts.sort_unstable_by_key(|part| part.number);
        Ok(sent)
    }

    /// Makes the next part when there is room for it; gives the maker back with the rooms that the part after it takes:
    /// where parts are in memory, there is one at a time.
    async fn make(
        &self,
        mut maker: PartMaker,
        rooms: u32,
    ) -> Result<Option<((Part, Option<OwnedSemaphorePermit>), (PartMaker, u32))>, Stop> {
        if !(self.still_wanted)() {
            return Err(Stop::Unwanted);
        }
        // The semaphore is never closed.
        let room = self.rooms.clone().acquire_many_owned(rooms).await.ok();
        let making = tokio::task::spawn_blocking(move || (maker.next(), maker));
        let (made, maker) = making.await.map_err(|e| self.failed_here(e))?;
        let Some(part) = made.map_err(|e| self.failed_here(e))? else { return Ok(None) };
        let rooms = if part.in_memory { self.at_once } else { 1 };
        Ok(Some(((part, room), (maker, rooms))))
    }

    /// Sends a part until it has arrived or failed too often.
    async fn send(
        &self,
        part: Part,
        _room: Option<OwnedSemaphorePermit>,
    ) -> Result<(StoredPart, u64, Option<u64>), Stop> {
        let mut failures = 0;
        loop {
            let put = {
                let _place = self.to.puts.acquire().await;
                self.to.bucket.put_part(self.upload, part.number, &part.payload).await
            };
            match put {
                Ok(stored) => return Ok((stored, part.payload.len(), part.crc64)),
                Err(e) => {
                    failures += 1;
                    self.wait_or_stop(failures, &e, &part).await?;
                }
            }
        }
    }

    /// Waits before the next try of a part, or says why there is none.
    async fn wait_or_stop(&self, failures: u32, e: &BucketError, part: &Part) -> Result<(), Stop> {
        let more = self.arrived.load(Ordering::Relaxed) / PARTS_PER_TRY;
        let tries = TRIES.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(TRIES_MAX);
        if may_pass(&e.kind) && failures < tries {
            debug!(part = part.number.0, failures, "a part could not be sent; it is tried again: {e}");
            tokio::time::sleep(backoff(failures, random::fraction())).await;
            return Ok(());
        }
        // The service refuses bytes that are not those of the checksum, and says so in many ways.
        let payload = part.payload.clone();
        let intact = tokio::task::spawn_blocking(move || is_intact(&payload)).await;
        Err(if intact.unwrap_or(true) { Stop::Failed(e.clone()) } else { Stop::Damaged })
    }

    async fn finish_if_sound(&self, sent: Sent, sealed: &str) -> Result<u64, Stop> {
        if sent.crc64.is_none_or(|crc64| format!("{crc64:016x}") != sealed) {
            return Err(Stop::Damaged);
        }
        if !(self.still_wanted)() {
            return Err(Stop::Unwanted);
        }
        if self.to.conditional == Conditional::Ignored {
            refuse_if_there(self.to.bucket, &self.upload.key).await.map_err(Stop::Failed)?;
        }
        self.finish(&sent.parts).await.map_err(Stop::Failed)?;
        Ok(sent.size)
    }

    /// Finishes the upload. After a try that may have been carried out, an object under the key, and an upload that is
    /// not there any more, may be our own success: then that try's error is given, and the next attempt looks.
    async fn finish(&self, parts: &[StoredPart]) -> Result<(), BucketError> {
        let mut lost: Option<BucketError> = None;
        for failures in 1.. {
            let e = match self.to.bucket.finish_upload(self.upload, parts).await {
                Ok(()) => return Ok(()),
                Err(e) => e,
            };
            // After a conflict, an upload has to be begun anew.
            if failures == TRIES || !may_pass(&e.kind) || e.kind == Kind::Busy {
                return Err(lost.unwrap_or(e));
            }
            debug!(failures, "an upload in parts could not be finished; it is tried again: {e}");
            if e.kind.may_have_arrived() {
                lost = Some(e);
            }
            tokio::time::sleep(backoff(failures, random::fraction())).await;
        }
        Ok(())
    }

    fn failed_here(&self, e: impl std::error::Error + Send + Sync + 'static) -> Stop {
        Stop::Failed(BucketError::new(Kind::Local, "UploadPart", &self.upload.key, causes(&e)).because(e))
    }
}

/// Whether the next try of the same request may succeed in a moment.
fn may_pass(kind: &Kind) -> bool {
    match kind {
        Kind::Unreachable
        | Kind::NoHost
        | Kind::Server
        | Kind::Throttled
        | Kind::Busy
        | Kind::Refused
        // Others are fetched, and the service's clock is followed.
        | Kind::Expired
        | Kind::Skewed => true,
        Kind::NotFound
        | Kind::Exists
        | Kind::Changed
        | Kind::NoBucket
        | Kind::Denied
        | Kind::NoCredentials
        | Kind::WrongRegion(_)
        | Kind::Encryption
        | Kind::Untrusted
        | Kind::Unsupported
        | Kind::Local => false,
    }
}
