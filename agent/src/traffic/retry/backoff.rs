//! How long to wait before a retry.
//!
//! Entry point: [`Backoff::wait`]. The wait is anything from nothing to an end that doubles ("full jitter",
//! Brooker: "Exponential Backoff And Jitter", 2015), so that those who failed together do not come back
//! together.

use std::time::Duration;

use super::super::{moment::nanos, random::Random, settings::Backoff};

impl Backoff {
    /// A wait before retry `retries` (0 is the first).
    pub fn wait(&self, retries: u32, random: &mut Random) -> Duration {
        self.least.saturating_add(self.end(retries).mul_f64(random.fraction()))
    }

    /// The end of the waits before retry `retries`.
    fn end(&self, retries: u32) -> Duration {
        let factor = 1u64.checked_shl(retries).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos(self.base).saturating_mul(factor)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_waits_doubles_up_to_the_most() {
        let backoff = Backoff { max: Duration::from_millis(150), ..Backoff::default() };
        let ends: Vec<u128> = [0, 1, 2, 3, 63, 64, u32::MAX].map(|n| backoff.end(n).as_millis()).into();
        assert_eq!(ends, [25, 50, 100, 150, 150, 150, 150]);
    }

    #[test]
    fn waits_are_spread_over_all_there_is_up_to_their_end() {
        let backoff = Backoff::default();
        let mut random = Random::seeded(1);
        let waits: Vec<Duration> = (0..1000).map(|_| backoff.wait(1, &mut random)).collect();
        assert!(waits.iter().all(|wait| *wait < Duration::from_millis(50)));
        let below = |millis| waits.iter().filter(|wait| wait.as_millis() < millis).count();
        assert!((400..600).contains(&below(25)), "{}", below(25));
        assert!(below(5) > 50, "{}", below(5));
        let least = Backoff { least: Duration::from_secs(1), ..backoff };
        assert!((0..100).all(|_| least.wait(0, &mut random) >= Duration::from_secs(1)));
    }
}
