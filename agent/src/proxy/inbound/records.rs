//! From a connection that came in to its flow record.
//!
//! Entry points: [`begin`], then [`finish`] or [`close`].

use std::{
    net::SocketAddr,
    time::{Instant, SystemTime},
};

use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::{Direction, FlowRecord, Path, Peer, Verdict},
    identity::Identity,
    proxy::{context::Context, outcome::Outcome, pod::LocalPod, report},
    state::Snapshot,
};

/// The record of a connection of whom a certificate names, or of nobody known.
pub(super) fn begin(
    context: &Context,
    snapshot: &Snapshot,
    pod: &LocalPod,
    source: Option<&Identity>,
    peer: ClientAddr,
    authority: EndpointAddr,
    path: Path,
) -> FlowRecord {
    let known = snapshot.workload_by_address(peer.ip());
    let from = match (source, known) {
        // The certificate says who it is; the address says which of that identity's pods.
        (Some(identity), Some(workload)) if workload.identity == *identity => {
            report::workload(workload, Some(peer.socket()))
        }
        (Some(identity), _) => report::identity(identity, peer.socket()),
        (None, _) => stranger(snapshot, peer),
    };
    FlowRecord::new(
        SystemTime::now(),
        context.node.clone(),
        Direction::Inbound,
        (from, own(snapshot, pod, authority.socket())),
        path,
        Verdict::Forwarded,
    )
}

pub(super) fn stranger(snapshot: &Snapshot, peer: ClientAddr) -> Peer {
    match snapshot.workload_by_address(peer.ip()) {
        Some(workload) => report::unproved(workload, peer.socket()),
        None => report::stranger(peer.socket()),
    }
}

pub(super) fn own(snapshot: &Snapshot, pod: &LocalPod, address: SocketAddr) -> Peer {
    match snapshot.workload(&pod.key) {
        Some(workload) => report::workload(workload, Some(address)),
        None => report::identity(&pod.identity, address),
    }
}

/// Records a connection that was never announced.
pub(super) fn finish(context: &Context, record: FlowRecord, began: Instant, outcome: Outcome) {
    context.recorder.record(ended(record, began, outcome));
}

/// Records the end of one that was.
pub(super) fn close(context: &Context, record: FlowRecord, began: Instant, outcome: Outcome) {
    context.recorder.closed(ended(record, began, outcome));
}

fn ended(mut record: FlowRecord, began: Instant, outcome: Outcome) -> FlowRecord {
    record.time = SystemTime::now();
    record.duration_us = Some(began.elapsed().as_micros() as u64);
    let audited = record.verdict == Verdict::Audited;
    outcome.write(&mut record);
    if audited && record.verdict == Verdict::Forwarded {
        record.verdict = Verdict::Audited;
    }
    record
}
