//! Weir's eBPF programs: they decide, for each TCP connection of an enrolled pod, whether it is left
//! alone, refused, let through directly, or handed to the agent.
//!
//! Entry points are the functions below, one per hook; each asks one module and turns its answer, errors
//! included, into what the kernel expects. The maps are a cache of the agent's snapshot: the programs
//! know pods by the cookie of their network namespace and never ask who a process is.
#![no_std]
#![no_main]

mod connect;
mod context;
mod maps;
mod names;
mod observe;
mod steer;

use aya_ebpf::{
    macros::{cgroup_sock_addr, sk_lookup, sock_ops},
    programs::{SkLookupContext, SockAddrContext, SockOpsContext},
};

/// A cgroup hook's word for "go on".
const PROCEED: i32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn weir_connect4(ctx: SockAddrContext) -> i32 {
    connect::connect4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn weir_connect6(ctx: SockAddrContext) -> i32 {
    connect::connect6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn weir_peername4(ctx: SockAddrContext) -> i32 {
    names::peer4(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getpeername6)]
pub fn weir_peername6(ctx: SockAddrContext) -> i32 {
    names::peer6(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getsockname4)]
pub fn weir_sockname4(ctx: SockAddrContext) -> i32 {
    names::own4(&ctx);
    PROCEED
}

#[cgroup_sock_addr(getsockname6)]
pub fn weir_sockname6(ctx: SockAddrContext) -> i32 {
    names::own6(&ctx);
    PROCEED
}

#[sock_ops]
pub fn weir_observe(ctx: SockOpsContext) -> u32 {
    observe::observe(&ctx);
    1
}

#[sk_lookup]
pub fn weir_steer(ctx: SkLookupContext) -> u32 {
    steer::steer(&ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives some helpers to programs under the GPL only; this object is offered under both.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
