//! One identity's place: its certificate in force, what went wrong last, and who waits for it.
//!
//! Entry points: [`Slot`] and [`Waiting`]. The task writes, everyone else reads; readers never wait for the CA.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

use super::{CertificateCounters, CertificateError, CertificateStatus, issuance::Obtained};
use crate::{
    ca::{CaError, Clock},
    identity::{Credentials, Identity},
};

/// The place of one wanted identity. Dropping it tells those who wait that it is no longer wanted.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) state: watch::Sender<SlotState>,
    waiting: Arc<AtomicUsize>,
}

/// What is known of one identity.
#[derive(Clone, Default)]
pub(super) struct SlotState {
    pub(super) obtained: Option<Obtained>,
    /// Certificates after the first.
    pub(super) renewals: u64,
    pub(super) last_error: Option<CaError>,
    /// Failed requests since the last that was answered.
    pub(super) failures: u32,
    pub(super) next: Next,
}

/// When the CA is asked next.
#[derive(Clone, Copy, Default)]
pub(super) enum Next {
    #[default]
    Now,
    /// After a failure: by the monotonic clock, so that setting the time of day delays nothing.
    After { failed: Instant, pause: Duration },
    /// By the time of day, as the certificate's expiry is.
    At(SystemTime),
}

impl Slot {
    /// The credentials, unless they have expired.
    pub(super) fn usable(&self, now: SystemTime) -> Option<Arc<Credentials>> {
        self.state.borrow().usable(now)
    }

    /// Whether a connection waits for this identity.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// How long until the CA is to be asked; zero is now. `longest` bounds the pause while somebody waits.
    pub(super) fn due_in(&self, now: SystemTime, longest: Duration) -> Duration {
        match self.state.borrow().next {
            Next::Now => Duration::ZERO,
            Next::At(at) => at.duration_since(now).unwrap_or_default(),
            Next::After { failed, pause } => {
                let pause = if self.is_waited_for() { pause.min(longest) } else { pause };
                (failed + pause).saturating_duration_since(Instant::now())
            }
        }
    }

    pub(super) fn status(&self, identity: Identity) -> CertificateStatus {
        let state = self.state.borrow();
        let credentials = state.obtained.as_ref().map(|obtained| &obtained.credentials);
        CertificateStatus {
            identity,
            serial: state.obtained.as_ref().map(|obtained| Arc::clone(&obtained.serial)),
            not_before: credentials.map(|credentials| credentials.not_before.into()),
            not_after: credentials.map(|credentials| credentials.not_after.into()),
            renewals: state.renewals,
            last_error: state.last_error.as_ref().map(ToString::to_string),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

impl SlotState {
    fn usable(&self, now: SystemTime) -> Option<Arc<Credentials>> {
        let credentials = &self.obtained.as_ref()?.credentials;
        (now < credentials.not_after).then(|| Arc::clone(credentials))
    }
}

/// Somebody who waits for an identity; dropped, he no longer does.
pub(super) struct Waiting {
    state: watch::Receiver<SlotState>,
    here: Arc<AtomicUsize>,
    counters: Arc<CertificateCounters>,
}

impl Waiting {
    pub(super) fn new(slot: &Slot, counters: &Arc<CertificateCounters>) -> Self {
        let here = Arc::clone(&slot.waiting);
        here.fetch_add(1, Ordering::Relaxed);
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        Self { state: slot.state.subscribe(), here, counters: Arc::clone(counters) }
    }

    /// The next credentials that are in force; `None` when the identity is no longer wanted.
    pub(super) async fn usable(&mut self, clock: &Clock) -> Option<Arc<Credentials>> {
        loop {
            let usable = self.state.borrow_and_update().usable(clock.now());
            if usable.is_some() {
                return usable;
            }
            self.state.changed().await.ok()?;
        }
    }

    /// What to say to a connection that waited in vain.
    pub(super) fn why_late(&self, identity: &Identity, limit: Duration) -> CertificateError {
        let (identity, state) = (identity.clone(), self.state.borrow());
        let error = state.last_error.clone();
        match (&state.obtained, error) {
            (Some(obtained), error) => {
                CertificateError::Expired { identity, not_after: obtained.credentials.not_after, error }
            }
            (None, Some(error)) => CertificateError::Authority { identity, limit, error },
            (None, None) => CertificateError::Timeout { identity, limit },
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.here.fetch_sub(1, Ordering::Relaxed);
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
