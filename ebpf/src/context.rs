//! Reading the kernel's contexts.
//!
//! Every field is read, volatile, whatever the family is, and the *values* are selected afterwards: with a
//! branch per family LLVM merges the loads into one from a computed address, which the verifier refuses
//! ("dereference of modified ctx ptr").

use core::ptr::write_volatile;

use aya_ebpf::bindings::{bpf_sk_lookup, bpf_sock_addr, bpf_sock_ops};
use weir_common::Address;

/// `AF_INET` (`include/linux/socket.h`).
const AF_INET: u32 = 2;

/// `IPPROTO_TCP`.
pub const TCP: u32 = 6;

macro_rules! read {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: a field of the program's own context, which the verifier checks.
        unsafe { ::core::ptr::read_volatile(&raw const (*$ctx).$($field)+) }
    };
}
pub(crate) use read;

#[inline(always)]
fn select(family: u32, v4: u32, words: [u32; 4]) -> Address {
    if family == AF_INET { Address::v4(v4) } else { Address { words } }
}

/// The IPv4 address that connect(2) asks for.
#[inline(always)]
pub fn asked4(ctx: *mut bpf_sock_addr) -> Address {
    Address::v4(read!(ctx, user_ip4))
}

/// The IPv6 address that connect(2) asks for.
#[inline(always)]
pub fn asked6(ctx: *mut bpf_sock_addr) -> Address {
    let words =
        [read!(ctx, user_ip6[0]), read!(ctx, user_ip6[1]), read!(ctx, user_ip6[2]), read!(ctx, user_ip6[3])];
    Address { words }
}

/// The port that connect(2) asks for.
#[inline(always)]
pub fn asked_port(ctx: *mut bpf_sock_addr) -> u16 {
    u16::from_be(read!(ctx, user_port) as u16)
}

/// Changes the IPv4 address and port of a socket call.
#[inline(always)]
pub fn answer4(ctx: *mut bpf_sock_addr, address: Address, port: u16) {
    // SAFETY: writable fields of the program's own context.
    unsafe {
        write_volatile(&raw mut (*ctx).user_ip4, address.words[3]);
        write_volatile(&raw mut (*ctx).user_port, u32::from(port.to_be()));
    }
}

/// Changes the IPv6 address and port of a socket call.
#[inline(always)]
pub fn answer6(ctx: *mut bpf_sock_addr, address: Address, port: u16) {
    // SAFETY: writable fields of the program's own context.
    unsafe {
        write_volatile(&raw mut (*ctx).user_ip6[0], address.words[0]);
        write_volatile(&raw mut (*ctx).user_ip6[1], address.words[1]);
        write_volatile(&raw mut (*ctx).user_ip6[2], address.words[2]);
        write_volatile(&raw mut (*ctx).user_ip6[3], address.words[3]);
        write_volatile(&raw mut (*ctx).user_port, u32::from(port.to_be()));
    }
}

/// Both ends of a connection as one of them sees it; ports in host order.
#[derive(Clone, Copy)]
pub struct Ends {
    pub local: Address,
    pub local_port: u16,
    pub remote: Address,
    pub remote_port: u16,
}

impl Ends {
    /// The connection as its other end sees it.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            local_port: self.remote_port,
            remote: self.local,
            remote_port: self.local_port,
        }
    }

    /// Whether the connection stays inside its namespace.
    #[inline(always)]
    pub fn is_inside(&self) -> bool {
        self.local.same(&self.remote) || self.local.is_loopback()
    }
}

/// The ends of a socket in a sock_ops program.
#[inline(always)]
pub fn ends_of_ops(ctx: *mut bpf_sock_ops) -> Ends {
    let family = read!(ctx, family);
    let local = [
        read!(ctx, local_ip6[0]),
        read!(ctx, local_ip6[1]),
        read!(ctx, local_ip6[2]),
        read!(ctx, local_ip6[3]),
    ];
    let remote = [
        read!(ctx, remote_ip6[0]),
        read!(ctx, remote_ip6[1]),
        read!(ctx, remote_ip6[2]),
        read!(ctx, remote_ip6[3]),
    ];
    Ends {
        local: select(family, read!(ctx, local_ip4), local),
        local_port: read!(ctx, local_port) as u16,
        remote: select(family, read!(ctx, remote_ip4), remote),
        remote_port: u32::from_be(read!(ctx, remote_port)) as u16,
    }
}

/// The ends of a SYN in an SK_LOOKUP program.
#[inline(always)]
pub fn ends_of_lookup(ctx: *mut bpf_sk_lookup) -> Ends {
    let family = read!(ctx, family);
    let local = [
        read!(ctx, local_ip6[0]),
        read!(ctx, local_ip6[1]),
        read!(ctx, local_ip6[2]),
        read!(ctx, local_ip6[3]),
    ];
    let remote = [
        read!(ctx, remote_ip6[0]),
        read!(ctx, remote_ip6[1]),
        read!(ctx, remote_ip6[2]),
        read!(ctx, remote_ip6[3]),
    ];
    Ends {
        local: select(family, read!(ctx, local_ip4), local),
        local_port: read!(ctx, local_port) as u16,
        remote: select(family, read!(ctx, remote_ip4), remote),
        remote_port: u16::from_be(read!(ctx, remote_port) as u16),
    }
}
