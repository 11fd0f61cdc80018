//! connect(2) of an enrolled pod: left alone, refused, sent straight to a pod of this node, or pointed at
//! the agent.
//!
//! Entry points: [`connect4`], [`connect6`]. The order of the questions is the design's: whose socket is
//! it, is the destination in the mesh, what does the cache of verdicts say.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use weir_common::*;

use crate::{
    PROCEED,
    context::{TCP, answer4, answer6, asked_port, asked4, asked6, read},
    maps::*,
};

/// A cgroup hook's word for "no".
const REFUSE: i32 = 0;

/// `-ECONNREFUSED`.
const CONNECTION_REFUSED: i32 = -111;

/// 127.0.0.1.
const LOOPBACK4: Address = Address::v4(u32::from_ne_bytes([127, 0, 0, 1]));

/// `::1`.
const LOOPBACK6: Address = Address { words: [0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])] };

/// What becomes of a connect(2).
enum Outcome {
    /// As asked.
    Pass,
    /// To another address and port.
    Rewrite(Address, u16),
    /// Refused.
    Refuse,
}

/// A destination after the service's choice of a backend.
struct Destination {
    address: Address,
    port: u16,
    /// Whether a service address was asked for.
    chosen: bool,
    /// Whether the service wants the proxy to see requests.
    layer7: bool,
}

/// IPv4.
#[inline(always)]
pub fn connect4(ctx: &SockAddrContext) -> i32 {
    match decide(ctx, asked4(ctx.sock_addr), 4) {
        Outcome::Pass => PROCEED,
        Outcome::Rewrite(address, port) => {
            answer4(ctx.sock_addr, address, port);
            PROCEED
        }
        Outcome::Refuse => refuse(),
    }
}

/// IPv6, and IPv4 in mapped form.
#[inline(always)]
pub fn connect6(ctx: &SockAddrContext) -> i32 {
    let asked = asked6(ctx.sock_addr);
    match decide(ctx, asked, if asked.is_v4() { 4 } else { 6 }) {
        Outcome::Pass => PROCEED,
        Outcome::Rewrite(address, port) => {
            answer6(ctx.sock_addr, address, port);
            PROCEED
        }
        Outcome::Refuse => refuse(),
    }
}

#[inline(always)]
fn refuse() -> i32 {
    if HAVE_SET_RETVAL.load() != 0 {
        // SAFETY: a number is all it takes.
        unsafe { bpf_set_retval(CONNECTION_REFUSED) };
    }
    REFUSE
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, asked: Address, family: u16) -> Outcome {
    let addr = ctx.sock_addr;
    if read!(addr, protocol) != TCP {
        return Outcome::Pass;
    }
    // SAFETY: the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(addr.cast()) };
    // SAFETY: the entry is copied before anything is written.
    let Some(workload) = (unsafe { WORKLOADS.get(&netns) }).copied() else {
        return Outcome::Pass;
    };
    let port = asked_port(addr);
    if asked.is_loopback()
        || asked.is_unspecified()
        || asked.same(&workload.address4)
        || asked.same(&workload.address6)
        || is_exempt(ctx)
    {
        return Outcome::Pass;
    }
    if workload.flags & workload::LEAVING != 0 {
        return leave_alone(ctx);
    }
    let Some(settings) = settings() else { return Outcome::Refuse };
    if is_open(settings) {
        count(counter::OPENED);
        return leave_alone(ctx);
    }
    if workload.flags & workload::SKIPS_OUTBOUND != 0 && is_skipped(netns, asked, port) {
        return leave_alone(ctx);
    }
    let Some(destination) = choose(asked, port) else {
        tell_refused(netns, asked, port, asked, port, settings, event::NO_BACKENDS);
        return Outcome::Refuse;
    };
    // SAFETY: the entry is copied.
    let found = (unsafe { ENDPOINTS.get(&destination.address) }).copied();
    if found.is_none() && !destination.layer7 {
        return match destination.chosen {
            true => settle(ctx, asked, port, &destination, connection::PASSED),
            false => leave_alone(ctx),
        };
    }
    if is_bound_to_device(addr) {
        tell_refused(
            netns,
            asked,
            port,
            destination.address,
            destination.port,
            settings,
            event::BOUND_TO_DEVICE,
        );
        return Outcome::Refuse;
    }
    // Where requests are looked at, each goes where its route says: this endpoint decides nothing.
    if let Some(endpoint) = found
        && !destination.layer7
        && endpoint.netns != 0
    {
        let direct = endpoint.flags & endpoint::LAYER7 == 0 && settings.flags & config::TUNNEL_SAME_NODE == 0;
        let key =
            VerdictKey { source: netns, destination: endpoint.netns, port: destination.port, family, pad: 0 };
        match verdict(settings.generation, key) {
            Some(action::ALLOW) if direct && has_agent(netns) => {
                count(counter::DIRECT);
                return settle(ctx, asked, port, &destination, connection::DIRECT);
            }
            Some(action::DENY) => {
                count(counter::DENIED);
                tell_refused(
                    netns,
                    asked,
                    port,
                    destination.address,
                    destination.port,
                    settings,
                    event::DENIED,
                );
                return Outcome::Refuse;
            }
            _ => {}
        }
    }
    debug!(ctx, "redirect port {} of namespace {}", port, netns);
    redirect(ctx, asked, port, &destination, &workload)
}

/// Whether the agent made this socket.
#[inline(always)]
fn is_exempt(ctx: &SockAddrContext) -> bool {
    // SAFETY: the context's own socket.
    !unsafe { AGENT_SOCKETS.get_ptr_mut(ctx) }.is_null()
}

#[inline(always)]
fn is_skipped(netns: u64, asked: Address, port: u16) -> bool {
    let key = aya_ebpf::maps::lpm_trie::Key::new(192, NetworkKey { netns, address: asked });
    has_port_rule(netns, port, port_rule::SKIP_OUTBOUND) || SKIPPED_NETWORKS.get(&key).is_some()
}

/// The backend for a service address, else the address itself; `None` when the service has none.
#[inline(always)]
fn choose(address: Address, port: u16) -> Option<Destination> {
    let key = ServiceKey { address, port, pad: 0 };
    // SAFETY: the entry is copied.
    let Some(service) = (unsafe { SERVICES.get(&key) }).copied() else {
        return Some(Destination { address, port, chosen: false, layer7: false });
    };
    let layer7 = service.flags & endpoint::LAYER7 != 0;
    if service.count == 0 {
        // A route may lead elsewhere; if none does, the proxy says so in HTTP.
        return layer7.then_some(Destination { address, port, chosen: true, layer7 });
    }
    let key = BackendKey { set: service.set, index: any_below(service.count), pad: 0 };
    // SAFETY: the entry is copied.
    let backend = (unsafe { BACKENDS.get(&key) }).copied()?;
    Some(Destination { address: backend.address, port: backend.port, chosen: true, layer7 })
}

#[inline(always)]
fn is_bound_to_device(addr: *mut bpf_sock_addr) -> bool {
    // SAFETY: reads the context's socket pointer and, where it is one, a field of the socket.
    unsafe {
        let sk = (*addr).__bindgen_anon_1.sk;
        !sk.is_null() && core::ptr::read_volatile(&raw const (*sk).bound_dev_if) != 0
    }
}

/// Passes, and forgets what an earlier connect(2) of the same socket left.
#[inline(always)]
fn leave_alone(ctx: &SockAddrContext) -> Outcome {
    // SAFETY: the context's own socket.
    unsafe {
        let sk = (*ctx.sock_addr).__bindgen_anon_1.sk;
        if !sk.is_null() {
            forget(sk);
        }
    }
    Outcome::Pass
}

/// Lets the connection go to its destination, and keeps how with the socket.
#[inline(always)]
fn settle(ctx: &SockAddrContext, asked: Address, port: u16, to: &Destination, kind: u16) -> Outcome {
    if !store(ctx, asked, port, to, kind) {
        return Outcome::Refuse;
    }
    if to.chosen { Outcome::Rewrite(to.address, to.port) } else { Outcome::Pass }
}

/// Points the socket at the agent.
#[inline(always)]
fn redirect(
    ctx: &SockAddrContext,
    asked: Address,
    port: u16,
    to: &Destination,
    workload: &Workload,
) -> Outcome {
    if !store(ctx, asked, port, to, connection::REDIRECTED) {
        return Outcome::Refuse;
    }
    let target = if asked.is_v4() {
        // An IPv6 socket dials the mapped form; an IPv4 one reads the last word only.
        LOOPBACK4
    } else {
        LOOPBACK6
    };
    Outcome::Rewrite(target, workload.virtual_port)
}

#[inline(always)]
fn store(ctx: &SockAddrContext, asked: Address, port: u16, to: &Destination, kind: u16) -> bool {
    let value = Connection {
        original: asked,
        endpoint: to.address,
        started_ns: now_ns(),
        established_ns: 0,
        received_at_fin_wait: 0,
        original_port: port,
        endpoint_port: to.port,
        kind,
        fin_received: 0,
    };
    // SAFETY: the context's own socket, kept only where it is one.
    unsafe {
        let sk = (*ctx.sock_addr).__bindgen_anon_1.sk;
        !sk.is_null() && keep(sk, value)
    }
}

#[inline(always)]
fn tell_refused(
    netns: u64,
    asked: Address,
    port: u16,
    remote: Address,
    remote_port: u16,
    settings: &Config,
    kind: u16,
) {
    tell(|event| {
        event.netns = netns;
        event.original = asked;
        event.original_port = port;
        event.remote = remote;
        event.remote_port = remote_port;
        event.generation = settings.generation;
        event.kind = kind;
    });
}
