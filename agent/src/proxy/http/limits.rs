//! The rate limits of this node's workloads, as long as these are captured: a limit that began anew with each connection
//! would be none.
//!
//! Entry point: [`Limits::of`]. What a limit lets through is `traffic`'s to say.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    state::{
        Snapshot,
        model::{NamespacedName, Workload},
    },
    traffic::{LimitBy, Limiter},
};

/// One agent's.
#[derive(Debug, Default)]
pub struct Limits {
    workloads: Mutex<HashMap<Arc<str>, Vec<OfService>>>,
    /// Turned away by limits that are gone, by workload and by source.
    past: [AtomicU64; 2],
}

/// The Service whose policy sets it, and a workload's limiter.
type OfService = (NamespacedName, Arc<Limiter>);

/// Whose limits there are, as they are counted.
const BY: [LimitBy; 2] = [LimitBy::Workload, LimitBy::Source];

impl Limits {
    /// Those that a request to `workload` has to pass: of each of its Services whose policy has limits.
    pub(super) fn of(&self, snapshot: &Snapshot, workload: &Workload) -> Vec<Arc<Limiter>> {
        let wanted: Vec<_> = snapshot.rate_limits(workload).collect();
        // What is guarded cannot be half changed.
        let mut limits = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            self.count(limits.remove(&workload.uid).unwrap_or_default());
            return Vec::new();
        }
        let known = limits.entry(workload.uid.clone()).or_default();
        self.count(known.extract_if(.., |(service, limiter)| {
            !wanted.iter().any(|(of, limits)| of == service && *limits == limiter.limits())
        }));
        for (service, limits) in wanted {
            if !known.iter().any(|(of, _)| *of == service)
                && let Some(limiter) = Limiter::new(limits)
            {
                known.push((service, Arc::new(limiter)));
            }
        }
        known.iter().map(|(_, limiter)| limiter.clone()).collect()
    }

    /// Forgets those of a pod that is no longer captured.
    pub(in crate::proxy) fn forget(&self, uid: &str) {
        let mut limits = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(limits.remove(uid).unwrap_or_default());
    }

    /// How many requests were turned away by limits of each kind: by workload, by source.
    pub fn turned_away(&self) -> [u64; 2] {
        let limits = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || limits.values().flatten().map(|(_, limiter)| limiter);
        let live = BY.map(|by| all().map(|limiter| limiter.turned_away(by)).sum::<u64>());
        std::array::from_fn(|at| live[at] + self.past[at].load(Ordering::Relaxed))
    }

    /// Keeps what limiters that go have counted.
    fn count(&self, gone: impl IntoIterator<Item = OfService>) {
        for (_, limiter) in gone {
            for (past, by) in self.past.iter().zip(BY) {
                past.fetch_add(limiter.turned_away(by), Ordering::Relaxed);
            }
        }
    }
}
