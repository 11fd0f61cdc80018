//! A bucket for each source, of a bounded number of sources.
//!
//! Entry point: [`Sources`]. Only a bucket that is full again is ever forgotten, and forgetting a full one
//! changes nothing; where none is, newcomers share one bucket of the same rate until there is room. And who
//! comes out of the shared bucket into one of its own takes its state along. So no source gets more than
//! its limit, however many others it makes up, and memory stays bounded.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{super::moment::Moment, super::settings::Rate, gcra};
use crate::identity::Identity;

/// Sources that are told apart at the same time, for one workload and Service.
pub const MOST_SOURCES: usize = 4096;

/// Each with a lock of its own, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// Who is limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceKey {
    /// A verified identity, whatever its pods.
    Identity(Identity),
    /// Plaintext from this address.
    Address(IpAddr),
}

#[derive(Debug)]
pub(super) struct Sources {
    rate: Rate,
    /// Seeded, so that nobody can choose which shard to crowd.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    most: usize,
    /// When the bucket of each source is full again, in nanoseconds (see `gcra`).
    full_at: HashMap<SourceKey, u64>,
    /// The bucket of those that have none.
    crowd: u64,
    /// No bucket is full before this: looking for one is not worth it.
    none_full_before: u64,
}

impl Sources {
    pub(super) fn new(rate: Rate) -> Self {
        Self::with_room(rate, SHARDS, MOST_SOURCES / SHARDS)
    }

    fn with_room(rate: Rate, shards: usize, most: usize) -> Self {
        let shard = || Mutex::new(Shard { most, full_at: HashMap::new(), crowd: 0, none_full_before: 0 });
        Self { rate, hasher: RandomState::new(), shards: (0..shards).map(|_| shard()).collect() }
    }

    /// Counts a request; how long to wait, when it is over the limit.
    pub(super) fn check(&self, now: Moment, source: &SourceKey) -> Result<(), Duration> {
        self.shard(source).check(now, source, self.rate)
    }

    /// Takes back the request that was counted last.
    pub(super) fn undo(&self, source: &SourceKey) {
        let mut shard = self.shard(source);
        let full_at = match shard.full_at.get_mut(source) {
            Some(full_at) => full_at,
            // A crowd may have lost its place to a newcomer meanwhile: then it is only kept waiting a little.
            None => &mut shard.crowd,
        };
        *full_at = gcra::undo(*full_at, self.rate);
    }

    fn shard(&self, source: &SourceKey) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(source) as usize % self.shards.len();
        // Numbers and a map of numbers cannot be half changed.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn check(&mut self, now: Moment, source: &SourceKey, rate: Rate) -> Result<(), Duration> {
        if let Some(full_at) = self.full_at.get_mut(source) {
            *full_at = gcra::arrive(*full_at, now, rate)?;
            return Ok(());
        }
        let next = gcra::arrive(self.crowd, now, rate)?;
        if self.has_room(now) {
            self.full_at.insert(source.clone(), next);
        } else {
            self.crowd = next;
        }
        Ok(())
    }

    /// Forgets full buckets if there is need.
    fn has_room(&mut self, now: Moment) -> bool {
        let now = now.nanos();
        if self.full_at.len() >= self.most && self.none_full_before <= now {
            self.full_at.retain(|_, full_at| *full_at > now);
            // Buckets only get emptier, but for one request that is taken back.
            self.none_full_before = self.full_at.values().copied().min().unwrap_or(0);
        }
        self.full_at.len() < self.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn source(number: u32) -> SourceKey {
        SourceKey::Address(IpAddr::from(number.to_be_bytes()))
    }

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    fn held(sources: &Sources) -> usize {
        sources.shards.iter().map(|shard| shard.lock().expect("not poisoned").full_at.len()).sum()
    }

    #[test]
    fn a_source_that_makes_up_others_does_not_get_its_bucket_filled() {
        let rate = Rate { per_second: 1, burst: 5 };
        let sources = Sources::with_room(rate, 1, 8);
        let mut through = 0;
        for round in 0..1_000 {
            through += usize::from(sources.check(at(round), &source(0)).is_ok());
            (1..50).for_each(|other| _ = sources.check(at(round), &source(round as u32 * 50 + other)));
            assert!(held(&sources) <= 8);
        }
        assert_eq!(through, 5, "its burst, for a second is not over yet");
    }

    #[test]
    fn newcomers_get_buckets_of_their_own_when_others_are_full_again() {
        let sources = Sources::with_room(Rate { per_second: 10, burst: 2 }, 1, 2);
        for number in 0..2 {
            sources.check(at(0), &source(number)).expect("its own bucket");
        }
        let crowd = (2..10).filter(|number| sources.check(at(0), &source(*number)).is_ok()).count();
        assert_eq!(crowd, 2, "all newcomers together have one");
        let later = (10..12).filter(|number| sources.check(at(1000), &source(*number)).is_ok()).count();
        assert_eq!((later, held(&sources)), (2, 2));
        sources.check(at(1000), &source(10)).expect("the second of its burst");
    }

    #[test]
    fn memory_is_bounded_however_many_sources_there_are() {
        let sources = Sources::new(Rate { per_second: 1, burst: 1 });
        (0..100_000).for_each(|number| _ = sources.check(at(1), &source(number)));
        assert!((MOST_SOURCES / 2..=MOST_SOURCES).contains(&held(&sources)));
    }

    proptest! {
        #[test]
        fn no_source_gets_more_than_a_bucket_of_its_own_would_give_it(
            per_second in 1u32..50,
            burst in 1u32..6,
            room in 0usize..4,
            steps in vec((0u64..400, 0u32..8), 1..400),
        ) {
            let rate = Rate { per_second, burst };
            let sources = Sources::with_room(rate, 1, room);
            let (mut now, mut alone) = (0, HashMap::new());
            for (pause, number) in steps {
                now += pause;
                if sources.check(at(now), &source(number)).is_ok() {
                    let full_at = alone.entry(number).or_insert(0);
                    let next = gcra::arrive(*full_at, at(now), rate);
                    prop_assert!(next.is_ok(), "source {number} at {now} ms");
                    *full_at = next.unwrap_or(0);
                }
                prop_assert!(held(&sources) <= room);
            }
        }

        #[test]
        fn with_room_every_source_gets_exactly_what_a_bucket_of_its_own_gives_it(
            per_second in 1u32..50,
            burst in 1u32..6,
            steps in vec((0u64..400, 0u32..8), 1..200),
        ) {
            let rate = Rate { per_second, burst };
            let sources = Sources::with_room(rate, 2, 8);
            let (mut now, mut alone) = (0, HashMap::new());
            for (pause, number) in steps {
                now += pause;
                let full_at = alone.entry(number).or_insert(0);
                let wanted = gcra::arrive(*full_at, at(now), rate);
                let found = sources.check(at(now), &source(number));
                prop_assert_eq!(found, wanted.map(|_| ()));
                *full_at = wanted.unwrap_or(*full_at);
            }
        }
    }
}
