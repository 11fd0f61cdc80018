//! One bucket: how many requests per second, and how many at once.
//!
//! Entry point: [`arrive`]. The generic cell rate algorithm (ITU-T I.371, "virtual scheduling"): the whole
//! state is the theoretical arrival time, the moment at which the bucket is full again, in nanoseconds. A
//! time that is not in the future is a full bucket, the same as no bucket at all: so an account that has
//! recovered can be forgotten without anybody gaining by it.

use std::time::Duration;

use super::super::{moment::Moment, settings::Rate};

/// A request comes at `now` to a bucket whose state is `full_at`: the state after it.
///
/// # Errors
/// How long until a request would be let through, when this one is not; the state stays.
pub(super) fn arrive(full_at: u64, now: Moment, rate: Rate) -> Result<u64, Duration> {
    let (step, now) = (step(rate), now.nanos());
    let next = full_at.max(now).saturating_add(step);
    let latest = now.saturating_add(step.saturating_mul(rate.burst.max(1).into()));
    match next.checked_sub(latest) {
        None | Some(0) => Ok(next),
        Some(early) => Err(Duration::from_nanos(early)),
    }
}

/// Takes back what [`arrive`] took, for a request that something else turned away.
pub(super) fn undo(full_at: u64, rate: Rate) -> u64 {
    full_at.saturating_sub(step(rate))
}

/// Nanoseconds from one request to the next at a steady pace; at least 1000, with the highest rate.
fn step(rate: Rate) -> u64 {
    1_000_000_000 / u64::from(rate.per_second.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { per_second: 10, burst: 3 };
        let start = Moment::at(Duration::from_secs(5));
        let mut full_at = 0;
        for _ in 0..3 {
            full_at = arrive(full_at, start, rate).expect("the burst");
        }
        assert_eq!(arrive(full_at, start, rate), Err(Duration::from_millis(100)));
        assert_eq!(
            arrive(full_at, start.after(Duration::from_millis(99)), rate),
            Err(Duration::from_millis(1))
        );
        let later = start.after(Duration::from_millis(100));
        let after = arrive(full_at, later, rate).expect("one has come back");
        arrive(after, later, rate).expect_err("only one");
        arrive(undo(after, rate), later, rate).expect("taken back");
    }

    proptest! {
        #[test]
        fn in_any_time_no_more_come_through_than_burst_and_rate_allow(
            per_second in 1u32..10_000,
            burst in 1u32..50,
            pauses in vec(0u64..50_000_000, 1..300),
        ) {
            let rate = Rate { per_second, burst };
            let (mut now, mut full_at, mut let_through) = (Moment::default(), 0, Vec::new());
            for pause in pauses {
                now = now.after(Duration::from_nanos(pause));
                if let Ok(next) = arrive(full_at, now, rate) {
                    full_at = next;
                    let_through.push(now);
                }
            }
            for (index, from) in let_through.iter().enumerate() {
                for (count, to) in (1u64..).zip(&let_through[index..]) {
                    // A step is rounded down to a nanosecond, so that up to one part in 100 000 more may come.
                    let most = u64::from(burst) + (to.since(*from).as_nanos() as u64) / step(rate);
                    prop_assert!(count <= most, "{count} in {:?}", to.since(*from));
                }
            }
        }
    }
}
