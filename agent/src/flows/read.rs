//! Reading flow records: once, or as a follower.
//!
//! Entry points: [`Flows::read`], [`FlowCursor::next_page`]. A reader is a place in the ring, not a queue of
//! its own: however slow it is, it costs nothing, and what left the ring before it came is counted and
//! told to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    audit::{AuditRow, AuditTable},
    filter::FlowFilter,
    record::FlowRecord,
    ring::Ring,
};
use crate::metrics::Counter;

/// Records looked at under one lock, and at most in one page.
const PAGE: usize = 128;

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// Which records.
    pub filter: FlowFilter,
    /// Only the last so many of them. A follower that sets neither this nor `since` begins with what comes next.
    pub last: Option<usize>,
    /// Whether to go on with what comes next.
    pub follow: bool,
}

/// The flow records kept; a cheap handle.
#[derive(Clone, Debug)]
pub struct Flows(pub(super) Arc<Kept>);

/// What the collector task writes and readers read.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) ring: Mutex<Ring>,
    pub(super) audit: Mutex<AuditTable>,
    /// The ring's end, told to followers; closed when nothing will come any more.
    pub(super) end: watch::Receiver<u64>,
    pub(super) lost_by_followers: Counter,
}

/// Some records, and how many left the ring before they could be looked at.
#[derive(Debug, Default)]
pub struct Page {
    /// Records of any kind that this reader missed, before the ones below.
    pub lost: u64,
    /// Matching records, oldest first.
    pub records: Vec<FlowRecord>,
}

/// A reader's place.
#[derive(Debug)]
pub struct FlowCursor {
    kept: Arc<Kept>,
    filter: FlowFilter,
    next: u64,
    /// Where to stop; a follower does not.
    stop: Option<u64>,
    end: watch::Receiver<u64>,
}

impl Flows {
    /// A cursor over what `query` asks for.
    pub fn read(&self, query: FlowQuery) -> FlowCursor {
        let end = self.0.end.clone();
        let ring = self.0.ring();
        let next = match query.last {
            Some(count) => ring.start_of_last(count, &query.filter),
            None if query.follow && query.filter.since.is_none() => ring.end(),
            None => ring.first(),
        };
        let stop = (!query.follow).then(|| ring.end());
        drop(ring);
        FlowCursor { kept: self.0.clone(), filter: query.filter, next, stop, end }
    }

    /// What audit policies would have denied, most frequent first.
    pub fn audit(&self) -> Vec<AuditRow> {
        self.0.audit.lock().unwrap_or_else(PoisonError::into_inner).rows()
    }
}

impl Kept {
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlowCursor {
    /// The next page, never empty; a follower waits for it. `None` when there is no more.
    pub async fn next_page(&mut self) -> Option<Page> {
        loop {
            // Before the look, so that nothing can come between the look and the wait unseen.
            let is_over = self.stop.is_some() || self.end.has_changed().is_err();
            self.end.mark_unchanged();
            let (page, more) = self.look();
            if page.lost > 0 || !page.records.is_empty() {
                return Some(page);
            }
            if more {
                // A long scan with few matches must not keep its thread from others.
                tokio::task::yield_now().await;
            } else if is_over {
                return None;
            } else {
                // An error means that nothing will come any more: the next look is the last.
                let _ = self.end.changed().await;
            }
        }
    }

    /// One look at the ring, and whether there is more to look at right now.
    fn look(&mut self) -> (Page, bool) {
        let mut page = Page::default();
        let ring = self.kept.ring();
        page.lost = ring.first().saturating_sub(self.next);
        self.next = self.next.max(ring.first());
        let stop = self.stop.unwrap_or(u64::MAX).min(ring.end());
        let most = usize::try_from(stop.saturating_sub(self.next)).unwrap_or(PAGE).min(PAGE);
        self.next = ring.read(self.next, most, &self.filter, &mut page.records);
        let more = self.next < stop;
        drop(ring);
        if page.lost > 0 {
            self.kept.lost_by_followers.inc_by(page.lost);
        }
        (page, more)
    }
}
