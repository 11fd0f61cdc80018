//! Istio's standard metrics of requests, from flow records: how many, how long, how large.
//!
//! Entry point: [`RequestMetrics`]. All four share one bounded table of series, as for TCP: series that an hour did not
//! touch make room, else the newcomer is turned away and counted. Paths and users are never labels.

use std::time::Instant;

use super::{
    Histogram, Sample,
    bounded::Bounded,
    catalogue,
    catalogue::Definition,
    istio::{ClusterNames, Key, labels},
    response_flags::response_flags,
};
use crate::flows::record::FlowRecord;

/// Series that the table of an agent may have. Fewer than other metrics have: one of these is 66 lines of a scrape.
pub(super) const MOST_REQUEST_SERIES: usize = 1024;

/// What tells series apart: the ends and how it went, `response_code`, `grpc_response_status`.
type RequestKey = (Key, u16, Option<u16>);

/// The series.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    /// Boxed: an empty place in the table is then small.
    series: Bounded<RequestKey, Box<Counts>>,
    names: ClusterNames,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    /// In milliseconds.
    duration: Histogram,
    sent: Histogram,
    received: Histogram,
}

impl Counts {
    fn add(&mut self, flow: &FlowRecord) {
        self.requests += 1;
        if let Some(micros) = flow.duration_us {
            self.duration.observe(micros as f64 / 1_000.0);
        }
        self.sent.observe(flow.bytes_sent as f64);
        self.received.observe(flow.bytes_received as f64);
    }
}

impl RequestMetrics {
    pub(super) fn new(names: ClusterNames, most: usize) -> Self {
        Self { series: Bounded::new(most), names }
    }

    /// Counts a request, if `flow` is one.
    pub(super) fn count(&mut self, flow: &FlowRecord, now: Instant) {
        let Some(request) = &flow.request else { return };
        let protocol = if request.grpc.is_some() { "grpc" } else { "http" };
        let grpc = request.grpc.as_ref().and_then(|grpc| grpc.status);
        let key = (Key::new(flow, protocol, response_flags(flow)), request.http.status.unwrap_or(0), grpc);
        self.series.with(key, now, |counts| counts.add(flow));
    }

    /// How many requests found no room.
    pub(super) fn refused(&self) -> u64 {
        self.series.refused()
    }

    /// How many requests each series has, in the order of its labels.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let all = self.each(|counts| counts.requests as f64);
        all.into_iter().map(|(labels, value)| Sample { labels, value }).collect()
    }

    /// The values of one of the three histograms, in the order of their labels.
    pub(super) fn histograms(&self, of: &Definition) -> Vec<(Vec<String>, Histogram)> {
        match of {
            of if *of == catalogue::REQUEST_DURATION => self.each(|counts| counts.duration.clone()),
            of if *of == catalogue::REQUEST_BYTES => self.each(|counts| counts.sent.clone()),
            _ => self.each(|counts| counts.received.clone()),
        }
    }

    /// Label values, in the order of [`catalogue::ISTIO_REQUEST_LABELS`], with what `pick` takes of each series.
    fn each<T>(&self, pick: impl Fn(&Counts) -> T) -> Vec<(Vec<String>, T)> {
        let one = |key: &RequestKey, counts: &Counts| {
            let (key, code, grpc) = key;
            let mut labels = labels(key, &self.names);
            labels.push(code.to_string());
            labels.push(grpc.map_or_else(String::new, |grpc| grpc.to_string()));
            (labels, pick(counts))
        };
        let mut all: Vec<_> = self.series.iter().map(|(key, counts)| one(key, counts)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{super::bounded::IDLE, *};
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

    #[test]
    fn durations_are_milliseconds_and_bytes_are_those_of_each_body() {
        let mut metrics = RequestMetrics::new(ClusterNames::default(), 10);
        let mut flow = samples::full();
        (flow.duration_us, flow.bytes_sent, flow.bytes_received) = (Some(1_500), 0, 700);
        metrics.count(&flow, Instant::now());
        flow.duration_us = Some(7_000_000_000);
        metrics.count(&flow, Instant::now());
        let of = |definition| metrics.histograms(definition).remove(0).1;
        let filled = |histogram: &Histogram| {
            let filled = histogram.buckets().into_iter().filter(|(_, count)| *count > 0);
            filled.collect::<Vec<_>>()
        };
        let duration = of(&catalogue::REQUEST_DURATION);
        assert_eq!((filled(&duration), duration.sum()), (vec![(5.0, 1), (f64::INFINITY, 1)], 7_000_001.5));
        let sent = of(&catalogue::REQUEST_BYTES);
        assert_eq!((filled(&sent), sent.sum()), (vec![(0.5, 2)], 0.0));
        let received = of(&catalogue::RESPONSE_BYTES);
        assert_eq!((filled(&received), received.sum()), (vec![(1_000.0, 2)], 1_400.0));
    }

    #[test]
    fn a_series_costs_no_more_than_its_numbers() {
        assert!(size_of::<Counts>() <= 3 * 21 * 8 + 32, "{}", size_of::<Counts>());
    }
}
