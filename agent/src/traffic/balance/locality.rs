//! Where an endpoint is, seen from the client, and which of them that makes preferred.
//!
//! Entry points: [`Place`], [`Proximity`].

use std::sync::Arc;

use super::super::settings::{Locality, Percent};

/// How near an endpoint is, the nearest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proximity {
    /// On the client's node.
    Node,
    /// In the client's zone.
    Zone,
    /// Elsewhere, or nobody knows.
    #[default]
    Elsewhere,
}

/// Where something runs, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the node.
    pub node: Option<Arc<str>>,
    /// The node's label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}

impl Place {
    /// How near `other` is; what is not known is not near.
    pub fn proximity(&self, other: &Place) -> Proximity {
        let same = |own: &Option<Arc<str>>, other: &Option<Arc<str>>| own.is_some() && own == other;
        if same(&self.node, &other.node) {
            Proximity::Node
        } else if same(&self.zone, &other.zone) {
            Proximity::Zone
        } else {
            Proximity::Elsewhere
        }
    }
}

impl Locality {
    /// The farthest that requests go: the nearest place that is preferred and has enough healthy endpoints.
    /// `endpoints` says of each how near it is and whether it is healthy.
    pub(super) fn reach(&self, endpoints: impl Iterator<Item = (Proximity, bool)> + Clone) -> Proximity {
        let wanted = [(self.node, Proximity::Node), (self.zone, Proximity::Zone)];
        let enough = |reach: Proximity| {
            let within = endpoints.clone().filter(|(proximity, _)| *proximity <= reach);
            let (all, healthy) =
                within.fold((0, 0), |(all, healthy), (_, of)| (all + 1, healthy + usize::from(of)));
            healthy > 0 && enough_of(all, healthy, self.min_healthy)
        };
        let mut preferred = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, reach)| reach);
        preferred.find(|reach| enough(*reach)).unwrap_or(Proximity::Elsewhere)
    }
}

fn enough_of(all: usize, healthy: usize, least: Percent) -> bool {
    healthy as u128 * 1_000_000 >= all as u128 * u128::from(least.millionths())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(node: &str, zone: &str) -> Place {
        let known = |text: &str| Some(Arc::from(text)).filter(|_| !text.is_empty());
        Place { node: known(node), zone: known(zone) }
    }

    #[test]
    fn what_is_not_known_is_not_near() {
        for (own, other, wanted) in [
            (place("a", "z"), place("a", "z"), Proximity::Node),
            (place("a", ""), place("a", ""), Proximity::Node),
            (place("a", "z"), place("b", "z"), Proximity::Zone),
            (place("a", "z"), place("", "z"), Proximity::Zone),
            (place("a", "z"), place("b", "y"), Proximity::Elsewhere),
            (place("", ""), place("", ""), Proximity::Elsewhere),
        ] {
            assert_eq!(own.proximity(&other), wanted, "{own:?} {other:?}");
        }
    }

    #[test]
    fn requests_stay_near_as_long_as_enough_is_healthy_there() {
        use Proximity::{Elsewhere, Node, Zone};
        let both = Locality { node: true, zone: true, min_healthy: Percent::of_hundred(70) };
        let node = Locality { zone: false, ..both };
        let zone = Locality { node: false, ..both };
        let (up, down) = (true, false);
        for (locality, endpoints, wanted) in [
            (both, vec![(Node, up), (Zone, up), (Elsewhere, up)], Node),
            (both, vec![(Node, down), (Zone, up), (Zone, up), (Zone, up), (Elsewhere, up)], Zone),
            (both, vec![(Node, down), (Zone, up), (Elsewhere, up)], Elsewhere),
            (both, vec![(Zone, up), (Elsewhere, up)], Zone),
            (both, vec![(Elsewhere, up)], Elsewhere),
            (both, vec![], Elsewhere),
            (node, vec![(Node, down), (Zone, up)], Elsewhere),
            (zone, vec![(Node, up), (Elsewhere, up)], Zone),
            (both, vec![(Node, up), (Node, up), (Node, down)], Elsewhere),
            (Locality { min_healthy: Percent::of_hundred(1), ..both }, vec![(Node, up), (Node, down)], Node),
        ] {
            assert_eq!(locality.reach(endpoints.iter().copied()), wanted, "{locality:?} {endpoints:?}");
        }
    }
}
