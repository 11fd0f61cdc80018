//! Ports: what rules say of them, and the classes into which the rules of a workload part them.
//!
//! Entry points: [`PortRange`], [`PortSet`]. Knows nothing of rules or requests.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// One port, or a range of them with both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is in it.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether some port is in both.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// `8080` or `9000-9010`; 0 is not a port (RFC 6335 §6).
    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| match text.parse::<u16>() {
            // `parse` takes a sign, which no port has.
            Ok(number) if number > 0 && !text.starts_with('+') => Ok(number),
            _ => Err("a port is a number from 1 to 65535, a range is like 9000-9010".to_string()),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            return Err(format!("a range goes up: {}-{}", range.last, range.first));
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The ports at which the rules that apply to a workload tell ports apart.
///
/// They part 0–65535 into classes; a decision is the same for all ports of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    /// Sorted; each port at which a class begins, but for the class that begins at 0.
    borders: Vec<u16>,
}

impl PortSet {
    /// The classes into which `ranges` part all ports.
    pub fn new(ranges: impl IntoIterator<Item = PortRange>) -> Self {
        let mut borders = Vec::new();
        for range in ranges {
            borders.push(range.first);
            borders.extend(range.last.checked_add(1));
        }
        borders.sort_unstable();
        borders.dedup();
        Self { borders }
    }

    /// Whether no rule tells ports apart, so that all are one class.
    pub fn is_empty(&self) -> bool {
        self.borders.is_empty()
    }

    /// The ports at which a class begins, in order, but for the class that begins at 0.
    pub fn borders(&self) -> &[u16] {
        &self.borders
    }

    /// All classes, in order; together they are 0–65535, each port in exactly one.
    pub fn classes(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        (0..=self.borders.len()).map(|index| self.class(index))
    }

    /// The class that `port` is in.
    pub fn class_of(&self, port: u16) -> RangeInclusive<u16> {
        self.class(self.borders.partition_point(|border| *border <= port))
    }

    fn class(&self, index: usize) -> RangeInclusive<u16> {
        let first = if index == 0 { 0 } else { self.borders[index - 1] };
        // No border is 0 (`PortRange` has no port 0), so none of these is below 0.
        let last = self.borders.get(index).map_or(u16::MAX, |next| next - 1);
        first..=last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> PortRange {
        text.parse().expect("a port or range")
    }

    #[test]
    fn a_port_and_a_range_are_read_back_from_their_text() {
        for text in ["1", "8080", "9000-9010", "65535", "1-65535"] {
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(range("80-80"), range("80"));
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for text in ["", "0", "-1", "+80", "65536", "http", "80-", "-80", "90-80", "1-2-3", "8 0", "0-10"] {
            text.parse::<PortRange>().expect_err(text);
        }
    }

    #[test]
    fn classes_cover_all_ports_once_and_break_at_each_border() {
        let set = PortSet::new(["80", "9000-9010", "65535"].map(range));
        let classes: Vec<_> = set.classes().collect();
        assert_eq!(classes, [0..=79, 80..=80, 81..=8999, 9000..=9010, 9011..=65534, 65535..=65535]);
        for class in classes {
            assert_eq!(set.class_of(*class.start()), class);
            assert_eq!(set.class_of(*class.end()), class);
        }
    }

    #[test]
    fn without_ports_in_rules_all_ports_are_one_class() {
        let set = PortSet::default();
        assert!(set.is_empty());
        assert_eq!(set.classes().collect::<Vec<_>>(), vec![0..=65535]);
        assert_eq!(set.class_of(443), 0..=65535);
    }

    #[test]
    fn a_range_from_the_first_to_the_last_port_has_only_port_0_outside() {
        let set = PortSet::new([range("1-65535")]);
        assert_eq!(set.classes().collect::<Vec<_>>(), vec![0..=0, 1..=65535]);
    }
}
