//! Fetches an object in chunks, several requests in flight, delivered in order. Owns the chunk size and the number of
//! requests, and what a failed request means to the reader.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{FutureExt, maybe_done};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

use crate::s3::bucket::Bucket;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::{FsError, LocalError};
use crate::types::stored_object::ObjectId;

/// Bytes asked of S3 first: the first line is soon there, and most small segments are one request.
const FIRST_PIECE: u64 = 1 << 20;
/// Bytes asked of S3 at once from there on: eight such requests are worth the 50 ms that each waits.
const PIECE: u64 = 4 << 20;
/// Requests at once, of all objects together. One object may have them all.
const AT_ONCE: usize = 8;
/// Pieces under way or held at once: what waits for the reader leaves no connection idle.
const PLACES: usize = 2 * AT_ONCE;

/// What is wrong with an object that cannot be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Damage {
    /// It was there when it was listed, and is gone or another one.
    #[error("its object is gone")]
    Gone,
    /// Its bytes are not what its name says.
    #[error("{0}")]
    Broken(String),
}

impl Damage {
    /// An error where `missing` of a segment's bytes have not come.
    pub fn of_missing(missing: u64, length: u64) -> Result<(), Unreadable> {
        let why = || Damage::Broken(format!("it holds {} of its {length} bytes", length.saturating_sub(missing)));
        if missing == 0 { Ok(()) } else { Err(Unreadable::Damaged(why())) }
    }
}

/// Why bytes could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unreadable {
    /// They cannot be had, today or tomorrow.
    #[error("damaged: {0}")]
    Damaged(Damage),
    /// S3 cannot be asked, or does not let us.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// They cannot be had now.
    #[error(transparent)]
    Object(FsError),
    /// The disk that they are unpacked to fails.
    #[error("{0}")]
    Local(Arc<LocalError>),
}

impl From<Unreadable> for FsError {
    fn from(why: Unreadable) -> FsError {
        match why {
            Unreadable::Damaged(damage) => FsError::Damaged(damage.to_string()),
            Unreadable::Bucket(e) => FsError::Bucket(e),
            Unreadable::Object(e) => e,
            Unreadable::Local(e) => FsError::Local(e),
        }
    }
}

/// A chunk of an object, and the place that it takes among all that are under way.
pub type Chunk = (Bytes, Option<OwnedSemaphorePermit>);

/// An object's bytes, one request after the other: for those who hold one chunk in memory and no more. Ends where no
/// more comes, whatever `size` says. With `etag`, an error of the kind `Changed` when the object is another one by now.
pub fn in_turn<'a>(
    bucket: &'a dyn Bucket,
    key: &'a str,
    size: u64,
    etag: Option<&'a str>,
) -> impl Stream<Item = Result<Chunk, BucketError>> + Send + 'a {
    let starts = std::iter::successors(Some(0), |at| Some(at + PIECE)).take_while(move |at| *at < size);
    let chunks = stream::iter(starts).then(move |at: u64| async move {
        let bytes = bucket.get_range(key, at..size.min(at + PIECE), etag).await?;
        Ok((bytes, None))
    });
    chunks.try_take_while(|(bytes, _): &Chunk| std::future::ready(Ok(!bytes.is_empty())))
}

/// Fetches chunks.
#[derive(Clone)]
pub struct RangeFetcher {
    bucket: Arc<dyn Bucket>,
    places: Arc<Semaphore>,
    gets: Arc<Semaphore>,
}

impl RangeFetcher {
    /// Asks nobody anything yet.
    pub fn new(bucket: Arc<dyn Bucket>) -> RangeFetcher {
        let (places, gets) = (Semaphore::new(PLACES), Semaphore::new(AT_ONCE));
        RangeFetcher { bucket, places: Arc::new(places), gets: Arc::new(gets) }
    }

    /// A range of an object, with an ETag of that one alone. Places are given in the order in which this is called, all
    /// those of one range together: what is asked for first never waits for what is asked for later.
    pub fn chunks(
        &self,
        object: ObjectId,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Chunk, Unreadable>> + Send + 'static {
        let RangeFetcher { bucket, places, gets } = self.clone();
        let object = Arc::new(object);
        let in_the_queue = cut(range).map(|range| {
            // A task that has done much would be sent to the end of its own queue, not of this one.
            let place = unconstrained(places.clone().acquire_owned());
            let mut place = Box::pin(maybe_done(place));
            let _ = place.as_mut().now_or_never();
            (range, place)
        });
        let in_the_queue: Vec<_> = in_the_queue.collect();
        let chunks = stream::iter(in_the_queue).map(move |(range, mut place)| {
            let (bucket, gets, object) = (bucket.clone(), gets.clone(), object.clone());
            async move {
                place.as_mut().await;
                let place = place.as_mut().take_output().and_then(Result::ok);
                let _get = gets.acquire().await;
                let bytes =
                    bucket.get_range(&object.key, range, object.etag.as_deref()).await.map_err(|e| match e.kind {
                        Kind::NotFound | Kind::Changed | Kind::Refused => Unreadable::Damaged(Damage::Gone),
                        _ => Unreadable::Bucket(e),
                    })?;
                Ok((bytes, place))
            }
        });
        // Who has a place asks.
        chunks.buffered(usize::MAX)
    }
}

fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let first = range.start..range.end.min(range.start + FIRST_PIECE);
    let later = (first.end..range.end).step_by(usize::try_from(PIECE).unwrap_or(usize::MAX));
    let later = later.map(move |begin| begin..range.end.min(begin + PIECE));
    std::iter::once(first).filter(|range| !range.is_empty()).chain(later)
}
