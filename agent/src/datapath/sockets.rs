//! The agent's sockets inside pods' namespaces: listeners that SYNs are steered to, and dialled sockets
//! that capture leaves alone.
//!
//! Entry point: [`SocketMaker`]. A socket is the agent's because its storage says so, set through its own
//! descriptor; nothing that an application can do to a socket makes it so.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};
use weir_common::{Connection, connection};

use super::{bpf, netns::Netns};
use crate::addr::{EndpointAddr, OriginalDst, canonical, from_octets};

/// How many connections may wait for accept(2) on one listener.
const BACKLOG: i32 = 4096;

/// Makes and tags sockets; cheap to clone.
#[derive(Clone, Debug)]
pub struct SocketMaker {
    maps: Arc<Maps>,
}

#[derive(Debug)]
struct Maps {
    agent_sockets: OwnedFd,
    connections: OwnedFd,
    congestion: Option<String>,
}

/// Whether the kernel has the congestion control `name`.
///
/// # Errors
/// With words that say what there is, when it has not.
pub fn check_congestion(name: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let known = known.unwrap_or_default();
        io::Error::new(error.kind(), format!("{error}: load its module, or choose of: {}", known.trim()))
    })
}

/// What the hooks kept of a redirected connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// What the application asked for.
    pub original: OriginalDst,
    /// The backend chosen in the kernel; the same where there was no choice.
    pub endpoint: EndpointAddr,
    /// CLOCK_MONOTONIC of connect(2), in nanoseconds.
    pub started_ns: u64,
}

impl SocketMaker {
    pub(super) fn new(agent_sockets: OwnedFd, connections: OwnedFd, congestion: Option<String>) -> Self {
        Self { maps: Arc::new(Maps { agent_sockets, connections, congestion }) }
    }

    /// A listener in `netns` on an ephemeral loopback port, for IPv4 and IPv6.
    ///
    /// SYNs reach it by SK_LOOKUP only, which does not ask what it is bound to; what dials it directly
    /// carries no original destination and is closed.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the socket cannot be made.
    pub fn listener(&self, netns: &Netns) -> io::Result<TcpListener> {
        let socket = netns.enter(|| self.listening())??;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    fn listening(&self) -> io::Result<Socket> {
        let loopback = Ipv4Addr::LOCALHOST;
        let (socket, address) = match Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)) {
            // Bound to ::1 it would take IPv6 only; bound to the mapped address it is given both.
            Ok(socket) => (socket, IpAddr::from(loopback.to_ipv6_mapped())),
            // A kernel without IPv6.
            Err(_) => (Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?, loopback.into()),
        };
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        self.tag(socket.as_fd())?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
        // Sockets accepted here have the application's port, and hold it: with this, which they inherit, an
        // application that starts again can bind it while they live, as it can beside its own.
        socket.set_reuse_address(true)?;
        self.tune(&socket)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }

    /// A non-blocking socket in `netns`, tagged as the agent's, not yet connected.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the socket cannot be made.
    pub fn dialler(&self, netns: &Netns, to: SocketAddr) -> io::Result<Socket> {
        let domain = Domain::for_address(to);
        let socket = netns.enter(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))??;
        self.tag(socket.as_fd())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        self.tune(&socket)?;
        Ok(socket)
    }

    /// Tags a socket as the agent's: capture leaves it alone and no event reports it.
    ///
    /// # Errors
    /// When the kernel has no memory for it.
    pub fn tag(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        bpf::update_by_fd(self.maps.agent_sockets.as_fd(), socket, &1u32)
    }

    /// What was kept of the connection behind an accepted socket; `None` when it was not redirected.
    pub fn redirected(&self, socket: BorrowedFd<'_>) -> Option<Redirected> {
        let kept: Connection = bpf::lookup_by_fd(self.maps.connections.as_fd(), socket).ok()?;
        if kept.kind != connection::ACCEPTED {
            return None;
        }
        let to = |address: weir_common::Address, port| {
            canonical(SocketAddr::new(from_octets(address.octets()), port))
        };
        Some(Redirected {
            original: OriginalDst::new(to(kept.original, kept.original_port)),
            endpoint: EndpointAddr::new(to(kept.endpoint, kept.endpoint_port)),
            started_ns: kept.started_ns,
        })
    }

    fn tune(&self, socket: &Socket) -> io::Result<()> {
        match &self.maps.congestion {
            Some(name) => socket.set_tcp_congestion(name.as_bytes()),
            None => Ok(()),
        }
    }
}
