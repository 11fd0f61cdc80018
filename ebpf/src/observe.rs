//! The life of an enrolled pod's sockets: original destinations handed over, direct connections vouched
//! for, listening ports known, and every end reported.
//!
//! Entry point: [`observe`], called about ten times per connection, so it leaves by operation first.

use aya_ebpf::{bindings::*, helpers::generated::bpf_get_netns_cookie, programs::SockOpsContext};
use weir_common::*;

use crate::{
    context::{Ends, ends_of_ops, read},
    maps::*,
};

/// Looks at one operation of one socket.
#[inline(always)]
pub fn observe(ctx: &SockOpsContext) {
    let op = read!(ctx.ops, op);
    match op {
        BPF_SOCK_OPS_TCP_CONNECT_CB
        | BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_TCP_LISTEN_CB
        | BPF_SOCK_OPS_STATE_CB => {}
        _ => return,
    }
    // SAFETY: the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.ops.cast()) };
    // SAFETY: the entry is copied.
    let Some(workload) = (unsafe { WORKLOADS.get(&netns) }).copied() else { return };
    // SAFETY: reads the context's socket pointer.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    let ends = ends_of_ops(ctx.ops);
    // SAFETY (each call below): `sk` is not null and the verifier knows it for a socket.
    unsafe {
        match op {
            BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(ctx, netns, sk, &ends, &workload),
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx, sk),
            BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ctx, netns, sk, &ends, &workload),
            BPF_SOCK_OPS_TCP_LISTEN_CB => listening(ctx, netns, sk, &ends),
            _ => changed(ctx, netns, sk, &ends),
        }
    }
}

/// The SYN is about to leave.
#[inline(always)]
unsafe fn connecting(ctx: &SockOpsContext, netns: u64, sk: *mut bpf_sock, ends: &Ends, workload: &Workload) {
    // SAFETY: as the caller promises.
    let kept = unsafe { connection_of(sk) };
    if kept.is_null() {
        // SAFETY: as the caller promises.
        if ends.is_inside() || is_leaving(workload) || unsafe { is_agents(sk) } {
            return;
        }
        // SAFETY: as the caller promises.
        unsafe { begin(sk, ends.remote, ends.remote_port, connection::PASSED, 0) };
        watch(ctx);
        return;
    }
    // SAFETY: not null.
    let value = unsafe { *kept };
    if value.kind == connection::REDIRECTED {
        let key = SourceKey { netns, address: ends.local, port: ends.local_port, pad: [0; 3] };
        let _ = REDIRECTED.insert(&key, &value, 0);
    } else if value.kind == connection::DIRECT && is_own(ends, workload) {
        let generation = settings().map_or(0, |settings| settings.generation);
        let _ = VOUCHED.insert(&tuple(ends), &Voucher { netns, generation, pad: 0 }, 0);
    }
    watch(ctx);
}

/// Whether new connections of the pod are nobody's business any more, unless they were redirected.
#[inline(always)]
fn is_leaving(workload: &Workload) -> bool {
    workload.flags & workload::LEAVING != 0
}

/// Whether the connection begins at the pod's own address: with CAP_NET_RAW an application binds to any
/// other (`IP_TRANSPARENT`), and would be taken for the pod that has it.
#[inline(always)]
fn is_own(ends: &Ends, workload: &Workload) -> bool {
    ends.local.same(&workload.address4) || ends.local.same(&workload.address6)
}

/// Our side's handshake is done.
#[inline(always)]
unsafe fn connected(ctx: &SockOpsContext, sk: *mut bpf_sock) {
    // SAFETY: as the caller promises.
    let kept = unsafe { connection_of(sk) };
    if kept.is_null() {
        return;
    }
    // SAFETY: not null.
    unsafe { (*kept).established_ns = now_ns() };
    // SAFETY: not null.
    if unsafe { (*kept).kind } == connection::REDIRECTED {
        // From here on the proxy reports it.
        let _ = ctx.set_cb_flags(0);
    }
}

/// A connection was taken in.
#[inline(always)]
unsafe fn accepted(ctx: &SockOpsContext, netns: u64, sk: *mut bpf_sock, ends: &Ends, workload: &Workload) {
    if ends.local.is_loopback() {
        if ends.local_port == workload.virtual_port {
            // SAFETY: as the caller promises.
            unsafe { adopt(netns, sk, ends) };
        }
        return;
    }
    if ends.is_inside() || ends.local_port == TUNNEL_PORT || is_leaving(workload) {
        return;
    }
    let vouched = VOUCHED.get_ptr(&tuple(&ends.reversed())).is_some();
    let kind = if vouched { connection::VOUCHED } else { connection::INBOUND };
    // SAFETY: as the caller promises.
    unsafe { begin(sk, ends.local, ends.local_port, kind, now_ns()) };
    watch(ctx);
}

/// Hands the original destination to the socket that the agent is about to accept.
#[inline(always)]
unsafe fn adopt(netns: u64, sk: *mut bpf_sock, ends: &Ends) {
    let key = SourceKey { netns, address: ends.remote, port: ends.remote_port, pad: [0; 3] };
    let Some(found) = REDIRECTED.get_ptr(&key) else {
        count(counter::ORIGIN_LOST);
        return;
    };
    // SAFETY: an entry of a preallocated map, copied.
    let mut value = unsafe { *found };
    value.kind = connection::ACCEPTED;
    // SAFETY: as the caller promises.
    unsafe { keep(sk, value) };
    let _ = REDIRECTED.remove(&key);
}

/// Keeps a new value with the socket.
#[inline(always)]
unsafe fn begin(sk: *mut bpf_sock, address: Address, port: u16, kind: u16, established_ns: u64) {
    let value = Connection {
        original: address,
        endpoint: address,
        started_ns: now_ns(),
        established_ns,
        received_at_fin_wait: 0,
        // 0: getpeername has nothing to restore.
        original_port: 0,
        endpoint_port: port,
        kind,
        fin_received: 0,
    };
    // SAFETY: as the caller promises.
    unsafe { keep(sk, value) };
}

/// An application listens.
#[inline(always)]
unsafe fn listening(ctx: &SockOpsContext, netns: u64, sk: *mut bpf_sock, ends: &Ends) {
    // SAFETY: as the caller promises.
    if unsafe { is_agents(sk) } {
        return;
    }
    let key = PortKey { netns, port: ends.local_port, rule: 0, pad: 0 };
    if let Some(sockets) = LISTENING.get_ptr_mut(&key) {
        // SAFETY: several listeners of a port are rare; a count lost to a race is repaired by the agent.
        unsafe { *sockets = (*sockets).wrapping_add(1) };
    } else if LISTENING.insert(&key, &1, 0).is_err() {
        count(counter::LISTENING_FULL);
    }
    watch(ctx);
}

/// A listener closed.
#[inline(always)]
fn silent(netns: u64, port: u16) {
    let key = PortKey { netns, port, rule: 0, pad: 0 };
    let Some(sockets) = LISTENING.get_ptr_mut(&key) else { return };
    // SAFETY: as in `listening`.
    unsafe {
        if *sockets > 1 {
            *sockets -= 1;
        } else {
            let _ = LISTENING.remove(&key);
        }
    }
}

/// A watched socket came to another state.
#[inline(always)]
unsafe fn changed(ctx: &SockOpsContext, netns: u64, sk: *mut bpf_sock, ends: &Ends) {
    let old = read!(ctx.ops, __bindgen_anon_1.args[0]);
    let new = read!(ctx.ops, __bindgen_anon_1.args[1]);
    if old == BPF_TCP_LISTEN {
        silent(netns, ends.local_port);
        return;
    }
    // SAFETY: as the caller promises.
    let kept = unsafe { connection_of(sk) };
    if kept.is_null() {
        return;
    }
    // SAFETY: not null, for every use of `kept` below.
    let kept = unsafe { &mut *kept };
    if new == BPF_TCP_FIN_WAIT2 {
        kept.received_at_fin_wait = read!(ctx.ops, bytes_received);
    } else if new == BPF_TCP_CLOSE_WAIT || new == BPF_TCP_CLOSING {
        kept.fin_received = 1;
    } else if new == BPF_TCP_CLOSE {
        if kept.kind == connection::DIRECT {
            // Not sooner: a destination that answers with SYN cookies looks the listener up once more when
            // the handshake ends.
            let _ = VOUCHED.remove(&tuple(ends));
        }
        // SAFETY: as the caller promises.
        if !unsafe { is_agents(sk) } {
            report(ctx, netns, ends, kept, old);
        }
    }
}

#[inline(always)]
fn report(ctx: &SockOpsContext, netns: u64, ends: &Ends, kept: &Connection, old: u32) {
    let kind = match kept.kind {
        connection::DIRECT => event::CLOSED_DIRECT,
        connection::PASSED => event::CLOSED_PASSED,
        connection::INBOUND => event::CLOSED_INBOUND,
        connection::VOUCHED => event::CLOSED_VOUCHED,
        connection::REDIRECTED if old == BPF_TCP_SYN_SENT => event::AGENT_UNAVAILABLE,
        _ => return,
    };
    let acked = read!(ctx.ops, bytes_acked);
    let received = read!(ctx.ops, bytes_received);
    // The kernel counts our SYN and FIN as acknowledged bytes, and the peer's FIN as a received one.
    let established = kept.established_ns != 0;
    let fin_acked = old == BPF_TCP_FIN_WAIT2 || old == BPF_TCP_LAST_ACK || old == BPF_TCP_CLOSING;
    let fin_received =
        kept.fin_received != 0 || (old == BPF_TCP_FIN_WAIT2 && received > kept.received_at_fin_wait);
    // An accepted socket's SYN is acknowledged before it is one.
    let accepted = kept.kind == connection::INBOUND || kept.kind == connection::VOUCHED;
    let syn_acked = established && !accepted;
    tell(|event| {
        event.kind = kind;
        event.netns = netns;
        event.local = ends.local;
        event.local_port = ends.local_port;
        event.remote = ends.remote;
        event.remote_port = ends.remote_port;
        event.original = kept.original;
        event.original_port = if kept.original_port != 0 { kept.original_port } else { kept.endpoint_port };
        event.started_ns = kept.started_ns;
        event.established_ns = kept.established_ns;
        event.bytes_sent = acked.saturating_sub(u64::from(syn_acked) + u64::from(fin_acked));
        event.bytes_received = received.saturating_sub(u64::from(fin_received));
        event.rtt_us = read!(ctx.ops, srtt_us) >> 3;
        event.retransmits = read!(ctx.ops, total_retrans);
        event.generation = settings().map_or(0, |settings| settings.generation);
        event.old_state = old;
    });
}

/// Asks to be told of the socket's further states.
#[inline(always)]
fn watch(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG as i32);
}

#[inline(always)]
fn tuple(ends: &Ends) -> TupleKey {
    TupleKey {
        source: ends.local,
        destination: ends.remote,
        source_port: ends.local_port,
        destination_port: ends.remote_port,
    }
}
