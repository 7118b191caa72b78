//! A listing in progress, page by page, for directory reads. Owns how long they wait for a page; requests are made by
//! `listing::lister`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::namespace::listing::{Listing, Page, Row};

/// Longest wait for a later page: what was shown in part is not ended as if it were whole.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);

/// How far a listing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub listing: Arc<Listing>,
    pub end: Option<Result<(), ()>>,
}

/// A whole listing as it comes in.
pub struct ListingPages {
    pub(super) progress: watch::Receiver<Progress>,
    /// Longest wait for the first page.
    pub(super) patience: Duration,
}

/// What happened since the last page.
pub enum PageEvent {
    /// These pages more, and whether they are the last.
    Pages(Vec<Page>, bool),
    /// All pages were given.
    End,
    /// S3 does not answer (in time).
    Failed,
}

impl ListingPages {
    /// A listing that is known.
    pub fn of(listing: Arc<Listing>) -> ListingPages {
        let (_, progress) = watch::channel(Progress { listing, end: Some(Ok(())) });
        ListingPages { progress, patience: Duration::ZERO }
    }

    /// What has come so far.
    pub(super) fn listing(&self) -> Arc<Listing> {
        self.progress.borrow().listing.clone()
    }

    /// Whether a name is one that `counts`; `None` when S3 does not answer (in time).
    pub(super) async fn has(&mut self, counts: impl Fn(&Row) -> bool) -> Option<bool> {
        let mut have = 0;
        loop {
            match self.more(have).await {
                PageEvent::Pages(pages, last) => {
                    let found = pages.iter().any(|page| page.iter().any(&counts));
                    if found || last {
                        return Some(found);
                    }
                    have += pages.len();
                }
                PageEvent::End => return Some(false),
                PageEvent::Failed => return None,
            }
        }
    }

    /// What comes after the first `have` pages. Waits briefly for the first page, longer for the others.
    pub async fn more(&mut self, have: usize) -> PageEvent {
        let patience = if have == 0 { self.patience } else { PAGE_PATIENCE };
        let more = |p: &Progress| p.end.is_some() || p.listing.pages().len() > have;
        match tokio::time::timeout(patience, self.progress.wait_for(more)).await {
            Ok(Ok(progress)) => match progress.listing.pages() {
                pages if pages.len() > have => PageEvent::Pages(pages[have..].to_vec(), progress.listing.is_whole()),
                _ if progress.end == Some(Ok(())) => PageEvent::End,
                _ => PageEvent::Failed,
            },
            Ok(Err(_)) | Err(_) => PageEvent::Failed,
        }
    }
}
