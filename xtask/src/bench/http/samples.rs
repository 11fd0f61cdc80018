//! What is measured of requests, which way they go, and what came out.
//!
//! Entry points: [`Protocol`], [`Way`], [`Samples`].

use std::collections::BTreeMap;

use super::super::figures::median;

/// How requests are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    /// 32 connections.
    Http1,
    /// 32 streams of one connection.
    Http2,
    /// Unary calls, 32 streams of one connection.
    Grpc,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, 32 connections",
            Self::Http2 => "HTTP/2, 32 streams",
            Self::Grpc => "gRPC unary, 32 streams",
        }
    }
}

/// What is between client and server, which are on two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Nothing.
    Plain,
    /// An Envoy in each pod.
    Envoy,
    /// An agent on each node.
    Meshed,
    /// Agents that know of many routes and policies of others.
    Crowded,
    /// Agents, and requests with tokens that nobody looks at.
    Unchecked,
    /// Agents, and requests with tokens that are verified.
    Checked,
}

impl Way {
    /// Those that requests of this kind go, in the order of a round.
    pub(crate) fn of(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Http1 => {
                &[Self::Plain, Self::Envoy, Self::Meshed, Self::Crowded, Self::Unchecked, Self::Checked]
            }
            Protocol::Http2 | Protocol::Grpc => &[Self::Plain, Self::Envoy, Self::Meshed, Self::Crowded],
        }
    }
}

/// One measurement, from one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Requests answered.
    pub(crate) count: f64,
    /// The same by the second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of what is between, both nodes together, by the request.
    pub(crate) cpu_us: f64,
}

/// Measurements by round.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<(Protocol, Way), Vec<Measured>>);

impl Samples {
    pub(crate) fn add(&mut self, protocol: Protocol, way: Way, measured: Measured) {
        self.0.entry((protocol, way)).or_default().push(measured);
    }

    /// The median over rounds.
    pub(crate) fn median(&self, protocol: Protocol, way: Way, of: fn(&Measured) -> f64) -> Option<f64> {
        median(self.0.get(&(protocol, way))?.iter().map(of).collect())
    }

    /// The median over rounds of the ratio to another way in the same round.
    pub(crate) fn ratio(
        &self,
        protocol: Protocol,
        (way, to): (Way, Way),
        of: fn(&Measured) -> f64,
    ) -> Option<f64> {
        let (one, other) = (self.0.get(&(protocol, way))?, self.0.get(&(protocol, to))?);
        median(one.iter().zip(other).map(|(one, other)| of(one) / of(other)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_two_ways_within_a_round() {
        let mut samples = Samples::default();
        // The machine was ten times as slow in the second round, for both.
        for (plain, meshed) in [(1000.0, 300.0), (100.0, 40.0), (1000.0, 500.0)] {
            for (way, rate) in [(Way::Plain, plain), (Way::Meshed, meshed)] {
                samples.add(Protocol::Http2, way, Measured { rate, ..Measured::default() });
            }
        }
        let ratio = |way| samples.ratio(Protocol::Http2, (way, Way::Plain), |measured| measured.rate);
        assert_eq!(ratio(Way::Meshed), Some(0.4));
        assert_eq!(ratio(Way::Envoy), None);
        assert_eq!(samples.median(Protocol::Http2, Way::Meshed, |measured| measured.rate), Some(300.0));
    }
}
