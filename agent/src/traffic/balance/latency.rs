//! How slow one endpoint is, and so what one more request there would cost.
//!
//! Entry point: [`Latency`]. "Peak EWMA", known from Finagle: a mean that forgets exponentially, but that a
//! slower answer raises at once, times the requests under way. So an endpoint that gets slow is left at the
//! first slow answer, and tried again as the mean decays.

use std::{cell::Cell, time::Duration};

use super::super::moment::Moment;

/// After this time an answer counts for 1/e.
const DECAY: Duration = Duration::from_secs(10);
/// What a request costs where nobody has answered yet while others are under way, in nanoseconds: more than
/// anything that answers, so that a new endpoint gets one request at first.
const UNKNOWN: f64 = 1e9;
/// A failure counts as an answer so many times as slow as usual: those who fail are fast.
const FAILURE: f64 = 4.0;
/// As slow as usual where that is not known, and the slowest that failures alone make an endpoint.
const FAILURE_RANGE: (f64, f64) = (1e6, 5e9);

/// One worker's estimate for one endpoint.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Nanoseconds; 0 while nothing is known.
    mean: Cell<f64>,
    /// When `mean` was so.
    at: Cell<Moment>,
    /// Requests under way.
    live: Cell<u32>,
}

impl Latency {
    /// A request was sent.
    pub(super) fn begin(&self) {
        self.live.set(self.live.get().saturating_add(1));
    }

    /// A request is over.
    pub(super) fn end(&self) {
        self.live.set(self.live.get().saturating_sub(1));
    }

    /// Requests under way.
    pub(super) fn live(&self) -> u32 {
        self.live.get()
    }

    /// An answer came after `took`.
    pub(super) fn answered(&self, now: Moment, took: Duration) {
        self.observe(now, took.as_nanos() as f64);
    }

    /// A request failed after `took`.
    pub(super) fn failed(&self, now: Moment, took: Duration) {
        let (least, most) = FAILURE_RANGE;
        let penalty = (self.mean.get().max(least) * FAILURE).min(most);
        self.observe(now, penalty.max(took.as_nanos() as f64));
    }

    /// Nobody waited for the answer, after `took` there was none: it would have taken longer.
    pub(super) fn given_up(&self, now: Moment, took: Duration) {
        let took = took.as_nanos() as f64;
        if took > self.mean.get() {
            self.observe(now, took);
        }
    }

    /// What one more request would cost; comparable between endpoints.
    pub(super) fn cost(&self, now: Moment) -> f64 {
        let (mean, live) = (self.mean.get(), self.live.get());
        match (mean > 0.0, live) {
            (false, 0) => 0.0,
            (false, live) => UNKNOWN * f64::from(live),
            // An endpoint that has nothing to do is slowly forgiven; one that has and does not answer is not.
            (true, 0) => mean * self.weight(now),
            (true, live) => mean * f64::from(live + 1),
        }
    }

    fn observe(&self, now: Moment, took: f64) {
        let mean = self.mean.get();
        if took >= mean {
            self.mean.set(took);
        } else {
            let weight = self.weight(now);
            self.mean.set(mean * weight + took * (1.0 - weight));
        }
        self.at.set(now.max(self.at.get()));
    }

    /// How much of the mean is left.
    fn weight(&self, now: Moment) -> f64 {
        let elapsed = now.since(self.at.get());
        if elapsed.is_zero() { 1.0 } else { (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    const FAST: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(500);

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let latency = Latency::default();
        latency.answered(at(0), FAST);
        assert_eq!(latency.cost(at(0)), 1e7);
        latency.answered(at(1), SLOW);
        assert_eq!(latency.cost(at(1)), 5e8);
        latency.answered(at(2), FAST);
        assert!(latency.cost(at(2)) > 4.9e8, "one fast answer does not make it fast");
        (0..1000).for_each(|step| latency.answered(at(2 + step * 60), FAST));
        assert!(latency.cost(at(60_000)) < 1.3e7, "{}", latency.cost(at(60_000)));
    }

    #[test]
    fn an_idle_endpoint_is_forgiven_and_a_stuck_one_is_not() {
        let (idle, stuck) = (Latency::default(), Latency::default());
        for latency in [&idle, &stuck] {
            latency.answered(at(0), SLOW);
        }
        stuck.begin();
        assert!(idle.cost(at(30_000)) < 0.1 * 5e8);
        assert_eq!(stuck.cost(at(30_000)), 2.0 * 5e8);
    }

    #[test]
    fn a_new_endpoint_gets_one_request_at_first() {
        let (new, known) = (Latency::default(), Latency::default());
        known.answered(at(0), FAST);
        assert!(new.cost(at(0)) < known.cost(at(0)));
        new.begin();
        assert!(new.cost(at(0)) > known.cost(at(0)));
        new.end();
        assert_eq!(new.live(), 0);
    }

    #[test]
    fn failing_fast_makes_an_endpoint_slower_and_not_faster() {
        let latency = Latency::default();
        latency.answered(at(0), FAST);
        latency.failed(at(0), Duration::from_micros(1));
        assert_eq!(latency.cost(at(0)), 4e7);
        (0..100).for_each(|_| latency.failed(at(0), Duration::ZERO));
        assert_eq!(latency.cost(at(0)), 5e9, "bounded");
        let never_answered = Latency::default();
        never_answered.failed(at(0), Duration::ZERO);
        assert_eq!(never_answered.cost(at(0)), 4e6);
    }

    #[test]
    fn a_client_that_gives_up_tells_only_that_it_took_long() {
        let latency = Latency::default();
        latency.answered(at(0), FAST);
        latency.given_up(at(0), Duration::from_millis(1));
        assert_eq!(latency.cost(at(0)), 1e7);
        latency.given_up(at(0), SLOW);
        assert_eq!(latency.cost(at(0)), 5e8);
    }
}
