//! Whether the agent is ready: it is when nothing that it waits for is left.
//!
//! Entry point: [`Readiness::waiting_for`], whose guard is dropped when the thing is there. Knows
//! nothing of HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What the agent still waits for; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    reasons: BTreeMap<u64, String>,
}

/// One thing that is waited for, until it is dropped.
#[derive(Debug)]
#[must_use = "what is waited for counts as there when this is dropped"]
pub struct Wait {
    readiness: Readiness,
    key: u64,
}

impl Readiness {
    /// The agent is not ready until what this returns is dropped; `what` says why, in words.
    pub fn waiting_for(&self, what: impl Into<String>) -> Wait {
        let mut waiting = self.lock();
        let key = waiting.next;
        waiting.next += 1;
        waiting.reasons.insert(key, what.into());
        Wait { readiness: self.clone(), key }
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.lock().reasons.is_empty()
    }

    /// What is waited for, oldest first.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().reasons.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.readiness.lock().reasons.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_ready_when_the_last_wait_is_over() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let capture = readiness.waiting_for("capture of shop/cart-0");
        let same = readiness.waiting_for("capture of shop/cart-0");
        assert_eq!(readiness.reasons().len(), 2);
        drop(capture);
        assert!(!readiness.is_ready());
        drop(same);
        assert!(readiness.is_ready());
    }
}
