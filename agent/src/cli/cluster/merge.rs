//! Records of many nodes in the order of their time.
//!
//! Entry points: [`Newest`] for what there is, [`Waiting`] for what comes. Pure: time is given.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

/// When a record was made, as it is written: RFC 3339 in UTC with microseconds, so that text sorts as time.
fn time_of(line: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Time {
        #[serde(default)]
        time: String,
    }
    serde_json::from_slice::<Time>(line).map(|time| time.time).unwrap_or_default()
}

/// The newest of the records that were put in.
#[derive(Debug)]
pub(super) struct Newest {
    most: usize,
    count: usize,
    // With a number, so that records of one moment keep their order.
    kept: BinaryHeap<Reverse<(String, usize, Vec<u8>)>>,
}

impl Newest {
    /// At most so many are kept.
    pub(super) fn new(most: usize) -> Self {
        Self { most, count: 0, kept: BinaryHeap::new() }
    }

    pub(super) fn put(&mut self, line: Vec<u8>) {
        self.kept.push(Reverse((time_of(&line), self.count, line)));
        self.count += 1;
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    /// How many were put in and are not kept.
    pub(super) fn left_out(&self) -> usize {
        self.count - self.kept.len()
    }

    /// Those that are kept, the oldest first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = Vec<u8>> {
        let mut all = self.kept.into_vec();
        all.sort_by(|a, b| b.cmp(a));
        all.into_iter().map(|Reverse((_, _, line))| line)
    }
}

/// Records that wait for earlier ones which may still come.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    count: usize,
    by_time: BTreeMap<(String, usize), (Instant, Vec<u8>)>,
}

impl Waiting {
    pub(super) fn put(&mut self, line: Vec<u8>, now: Instant) {
        self.by_time.insert((time_of(&line), self.count), (now, line));
        self.count += 1;
    }

    /// When the oldest came.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|(_, (came, _))| *came)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// The oldest, if it has waited long enough or there is no room for more.
    pub(super) fn take(&mut self, now: Instant, patience: Duration, full: bool) -> Option<Vec<u8>> {
        let oldest = self.by_time.first_entry()?;
        (full || oldest.get().0 + patience <= now).then(|| oldest.remove().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(second: u32, node: &str) -> Vec<u8> {
        format!(r#"{{"time":"2026-01-02T03:04:{second:02}.000001Z","node":"{node}"}}"#).into_bytes()
    }

    fn nodes(lines: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
        let node = |line: Vec<u8>| {
            let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            value["node"].as_str().expect("a node").to_owned()
        };
        lines.map(node).collect()
    }

    #[test]
    fn the_newest_of_all_nodes_stand_in_the_order_of_their_time() {
        let mut newest = Newest::new(3);
        for (second, node) in [(5, "a5"), (1, "a1"), (2, "b2"), (5, "b5"), (4, "c4")] {
            newest.put(record(second, node));
        }
        assert_eq!(newest.left_out(), 2);
        assert_eq!(nodes(newest.into_sorted()), ["c4", "a5", "b5"]);
    }

    #[test]
    fn a_record_waits_for_earlier_ones_but_not_for_ever() {
        let (begin, patience) = (Instant::now(), Duration::from_millis(300));
        let mut waiting = Waiting::default();
        waiting.put(record(2, "b"), begin);
        assert_eq!(waiting.take(begin, patience, false), None);
        waiting.put(record(1, "a"), begin + patience / 2);
        // The earlier one came later; both are due when that has waited.
        let mut taken = Vec::new();
        while let Some(line) = waiting.take(begin + patience * 2, patience, false) {
            taken.push(line);
        }
        assert_eq!(nodes(taken.into_iter()), ["a", "b"]);
        waiting.put(record(3, "c"), begin);
        assert!(waiting.take(begin, patience, true).is_some());
    }
}
