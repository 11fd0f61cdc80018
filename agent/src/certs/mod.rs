//! The certificates of this node's identities: obtained, renewed, and handed to whoever opens a session.
//!
//! Entry point: [`Certificates::start`]. One task asks the CA; everyone else holds a cheap handle. Knows
//! nothing of pods or connections: what is wanted is told to it, and it never asks for an identity that is
//! not, so nobody can make a node obtain a certificate by waiting for one.

mod issuance;
mod schedule;
mod slot;
mod status;
mod task;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

pub use status::{CertificateCounters, CertificateStatus};
pub use task::CertificatesTask;

use crate::{
    ca::{CaError, CertificateAuthority, Clock},
    identity::{Credentials, Identity},
};
use slot::{Slot, Waiting};

/// How certificates are obtained.
#[derive(Clone, Debug)]
pub struct CertificatesOptions {
    /// Requests to the CA at one time.
    pub concurrency: usize,
    /// How long one request may take.
    pub request_limit: Duration,
    /// Identities kept at most; those beyond it, in the order of their names, are turned away and counted.
    pub max_identities: usize,
    /// The pause after a first failed request; it doubles with every further one.
    pub first_pause: Duration,
    /// The longest pause between two requests.
    pub longest_pause: Duration,
    /// The longest pause while a connection waits for the identity.
    pub longest_pause_while_waited_for: Duration,
    /// The time of day.
    pub clock: Clock,
}

impl Default for CertificatesOptions {
    fn default() -> Self {
        Self {
            concurrency: 8,
            request_limit: Duration::from_secs(10),
            max_identities: 4096,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(60),
            longest_pause_while_waited_for: Duration::from_secs(1),
            clock: Clock::system(),
        }
    }
}

/// Why there is no certificate for an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No enrolled pod on this node has this identity, or no longer.
    #[error("no pod on this node has the identity {0}")]
    NotWanted(Identity),
    /// The CA has neither answered nor failed so far.
    #[error("no certificate for {identity} came within {limit:?}")]
    Timeout {
        /// Whose certificate.
        identity: Identity,
        /// How long was waited.
        limit: Duration,
    },
    /// The CA's last answer was not a certificate.
    #[error("no certificate for {identity} came within {limit:?}: {error}")]
    Authority {
        /// Whose certificate.
        identity: Identity,
        /// How long was waited.
        limit: Duration,
        /// What the CA said last.
        error: CaError,
    },
    /// There is one, but it has expired and could not be renewed.
    #[error(
        "the certificate of {identity} expired at {}{}", time::OffsetDateTime::from(*.not_after),
        .error.as_ref().map(|e| format!(": {e}")).unwrap_or_default()
    )]
    Expired {
        /// Whose certificate.
        identity: Identity,
        /// When it expired.
        not_after: SystemTime,
        /// What the CA said last, if it failed.
        error: Option<CaError>,
    },
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopped,
}

/// The certificates of this node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

struct Shared {
    slots: RwLock<HashMap<Identity, Arc<Slot>>>,
    /// Tells the task to look at the slots again.
    wake: Notify,
    stopped: AtomicBool,
    counters: Arc<CertificateCounters>,
    options: CertificatesOptions,
}

impl Certificates {
    /// Starts the task that asks `ca`; it ends when what is returned beside the handle is dropped.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(
        ca: Arc<dyn CertificateAuthority>,
        options: CertificatesOptions,
    ) -> (Certificates, CertificatesTask) {
        let shared = Arc::new(Shared {
            slots: RwLock::default(),
            wake: Notify::new(),
            stopped: AtomicBool::new(false),
            counters: Arc::default(),
            options,
        });
        let task = task::spawn(ca, Arc::clone(&shared));
        (Certificates(shared), task)
    }

    /// Says which identities are wanted from now on, all of them; others are dropped with their keys.
    ///
    /// Sessions that were opened with a dropped identity's credentials are not touched.
    pub fn want(&self, identities: impl IntoIterator<Item = Identity>) {
        let mut wanted: BTreeSet<Identity> = identities.into_iter().collect();
        let beyond = wanted.len().saturating_sub(self.0.options.max_identities);
        for _ in 0..beyond {
            wanted.pop_last();
        }
        self.0.counters.turned_away.fetch_add(beyond as u64, Ordering::Relaxed);
        if beyond > 0 {
            let allowed = self.0.options.max_identities;
            tracing::error!(
                beyond,
                allowed,
                "more identities on this node than it may hold certificates for"
            );
        }
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        if self.0.stopped.load(Ordering::Acquire) {
            return;
        }
        slots.retain(|identity, _| wanted.contains(identity));
        for identity in wanted {
            slots.entry(identity).or_default();
        }
        drop(slots);
        self.0.wake.notify_one();
    }

    /// The credentials of `identity` that are in force now, if there are any; never expired ones.
    pub fn current(&self, identity: &Identity) -> Option<Arc<Credentials>> {
        self.0.slot(identity)?.usable(self.0.options.clock.now())
    }

    /// The credentials of `identity`, waiting up to `limit` for them; requests for it go before others.
    ///
    /// # Errors
    /// [`CertificateError`], at once when the identity is not wanted, else after `limit`.
    pub async fn wait(
        &self,
        identity: &Identity,
        limit: Duration,
    ) -> Result<Arc<Credentials>, CertificateError> {
        let Some(slot) = self.0.slot(identity) else { return Err(self.0.gone(identity)) };
        if let Some(credentials) = slot.usable(self.0.options.clock.now()) {
            return Ok(credentials);
        }
        let mut waiting = Waiting::new(&slot, &self.0.counters);
        // The slot itself is let go, so that whoever waits hears when the identity is no longer wanted.
        drop(slot);
        self.0.wake.notify_one();
        let result = match tokio::time::timeout(limit, waiting.usable(&self.0.options.clock)).await {
            Ok(Some(credentials)) => Ok(credentials),
            Ok(None) => Err(self.0.gone(identity)),
            Err(_) => Err(waiting.why_late(identity, limit)),
        };
        if result.is_err() {
            self.0.counters.waits_failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Every wanted identity and how its certificate is doing, in the order of their names.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let mut all: Vec<CertificateStatus> =
            self.0.slots().map(|(identity, slot)| slot.status(identity)).collect();
        all.sort_by(|a, b| a.identity.cmp(&b.identity));
        all
    }

    /// What was issued, failed and is waited for, since the start.
    pub fn counters(&self) -> Arc<CertificateCounters> {
        Arc::clone(&self.0.counters)
    }
}

impl Shared {
    fn slot(&self, identity: &Identity) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(identity).cloned()
    }

    /// A copy of the table, so that no lock is held while it is walked.
    fn slots(&self) -> impl Iterator<Item = (Identity, Arc<Slot>)> + use<> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let copy: Vec<_> =
            slots.iter().map(|(identity, slot)| (identity.clone(), Arc::clone(slot))).collect();
        copy.into_iter()
    }

    fn stop(&self) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::Release);
        slots.clear();
    }

    fn gone(&self, identity: &Identity) -> CertificateError {
        if self.stopped.load(Ordering::Acquire) {
            CertificateError::Stopped
        } else {
            CertificateError::NotWanted(identity.clone())
        }
    }
}

#[cfg(test)]
mod tests;
