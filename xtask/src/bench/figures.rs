//! What is measured, where, and what came out.
//!
//! Entry points: [`Figure`], [`Place`], [`Samples`].

use std::{collections::BTreeMap, fmt, fs};

use anyhow::{Context, Result, ensure};

/// A path between two pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Same node, no mesh.
    PlainNear,
    /// Same node, vouched for by the kernel.
    Direct,
    /// Same node with `--same-node tunnel`.
    NearTunnel,
    /// Other node, no mesh.
    PlainFar,
    /// Other node over mutual TLS.
    FarTunnel,
    /// Other node through two relays in user space, without a mesh and without TLS: what any pair of proxies pays.
    FarRelays,
}

impl Place {
    /// What it is compared to: the same pods without a mesh.
    pub(super) fn plain(self) -> Self {
        if self.is_far() { Self::PlainFar } else { Self::PlainNear }
    }

    /// Whether the server is on the other node.
    pub(super) fn is_far(self) -> bool {
        matches!(self, Self::PlainFar | Self::FarTunnel | Self::FarRelays)
    }
}

/// What TCP_CONGESTION of every socket is, the agents' too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Congestion {
    Bbr,
    Cubic,
}

impl Congestion {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Those that this kernel has at hand; the first is used where one is enough.
pub(super) fn available() -> Result<Vec<Congestion>> {
    let file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let names = fs::read_to_string(file).context(file)?;
    let has = |congestion: &Congestion| names.split_whitespace().any(|name| name == congestion.name());
    let found: Vec<Congestion> = [Congestion::Bbr, Congestion::Cubic].into_iter().filter(has).collect();
    ensure!(!found.is_empty(), "this kernel has neither bbr nor cubic (modprobe tcp_bbr tcp_cubic)");
    Ok(found)
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// One byte there and back, µs.
    RoundTrip50,
    RoundTrip99,
    /// Connect, 64 bytes each way, close, µs.
    Connect50,
    Connect99,
    /// So many streams, Gbit/s.
    Bulk(usize, Congestion),
    /// HTTP/1.1 over so many connections, requests a second.
    Http(usize),
}

/// What is to be reached, as a ratio to no mesh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(super) fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

impl Figure {
    pub(super) fn title(self) -> String {
        match self {
            Self::RoundTrip50 => "1-byte round trip, p50".into(),
            Self::RoundTrip99 => "1-byte round trip, p99".into(),
            Self::Connect50 => "connect + 64 B + close, p50".into(),
            Self::Connect99 => "connect + 64 B + close, p99".into(),
            Self::Bulk(1, congestion) => format!("bulk, 1 stream, all {congestion}"),
            Self::Bulk(streams, congestion) => format!("bulk, {streams} streams, all {congestion}"),
            Self::Http(1) => "HTTP/1.1, 1 connection".into(),
            Self::Http(connections) => format!("HTTP/1.1, {connections} connections"),
        }
    }

    /// The figure itself, for a reader.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::RoundTrip50 | Self::RoundTrip99 | Self::Connect50 | Self::Connect99 => {
                format!("{value:.0} µs")
            }
            Self::Bulk(..) => format!("{value:.1} Gbit/s"),
            Self::Http(_) => format!("{:.1}k/s", value / 1e3),
        }
    }

    pub(super) fn goal(self, place: Place) -> Option<Goal> {
        use Goal::{AtLeast, AtMost};
        let (near, far) = match self {
            Self::RoundTrip50 => (AtMost(1.1), AtMost(2.0)),
            Self::Connect50 => (AtMost(1.25), AtMost(2.5)),
            Self::Bulk(1, Congestion::Bbr) => (AtLeast(0.95), AtLeast(0.5)),
            Self::Bulk(1, Congestion::Cubic) => (AtLeast(0.95), AtLeast(0.25)),
            Self::Http(32) => (AtLeast(0.95), AtLeast(0.45)),
            _ => return None,
        };
        match place {
            Place::Direct => Some(near),
            Place::FarTunnel => Some(far),
            _ => None,
        }
    }
}

/// Figures by round.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<(Figure, Place), Vec<f64>>);

impl Samples {
    pub(super) fn add(&mut self, figure: Figure, place: Place, value: f64) {
        self.0.entry((figure, place)).or_default().push(value);
    }

    /// Figures that there are, in the order of the table.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = self.0.keys().map(|(figure, _)| *figure).collect();
        figures.dedup();
        figures
    }

    /// The median over rounds.
    pub(super) fn median(&self, figure: Figure, place: Place) -> Option<f64> {
        median(self.0.get(&(figure, place))?.clone())
    }

    /// The median over rounds of the ratio to no mesh in the same round.
    pub(super) fn ratio(&self, figure: Figure, place: Place) -> Option<f64> {
        let plain = self.0.get(&(figure, place.plain()))?;
        let meshed = self.0.get(&(figure, place))?;
        median(meshed.iter().zip(plain).map(|(meshed, plain)| meshed / plain).collect())
    }
}

/// The middle one, or the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_within_a_round() {
        let mut samples = Samples::default();
        // The machine was three times as slow in the second round, for both.
        for (plain, meshed) in [(10.0, 20.0), (30.0, 60.0), (10.0, 21.0)] {
            samples.add(Figure::RoundTrip50, Place::PlainFar, plain);
            samples.add(Figure::RoundTrip50, Place::FarTunnel, meshed);
        }
        assert_eq!(samples.ratio(Figure::RoundTrip50, Place::FarTunnel), Some(2.0));
        assert_eq!(samples.median(Figure::RoundTrip50, Place::FarTunnel), Some(21.0));
        assert_eq!(samples.ratio(Figure::RoundTrip50, Place::Direct), None);
    }

    #[test]
    fn an_even_number_of_rounds_has_its_median_between_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
