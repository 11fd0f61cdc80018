//! How many requests a workload takes: all together, and from each source.
//!
//! Entry point: [`Limiter::check`], at the server's node, for each request, before policy has cost anything.
//! All workers of an agent share one limiter for a workload and Service, because the limit would otherwise
//! grow with the cores, and because a source's sessions come to several of them. The workload's bucket is
//! one atomic; the sources' are behind short locks, each for a part of the sources. Nothing of this is
//! touched where no limit is set.

mod gcra;
mod sources;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use self::sources::Sources;
pub use self::sources::{MOST_SOURCES, SourceKey};
use super::{moment::Moment, settings::RateLimits, spec::LimitBy};

/// The limits of one workload, as one Service's policy sets them.
#[derive(Debug)]
pub struct Limiter {
    limits: RateLimits,
    /// See `gcra`.
    workload: AtomicU64,
    /// None where sources are not told apart.
    sources: Option<Sources>,
    turned_away: [AtomicU64; 2],
}

/// A request is over a limit: 429 with `retry-after` (RFC 6585 §4), or gRPC RESOURCE_EXHAUSTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Whose limit it is.
    pub by: LimitBy,
    /// How long until a request would be let through, if no other one came.
    pub wait: Duration,
}

impl Limited {
    /// The value of `retry-after`, in seconds, rounded up; at least 1.
    pub fn retry_after(&self) -> u64 {
        let seconds = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        seconds.max(1)
    }
}

impl Limiter {
    /// Full buckets; none when there is no limit to keep. A policy with other limits needs a limiter of its
    /// own.
    pub fn new(limits: RateLimits) -> Option<Self> {
        if limits == RateLimits::default() {
            return None;
        }
        Some(Self {
            limits,
            workload: AtomicU64::new(0),
            sources: limits.source.map(Sources::new),
            turned_away: Default::default(),
        })
    }

    /// The limits.
    pub fn limits(&self) -> RateLimits {
        self.limits
    }

    /// Counts a request of `source`.
    ///
    /// # Errors
    /// The limit that it is over; it is then counted in neither.
    pub fn check(&self, now: Moment, source: &SourceKey) -> Result<(), Limited> {
        // The source first: what a noisy one is refused must not use up what all have in common.
        if let Some(sources) = &self.sources {
            sources.check(now, source).map_err(|wait| self.limited(LimitBy::Source, wait))?;
        }
        let workload = self.check_workload(now);
        if let (Err(_), Some(sources)) = (&workload, &self.sources) {
            sources.undo(source);
        }
        workload
    }

    /// How many requests the limit of `by` has turned away since the beginning.
    pub fn turned_away(&self, by: LimitBy) -> u64 {
        self.turned_away[by as usize].load(Ordering::Relaxed)
    }

    fn check_workload(&self, now: Moment) -> Result<(), Limited> {
        let Some(rate) = self.limits.workload else {
            return Ok(());
        };
        let mut wait = Duration::ZERO;
        let arrive = |full_at| gcra::arrive(full_at, now, rate).map_err(|early| wait = early).ok();
        match self.workload.fetch_update(Ordering::Relaxed, Ordering::Relaxed, arrive) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.limited(LimitBy::Workload, wait)),
        }
    }

    fn limited(&self, by: LimitBy, wait: Duration) -> Limited {
        self.turned_away[by as usize].fetch_add(1, Ordering::Relaxed);
        Limited { by, wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::settings::Rate;

    fn source(name: &str) -> SourceKey {
        SourceKey::Address(name.parse().expect("an address"))
    }

    fn limiter(workload: Option<u32>, source: Option<u32>) -> Limiter {
        let rate = |per_second| Rate { per_second, burst: per_second };
        Limiter::new(RateLimits { workload: workload.map(rate), source: source.map(rate) }).expect("a limit")
    }

    /// How many of `count` requests at this second come through.
    fn through(limiter: &Limiter, second: u64, from: &str, count: usize) -> usize {
        let now = Moment::at(Duration::from_secs(second));
        (0..count).filter(|_| limiter.check(now, &source(from)).is_ok()).count()
    }

    #[test]
    fn a_noisy_source_does_not_take_what_others_are_entitled_to() {
        let limiter = limiter(Some(100), Some(40));
        assert_eq!(through(&limiter, 1, "10.0.0.1", 1000), 40);
        assert_eq!(through(&limiter, 1, "10.0.0.2", 30), 30);
        assert_eq!(through(&limiter, 1, "10.0.0.3", 40), 30, "the workload's limit");
        assert_eq!(limiter.turned_away(LimitBy::Source), 960);
        assert_eq!(limiter.turned_away(LimitBy::Workload), 10);
        // What the workload turned away is not the source's fault.
        let later = Moment::at(Duration::from_millis(1_500));
        let again = (0..40).filter(|_| limiter.check(later, &source("10.0.0.3")).is_ok()).count();
        assert_eq!(again, 30, "ten were left, and twenty came back");
    }

    #[test]
    fn a_request_that_is_over_is_told_when_to_come_again_in_whole_seconds() {
        let slow = Rate { per_second: 1, burst: 2 };
        let limiter = Limiter::new(RateLimits { workload: Some(slow), source: None }).expect("a limit");
        let now = Moment::at(Duration::from_secs(1));
        let check = || limiter.check(now, &source("10.0.0.1"));
        assert_eq!((check(), check()), (Ok(()), Ok(())));
        let limited = check().expect_err("over");
        assert_eq!(
            (limited.by, limited.wait, limited.retry_after()),
            (LimitBy::Workload, Duration::from_secs(1), 1)
        );
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_500, 60)] {
            let limited = Limited { wait: Duration::from_millis(millis), ..limited };
            assert_eq!(limited.retry_after(), seconds, "{millis}");
        }
    }

    #[test]
    fn workers_together_keep_to_the_limits() {
        let limiter = limiter(Some(1000), Some(300));
        let workers = |from: &'static str| {
            std::thread::scope(|scope| {
                let work = || through(&limiter, 1, from, 500);
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
            })
        };
        assert_eq!(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(workers), [300, 300, 300, 100]);
    }

    #[test]
    fn without_limits_there_is_no_limiter() {
        assert!(Limiter::new(RateLimits::default()).is_none());
    }
}
