//! What an application sees of a captured socket: the peer it asked for, and its own pod's address.
//!
//! Entry points: [`peer4`], [`peer6`] (getpeername), [`own4`], [`own6`] (getsockname).

use aya_ebpf::{helpers::generated::bpf_get_netns_cookie, programs::SockAddrContext};
use weir_common::{Address, Connection, Workload, connection};

use crate::{
    context::{answer4, answer6, asked_port, asked4, asked6},
    maps::{CONNECTIONS, WORKLOADS},
};

/// getpeername of an IPv4 socket.
#[inline(always)]
pub fn peer4(ctx: &SockAddrContext) {
    if let Some(kept) = dialled(ctx) {
        answer4(ctx.sock_addr, kept.original, kept.original_port);
    }
}

/// getpeername of an IPv6 socket.
#[inline(always)]
pub fn peer6(ctx: &SockAddrContext) {
    if let Some(kept) = dialled(ctx) {
        answer6(ctx.sock_addr, kept.original, kept.original_port);
    }
}

/// getsockname of an IPv4 socket.
#[inline(always)]
pub fn own4(ctx: &SockAddrContext) {
    if let Some(address) = own(ctx, asked4(ctx.sock_addr), |workload| workload.address4) {
        answer4(ctx.sock_addr, address, asked_port(ctx.sock_addr));
    }
}

/// getsockname of an IPv6 socket.
#[inline(always)]
pub fn own6(ctx: &SockAddrContext) {
    let asked = asked6(ctx.sock_addr);
    let pick = |workload: &Workload| if asked.is_v4() { workload.address4 } else { workload.address6 };
    if let Some(address) = own(ctx, asked, pick) {
        answer6(ctx.sock_addr, address, asked_port(ctx.sock_addr));
    }
}

/// What was kept when the application dialled; `None` for the agent's end of such a connection, whose
/// accept(2) runs through the same hooks.
#[inline(always)]
fn dialled(ctx: &SockAddrContext) -> Option<Connection> {
    // SAFETY: the context's own socket; the value is copied where it is not null.
    let kept = unsafe { CONNECTIONS.get_ptr_mut(ctx) };
    if kept.is_null() {
        return None;
    }
    // SAFETY: not null.
    let kept = unsafe { *kept };
    let ours = kept.kind == connection::REDIRECTED
        || kept.kind == connection::DIRECT
        || kept.kind == connection::PASSED;
    if ours && kept.original_port != 0 { Some(kept) } else { None }
}

/// The pod's address in place of the loopback address that redirection gave the socket.
#[inline(always)]
fn own(ctx: &SockAddrContext, seen: Address, pick: impl Fn(&Workload) -> Address) -> Option<Address> {
    if !seen.is_loopback() || dialled(ctx)?.kind != connection::REDIRECTED {
        return None;
    }
    // SAFETY: the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.sock_addr.cast()) };
    // SAFETY: read before anything is written.
    let workload = unsafe { WORKLOADS.get(&netns) }?;
    let address = pick(workload);
    if address.is_unspecified() { None } else { Some(address) }
}
