//! What the workers of one agent have in common about a Service, and where they find it.
//!
//! Entry points: [`Shared`], [`Registry`]. Everything else is each worker's own: latencies, ejections and
//! the share of the retry budget need no agreement. The registry is asked when a balancer is made, not for
//! each request.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
};

use super::{
    breaker::{Bound, Breaker, TurnedAway},
    retry::Floor,
    settings::Traffic,
};

/// One agent's account of a Service.
#[derive(Debug, Default)]
pub struct Shared {
    /// What is under way.
    pub breaker: Breaker,
    /// Retries per second beyond the share.
    pub floor: Floor,
}

impl Shared {
    /// An account with nothing on it.
    pub fn new(traffic: &Traffic) -> Arc<Self> {
        Self::counting(traffic, Arc::default())
    }

    /// The same, with what it turns away in an account that it may have in common with others.
    fn counting(traffic: &Traffic, turned_away: Arc<TurnedAway>) -> Arc<Self> {
        Arc::new(Self { breaker: Breaker::counting(traffic.breaker, turned_away), floor: Floor::default() })
    }

    /// Takes over the bounds of a policy that has changed; what is under way counts on.
    pub fn set(&self, traffic: &Traffic) {
        self.breaker.set(traffic.breaker);
    }
}

/// Namespace and name.
type Name = (Box<str>, Box<str>);

/// The accounts of all Services that some worker of the agent uses.
#[derive(Debug, Default)]
pub struct Registry {
    accounts: Mutex<HashMap<Name, Weak<Shared>>>,
    /// Of all Services, those that nobody uses any more included: what is counted must not go down.
    turned_away: Arc<TurnedAway>,
}

impl Registry {
    /// The account of the Service with this namespace and name; a new one when nobody uses one.
    pub fn of(&self, namespace: &str, name: &str, traffic: &Traffic) -> Arc<Shared> {
        // What is guarded cannot be half changed.
        let service: Name = (namespace.into(), name.into());
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = accounts.get(&service).and_then(Weak::upgrade) {
            shared.set(traffic);
            return shared;
        }
        // Those that nobody uses any more go whenever one is added: there are no more than Services in use.
        accounts.retain(|_, shared| shared.strong_count() > 0);
        let shared = Shared::counting(traffic, self.turned_away.clone());
        accounts.insert(service, Arc::downgrade(&shared));
        shared
    }

    /// How many the bounds of all Services have turned away since the beginning, in the order of [`Bound::ALL`].
    pub fn turned_away(&self) -> [u64; Bound::ALL.len()] {
        self.turned_away.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::settings::BreakerLimits;

    #[test]
    fn workers_find_the_same_account_and_it_goes_with_the_last_of_them() {
        let registry = Registry::default();
        let limits = BreakerLimits { requests: Some(1), ..BreakerLimits::default() };
        let traffic = Traffic { breaker: limits, ..Traffic::default() };
        let (first, second) = (registry.of("shop", "pay", &traffic), registry.of("shop", "pay", &traffic));
        let _permit = first.breaker.enter(Bound::Requests).expect("room");
        second.breaker.enter(Bound::Requests).expect_err("one in all");
        let other = registry.of("shop", "cart", &traffic);
        let _permit = other.breaker.enter(Bound::Requests).expect("another Service's");
        drop((first, second));
        let _new = registry.of("shop", "web", &traffic);
        assert_eq!(registry.accounts.lock().expect("not poisoned").len(), 2, "pay's is gone");
    }

    #[test]
    fn what_a_bound_turned_away_stays_counted_when_its_service_is_gone() {
        let registry = Registry::default();
        let limits = BreakerLimits { pending: Some(0), ..BreakerLimits::default() };
        let traffic = Traffic { breaker: limits, ..Traffic::default() };
        for service in ["pay", "cart"] {
            let shared = registry.of("shop", service, &traffic);
            shared.breaker.enter(Bound::Pending).expect_err("none may wait");
        }
        assert_eq!(registry.turned_away(), [0, 2, 0]);
    }
}
