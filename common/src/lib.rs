//! What the eBPF programs and the agent say to each other: the keys and values of the kernel maps.
//!
//! Every structure is `repr(C)`, of integers only, with its padding spelled out and its size asserted,
//! so that a map written by one build is read the same by another. A change of any of them raises
//! [`ABI`], which names the directory the maps are pinned in. Ports are in host order throughout.
#![no_std]

mod address;
mod events;
#[cfg(feature = "user")]
mod user;

pub use address::{Address, MAPPED};
pub use events::{Event, counter, event};

/// Version of everything in this crate; part of the pin path.
pub const ABI: u32 = 1;

/// The port of the tunnel (HBONE) as seen inside a pod's network namespace.
pub const TUNNEL_PORT: u16 = 15008;

/// The one entry of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// CLOCK_MONOTONIC of the agent's last sign of life, in nanoseconds; read only with [`config::OPEN`].
    pub heartbeat_ns: u64,
    /// How old the sign of life may be before enrolled pods are let through, in nanoseconds.
    pub stale_after_ns: u64,
    /// The policy generation; a [`Verdict`] of another generation is void.
    pub generation: u32,
    /// Bits of [`config`].
    pub flags: u32,
    /// How many listeners each pod has of each kind.
    pub workers: u32,
    /// Zero.
    pub pad: u32,
}

/// Bits of [`Config::flags`].
pub mod config {
    /// While no agent is there, let enrolled pods through (`--when-down open`).
    pub const OPEN: u32 = 1;
    /// Tunnel between pods of this node too (`--same-node tunnel`).
    pub const TUNNEL_SAME_NODE: u32 = 2;
}

/// Value of `WORKLOADS`, by network namespace cookie: an enrolled pod of this node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The pod's IPv4 address, or zero.
    pub address4: Address,
    /// The pod's IPv6 address, or zero.
    pub address6: Address,
    /// Bits of [`workload`].
    pub flags: u32,
    /// The loopback port that redirected connections are pointed at.
    pub virtual_port: u16,
    /// Zero.
    pub pad: u16,
}

/// Bits of [`Workload::flags`].
pub mod workload {
    /// Refuses plaintext but for probes.
    pub const STRICT: u32 = 1;
    /// Has entries in `PORT_RULES` or `SKIPPED_NETWORKS` for outbound connections.
    pub const SKIPS_OUTBOUND: u32 = 2;
    /// Has entries in `PORT_RULES` for inbound connections.
    pub const SKIPS_INBOUND: u32 = 4;
    /// Leaves the mesh: only what is on its way to one of the agent's listeners still gets there.
    pub const LEAVING: u32 = 8;
}

/// Value of `ENDPOINTS`, by [`Address`]: a pod of any node that is in the mesh.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Cookie of the pod's network namespace when it is captured on this node, else 0.
    pub netns: u64,
    /// Bits of [`endpoint`].
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}

/// Bits of [`Endpoint::flags`] and [`Backend::flags`].
pub mod endpoint {
    /// Reached through the tunnel.
    pub const MESHED: u32 = 1;
    /// Never direct: the proxy has to see the requests.
    pub const LAYER7: u32 = 2;
}

/// Key of `SERVICES`: a virtual address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// The cluster IP.
    pub address: Address,
    /// The service port.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// Value of `SERVICES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// First half of the keys in `BACKENDS`; never used again for another set of backends.
    pub set: u64,
    /// How many backends the set has.
    pub count: u32,
    /// Bits of [`endpoint`]: `LAYER7` sends every connection to the proxy.
    pub flags: u32,
}

/// Key of `BACKENDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// [`Service::set`].
    pub set: u64,
    /// From 0 to [`Service::count`] - 1.
    pub index: u32,
    /// Zero.
    pub pad: u32,
}

/// Value of `BACKENDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// The endpoint's address.
    pub address: Address,
    /// The endpoint's port.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// Key of `VERDICTS`: who connects, to which pod of this node, on which port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VerdictKey {
    /// Cookie of the source's network namespace, or a class of plaintext sources ([`PLAINTEXT`] set).
    pub source: u64,
    /// Cookie of the destination's network namespace.
    pub destination: u64,
    /// The destination port, or [`ANY_PORT`] for every port that has no entry of its own.
    pub port: u16,
    /// 4 or 6.
    pub family: u16,
    /// Zero.
    pub pad: u32,
}

/// Bit of [`VerdictKey::source`]: the rest is a class from `PLAINTEXT_SOURCES`.
pub const PLAINTEXT: u64 = 1 << 63;

/// [`VerdictKey::port`] of the verdict for ports without one of their own.
pub const ANY_PORT: u16 = 0;

/// Value of `VERDICTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The generation under which it was decided.
    pub generation: u32,
    /// One of [`action`].
    pub action: u32,
}

/// What a [`Verdict`] says.
pub mod action {
    /// Let it through.
    pub const ALLOW: u32 = 1;
    /// Refuse it.
    pub const DENY: u32 = 2;
    /// Ask the agent: only it can tell.
    pub const ASK: u32 = 3;
}

/// Data of the longest-prefix keys in `PLAINTEXT_SOURCES` and `SKIPPED_NETWORKS`: a network as one
/// namespace sees it. The prefix covers the cookie's 64 bits and then the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkKey {
    /// The namespace's cookie.
    pub netns: u64,
    /// The network's address, IPv4 in mapped form.
    pub address: Address,
}

/// Key of `PORT_RULES` and `LISTENING`: a port in a namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortKey {
    /// The namespace's cookie.
    pub netns: u64,
    /// The port.
    pub port: u16,
    /// One of [`port_rule`]; 0 in `LISTENING`.
    pub rule: u16,
    /// Zero.
    pub pad: u32,
}

/// What `PORT_RULES` says of a port.
pub mod port_rule {
    /// Outbound connections to it are left alone.
    pub const SKIP_OUTBOUND: u16 = 1;
    /// Inbound connections to it are left alone.
    pub const SKIP_INBOUND: u16 = 2;
    /// The node may probe it in plaintext.
    pub const PROBE: u16 = 3;
}

/// Key of `LISTENERS`: one of the agent's sockets in a pod's namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// The namespace's cookie.
    pub netns: u64,
    /// One of [`listener`].
    pub kind: u32,
    /// From 0 to [`Config::workers`] - 1.
    pub worker: u32,
}

/// What a listener takes.
pub mod listener {
    /// The pod's own redirected connections.
    pub const OUTBOUND: u32 = 1;
    /// Tunnel sessions to the pod.
    pub const TUNNEL: u32 = 2;
    /// Plaintext connections to the pod.
    pub const INBOUND: u32 = 3;
}

/// What is kept with a socket of an enrolled pod (`CONNECTIONS`, socket storage), and handed from the
/// redirected socket to the one the agent accepts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The address that the application asked for.
    pub original: Address,
    /// The backend chosen in the kernel; the original address where there was no choice.
    pub endpoint: Address,
    /// CLOCK_MONOTONIC of connect(2), or of the SYN's arrival, in nanoseconds.
    pub started_ns: u64,
    /// CLOCK_MONOTONIC at which it was established, in nanoseconds; 0 before.
    pub established_ns: u64,
    /// Bytes received when the socket came to FIN_WAIT2, by which a FIN is told from data.
    pub received_at_fin_wait: u64,
    /// The port that the application asked for.
    pub original_port: u16,
    /// The backend's port.
    pub endpoint_port: u16,
    /// One of [`connection`].
    pub kind: u16,
    /// 1 when the peer's FIN has come.
    pub fin_received: u16,
}

/// How a connection travels.
pub mod connection {
    /// An application's socket, pointed at the agent.
    pub const REDIRECTED: u16 = 1;
    /// The agent's end of a redirected connection.
    pub const ACCEPTED: u16 = 2;
    /// Straight to a pod of this node, vouched for.
    pub const DIRECT: u16 = 3;
    /// Left alone.
    pub const PASSED: u16 = 4;
    /// Taken in by an application without the agent; nobody vouches for its source.
    pub const INBOUND: u16 = 5;
    /// Taken in by an application without the agent, from a pod of this node whose hook vouched for it.
    pub const VOUCHED: u16 = 6;
}

/// Key of `REDIRECTED`: the source of a redirected connection on its way to the agent's listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// The namespace's cookie.
    pub netns: u64,
    /// The socket's own address.
    pub address: Address,
    /// The socket's own port.
    pub port: u16,
    /// Zero.
    pub pad: [u16; 3],
}

/// Key of `VOUCHED`: a direct connection that the source's own hook allowed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TupleKey {
    /// The source's address.
    pub source: Address,
    /// The destination's address.
    pub destination: Address,
    /// The source's port.
    pub source_port: u16,
    /// The destination's port.
    pub destination_port: u16,
}

/// Value of `VOUCHED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voucher {
    /// Cookie of the source's network namespace.
    pub netns: u64,
    /// The generation under which it was allowed.
    pub generation: u32,
    /// Zero.
    pub pad: u32,
}

macro_rules! sizes {
    ($($name:ident = $size:literal),* $(,)?) => {
        $(const _: () = assert!(core::mem::size_of::<$name>() == $size);)*
    };
}

sizes! {
    Address = 16, Config = 32, Workload = 40, Endpoint = 16, ServiceKey = 20, Service = 16,
    BackendKey = 16, Backend = 20, VerdictKey = 24, Verdict = 8, NetworkKey = 24, PortKey = 16,
    ListenerKey = 16, Connection = 64, SourceKey = 32, TupleKey = 36, Voucher = 16, Event = 120,
}
