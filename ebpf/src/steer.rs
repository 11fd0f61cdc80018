//! A SYN that comes to an enrolled pod's namespace: passed, dropped (which answers RST), or given to one
//! of the agent's listeners there.
//!
//! Entry point: [`steer`]. One copy of the program is attached per pod; [`NETNS_COOKIE`] tells whose.

use aya_ebpf::programs::SkLookupContext;
use aya_log_ebpf::debug;
use weir_common::*;

use crate::{
    context::{Ends, TCP, ends_of_lookup, read},
    maps::*,
};

/// `SK_PASS`.
const PASS: u32 = 1;

/// `SK_DROP`: for TCP the kernel answers RST at once.
const DROP: u32 = 0;

/// `BPF_SK_LOOKUP_F_NO_REUSEPORT`: without it a socket of the application in the same reuse group could
/// be selected instead of the agent's.
const NO_REUSEPORT: u64 = 2;

/// Where a SYN goes.
enum Way {
    /// Wherever the kernel would take it.
    Pass,
    /// Refused.
    Drop,
    /// To the agent's listener of this kind.
    Agent(u32),
}

/// Decides and carries it out.
#[inline(always)]
pub fn steer(ctx: &SkLookupContext) -> u32 {
    if read!(ctx.lookup, protocol) != TCP {
        return PASS;
    }
    let netns = NETNS_COOKIE.load();
    let ends = ends_of_lookup(ctx.lookup);
    // SAFETY: the entry is copied.
    let Some(workload) = (unsafe { WORKLOADS.get(&netns) }).copied() else { return PASS };
    let Some(settings) = settings() else { return DROP };
    match way(netns, &ends, &workload, settings) {
        Way::Pass => PASS,
        Way::Drop => DROP,
        Way::Agent(kind) => {
            debug!(ctx, "steer port {} to listener {} of namespace {}", ends.local_port, kind, netns);
            hand_over(ctx, netns, kind, settings)
        }
    }
}

#[inline(always)]
fn way(netns: u64, ends: &Ends, workload: &Workload, settings: &Config) -> Way {
    if ends.local.is_loopback() {
        let redirected = ends.local_port == workload.virtual_port;
        return if redirected { Way::Agent(listener::OUTBOUND) } else { Way::Pass };
    }
    if ends.local.same(&ends.remote) {
        return Way::Pass;
    }
    if ends.local_port == TUNNEL_PORT {
        return Way::Agent(listener::TUNNEL);
    }
    if workload.flags & workload::LEAVING != 0 {
        return Way::Pass;
    }
    if workload.flags & workload::SKIPS_INBOUND != 0
        && has_port_rule(netns, ends.local_port, port_rule::SKIP_INBOUND)
    {
        return Way::Pass;
    }
    if NODE_ADDRESSES.get_ptr(&ends.remote).is_some()
        && has_port_rule(netns, ends.local_port, port_rule::PROBE)
    {
        return Way::Pass;
    }
    if is_vouched(ends, settings) {
        return Way::Pass;
    }
    plaintext(netns, ends, workload, settings)
}

/// Whether the source's own hook allowed exactly this connection, under the policy in force.
#[inline(always)]
fn is_vouched(ends: &Ends, settings: &Config) -> bool {
    let key = TupleKey {
        source: ends.remote,
        destination: ends.local,
        source_port: ends.remote_port,
        destination_port: ends.local_port,
    };
    let Some(voucher) = VOUCHED.get_ptr(&key) else { return false };
    // SAFETY: an entry of a preallocated map; a value that changes under our eyes is another voucher.
    unsafe { (*voucher).generation == settings.generation }
}

/// A connection that nobody vouches for: its source has no identity.
#[inline(always)]
fn plaintext(netns: u64, ends: &Ends, workload: &Workload, settings: &Config) -> Way {
    if is_open(settings) {
        count(counter::OPENED);
        return Way::Pass;
    }
    if workload.flags & workload::STRICT != 0 {
        return refuse(netns, ends, settings, event::PLAINTEXT_REFUSED);
    }
    let family = if ends.local.is_v4() { 4 } else { 6 };
    let decided = plaintext_class(netns, ends.remote).and_then(|source| {
        verdict(
            settings.generation,
            VerdictKey { source, destination: netns, port: ends.local_port, family, pad: 0 },
        )
    });
    match decided {
        Some(action::ALLOW) => Way::Pass,
        Some(action::DENY) => refuse(netns, ends, settings, event::DENIED_INBOUND),
        _ if is_listening(netns, ends.local_port) => Way::Agent(listener::INBOUND),
        // Never passed: the cache of listening ports may be behind, and then plaintext would go round
        // the agent. Dropping gives the same answer as a closed port.
        _ => Way::Drop,
    }
}

#[inline(always)]
fn is_listening(netns: u64, port: u16) -> bool {
    LISTENING.get_ptr(&PortKey { netns, port, rule: 0, pad: 0 }).is_some()
}

#[inline(always)]
fn refuse(netns: u64, ends: &Ends, settings: &Config, kind: u16) -> Way {
    count(counter::DENIED);
    tell(|event| {
        event.netns = netns;
        event.local = ends.local;
        event.local_port = ends.local_port;
        event.remote = ends.remote;
        event.remote_port = ends.remote_port;
        event.generation = settings.generation;
        event.kind = kind;
    });
    Way::Drop
}

#[inline(always)]
fn hand_over(ctx: &SkLookupContext, netns: u64, kind: u32, settings: &Config) -> u32 {
    // Each worker has a listener of its own; the per-CPU count deals them out evenly. A random choice
    // would be as fair only over many connections.
    let workers = if settings.workers == 0 { 1 } else { settings.workers };
    let turn = count(counter::REDIRECTED) as u32;
    let key = ListenerKey { netns, kind, worker: turn % workers };
    if LISTENERS.redirect_sk_lookup(ctx, &key, NO_REUSEPORT).is_ok() {
        return PASS;
    }
    count(counter::NO_LISTENER);
    if is_open(settings) && kind == listener::INBOUND { PASS } else { DROP }
}
