//! Whether the kernel can close a connection between two other programs (`CONFIG_INET_DIAG_DESTROY`).
//!
//! Entry point: [`destroy`]. It asks to destroy a listener that it made for that, by the listener's own cookie,
//! so that no other socket can be meant whatever else is bound to the address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
        sockopt::socket_cookie,
    },
};

use super::Item;

/// From include/uapi/linux/{sock_diag,netlink}.h.
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_HEADER: usize = 16;

/// Asks the kernel. Does not block: it answers a request of this family before `send` returns.
pub(super) fn destroy() -> Item {
    judge(ask())
}

/// Judges what the kernel answered.
pub(super) fn judge(answer: io::Result<Result<(), Errno>>) -> Item {
    let name = "socket destroy";
    match answer {
        Ok(Ok(())) => Item::ok(name, "the kernel can close a connection that is no longer allowed"),
        Ok(Err(Errno::OPNOTSUPP)) => Item::warn(
            name,
            "direct connections go on when a policy no longer allows them",
            "run a kernel with CONFIG_INET_DIAG_DESTROY=y, or the agent with --same-node tunnel",
        ),
        Ok(Err(Errno::NOENT)) => Item::warn(
            name,
            "the kernel has no tcp_diag; direct connections go on when a policy no longer allows them",
            "modprobe tcp_diag, or run the agent with --same-node tunnel",
        ),
        Ok(Err(Errno::PERM)) => Item::unknown(name, "cannot be asked without CAP_NET_ADMIN"),
        Ok(Err(errno)) => Item::unknown(name, format!("the kernel says: {}", io::Error::from(errno))),
        Err(error) => Item::unknown(name, format!("cannot be asked: {error}")),
    }
}

fn ask() -> io::Result<Result<(), Errno>> {
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(address) = own.local_addr()? else { return Err(io::ErrorKind::Unsupported.into()) };
    let cookie = socket_cookie(&own)?;
    let netlink =
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    send(&netlink, &request(*address.ip(), address.port(), cookie), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (_, length) = recv(&netlink, &mut answer[..], RecvFlags::DONTWAIT)?;
    read_answer(&answer[..length.min(1024)]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `nlmsghdr` and `inet_diag_req_v2` for the listener at `address:port` that has `cookie`.
fn request(address: Ipv4Addr, port: u16, cookie: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(56);
    // Family, protocol, extensions, padding; all states.
    body.extend([2, 6, 0, 0]);
    body.extend(u32::MAX.to_ne_bytes());
    // Ports and addresses are in network order; the peer of a listener is 0.0.0.0:0.
    body.extend(port.to_be_bytes());
    body.extend([0; 2]);
    body.extend(address.octets());
    body.extend([0; 12 + 16]);
    // Any interface; the cookie, its lower half first.
    body.extend([0; 4]);
    body.extend(((cookie & 0xffff_ffff) as u32).to_ne_bytes());
    body.extend(((cookie >> 32) as u32).to_ne_bytes());
    let mut message = Vec::with_capacity(NLMSG_HEADER + body.len());
    let length = u32::try_from(NLMSG_HEADER + body.len()).unwrap_or(u32::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// What a netlink acknowledgement says; `None` when it is none.
pub(super) fn read_answer(message: &[u8]) -> Option<Result<(), Errno>> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(message.get(NLMSG_HEADER..NLMSG_HEADER + 4)?.try_into().ok()?);
    match (kind, code) {
        (NLMSG_ERROR, 0) => Some(Ok(())),
        (NLMSG_ERROR, -4095..=-1) => Some(Err(Errno::from_raw_os_error(-code))),
        _ => None,
    }
}
