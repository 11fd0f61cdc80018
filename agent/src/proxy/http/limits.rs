//! The rate limits of this node's workloads, as long as these are captured: a limit that began anew with each connection
//! would be none.
//!
//! Entry point: [`Limits::of`]. What a limit lets through is `traffic`'s to say.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
pub struct Limits(Mutex<HashMap<Arc<str>, Vec<(NamespacedName, Arc<Limiter>)>>>);

impl Limits {
    /// Those that a request to `workload` has to pass: of each of its Services whose policy has limits.
    pub(super) fn of(&self, snapshot: &Snapshot, workload: &Workload) -> Vec<Arc<Limiter>> {
        let wanted: Vec<_> = snapshot.rate_limits(workload).collect();
        // What is guarded cannot be half changed.
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() {
            limits.remove(&workload.uid);
            return Vec::new();
        }
        let known = limits.entry(workload.uid.clone()).or_default();
        known.retain(|(service, limiter)| {
            wanted.iter().any(|(of, limits)| of == service && *limits == limiter.limits())
        });
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// How many requests were turned away by limits of each kind: by workload, by source.
    pub fn turned_away(&self) -> [u64; 2] {
        let limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || limits.values().flatten().map(|(_, limiter)| limiter);
        [LimitBy::Workload, LimitBy::Source].map(|by| all().map(|limiter| limiter.turned_away(by)).sum())
    }
}
