//! The form in which the ring keeps a record: what records have in common is kept once.
//!
//! Entry points: [`Shelf::pack`], [`Shelf::unpack`], [`Shelf::release`]. A record is about 600 bytes and
//! a packed one 144, since a node's flows are between the same few pods over and over, and ask the
//! same of them.
//! Knows nothing of order, bounds of the ring or readers.

use std::{
    hash::Hash,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

// With its own hasher: each record looks up three things of several texts each.
use hashbrown::HashSet;

use super::{
    filter::FlowView,
    record::{Direction, FlowRecord, Path, Peer, PolicyRef, Reason, RequestInfo, TlsInfo, TraceId, Verdict},
};
use crate::addr;

/// One record, packed.
#[derive(Debug)]
pub(super) struct Packed {
    /// Microseconds since the epoch.
    time: u64,
    source: Arc<Peer>,
    destination: Arc<Peer>,
    outcome: Arc<Outcome>,
    source_address: PackedAddress,
    destination_address: PackedAddress,
    bytes_sent: u64,
    bytes_received: u64,
    connect_us: u64,
    duration_us: u64,
    rtt_us: u32,
    retransmits: u32,
    request: Option<Arc<RequestInfo>>,
    trace_id: Option<TraceId>,
}

/// What many records between the same workloads have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Outcome {
    node: Arc<str>,
    direction: Direction,
    protocol: &'static str,
    path: Path,
    verdict: Verdict,
    reason: Option<Reason>,
    detail: Option<Arc<str>>,
    policy: Option<PolicyRef>,
    audit: Option<PolicyRef>,
    tls: Option<TlsInfo>,
    judged_here: bool,
}

#[derive(Clone, Copy, Debug)]
struct PackedAddress {
    octets: [u8; 16],
    port: u16,
    present: bool,
}

impl Packed {
    /// What a filter looks at.
    pub(super) fn view(&self) -> FlowView<'_> {
        FlowView {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(self.time),
            direction: self.outcome.direction,
            verdict: self.outcome.verdict,
            reason: self.outcome.reason,
            source: &self.source,
            destination: &self.destination,
            request: self.request.as_deref(),
            trace_id: self.trace_id,
        }
    }
}

/// What packed records share, each kept as long as a packed record needs it.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    peers: HashSet<Arc<Peer>>,
    outcomes: HashSet<Arc<Outcome>>,
    requests: HashSet<Arc<RequestInfo>>,
    bytes: usize,
}

impl Shelf {
    /// An estimate of the memory that shared parts take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packs `record`; the result must come back to [`Shelf::release`].
    pub(super) fn pack(&mut self, mut record: FlowRecord) -> Packed {
        let source_address = PackedAddress::new(record.source.address.take());
        let destination_address = PackedAddress::new(record.destination.address.take());
        let outcome = Outcome {
            node: record.node,
            direction: record.direction,
            protocol: record.protocol,
            path: record.path,
            verdict: record.verdict,
            reason: record.reason,
            detail: record.detail,
            policy: record.policy,
            audit: record.audit,
            tls: record.tls,
            judged_here: record.judged_here,
        };
        let request = record.request.map(|request| *request);
        let since_epoch = record.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Packed {
            time: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
            source: share(&mut self.peers, &mut self.bytes, record.source, peer_bytes),
            destination: share(&mut self.peers, &mut self.bytes, record.destination, peer_bytes),
            outcome: share(&mut self.outcomes, &mut self.bytes, outcome, outcome_bytes),
            source_address,
            destination_address,
            bytes_sent: record.bytes_sent,
            bytes_received: record.bytes_received,
            connect_us: record.connect_us.map_or(0, |us| us.saturating_add(1)),
            duration_us: record.duration_us.map_or(0, |us| us.saturating_add(1)),
            rtt_us: record.rtt_us.map_or(0, |us| us.saturating_add(1)),
            retransmits: record.retransmits.map_or(0, |count| count.saturating_add(1)),
            request: request
                .map(|request| share(&mut self.requests, &mut self.bytes, request, request_bytes)),
            trace_id: record.trace_id,
        }
    }

    /// The record that was packed, to the microsecond.
    pub(super) fn unpack(packed: &Packed) -> FlowRecord {
        let outcome = &*packed.outcome;
        let peer = |peer: &Peer, address: PackedAddress| Peer { address: address.socket(), ..peer.clone() };
        FlowRecord {
            time: packed.view().time,
            node: outcome.node.clone(),
            direction: outcome.direction,
            source: peer(&packed.source, packed.source_address),
            destination: peer(&packed.destination, packed.destination_address),
            protocol: outcome.protocol,
            path: outcome.path,
            verdict: outcome.verdict,
            reason: outcome.reason,
            detail: outcome.detail.clone(),
            policy: outcome.policy.clone(),
            audit: outcome.audit.clone(),
            tls: outcome.tls.clone(),
            bytes_sent: packed.bytes_sent,
            bytes_received: packed.bytes_received,
            connect_us: packed.connect_us.checked_sub(1),
            duration_us: packed.duration_us.checked_sub(1),
            rtt_us: packed.rtt_us.checked_sub(1),
            retransmits: packed.retransmits.checked_sub(1),
            request: packed.request.as_deref().cloned().map(Box::new),
            trace_id: packed.trace_id,
            judged_here: outcome.judged_here,
        }
    }

    /// Forgets a packed record, and what only it needed.
    pub(super) fn release(&mut self, packed: Packed) {
        give_back(&mut self.peers, &mut self.bytes, packed.source, peer_bytes);
        give_back(&mut self.peers, &mut self.bytes, packed.destination, peer_bytes);
        give_back(&mut self.outcomes, &mut self.bytes, packed.outcome, outcome_bytes);
        if let Some(request) = packed.request {
            give_back(&mut self.requests, &mut self.bytes, request, request_bytes);
        }
    }
}

fn share<T: Eq + Hash>(
    shelf: &mut HashSet<Arc<T>>,
    bytes: &mut usize,
    value: T,
    cost: fn(&T) -> usize,
) -> Arc<T> {
    if let Some(known) = shelf.get(&value) {
        return known.clone();
    }
    *bytes += cost(&value);
    let value = Arc::new(value);
    shelf.insert(value.clone());
    value
}

fn give_back<T: Eq + Hash>(
    shelf: &mut HashSet<Arc<T>>,
    bytes: &mut usize,
    value: Arc<T>,
    cost: fn(&T) -> usize,
) {
    // One reference is the shelf's and one is `value`: nobody outside this module ever holds another.
    if Arc::strong_count(&value) == 2 {
        *bytes = bytes.saturating_sub(cost(&value));
        shelf.remove(&value);
    }
}

fn text_bytes(text: &Option<Arc<str>>) -> usize {
    text.as_ref().map_or(0, |text| text.len() + 16)
}

fn request_bytes(request: &RequestInfo) -> usize {
    let http = &request.http;
    let grpc = request.grpc.as_ref().map_or(0, |grpc| grpc.service.len() + grpc.method.len() + 2 * 16);
    let user = request.user.as_ref().map_or(0, |user| user.issuer.len() + user.subject.len() + 2 * 16);
    let texts = http.method.len() + http.host.len() + http.path.len() + 3 * 16;
    size_of::<RequestInfo>() + 32 + texts + grpc + user + text_bytes(&http.route)
}

fn peer_bytes(peer: &Peer) -> usize {
    let texts =
        [&peer.namespace, &peer.pod, &peer.workload, &peer.service, &peer.service_account, &peer.identity];
    size_of::<Peer>() + 32 + texts.into_iter().map(text_bytes).sum::<usize>()
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    let tls = outcome.tls.as_ref().map_or(0, |tls| text_bytes(&tls.peer));
    size_of::<Outcome>() + 32 + text_bytes(&outcome.detail) + tls
}

impl PackedAddress {
    fn new(address: Option<SocketAddr>) -> Self {
        match address {
            Some(address) => Self { octets: addr::octets(address.ip()), port: address.port(), present: true },
            None => Self { octets: [0; 16], port: 0, present: false },
        }
    }

    fn socket(self) -> Option<SocketAddr> {
        self.present.then(|| SocketAddr::new(addr::from_octets(self.octets), self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    #[test]
    fn a_packed_record_is_small() {
        assert!(size_of::<Packed>() <= 144, "{}", size_of::<Packed>());
    }

    #[test]
    fn packing_loses_nothing() {
        let mut shelf = Shelf::default();
        let mut bare = samples::plain();
        bare.source = Peer::default();
        bare.destination.address = Some("[fd10::2]:0".parse().expect("an address"));
        for record in [samples::full(), samples::plain(), bare] {
            let packed = shelf.pack(record.clone());
            assert_eq!(Shelf::unpack(&packed), record);
            shelf.release(packed);
        }
    }

    #[test]
    fn records_between_the_same_pods_share_what_they_have_in_common() {
        let mut shelf = Shelf::default();
        let first = shelf.pack(samples::plain());
        let bytes = shelf.bytes();
        let mut other = samples::plain();
        other.source.address = Some("10.244.1.2:50000".parse().expect("an address"));
        other.bytes_sent = 9;
        let second = shelf.pack(other);
        assert_eq!(shelf.bytes(), bytes);
        assert!(Arc::ptr_eq(&first.source, &second.source));
        assert!(Arc::ptr_eq(&first.outcome, &second.outcome));
    }

    #[test]
    fn records_of_the_same_request_share_it_but_for_its_trace() {
        let mut shelf = Shelf::default();
        let first = shelf.pack(samples::full());
        let bytes = shelf.bytes();
        let mut other = samples::full();
        other.trace_id = TraceId::new(1);
        let second = shelf.pack(other);
        assert_eq!(shelf.bytes(), bytes);
        assert_ne!(first.trace_id, second.trace_id);
        let mut failed = samples::full();
        failed.request.as_mut().expect("a request").http.status = Some(500);
        shelf.pack(failed);
        assert!(shelf.bytes() > bytes);
    }

    #[test]
    fn what_no_record_needs_any_more_is_forgotten() {
        let mut shelf = Shelf::default();
        let packed = [shelf.pack(samples::full()), shelf.pack(samples::full()), shelf.pack(samples::plain())];
        for packed in packed {
            shelf.release(packed);
        }
        let left = (shelf.peers.len(), shelf.outcomes.len(), shelf.requests.len(), shelf.bytes());
        assert_eq!(left, (0, 0, 0, 0));
    }
}
