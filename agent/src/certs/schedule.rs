//! When a certificate is renewed and when a failed request is tried again.
//!
//! Pure functions of times and of a `fraction` in `0.0..1.0`, the jitter: many nodes that start at once must
//! not come to the CA at once for ever after.

use std::time::{Duration, SystemTime};

/// How far from half-life a renewal may be, as a part of the half-life.
const RENEWAL_JITTER: f64 = 0.1;
/// A CA that gives out certificates that are about to expire is not asked more often than this.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// When to renew a certificate that came at `now` and expires at `not_after`: at half of what is left of it,
/// give or take a tenth of that.
pub(super) fn renewal(now: SystemTime, not_after: SystemTime, fraction: f64) -> SystemTime {
    let half = not_after.duration_since(now).unwrap_or_default() / 2;
    let jitter = 1.0 + RENEWAL_JITTER * (2.0 * fraction - 1.0);
    now + half.mul_f64(jitter).max(SHORTEST_LIFE)
}

/// How long to pause after the `failures`-th failure in a row, at least half of what it doubles to.
pub(super) fn pause(failures: u32, first: Duration, longest: Duration, fraction: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    first.saturating_mul(1 << doublings).min(longest).mul_f64(0.5 + 0.5 * fraction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn a_days_certificate_is_renewed_after_half_a_day_give_or_take_a_tenth() {
        let now = SystemTime::UNIX_EPOCH + DAY;
        assert_eq!(renewal(now, now + DAY, 0.5), now + DAY / 2);
        assert_eq!(renewal(now, now + DAY, 0.0), now + DAY.mul_f64(0.45));
        assert_eq!(renewal(now, now + DAY, 1.0), now + DAY.mul_f64(0.55));
    }

    #[test]
    fn a_certificate_that_is_about_to_expire_is_not_renewed_in_a_busy_loop() {
        let now = SystemTime::UNIX_EPOCH + DAY;
        assert_eq!(renewal(now, now, 0.0), now + SHORTEST_LIFE);
        assert_eq!(renewal(now, now - DAY, 0.0), now + SHORTEST_LIFE);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<f32> =
            (1..=10).map(|failures| pause(failures, FIRST, LONGEST, 1.0).as_secs_f32()).collect();
        assert_eq!(pauses, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_zero_and_never_longer_than_the_longest(failures: u32, fraction in 0.0..1.0f64) {
            let pause = pause(failures, FIRST, LONGEST, fraction);
            prop_assert!(pause >= FIRST / 2 && pause <= LONGEST);
        }

        #[test]
        fn a_renewal_is_before_the_end(life in 2..1_000_000u64, fraction in 0.0..1.0f64) {
            let now = SystemTime::UNIX_EPOCH + DAY;
            let end = now + Duration::from_secs(life);
            let at = renewal(now, end, fraction);
            prop_assert!(at > now && at < end);
        }
    }
}
