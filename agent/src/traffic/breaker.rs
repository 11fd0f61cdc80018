//! Bounds on what one agent has under way to a Service.
//!
//! Entry point: [`Breaker`]; what it lets through holds a [`Permit`], which counts until it is dropped. All
//! workers of an agent share one, because "at most 100" must not mean 100 for each core; a bound that is
//! not set costs no atomic.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::settings::BreakerLimits;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// `maxConnections`.
    #[error("too many connections to the service")]
    Connections,
    /// `maxPending`.
    #[error("too many requests wait for a connection to the service")]
    Pending,
    /// `maxRequests`.
    #[error("too many requests to the service")]
    Requests,
}

impl Bound {
    /// Every bound.
    pub const ALL: [Self; 3] = [Self::Connections, Self::Pending, Self::Requests];
}

/// The bounds of one Service, and what is under way.
#[derive(Debug, Default)]
pub struct Breaker {
    connections: Arc<Gate>,
    pending: Arc<Gate>,
    requests: Arc<Gate>,
    turned_away: Arc<TurnedAway>,
}

/// What bounds have turned away since the beginning, in the order of [`Bound::ALL`].
pub(super) type TurnedAway = [AtomicU64; Bound::ALL.len()];

/// One bound.
#[derive(Debug)]
struct Gate {
    /// `NO_LIMIT` for none.
    most: AtomicU32,
    live: AtomicU32,
}

const NO_LIMIT: u32 = u32::MAX;

impl Default for Gate {
    fn default() -> Self {
        Self { most: AtomicU32::new(NO_LIMIT), live: AtomicU32::new(0) }
    }
}

/// Counts as under way until it is dropped. What was let through while there was no bound counts nowhere.
#[derive(Debug)]
#[must_use = "what it stands for counts only as long as it is held"]
pub struct Permit(Option<Arc<Gate>>);

impl Breaker {
    /// A breaker with these limits.
    pub fn new(limits: BreakerLimits) -> Self {
        Self::counting(limits, Arc::default())
    }

    /// A breaker with these limits, which counts in an account that it may have in common with others.
    pub fn counting(limits: BreakerLimits, turned_away: Arc<TurnedAway>) -> Self {
        let breaker = Self { turned_away, ..Self::default() };
        breaker.set(limits);
        breaker
    }

    /// Replaces the limits; what is under way stays and counts.
    pub fn set(&self, limits: BreakerLimits) {
        for (gate, most) in [
            (&self.connections, limits.connections),
            (&self.pending, limits.pending),
            (&self.requests, limits.requests),
        ] {
            gate.most.store(most.unwrap_or(NO_LIMIT), Ordering::Relaxed);
        }
    }

    /// Lets one more of `bound` through.
    ///
    /// # Errors
    /// The bound, when it is reached.
    pub fn enter(&self, bound: Bound) -> Result<Permit, Bound> {
        let gate = self.gate(bound);
        let most = gate.most.load(Ordering::Relaxed);
        if most == NO_LIMIT {
            return Ok(Permit(None));
        }
        let more = |live: u32| (live < most).then_some(live + 1);
        match gate.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Permit(Some(gate.clone()))),
            Err(_) => {
                self.turned_away[bound as usize].fetch_add(1, Ordering::Relaxed);
                Err(bound)
            }
        }
    }

    /// How many of `bound` are under way; those that came while there was no bound are not among them.
    pub fn live(&self, bound: Bound) -> u32 {
        self.gate(bound).live.load(Ordering::Relaxed)
    }

    /// How many `bound` has turned away since the beginning, here and wherever else is counted in the same account.
    pub fn turned_away(&self, bound: Bound) -> u64 {
        self.turned_away[bound as usize].load(Ordering::Relaxed)
    }

    fn gate(&self, bound: Bound) -> &Arc<Gate> {
        match bound {
            Bound::Connections => &self.connections,
            Bound::Pending => &self.pending,
            Bound::Requests => &self.requests,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            // Every permit with a gate has added one.
            gate.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(most: u32) -> BreakerLimits {
        BreakerLimits { requests: Some(most), ..BreakerLimits::default() }
    }

    #[test]
    fn a_bound_holds_until_a_permit_is_dropped() {
        let breaker = Breaker::new(requests(2));
        let first = breaker.enter(Bound::Requests).expect("room");
        let _second = breaker.enter(Bound::Requests).expect("room");
        assert_eq!(breaker.enter(Bound::Requests).err(), Some(Bound::Requests));
        assert_eq!((breaker.live(Bound::Requests), breaker.turned_away(Bound::Requests)), (2, 1));
        drop(first);
        let _third = breaker.enter(Bound::Requests).expect("room again");
        for other in [Bound::Connections, Bound::Pending] {
            let _all = Vec::from_iter((0..1000).map(|_| breaker.enter(other).expect("no bound")));
            assert_eq!(breaker.live(other), 0);
        }
    }

    #[test]
    fn a_bound_that_changes_counts_what_is_under_way() {
        let breaker = Breaker::new(BreakerLimits::default());
        let uncounted = breaker.enter(Bound::Requests).expect("no bound");
        breaker.set(requests(2));
        let counted =
            [breaker.enter(Bound::Requests), breaker.enter(Bound::Requests)].map(|of| of.expect("room"));
        breaker.set(requests(1));
        drop(uncounted);
        assert_eq!(breaker.enter(Bound::Requests).err(), Some(Bound::Requests));
        drop(counted);
        assert_eq!(breaker.live(Bound::Requests), 0);
        let _one = breaker.enter(Bound::Requests).expect("room");
        breaker.set(requests(0));
        breaker.enter(Bound::Requests).expect_err("closed");
    }

    #[test]
    fn workers_together_never_exceed_a_bound() {
        let (breaker, most) = (Breaker::new(requests(3)), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if let Ok(_permit) = breaker.enter(Bound::Requests) {
                            most.fetch_max(breaker.live(Bound::Requests), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
        assert_eq!(breaker.live(Bound::Requests), 0);
    }
}
