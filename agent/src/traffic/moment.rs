//! Time as the algorithms see it: a number that somebody else reads from a clock.
//!
//! Entry point: [`Moment`]. There is no clock here; eight octets, so that it fits in a `Cell` or an atomic.

use std::time::{Duration, Instant};

/// Nanoseconds since an origin that all workers of one agent share. Never wraps: 584 years, then it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The moment `elapsed` after the origin.
    pub fn at(elapsed: Duration) -> Self {
        Self(nanos(elapsed))
    }

    /// The moment `now`, for an agent whose origin is `origin`; the origin itself for what was before it.
    pub fn of(origin: Instant, now: Instant) -> Self {
        Self::at(now.saturating_duration_since(origin))
    }

    /// How much later it is than `earlier`; zero when it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment that is `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Nanoseconds since the origin.
    pub(super) fn nanos(self) -> u64 {
        self.0
    }
}

/// As nanoseconds; the most there are for a duration that is longer.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_below_the_origin_nor_around() {
        let early = Moment::at(Duration::from_secs(1));
        let late = early.after(Duration::from_secs(2));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.after(Duration::MAX).after(Duration::MAX), Moment(u64::MAX));
    }
}
