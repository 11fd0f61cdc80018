//! What the programs tell of connections, and what they count.
//!
//! Entry points: [`Event`], [`counter`].

use crate::Address;

/// What the kernel tells the agent through `EVENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub time_ns: u64,
    /// Cookie of the namespace that it happened in.
    pub netns: u64,
    /// [`Connection::started_ns`](crate::Connection::started_ns).
    pub started_ns: u64,
    /// [`Connection::established_ns`](crate::Connection::established_ns).
    pub established_ns: u64,
    /// Payload bytes that the peer acknowledged.
    pub bytes_sent: u64,
    /// Payload bytes that came.
    pub bytes_received: u64,
    /// The address in this namespace.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// [`Connection::original`](crate::Connection::original).
    pub original: Address,
    /// The port in this namespace.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// [`Connection::original_port`](crate::Connection::original_port).
    pub original_port: u16,
    /// One of [`event`].
    pub kind: u16,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The generation in force.
    pub generation: u32,
    /// TCP state before, of a closed connection (`include/net/tcp_states.h`).
    pub old_state: u32,
}

/// What an [`Event`] is about.
pub mod event {
    /// A direct connection ended; seen at its source.
    pub const CLOSED_DIRECT: u16 = 1;
    /// A connection that the mesh left alone ended; seen at its source.
    pub const CLOSED_PASSED: u16 = 2;
    /// A connection that an application took in ended; seen at its destination.
    pub const CLOSED_INBOUND: u16 = 3;
    /// The same, of a direct connection that its source's hook vouched for.
    pub const CLOSED_VOUCHED: u16 = 10;
    /// A redirected connection found no agent.
    pub const AGENT_UNAVAILABLE: u16 = 4;
    /// connect(2) refused by a verdict.
    pub const DENIED: u16 = 5;
    /// connect(2) refused: the socket is bound to a device.
    pub const BOUND_TO_DEVICE: u16 = 6;
    /// A plaintext SYN refused by a verdict.
    pub const DENIED_INBOUND: u16 = 7;
    /// A plaintext SYN to a strict workload refused.
    pub const PLAINTEXT_REFUSED: u16 = 8;
    /// connect(2) refused: the service has no backends.
    pub const NO_BACKENDS: u16 = 9;
}

/// Indices of `COUNTERS`.
pub mod counter {
    /// Events that found the ring full.
    pub const EVENTS_LOST: u32 = 0;
    /// Connections pointed at the agent.
    pub const REDIRECTED: u32 = 1;
    /// Connections let through directly to a pod of this node.
    pub const DIRECT: u32 = 2;
    /// Connections refused by a verdict.
    pub const DENIED: u32 = 3;
    /// Sockets for which no storage could be had; their connections were refused.
    pub const STORAGE_FAILED: u32 = 4;
    /// Accepted sockets whose redirection was not found.
    pub const ORIGIN_LOST: u32 = 5;
    /// SYNs that found no listener of the agent.
    pub const NO_LISTENER: u32 = 6;
    /// Connections let through because no agent was there (`--when-down open`).
    pub const OPENED: u32 = 7;
    /// Direct SYNs for which no hook had vouched.
    pub const NOT_VOUCHED: u32 = 8;
    /// Listening ports that the map had no room for.
    pub const LISTENING_FULL: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
    /// Their names, by index.
    pub const NAMES: [&str; COUNT as usize] = [
        "events_lost",
        "redirected",
        "direct",
        "denied",
        "storage_failed",
        "origin_lost",
        "no_listener",
        "opened",
        "not_vouched",
        "listening_full",
    ];
}
