//! What the controller counts.
//!
//! Entry point: [`Counters::new`]. Knows nothing of how it is served.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    ca::CaError,
    metrics::{Counter, Gauge, Metrics, Series, catalogue},
};

/// Handles to all of it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Counters {
    /// Connections that the authority's bound turned away.
    pub(super) refused: Counter,
    /// Times that the authority's objects could not be read or written.
    pub(super) authority_errors: Counter,
    /// Roots that are trusted.
    pub(super) roots: Gauge,
    /// Statuses that were written, and that could not be, by kind.
    pub(super) written: Arc<Series<Counter>>,
    slices: Gauge,
    sliced_pods: Gauge,
    slice_writes: Arc<Series<Counter>>,
    expiry: Gauge,
    requests: Arc<Series<Counter>>,
    microseconds: Counter,
}

impl Counters {
    /// Those of `metrics`.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            refused: metrics.counter(&catalogue::CA_REFUSED),
            authority_errors: metrics.counter(&catalogue::CA_ERRORS),
            roots: metrics.gauge(&catalogue::CA_ROOTS),
            written: metrics.counters(&catalogue::STATUS_WRITES),
            slices: metrics.gauge(&catalogue::SLICES),
            sliced_pods: metrics.gauge(&catalogue::SLICED_PODS),
            slice_writes: metrics.counters(&catalogue::SLICE_WRITES),
            expiry: metrics.gauge(&catalogue::CA_EXPIRY),
            requests: metrics.counters(&catalogue::CA_REQUESTS),
            microseconds: metrics.counter(&catalogue::CA_MICROSECONDS),
        }
    }

    /// A request was answered.
    pub(super) fn of(&self, result: Result<(), &CaError>, took: Duration) {
        let word = match result {
            Ok(()) => "issued",
            Err(CaError::Denied(_)) => "denied",
            Err(CaError::Invalid(_)) => "invalid",
            Err(CaError::Unreachable(_)) => "unavailable",
        };
        self.requests.with(&[word]).inc();
        self.microseconds.inc_by(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many slices there are to be, and how many pods are in them.
    pub(super) fn sliced(&self, slices: usize, pods: usize) {
        for (gauge, count) in [(&self.slices, slices), (&self.sliced_pods, pods)] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A slice was written, or could not be.
    pub(super) fn slice_written(&self, well: bool) {
        self.slice_writes.with(&[if well { "written" } else { "failed" }]).inc();
    }

    /// When what signs expires.
    pub(super) fn expires(&self, at: SystemTime) {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.expiry.set(i64::try_from(at).unwrap_or(i64::MAX));
    }
}
