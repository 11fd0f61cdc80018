//! Istio's standard TCP metrics, from flow records.
//!
//! Entry point: [`TcpMetrics`]. All five metrics share one table of series, bounded: when it is full,
//! series that an hour did not touch make room, else the newcomer is turned away and counted.
//! "Sent" is what responses carried and "received" what requests carried, as Istio defines them.

use std::{sync::Arc, time::Instant};

use super::{Sample, bounded::Bounded, catalogue, catalogue::Definition, response_flags::response_flags};
use crate::flows::record::{Canonical, Direction, FlowRecord, Peer, Verdict};

const UNKNOWN: &str = "unknown";

/// Names that are the same for all series of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterNames {
    /// Istio's cluster id, for `source_cluster` and `destination_cluster`.
    pub cluster: String,
    /// The DNS domain of Services, for `destination_service`.
    pub domain: String,
}

impl Default for ClusterNames {
    fn default() -> Self {
        Self { cluster: "Kubernetes".into(), domain: "cluster.local".into() }
    }
}

/// The series.
#[derive(Debug)]
pub(super) struct TcpMetrics {
    series: Bounded<Key, Counts>,
    names: ClusterNames,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    reporter: Direction,
    source: PeerKey,
    destination: PeerKey,
    service: Option<Arc<str>>,
    protocol: &'static str,
    response_flags: &'static str,
    mutual_tls: bool,
}

impl Key {
    pub(super) fn new(flow: &FlowRecord, protocol: &'static str, response_flags: &'static str) -> Self {
        Self {
            reporter: flow.direction,
            source: PeerKey::new(&flow.source),
            destination: PeerKey::new(&flow.destination),
            service: flow.destination.service.clone(),
            protocol,
            response_flags,
            mutual_tls: flow.tls.is_some(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PeerKey {
    namespace: Option<Arc<str>>,
    workload: Option<Arc<str>>,
    identity: Option<Arc<str>>,
    canonical: Option<Arc<Canonical>>,
}

#[derive(Debug, Default)]
struct Counts {
    opened: u64,
    closed: u64,
    failed: u64,
    sent: u64,
    received: u64,
}

impl TcpMetrics {
    pub(super) fn new(names: ClusterNames, most: usize) -> Self {
        Self { series: Bounded::new(most), names }
    }

    /// Counts a connection that began; how it will end is not known, so it has no response flags.
    pub(super) fn opened(&mut self, flow: &FlowRecord, now: Instant) {
        self.count(flow, "-", now, |counts| counts.opened += 1);
    }

    /// Counts a connection that ended, or never came to be.
    pub(super) fn closed(&mut self, flow: &FlowRecord, now: Instant) {
        let failed = matches!(flow.verdict, Verdict::Denied | Verdict::Failed);
        self.count(flow, response_flags(flow), now, |counts| {
            counts.closed += 1;
            counts.failed += u64::from(failed);
            counts.sent += flow.bytes_received;
            counts.received += flow.bytes_sent;
        });
    }

    /// How many updates found no room.
    pub(super) fn refused(&self) -> u64 {
        self.series.refused()
    }

    /// The values of one of the five metrics. A series where a value was never counted is left out.
    pub(super) fn samples(&self, of: &Definition) -> Vec<Sample> {
        let value: fn(&Counts) -> u64 = match of {
            of if *of == catalogue::TCP_OPENED => |counts| counts.opened,
            of if *of == catalogue::TCP_CLOSED => |counts| counts.closed,
            of if *of == catalogue::TCP_FAILED => |counts| counts.failed,
            of if *of == catalogue::TCP_SENT => |counts| counts.sent,
            _ => |counts| counts.received,
        };
        let counted = self.series.iter().filter(|(_, counts)| value(counts) > 0);
        let sample = |(key, counts)| Sample { labels: labels(key, &self.names), value: value(counts) as f64 };
        let mut samples: Vec<_> = counted.map(sample).collect();
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        samples
    }

    fn count(&mut self, flow: &FlowRecord, flags: &'static str, now: Instant, add: impl FnOnce(&mut Counts)) {
        self.series.with(Key::new(flow, "tcp", flags), now, add);
    }
}

impl PeerKey {
    fn new(peer: &Peer) -> Self {
        Self {
            namespace: peer.namespace.clone(),
            workload: peer.workload.clone().or_else(|| peer.pod.clone()),
            identity: peer.identity.clone(),
            canonical: peer.canonical.clone(),
        }
    }
}

/// Label values in the order of [`catalogue::ISTIO_LABELS`].
pub(super) fn labels(key: &Key, names: &ClusterNames) -> Vec<String> {
    let reporter = match key.reporter {
        Direction::Outbound => "source",
        Direction::Inbound => "destination",
    };
    let mut labels = vec![reporter.to_owned()];
    labels.extend(peer_labels(&key.source, names));
    labels.extend(peer_labels(&key.destination, names));
    let service = key.service.as_deref().and_then(|service| service.split_once('/'));
    labels.extend(match service {
        Some((namespace, name)) => {
            [format!("{name}.{namespace}.svc.{}", names.domain), name.to_owned(), namespace.to_owned()]
        }
        None => [UNKNOWN; 3].map(String::from),
    });
    labels.push(key.protocol.into());
    labels.push(key.response_flags.into());
    labels.push(if key.mutual_tls { "mutual_tls" } else { "none" }.into());
    labels
}

/// workload, namespace, principal, canonical service and revision, app, version, cluster.
fn peer_labels(peer: &PeerKey, names: &ClusterNames) -> [String; 8] {
    let text = |text: Option<&str>| text.unwrap_or(UNKNOWN).to_owned();
    let canonical = peer.canonical.as_deref();
    let service = canonical.map(|canonical| &*canonical.service).or(peer.workload.as_deref());
    let revision = canonical.map(|canonical| &*canonical.revision);
    [
        text(peer.workload.as_deref()),
        text(peer.namespace.as_deref()),
        text(peer.identity.as_deref()),
        text(service),
        text(revision),
        text(service),
        text(revision),
        text(peer.workload.as_ref().map(|_| names.cluster.as_str())),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::bounded::IDLE, *};
    use crate::{
        flows::record::{Reason, samples},
        metrics::catalogue::ISTIO_LABELS,
    };

    fn metrics(most: usize) -> TcpMetrics {
        TcpMetrics::new(ClusterNames::default(), most)
    }

    fn with_workload(name: &str) -> FlowRecord {
        let mut flow = samples::plain();
        flow.source.workload = Some(name.into());
        flow
    }

    fn value(metrics: &TcpMetrics, of: &Definition) -> f64 {
        metrics.samples(of).iter().map(|sample| sample.value).sum()
    }

    #[test]
    fn a_connection_between_known_workloads_has_istio_s_labels() {
        let mut metrics = metrics(10);
        let mut flow = samples::full();
        flow.source.canonical = Some(Arc::new(Canonical { service: "basket".into(), revision: "v2".into() }));
        metrics.closed(&flow, Instant::now());
        let sample = metrics.samples(&catalogue::TCP_CLOSED).remove(0);
        let pairs: Vec<String> =
            ISTIO_LABELS.iter().zip(&sample.labels).map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(sample.labels.len(), ISTIO_LABELS.len());
        assert_eq!(
            pairs.join(" "),
            "reporter=source source_workload=cart source_workload_namespace=shop \
             source_principal=spiffe://cluster.local/ns/shop/sa/cart source_canonical_service=basket \
             source_canonical_revision=v2 source_app=basket source_version=v2 source_cluster=Kubernetes \
             destination_workload=pay destination_workload_namespace=shop \
             destination_principal=spiffe://cluster.local/ns/shop/sa/pay destination_canonical_service=pay \
             destination_canonical_revision=unknown destination_app=pay destination_version=unknown \
             destination_cluster=Kubernetes destination_service=pay.shop.svc.cluster.local \
             destination_service_name=pay destination_service_namespace=shop request_protocol=tcp \
             response_flags=DENY connection_security_policy=mutual_tls"
        );
    }

    #[test]
    fn what_is_not_known_is_unknown_and_plaintext_has_no_security() {
        let mut metrics = metrics(10);
        let mut flow = samples::plain();
        flow.direction = Direction::Inbound;
        flow.source = Peer { address: flow.source.address, ..Peer::default() };
        metrics.opened(&flow, Instant::now());
        let labels = metrics.samples(&catalogue::TCP_OPENED).remove(0).labels;
        assert_eq!(labels[0], "destination");
        assert!(labels[1..9].iter().all(|label| label == UNKNOWN), "{labels:?}");
        assert_eq!(labels[20..], ["tcp", "-", "none"]);
    }

    #[test]
    fn sent_is_the_response_and_received_the_request_as_istio_counts() {
        let mut metrics = metrics(10);
        metrics.closed(&samples::full(), Instant::now());
        assert_eq!(value(&metrics, &catalogue::TCP_SENT), 17.0);
        assert_eq!(value(&metrics, &catalogue::TCP_RECEIVED), 5.0);
    }

    #[test]
    fn opened_and_closed_differ_while_a_connection_lives() {
        let mut metrics = metrics(10);
        metrics.opened(&samples::plain(), Instant::now());
        assert_eq!(value(&metrics, &catalogue::TCP_OPENED), 1.0);
        assert_eq!(value(&metrics, &catalogue::TCP_CLOSED), 0.0);
        metrics.closed(&samples::plain(), Instant::now());
        assert_eq!(value(&metrics, &catalogue::TCP_CLOSED), 1.0);
        assert_eq!(value(&metrics, &catalogue::TCP_FAILED), 0.0);
    }

    #[test]
    fn the_denied_and_the_failed_have_failed_with_their_flag() {
        for (verdict, reason, flags, failed) in [
            (Verdict::Denied, Some(Reason::PolicyDenied), "DENY", 1.0),
            (Verdict::Failed, Some(Reason::UpstreamRefused), "CONNECT", 1.0),
            (Verdict::Forwarded, Some(Reason::Reset), "-", 0.0),
            (Verdict::Forwarded, Some(Reason::NoLongerAllowed), "DENY", 0.0),
            (Verdict::Audited, None, "-", 0.0),
        ] {
            let mut metrics = metrics(10);
            let mut flow = samples::plain();
            (flow.verdict, flow.reason) = (verdict, reason);
            metrics.closed(&flow, Instant::now());
            assert_eq!(metrics.samples(&catalogue::TCP_CLOSED)[0].labels[21], flags);
            assert_eq!(value(&metrics, &catalogue::TCP_FAILED), failed, "{verdict}");
        }
    }

    #[test]
    fn a_full_table_turns_newcomers_away_until_idle_series_make_room() {
        let mut metrics = metrics(2);
        let start = Instant::now();
        for name in ["a", "b", "c"] {
            metrics.opened(&with_workload(name), start);
        }
        assert_eq!((metrics.series.iter().count(), metrics.refused()), (2, 1));
        let later = start + IDLE;
        metrics.opened(&with_workload("b"), later - Duration::from_secs(1));
        metrics.opened(&with_workload("d"), later);
        let workloads: Vec<_> = metrics
            .samples(&catalogue::TCP_OPENED)
            .into_iter()
            .map(|sample| sample.labels[1].clone())
            .collect();
        assert_eq!(workloads, ["b", "d"]);
        assert_eq!(metrics.refused(), 1);
    }
}
