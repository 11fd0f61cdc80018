//! The same endpoint for the same key, whoever asks and whatever else comes and goes.
//!
//! Entry point: [`Ring`]. Consistent hashing (Karger et al., STOC 1997): each endpoint has points on a
//! circle, and a key belongs to the next one. Of two agents that know the same endpoints each finds the
//! same; when an endpoint goes, only its keys move. A ring and not Maglev's table: a table of 65 537
//! entries for each Service and worker would cost more than all else together.

use super::super::hash::{mix, stable_hash};
use crate::addr::EndpointAddr;

/// The most points of one endpoint: a key then finds an endpoint with a load within a few tenths of the mean.
const POINTS: usize = 128;
/// The most points of all endpoints, but for one each: 8 octets each, 512 KiB.
const MOST_POINTS: usize = 1 << 16;

/// Points in the order of the circle, with the index of their endpoint.
#[derive(Debug, Default)]
pub(super) struct Ring(Vec<(u32, u32)>);

impl Ring {
    /// The ring of these endpoints, which must be in the order of their addresses.
    pub(super) fn new(endpoints: impl ExactSizeIterator<Item = EndpointAddr>) -> Self {
        let each = points_each(endpoints.len());
        let mut points = Vec::with_capacity(each * endpoints.len());
        for (index, endpoint) in endpoints.enumerate() {
            let seed = stable_hash(endpoint.to_string().as_bytes());
            // With fewer points each, those that are left are where they were.
            points.extend((0..each as u64).map(|n| (place(mix(seed.wrapping_add(n))), index as u32)));
        }
        points.sort_unstable();
        Self(points)
    }

    /// Endpoints, by index, in the order in which a key prefers them; some come several times.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let start = self.0.partition_point(|(point, _)| *point < place(key));
        self.0[start..].iter().chain(&self.0[..start]).map(|(_, index)| *index as usize)
    }
}

/// A power of two, so that few endpoints more or less seldom change it.
fn points_each(endpoints: usize) -> usize {
    let mut each = POINTS;
    while each > 1 && each * endpoints > MOST_POINTS {
        each /= 2;
    }
    each
}

fn place(bits: u64) -> u32 {
    (bits >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::SocketAddr};

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn address(number: u16) -> EndpointAddr {
        EndpointAddr::new(SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 8080)))
    }

    fn owners(numbers: &BTreeSet<u16>, keys: &[u64]) -> Vec<u16> {
        let numbers = Vec::from_iter(numbers.iter().copied());
        let ring = Ring::new(numbers.iter().map(|number| address(*number)));
        keys.iter().map(|key| numbers[ring.walk(mix(*key)).next().expect("an endpoint")]).collect()
    }

    #[test]
    fn keys_are_spread_over_all_endpoints() {
        for count in [2, 10, 100] {
            let ring = Ring::new((0..count).map(address));
            let mut keys = vec![0u32; count.into()];
            (0..50_000).for_each(|key| keys[ring.walk(mix(key)).next().expect("an endpoint")] += 1);
            let mean = 50_000 / u32::from(count);
            assert!(keys.iter().all(|keys| (mean / 2..mean * 3 / 2).contains(keys)), "{count}: {keys:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_every_endpoint_has_a_point() {
        for (count, each) in
            [(0, 128), (1, 128), (512, 128), (513, 64), (10_000, 4), (65_536, 1), (200_000, 1)]
        {
            assert_eq!(points_each(count), each, "{count}");
        }
        assert_eq!(Ring::new((0..600).map(address)).0.len(), 600 * 64);
        assert_eq!(Ring::default().walk(1).next(), None);
    }

    #[test]
    fn a_key_finds_the_endpoint_that_other_agents_find() {
        // Changing this moves every key of every Service while agents of two versions run.
        let ring = Ring::new((0..5).map(address));
        let found: Vec<usize> =
            (0..8).map(|key| ring.walk(stable_hash(&[key])).next().expect("one")).collect();
        assert_eq!(found, [4, 4, 1, 0, 0, 4, 3, 2]);
    }

    #[test]
    fn a_walk_comes_to_every_endpoint() {
        let ring = Ring::new((0..50).map(address));
        assert_eq!(ring.walk(7).collect::<BTreeSet<_>>().len(), 50);
    }

    proptest! {
        #[test]
        fn an_endpoint_that_goes_takes_only_its_own_keys_along(
            numbers in btree_set(any::<u16>(), 2..40),
            gone in any::<prop::sample::Index>(),
            keys in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let gone = *gone.get(&Vec::from_iter(numbers.iter().copied()));
            let rest: BTreeSet<u16> = numbers.iter().copied().filter(|number| *number != gone).collect();
            for (before, after) in owners(&numbers, &keys).into_iter().zip(owners(&rest, &keys)) {
                prop_assert!(before == gone || before == after, "{before} -> {after}");
            }
        }
    }
}
