//! The loopback port that a pod's redirected connections are pointed at.
//!
//! Entry point: [`choose`]. Pure: told which ports the kernel may give to clients, and which are taken.

use std::{collections::HashSet, ops::RangeInclusive};

/// Where to look, in order: above what Linux gives to clients by default, then below it.
const CANDIDATES: [RangeInclusive<u16>; 2] = [61_000..=65_535, 15_100..=32_767];

/// A port outside `ephemeral` (`net.ipv4.ip_local_port_range`) that is not in `taken`: neither another
/// pod's nor one that an application in the pod listens on. `None` when there is none.
pub(super) fn choose(ephemeral: &RangeInclusive<u16>, taken: &HashSet<u16>) -> Option<u16> {
    CANDIDATES.into_iter().flatten().find(|port| !ephemeral.contains(port) && !taken.contains(port))
}

/// Reads `net.ipv4.ip_local_port_range`: two numbers.
pub(super) fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) => Some(first..=last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_never_one_that_a_client_may_be_given() {
        let taken = HashSet::new();
        assert_eq!(choose(&(32_768..=60_999), &taken), Some(61_000));
        assert_eq!(choose(&(16_000..=65_535), &taken), Some(15_100));
        assert_eq!(choose(&(1024..=65_535), &taken), None);
    }

    #[test]
    fn no_two_pods_share_a_port() {
        let mut taken = HashSet::new();
        for _ in 0..5000 {
            let port = choose(&(32_768..=60_999), &taken).expect("room");
            assert!(taken.insert(port));
        }
    }

    #[test]
    fn the_sysctl_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(parse_range("32768"), None);
        assert_eq!(parse_range("a b"), None);
    }
}
