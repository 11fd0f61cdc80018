//! How often a measured value fell between which bounds.
//!
//! Entry point: [`Histogram::observe`]. The bounds are the same for every histogram, and are part of the type, so that a
//! series costs its numbers and nothing else. Knows nothing of what is measured.

/// Upper bounds of all buckets but the last, inclusive: those of Envoy's statistics, which Istio's dashboards expect of
/// milliseconds and of bytes alike.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The values of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Values in each bucket alone; the last bucket has no bound.
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Counts a value, in the metric's unit.
    pub fn observe(&mut self, value: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[bucket] += 1;
        self.sum += value;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Each bucket's bound and its own number of values, as the encoder wants them: it adds up, and takes infinity
    /// for "no bound".
    pub(super) fn buckets(&self) -> [(f64, u64); BOUNDS.len() + 1] {
        std::array::from_fn(|at| (BOUNDS.get(at).copied().unwrap_or(f64::INFINITY), self.buckets[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_a_bound_is_below_it_and_the_greatest_have_a_bucket_of_their_own() {
        let mut histogram = Histogram::default();
        for value in [0.0, 0.5, 0.6, 1.0, 3_600_000.0, 3_600_001.0] {
            histogram.observe(value);
        }
        let filled: Vec<_> = histogram.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.5, 2), (1.0, 2), (3_600_000.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(histogram.count(), 6);
        assert!((histogram.sum() - 7_200_003.1).abs() < 1e-6, "{}", histogram.sum());
    }

    #[test]
    fn the_bounds_grow() {
        assert!(BOUNDS.is_sorted());
    }
}
