//! The sockets of a namespace, listed and destroyed through `sock_diag(7)`.
//!
//! Entry points: [`sockets`], [`destroy`]. This is how connections that no proxy carries are judged again,
//! and how listeners that were there before capture are found.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

use super::netns::Netns;
use crate::addr::canonical;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const TCP: u8 = 6;
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// TCP states (`include/net/tcp_states.h`) as bits.
pub mod states {
    /// Handshake done, nothing closed.
    pub const ESTABLISHED: u32 = 1 << 1;
    /// Listening.
    pub const LISTEN: u32 = 1 << 10;
    /// Everything in which bytes may still flow: established, FIN_WAIT1/2, CLOSE_WAIT, LAST_ACK, CLOSING.
    pub const LIVE: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
}

/// One socket.
#[derive(Clone, Copy, Debug)]
pub struct TcpSocket {
    /// Its own address; mapped addresses in their IPv4 form.
    pub local: SocketAddr,
    /// Its peer's.
    pub remote: SocketAddr,
    id: [u8; 48],
    family: u8,
}

/// The TCP sockets of a namespace in any of `states`.
///
/// # Errors
/// When the kernel has no `sock_diag` for TCP, or the namespace cannot be entered.
pub fn sockets(netns: &Netns, states: u32) -> io::Result<Vec<TcpSocket>> {
    let netlink = open(netns)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let request = request(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, states);
        send(&netlink, &request, SendFlags::empty())?;
        collect(&netlink, &mut found)?;
    }
    Ok(found)
}

/// Closes a socket as if its peer had reset it: the application gets ECONNABORTED, the peer an RST.
///
/// # Errors
/// When the kernel cannot (`CONFIG_INET_DIAG_DESTROY`); a socket that is gone already is no error.
pub fn destroy(netns: &Netns, target: &TcpSocket) -> io::Result<()> {
    let netlink = open(netns)?;
    let mut request = request(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, target.family, u32::MAX);
    request[HEADER + 8..HEADER + 56].copy_from_slice(&target.id);
    send(&netlink, &request, SendFlags::empty())?;
    match collect(&netlink, &mut Vec::new()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn open(netns: &Netns) -> io::Result<OwnedFd> {
    let made = netns.enter(|| socket(AddressFamily::NETLINK, SocketType::DGRAM, Some(netlink::SOCK_DIAG)))?;
    Ok(made?)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, states: u32) -> [u8; HEADER + 56] {
    let mut message = [0u8; HEADER + 56];
    let length = message.len() as u32;
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[HEADER] = family;
    message[HEADER + 1] = TCP;
    message[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    message
}

fn collect(netlink: &OwnedFd, found: &mut Vec<TcpSocket>) -> io::Result<()> {
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let (length, _) = recv(netlink, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length.min(buffer.len())];
        if rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < HEADER || length > rest.len() {
                return Err(io::Error::other("malformed sock_diag answer"));
            }
            let body = &rest[HEADER..length];
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return status(body),
                SOCK_DIAG_BY_FAMILY => found.extend(parse(body)),
                _ => {}
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn status(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// `struct inet_diag_msg`: family, state, timer, retrans, then `struct inet_diag_sockid`.
fn parse(body: &[u8]) -> Option<TcpSocket> {
    if body.len() < MESSAGE {
        return None;
    }
    let family = body[0];
    let id: [u8; 48] = body[4..52].try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let ip = |at: usize| -> Option<IpAddr> {
        if i32::from(family) == libc::AF_INET {
            let octets: [u8; 4] = id[at..at + 4].try_into().ok()?;
            return Some(Ipv4Addr::from(octets).into());
        }
        let octets: [u8; 16] = id[at..at + 16].try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    Some(TcpSocket {
        local: canonical(SocketAddr::new(ip(4)?, port(0))),
        remote: canonical(SocketAddr::new(ip(20)?, port(2))),
        id,
        family,
    })
}
