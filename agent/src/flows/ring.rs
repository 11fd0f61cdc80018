//! The last records, in the order in which they came, bounded in number and in memory.
//!
//! Entry point: [`Ring`]. Every record has a sequence number, so that a reader can come back for what
//! came after, and can tell how much it missed. Knows nothing of tasks, locks or metrics.

use std::collections::VecDeque;

use super::{
    filter::FlowFilter,
    packed::{Packed, Shelf},
    record::FlowRecord,
};

/// How much a ring keeps.
#[derive(Clone, Copy, Debug)]
pub struct RingLimit {
    /// Records, at least 1.
    pub records: usize,
    /// Memory of the records and what they share, in bytes; an estimate.
    pub bytes: usize,
}

impl RingLimit {
    /// `records` records, and as much memory as so many need when every eighth is between other pods, or of another
    /// request.
    pub fn for_records(records: usize) -> Self {
        let records = records.max(1);
        Self { records, bytes: records.saturating_mul(2 * size_of::<Packed>()).max(1 << 16) }
    }
}

/// The last records.
#[derive(Debug)]
pub(super) struct Ring {
    records: VecDeque<Packed>,
    shelf: Shelf,
    limit: RingLimit,
    /// The sequence number of the oldest record kept; also how many have left.
    first: u64,
}

impl Ring {
    pub(super) fn new(limit: RingLimit) -> Self {
        let limit = RingLimit { records: limit.records.max(1), ..limit };
        // Reserved at once: growing by doubling would hold the records twice for a moment. Untouched
        // memory costs nothing.
        Self { records: VecDeque::with_capacity(limit.records), shelf: Shelf::default(), limit, first: 0 }
    }

    /// Takes a record, letting go of the oldest while a limit is passed.
    pub(super) fn push(&mut self, record: FlowRecord) {
        if self.records.len() == self.limit.records {
            self.drop_oldest();
        }
        let packed = self.shelf.pack(record);
        self.records.push_back(packed);
        while self.bytes() > self.limit.bytes && self.records.len() > 1 {
            self.drop_oldest();
        }
    }

    /// The sequence number of the oldest record kept: how many have left to make room.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number that the next record will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Records kept.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Memory in use, in bytes; an estimate.
    pub(super) fn bytes(&self) -> usize {
        self.records.len() * size_of::<Packed>() + self.shelf.bytes()
    }

    /// Appends to `out` what matches among at most `most` records from sequence number `from` on, and
    /// returns the number from which to go on.
    pub(super) fn read(&self, from: u64, most: usize, filter: &FlowFilter, out: &mut Vec<FlowRecord>) -> u64 {
        let from = from.clamp(self.first, self.end());
        // The difference is at most the ring's length.
        let start = (from - self.first) as usize;
        let stop = start.saturating_add(most).min(self.records.len());
        let matching = self.records.range(start..stop).filter(|packed| filter.matches(packed.view()));
        out.extend(matching.map(Shelf::unpack));
        self.first + stop as u64
    }

    /// The sequence number of the oldest of the last `count` records that match.
    pub(super) fn start_of_last(&self, count: usize, filter: &FlowFilter) -> u64 {
        let mut left = count;
        for (index, packed) in self.records.iter().enumerate().rev() {
            if left == 0 {
                return self.first + index as u64 + 1;
            }
            if filter.matches(packed.view()) {
                left -= 1;
            }
        }
        self.first
    }

    fn drop_oldest(&mut self) {
        if let Some(packed) = self.records.pop_front() {
            self.shelf.release(packed);
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::{Verdict, samples};

    fn numbered(number: u64) -> FlowRecord {
        let mut record = samples::plain();
        record.bytes_sent = number;
        record.verdict = if number.is_multiple_of(2) { Verdict::Forwarded } else { Verdict::Denied };
        record
    }

    fn ring(limit: usize, pushed: u64) -> Ring {
        let mut ring = Ring::new(RingLimit::for_records(limit));
        (0..pushed).for_each(|number| ring.push(numbered(number)));
        ring
    }

    fn numbers(ring: &Ring, from: u64, most: usize, filter: &FlowFilter) -> (Vec<u64>, u64) {
        let mut out = Vec::new();
        let next = ring.read(from, most, filter, &mut out);
        (out.iter().map(|record| record.bytes_sent).collect(), next)
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let ring = ring(4, 10);
        assert_eq!((ring.len(), ring.first(), ring.end()), (4, 6, 10));
        assert_eq!(numbers(&ring, 0, 100, &FlowFilter::default()), (vec![6, 7, 8, 9], 10));
    }

    #[test]
    fn memory_is_bounded_even_when_records_share_nothing() {
        let limit = RingLimit { records: 1_000, bytes: 64 * 1024 };
        let mut ring = Ring::new(limit);
        for number in 0..1_000 {
            let mut record = numbered(number);
            record.detail = Some(format!("{number}").repeat(50).into());
            ring.push(record);
        }
        assert!(ring.bytes() <= limit.bytes, "{}", ring.bytes());
        assert!(ring.len() > 10 && ring.first() > 0, "{}", ring.len());
        assert_eq!(ring.end(), 1_000);
    }

    #[test]
    fn one_record_is_kept_however_large_it_is() {
        let mut ring = Ring::new(RingLimit { records: 0, bytes: 0 });
        ring.push(numbered(1));
        ring.push(numbered(2));
        assert_eq!((ring.len(), ring.first()), (1, 1));
    }

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let ring = ring(8, 8);
        let all = FlowFilter::default();
        assert_eq!(numbers(&ring, 0, 3, &all), (vec![0, 1, 2], 3));
        assert_eq!(numbers(&ring, 3, 3, &all), (vec![3, 4, 5], 6));
        assert_eq!(numbers(&ring, 8, 3, &all), (vec![], 8));
        assert_eq!(numbers(&ring, 99, 3, &all), (vec![], 8));
    }

    #[test]
    fn the_last_are_counted_among_those_that_match() {
        let ring = ring(8, 12);
        let denied = FlowFilter { verdict: Some(Verdict::Denied), ..FlowFilter::default() };
        let last =
            |count, filter: &FlowFilter| numbers(&ring, ring.start_of_last(count, filter), 100, filter).0;
        assert_eq!(last(2, &denied), [9, 11]);
        assert_eq!(last(3, &FlowFilter::default()), [9, 10, 11]);
        assert_eq!(last(0, &denied), [0u64; 0]);
        assert_eq!(last(99, &denied), [5, 7, 9, 11]);
    }
}
