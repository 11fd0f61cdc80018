//! What the kernel's hooks report, as flow records: connections that no proxy carried, and refusals.
//!
//! Entry point: [`Observer::record`]. It decides nothing; to name the policy behind a verdict of the
//! kernel it asks the same pure function that the verdict came from.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use weir_common::{Event, event};

use crate::{
    addr::EndpointAddr,
    datapath::events::{socket, wall_time},
    flows::{
        Recorder,
        record::{Direction, FlowRecord, Path, Peer, PolicyRef, Reason, Verdict},
    },
    identity::Identity,
    policy::{Decision, Source, SourceAddress},
    proxy::{outcome, outcome::Outcome, report},
    state::{Snapshot, model::Workload},
    sync::Known,
};

/// `TCP_SYN_SENT` (`include/net/tcp_states.h`).
const SYN_SENT: u32 = 2;

/// Turns events into records.
pub struct Observer {
    /// The name of this node.
    pub node: Arc<str>,
    /// The cluster's state in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Which pod a cookie is.
    pub known: Known,
    /// Takes the records.
    pub recorder: Recorder,
}

impl Observer {
    /// Records one event; an event of a namespace that was never captured by this agent is dropped.
    pub fn record(&self, event: &Event) {
        let Some(pod) = self.known.pod(event.netns) else { return };
        let snapshot = self.snapshot.load();
        let record = match event.kind {
            event::CLOSED_DIRECT => self.dialled(&snapshot, &pod, event, Path::Direct),
            event::CLOSED_PASSED => self.dialled(&snapshot, &pod, event, Path::Passthrough),
            event::CLOSED_INBOUND => self.taken(&snapshot, &pod, event, Path::Passthrough),
            event::CLOSED_VOUCHED => self.taken(&snapshot, &pod, event, Path::Direct),
            event::AGENT_UNAVAILABLE | event::DENIED | event::BOUND_TO_DEVICE | event::NO_BACKENDS => {
                self.refused(&snapshot, &pod, event)
            }
            event::DENIED_INBOUND | event::PLAINTEXT_REFUSED => self.refused_inbound(&snapshot, &pod, event),
            _ => return,
        };
        self.recorder.record(record);
    }

    /// A connection that a pod made without the proxy.
    fn dialled(&self, snapshot: &Snapshot, pod: &Workload, event: &Event, path: Path) -> FlowRecord {
        let local = socket(event.local, event.local_port);
        let remote = socket(event.remote, event.remote_port);
        let peer = snapshot.workload_by_address(remote.ip());
        let mut record = self.begin(event, Direction::Outbound, path);
        record.source = report::workload(pod, Some(local));
        record.destination = match peer {
            Some(peer) if path == Path::Direct => report::workload(peer, Some(remote)),
            Some(peer) => report::unproved(peer, remote),
            None => report::stranger(remote),
        };
        record.destination = self.named(snapshot, record.destination, event);
        record.bytes_sent = event.bytes_sent;
        record.bytes_received = event.bytes_received;
        self.measure(&mut record, event);
        if let (Path::Direct, Some(peer)) = (path, peer) {
            let decision = decide(snapshot, peer, Some(&pod.identity), local, remote.port());
            name_policy(&mut record, &decision);
        }
        self.explain(&mut record, event, (local, remote));
        record
    }

    /// A connection that a pod's application took in without the proxy.
    fn taken(&self, snapshot: &Snapshot, pod: &Workload, event: &Event, path: Path) -> FlowRecord {
        let local = socket(event.local, event.local_port);
        let remote = socket(event.remote, event.remote_port);
        // Without a voucher the address names a pod, but proves nothing.
        let peer = snapshot.workload_by_address(remote.ip());
        let direct = peer.filter(|_| path == Path::Direct);
        let mut record = self.begin(event, Direction::Inbound, path);
        record.source = match (direct, peer) {
            (Some(peer), _) => report::workload(peer, Some(remote)),
            (None, Some(peer)) => report::unproved(peer, remote),
            (None, None) => report::stranger(remote),
        };
        record.destination = report::workload(pod, Some(local));
        record.bytes_sent = event.bytes_received;
        record.bytes_received = event.bytes_sent;
        self.measure(&mut record, event);
        let identity = direct.map(|peer| &peer.identity);
        let decision = decide(snapshot, pod, identity, remote, local.port());
        name_policy(&mut record, &decision);
        record.judged_here = true;
        self.explain(&mut record, event, (local, remote));
        record
    }

    /// A connect(2) that was refused, or that found no agent.
    fn refused(&self, snapshot: &Snapshot, pod: &Workload, event: &Event) -> FlowRecord {
        let remote = socket(event.remote, event.remote_port);
        let original = socket(event.original, event.original_port);
        let to = if event.kind == event::AGENT_UNAVAILABLE { original } else { remote };
        let peer = snapshot.workload_by_address(to.ip());
        let mut record = self.begin(event, Direction::Outbound, Path::Direct);
        record.source = report::workload(pod, None);
        let destination = peer.map_or_else(|| report::stranger(to), |peer| report::workload(peer, Some(to)));
        record.destination = self.named(snapshot, destination, event);
        let outcome = match event.kind {
            event::AGENT_UNAVAILABLE => {
                record.path = Path::Proxy;
                Outcome::failed(Reason::AgentUnavailable, "no agent took the connection")
            }
            event::BOUND_TO_DEVICE => Outcome::denied(
                Reason::BoundToDevice,
                "the socket is bound to a device (SO_BINDTODEVICE)",
                None,
            ),
            event::NO_BACKENDS => Outcome::failed(Reason::NoEndpoints, "the service has no ready endpoint"),
            _ => {
                let from = own_address(pod, to);
                let decision = peer.map(|peer| decide(snapshot, peer, Some(&pod.identity), from, to.port()));
                record.judged_here = true;
                denied(&mut record, decision)
            }
        };
        outcome.write(&mut record);
        record
    }

    /// A plaintext SYN that was refused.
    fn refused_inbound(&self, snapshot: &Snapshot, pod: &Workload, event: &Event) -> FlowRecord {
        let local = socket(event.local, event.local_port);
        let remote = socket(event.remote, event.remote_port);
        let mut record = self.begin(event, Direction::Inbound, Path::Passthrough);
        record.source = match snapshot.workload_by_address(remote.ip()) {
            Some(peer) => report::unproved(peer, remote),
            None => report::stranger(remote),
        };
        record.destination = report::workload(pod, Some(local));
        record.judged_here = true;
        let outcome = if event.kind == event::PLAINTEXT_REFUSED {
            Outcome::denied(
                Reason::PlaintextRefused,
                "the workload takes no plaintext (weir.dev/mtls: strict)",
                None,
            )
        } else {
            denied(&mut record, Some(decide(snapshot, pod, None, remote, local.port())))
        };
        outcome.write(&mut record);
        record
    }

    fn begin(&self, event: &Event, direction: Direction, path: Path) -> FlowRecord {
        let ends = (Peer::default(), Peer::default());
        FlowRecord::new(
            wall_time(event.time_ns),
            self.node.clone(),
            direction,
            ends,
            path,
            Verdict::Forwarded,
        )
    }

    /// The destination by the service that was dialled, if it was one.
    fn named(&self, snapshot: &Snapshot, peer: Peer, event: &Event) -> Peer {
        let original = EndpointAddr::new(socket(event.original, event.original_port));
        let service = snapshot.service_by_address(original.ip(), original.port());
        report::by_service(peer, service.map(|(service, _)| &service.key))
    }

    fn measure(&self, record: &mut FlowRecord, event: &Event) {
        let us = |from: u64, to: u64| (from != 0 && to >= from).then(|| (to - from) / 1000);
        record.connect_us = us(event.started_ns, event.established_ns);
        record.duration_us = us(event.started_ns, event.time_ns);
        record.rtt_us = (event.rtt_us != 0).then_some(event.rtt_us);
        record.retransmits = Some(event.retransmits);
    }

    /// Why it ended, where that is not the applications' own wish.
    fn explain(&self, record: &mut FlowRecord, event: &Event, ends: (SocketAddr, SocketAddr)) {
        if let Some(ending) = self.known.ending(&(event.netns, ends.0, ends.1)) {
            outcome::of_ending(&ending).write(record);
        } else if event.established_ns == 0 && event.old_state == SYN_SENT {
            let outcome = if event.retransmits > 0 {
                Outcome::failed(Reason::UpstreamTimeout, "the destination did not answer")
            } else {
                Outcome::failed(Reason::UpstreamRefused, "the destination did not accept the connection")
            };
            outcome.write(record);
        }
    }
}

fn decide(
    snapshot: &Snapshot,
    destination: &Workload,
    identity: Option<&Identity>,
    from: SocketAddr,
    port: u16,
) -> Decision {
    let source = Source { identity, address: SourceAddress::Address(from.ip()) };
    snapshot.applicable(destination).decide_unseen(source, port)
}

fn name_policy(record: &mut FlowRecord, decision: &Decision) {
    record.policy = decision.by.as_ref().map(PolicyRef::from);
    record.audit = decision.audit.first().map(PolicyRef::from);
    if record.audit.is_some() {
        record.verdict = Verdict::Audited;
    }
}

fn denied(record: &mut FlowRecord, decision: Option<Decision>) -> Outcome {
    let by = decision.filter(|decision| !decision.allowed).and_then(|decision| decision.by);
    record.policy = by.as_ref().map(PolicyRef::from);
    // Nothing denies any more: policy changed between the refusal and now.
    let words = by.as_ref().map_or_else(|| "refused under an earlier policy".into(), ToString::to_string);
    Outcome::denied(Reason::PolicyDenied, words, by.as_ref().map(PolicyRef::from))
}

/// The address that the pod would have dialled from.
fn own_address(pod: &Workload, to: SocketAddr) -> SocketAddr {
    let own = pod.addresses.iter().find(|address| address.is_ipv4() == to.is_ipv4());
    SocketAddr::new(own.copied().unwrap_or(to.ip()), 0)
}
