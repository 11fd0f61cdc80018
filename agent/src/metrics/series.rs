//! One metric's values, one for each combination of labels, bounded in number.
//!
//! Entry point: [`Series::with`]. What the bound turns away is counted, and goes nowhere else.
//! Knows nothing of what the values mean.

use std::{
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::{Equivalent, HashMap};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// Series that one metric may have.
pub const MOST_SERIES: usize = 4096;

type LabelValues = Box<[Box<str>]>;

/// The series of one metric whose values are of type `V` (a cheap handle: a counter or a gauge).
#[derive(Debug)]
pub struct Series<V> {
    values: Mutex<HashMap<LabelValues, V>>,
    most: usize,
    refused: AtomicU64,
}

impl<V: Clone + Debug + Default> Series<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { values: Mutex::default(), most, refused: AtomicU64::new(0) }
    }

    /// The value for these labels, in the order of the metric's definition. When there is no room for
    /// another series, a value that nobody will see.
    pub fn with(&self, labels: &[&str]) -> V {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(&Given(labels)) {
            return value.clone();
        }
        if values.len() >= self.most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return V::default();
        }
        let key: LabelValues = labels.iter().map(|label| Box::from(*label)).collect();
        values.entry(key).or_default().clone()
    }

    /// How often there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Every series, in the order of its labels.
    pub(super) fn all(&self) -> Vec<(LabelValues, V)> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = values.iter().map(|(labels, value)| (labels.clone(), value.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// Values to look for: no copy is made of them.
struct Given<'a>(&'a [&'a str]);

impl Hash for Given<'_> {
    /// As a boxed slice of boxed texts.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<LabelValues> for Given<'_> {
    fn equivalent(&self, key: &LabelValues) -> bool {
        self.0.iter().copied().eq(key.iter().map(|value| &**value))
    }
}

/// Names and values of labels, as the encoder wants them.
#[derive(Debug)]
pub(super) struct Labels<'a, T> {
    pub(super) names: &'a [&'static str],
    pub(super) values: &'a [T],
}

impl<T: AsRef<str> + Debug> EncodeLabelSet for Labels<'_, T> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, value) in self.names.iter().zip(self.values) {
            (*name, value.as_ref()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_same_labels_are_the_same_series() {
        let series = Series::<Counter>::new(8);
        series.with(&["a", "b"]).inc();
        series.with(&["a", "b"]).inc();
        series.with(&["b", "a"]).inc();
        let all: Vec<_> =
            series.all().into_iter().map(|(labels, value)| (labels.join(","), value.get())).collect();
        assert_eq!(all, [("a,b".to_owned(), 2), ("b,a".to_owned(), 1)]);
    }

    #[test]
    fn a_full_metric_turns_new_series_away_counts_them_and_keeps_the_old() {
        let series = Series::<Counter>::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            series.with(&[name]).inc();
        }
        assert_eq!((series.all().len(), series.refused()), (2, 2));
        assert_eq!(series.with(&["a"]).get(), 2);
    }
}
