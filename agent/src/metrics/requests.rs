//! Istio's standard count of requests, from flow records.
//!
//! Entry point: [`RequestMetrics`]. One bounded table of series, as for TCP: series that an hour did not touch make
//! room, else the newcomer is turned away and counted. Paths and users are never labels.

use std::{collections::HashMap, time::Instant};

use super::{
    Sample,
    istio::{ClusterNames, IDLE, Key, labels, response_flags},
};
use crate::flows::record::FlowRecord;

/// The series.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    series: HashMap<(Key, u16, Option<u16>), (u64, Instant)>,
    names: ClusterNames,
    most: usize,
    refused: u64,
}

impl RequestMetrics {
    pub(super) fn new(names: ClusterNames, most: usize) -> Self {
        Self { series: HashMap::new(), names, most, refused: 0 }
    }

    /// Counts a request, if `flow` is one.
    pub(super) fn count(&mut self, flow: &FlowRecord, now: Instant) {
        let Some(request) = &flow.request else { return };
        let protocol = if request.grpc.is_some() { "grpc" } else { "http" };
        let grpc = request.grpc.as_ref().and_then(|grpc| grpc.status);
        let key = (Key::new(flow, protocol, response_flags(flow)), request.http.status.unwrap_or(0), grpc);
        if let Some((count, touched)) = self.series.get_mut(&key) {
            *count += 1;
            *touched = now;
            return;
        }
        if self.series.len() >= self.most {
            self.series.retain(|_, (_, touched)| now.duration_since(*touched) < IDLE);
        }
        if self.series.len() < self.most {
            self.series.insert(key, (1, now));
        } else {
            self.refused += 1;
        }
    }

    /// How many requests found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Every series, in the order of `catalogue::ISTIO_REQUEST_LABELS`.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let sample = |((key, code, grpc), (count, _)): (&(Key, u16, Option<u16>), &(u64, Instant))| {
            let mut labels = labels(key, &self.names);
            labels.push(code.to_string());
            labels.push(grpc.map_or_else(String::new, |grpc| grpc.to_string()));
            Sample { labels, value: *count as f64 }
        };
        let mut samples: Vec<_> = self.series.iter().map(sample).collect();
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    #[test]
    fn requests_are_counted_by_their_answer_and_never_by_their_path() {
        let mut metrics = RequestMetrics::new(ClusterNames::default(), 10);
        let now = Instant::now();
        for path in ["/a", "/b"] {
            let mut flow = samples::full();
            flow.request.as_mut().expect("a request").http.path = path.into();
            metrics.count(&flow, now);
        }
        metrics.count(&samples::plain(), now);
        let samples = metrics.samples();
        assert_eq!((samples.len(), samples[0].value), (1, 2.0));
        assert_eq!(&samples[0].labels[20..], ["grpc", "DENY", "mutual_tls", "403", "7"]);
    }

    #[test]
    fn a_full_table_turns_newcomers_away_until_others_are_idle() {
        let mut metrics = RequestMetrics::new(ClusterNames::default(), 1);
        let now = Instant::now();
        let with = |status| {
            let mut flow = samples::full();
            flow.request.as_mut().expect("a request").http.status = Some(status);
            flow
        };
        metrics.count(&with(200), now);
        metrics.count(&with(404), now);
        assert_eq!((metrics.samples().len(), metrics.refused()), (1, 1));
        metrics.count(&with(404), now + IDLE);
        assert_eq!(metrics.samples()[0].labels[23], "404");
    }
}
