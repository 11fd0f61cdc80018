//! How a client's socket is made and connected: plainly, or in one of the ways that applications have.
//!
//! Entry points: [`Options::parse`], [`open`].

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Result, bail};
use rustix::{
    event::epoll,
    fs::Timespec,
    io::Errno,
    net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt},
};

/// What `dial` and `hold` can be told.
pub(crate) struct Options {
    /// What to send.
    pub(crate) send: String,
    /// The address to connect from.
    bind: Option<SocketAddr>,
    /// The device to bind to (SO_BINDTODEVICE).
    device: Option<String>,
    way: Way,
    /// How long connecting, and each read, may take.
    timeout: Duration,
}

/// How to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the standard library does with a time limit: non-blocking, EINPROGRESS, poll(2).
    Poll,
    /// connect(2) that blocks.
    Block,
    /// Non-blocking, EINPROGRESS, edge-triggered epoll(7).
    Epoll,
    /// connect(2) that blocks, on a socket of Multipath TCP.
    Mptcp,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            send: String::new(),
            bind: None,
            device: None,
            way: Way::Poll,
            timeout: Duration::from_secs(10),
        };
        for pair in words.chunks(2) {
            match pair {
                ["--send", text] => options.send = (*text).to_owned(),
                ["--bind", address] => options.bind = Some(address.parse()?),
                ["--device", name] => options.device = Some((*name).to_owned()),
                ["--way", "poll"] => options.way = Way::Poll,
                ["--way", "block"] => options.way = Way::Block,
                ["--way", "epoll"] => options.way = Way::Epoll,
                ["--way", "mptcp"] => options.way = Way::Mptcp,
                ["--timeout", limit] => options.timeout = Duration::from_millis(limit.parse()?),
                _ => bail!(
                    "no option {pair:?}: --send TEXT, --bind ADDRESS, --device NAME, --timeout MS, \
                     --way poll|block|epoll|mptcp"
                ),
            }
        }
        if options.way == Way::Poll && (options.bind.is_some() || options.device.is_some()) {
            // The standard library binds no client.
            options.way = Way::Block;
        }
        Ok(options)
    }
}

/// Connects as `options` say.
pub(crate) fn open(address: SocketAddr, options: &Options) -> io::Result<TcpStream> {
    if options.way == Way::Poll {
        let connection = TcpStream::connect_timeout(&address, options.timeout)?;
        connection.set_read_timeout(Some(options.timeout))?;
        return Ok(connection);
    }
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let protocol: Option<Protocol> = (options.way == Way::Mptcp).then_some(ipproto::MPTCP);
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol)?;
    let socket = socket2::Socket::from(socket);
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(own) = options.bind {
        socket.set_reuse_address(true)?;
        bind(&socket, &own)?;
    }
    // SO_SNDTIMEO bounds a blocking connect too.
    socket.set_write_timeout(Some(options.timeout))?;
    socket.set_read_timeout(Some(options.timeout))?;
    if options.way == Way::Epoll {
        socket.set_nonblocking(true)?;
        connect_and_wait(&socket, address, options.timeout)?;
        socket.set_nonblocking(false)?;
    } else {
        connect(&socket, &address)?;
    }
    Ok(TcpStream::from(OwnedFd::from(socket)))
}

/// connect(2) that must not be done at once, then the one edge that tells its end.
fn connect_and_wait(socket: &socket2::Socket, address: SocketAddr, limit: Duration) -> io::Result<()> {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
    match connect(socket, &address) {
        Err(Errno::INPROGRESS) => {}
        Ok(()) => return Err(io::Error::other("a non-blocking connect was done at once")),
        Err(error) => return Err(error.into()),
    }
    epoll::add(&queue, socket, epoll::EventData::new_u64(0), flags)?;
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut events = [epoll::Event { flags, data: epoll::EventData::new_u64(0) }];
    if epoll::wait(&queue, &mut events, Some(&limit))? == 0 {
        return Err(Errno::TIMEDOUT.into());
    }
    sockopt::socket_error(socket)?.map_err(io::Error::from)
}
