//! How sockets are made here.
//!
//! Entry point: [`Sockets`].

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt};

/// All of one process are made alike.
pub(crate) struct Sockets {
    /// TCP_CONGESTION; the namespace's default where it is not given.
    pub(crate) congestion: Option<String>,
}

impl Sockets {
    /// One that is not connected.
    pub(crate) fn new_socket(&self, address: SocketAddr) -> Result<OwnedFd> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if let Some(name) = &self.congestion {
            sockopt::set_tcp_congestion(&socket, name).with_context(|| format!("TCP_CONGESTION {name}"))?;
        }
        Ok(socket)
    }

    /// Sockets that it accepts have its congestion control.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let socket = self.new_socket(address)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address).with_context(|| format!("listening on {address}"))?;
        listen(&socket, 4096)?;
        Ok(TcpListener::from(socket))
    }

    /// Connected, without delay, and not waiting for ever.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let socket = self.new_socket(address)?;
        connect(&socket, &address).with_context(|| format!("connecting to {address}"))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    /// [`Sockets::connect`] for the runtime that this is called in.
    pub(crate) fn connect_async(&self, address: SocketAddr) -> Result<tokio::net::TcpStream> {
        let stream = self.connect(address)?;
        stream.set_nonblocking(true)?;
        Ok(tokio::net::TcpStream::from_std(stream)?)
    }
}
