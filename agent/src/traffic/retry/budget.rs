//! How many retries there may be, so that they never become the load.
//!
//! Entry points: [`Budget`], one for each worker and Service; [`Floor`], one for each agent and Service.
//! Retries are at most a share of the requests that began in the last `ttl`, or a number per second where
//! that is more. The share needs no account that workers have in common, since a share of each worker's
//! requests is that share of all; the number per second does, or it would grow with the cores.
//!
//! The share is held in two ways. Over the whole `ttl` it is strict. In each tenth of it, retries may exceed
//! the share of that tenth's requests by one: without this, what a quiet time saved would come at once, in
//! the first moments of an overload.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

use super::super::{
    moment::{Moment, nanos},
    settings::BudgetSettings,
};

const SLOTS: usize = 10;
const SECOND: u64 = 1_000_000_000;

/// One worker's account of the requests and retries to a Service.
#[derive(Debug)]
pub struct Budget {
    settings: Cell<BudgetSettings>,
    slots: [Cell<Count>; SLOTS],
    /// The number of the slot that is being filled; slots are numbered from the origin of time.
    newest: Cell<u64>,
    /// Of all slots.
    total: Cell<Count>,
    denied: Cell<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// An account with nothing on it.
    pub fn new(settings: BudgetSettings) -> Self {
        Self {
            settings: Cell::new(settings),
            slots: Default::default(),
            newest: Cell::new(0),
            total: Cell::default(),
            denied: Cell::new(0),
        }
    }

    /// Replaces the settings; the account begins anew where requests count for another time.
    pub fn set(&self, settings: BudgetSettings) {
        if settings.ttl != self.settings.replace(settings).ttl {
            self.slots.iter().for_each(|slot| slot.set(Count::default()));
            self.total.set(Count::default());
            self.newest.set(0);
        }
    }

    /// Counts a request, once, whatever its tries.
    pub fn began(&self, now: Moment) {
        self.count(now, Count { requests: 1, retries: 0 });
    }

    /// Takes one retry out of the budget; false when there is none left.
    pub fn take(&self, now: Moment, floor: &Floor) -> bool {
        let settings = self.settings.get();
        self.roll(now);
        if self.share_has_one() {
            floor.charge(now, settings.min_per_second);
        } else if !floor.take(now, settings.min_per_second) {
            self.denied.set(self.denied.get() + 1);
            return false;
        }
        self.count(now, Count { requests: 0, retries: 1 });
        true
    }

    /// Retries that were refused since the beginning.
    pub fn denied(&self) -> u64 {
        self.denied.get()
    }

    fn share_has_one(&self) -> bool {
        let share = u64::from(self.settings.get().share.millionths());
        let (total, slot) = (self.total.get(), self.slot(self.newest.get()).get());
        let allowed = |requests: u64| requests.saturating_mul(share);
        let in_total = (total.retries + 1).saturating_mul(1_000_000) <= allowed(total.requests);
        in_total && slot.retries.saturating_mul(1_000_000) <= allowed(slot.requests)
    }

    fn count(&self, now: Moment, more: Count) {
        self.roll(now);
        let add = |to: &Cell<Count>| {
            let Count { requests, retries } = to.get();
            to.set(Count { requests: requests + more.requests, retries: retries + more.retries });
        };
        add(self.slot(self.newest.get()));
        add(&self.total);
    }

    /// Empties the slots whose time has come again.
    fn roll(&self, now: Moment) {
        let length = (nanos(self.settings.get().ttl) / SLOTS as u64).max(1);
        let (newest, number) = (self.newest.get(), now.nanos() / length);
        if number <= newest {
            return;
        }
        let steps = (number - newest).min(SLOTS as u64);
        let mut total = self.total.get();
        for back in 0..steps {
            let old = self.slot(number - back).take();
            total.requests -= old.requests;
            total.retries -= old.retries;
        }
        self.total.set(total);
        self.newest.set(number);
    }

    fn slot(&self, number: u64) -> &Cell<Count> {
        &self.slots[(number % SLOTS as u64) as usize]
    }
}

/// The retries per second that a Service's budget always has, for all workers of an agent together.
///
/// Each retry is charged here, also one that the share allows, so that share and floor do not add up. It
/// is an atomic that only retries touch. The number is a theoretical arrival time (see `limit::gcra`).
#[derive(Debug, Default)]
pub struct Floor(AtomicU64);

impl Floor {
    /// Takes one; false when there is none.
    fn take(&self, now: Moment, per_second: u32) -> bool {
        self.advance(now, per_second, |next| (next <= now.nanos().saturating_add(SECOND)).then_some(next))
    }

    /// Takes one even where there is none; at most a second's worth is owed.
    fn charge(&self, now: Moment, per_second: u32) {
        self.advance(now, per_second, |next| Some(next.min(now.nanos().saturating_add(2 * SECOND))));
    }

    fn advance(&self, now: Moment, per_second: u32, to: impl Fn(u64) -> Option<u64>) -> bool {
        if per_second == 0 {
            return false;
        }
        let step = SECOND / u64::from(per_second);
        let next = |at: u64| to(at.max(now.nanos()).saturating_add(step));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::traffic::settings::Percent;

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    fn settings(percent: u32, min_per_second: u32) -> BudgetSettings {
        BudgetSettings { share: Percent::of_hundred(percent), min_per_second, ttl: Duration::from_secs(10) }
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried_and_no_more() {
        let (budget, floor) = (Budget::new(settings(20, 0)), Floor::default());
        assert!(!budget.take(at(0), &floor), "no requests, no retries");
        (0..10).for_each(|_| budget.began(at(0)));
        assert!(budget.take(at(0), &floor) && budget.take(at(1), &floor));
        assert!(!budget.take(at(1), &floor));
        assert_eq!(budget.denied(), 2);
    }

    #[test]
    fn a_request_counts_for_the_ttl() {
        for (millis, counts) in [(0, true), (8_999, true), (10_000, false), (100_000, false)] {
            let (budget, floor) = (Budget::new(settings(100, 0)), Floor::default());
            budget.began(at(0));
            assert_eq!(budget.take(at(millis), &floor), counts, "{millis}");
        }
    }

    #[test]
    fn the_floor_is_one_for_all_workers_and_does_not_add_to_the_share() {
        let floor = Floor::default();
        let workers: Vec<Budget> = (0..8).map(|_| Budget::new(settings(20, 10))).collect();
        let second = |second: u64| {
            let tries = (0..1000).flat_map(|step| workers.iter().map(move |worker| (step, worker)));
            tries.filter(|(step, worker)| worker.take(at(second * 1000 + step), &floor)).count()
        };
        // A second's worth was saved, and another comes.
        assert!((19..=20).contains(&second(0)));
        assert!((9..=11).contains(&second(1)));
        (0..1000).for_each(|_| workers[0].began(at(2000)));
        // What they had already counts.
        let more = second(2);
        assert!((170..=200).contains(&more), "{more}");
    }

    #[test]
    fn what_a_quiet_time_saved_does_not_come_at_once() {
        let (budget, floor) = (Budget::new(settings(20, 0)), Floor::default());
        (0..9_000).for_each(|millis| budget.began(at(millis)));
        (9_000..9_100).for_each(|millis| budget.began(at(millis)));
        let at_once = (0..5_000).filter(|_| budget.take(at(9_100), &floor)).count();
        assert_eq!(at_once, 21, "a fifth of the hundred requests of this second, and one");
    }

    proptest! {
        #[test]
        fn no_retry_makes_those_of_its_ttl_more_than_their_share(
            percent in 0u32..=100,
            steps in vec((0u64..300, 0u64..20, 0usize..40), 1..200),
        ) {
            let (budget, floor) = (Budget::new(settings(percent, 0)), Floor::default());
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, began, tries) in steps {
                now += pause;
                (0..began).for_each(|_| { budget.began(at(now)); requests.push(now); });
                let taken = (0..tries).filter(|_| budget.take(at(now), &floor)).count();
                retries.extend(vec![now; taken]);
                // Slots are whole seconds here; the window is the ten that end with this one.
                let from = (now / 1000).saturating_sub(9) * 1000;
                let within = |all: &[u64]| all.iter().filter(|at| **at >= from).count();
                let (retries, requests) = (within(&retries), within(&requests));
                prop_assert!(taken == 0 || retries * 100 <= requests * percent as usize);
            }
        }
    }
}
