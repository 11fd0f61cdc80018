//! Series of one metric by what tells them apart, bounded in number: when the table is full, series that an hour did not
//! touch make room, else the newcomer is turned away and counted.
//!
//! Entry point: [`Bounded::with`]. Knows nothing of what is counted.

use std::{
    hash::Hash,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

/// A series that nothing touched for so long may go.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
/// Looking for those takes a look at all.
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// The series.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    series: HashMap<K, Touched<V>>,
    most: usize,
    refused: u64,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Touched<V> {
    value: V,
    at: Instant,
}

impl<K: Eq + Hash, V: Default> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { series: HashMap::new(), most, refused: 0, swept: None }
    }

    /// Changes the series of `key`; a new one begins with the default.
    pub(super) fn with(&mut self, key: K, now: Instant, change: impl FnOnce(&mut V)) {
        if let Some(touched) = self.series.get_mut(&key) {
            touched.at = now;
            change(&mut touched.value);
        } else if self.has_room(now) {
            let mut value = V::default();
            change(&mut value);
            self.series.insert(key, Touched { value, at: now });
        } else {
            self.refused += 1;
        }
    }

    /// How many changes found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.series.iter().map(|(key, touched)| (key, &touched.value))
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if self.series.len() < self.most {
            return true;
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_AT_MOST_EVERY) {
            self.swept = Some(now);
            self.series.retain(|_, touched| now.duration_since(touched.at) < IDLE);
        }
        self.series.len() < self.most
    }
}
