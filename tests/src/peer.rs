//! The test peer as pods run it: what it serves, and what a dial came to.
//!
//! Entry points: [`Serve`], [`Dialled`], [`Held`], [`Redialler`]; pods start them. The program is `src/bin/peer.rs`.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::Process;

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub enum Serve {
    /// Returns what it reads.
    Echo,
    /// Writes this text and the client's address, and closes.
    Greet(String),
    /// Reads to the end and writes how many bytes that were.
    Sink,
    /// Returns every datagram (UDP).
    Udp,
}

impl Serve {
    pub(crate) fn words(&self, address: SocketAddr) -> Vec<String> {
        let (mode, text) = match self {
            Self::Echo => ("echo", None),
            Self::Greet(text) => ("greet", Some(text.clone())),
            Self::Sink => ("sink", None),
            Self::Udp => ("udp", None),
        };
        ["serve".to_owned(), mode.to_owned(), address.to_string()].into_iter().chain(text).collect()
    }
}

/// A server that listens; dropping it ends it.
pub struct Listener {
    /// The server's process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listener {
    /// Waits until the server listens.
    pub(crate) fn new(mut process: Process) -> Result<Self> {
        let address = process
            .wait_line("its listening line", |line| line.strip_prefix("listening ").map(str::to_owned))?;
        Ok(Self { process, address: address.trim().parse().context("the server's address")? })
    }
}

/// What a connection attempt came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Dialled {
    /// Whether `connect()` succeeded.
    pub connected: bool,
    /// What went wrong, in `connect()` or later.
    pub error: Option<String>,
    /// Its number.
    pub errno: Option<i32>,
    /// `getpeername()`.
    pub peer: Option<SocketAddr>,
    /// `getsockname()`.
    pub local: Option<SocketAddr>,
    /// All that the server sent; empty for a connection that is held.
    #[serde(default)]
    pub received: String,
    /// How long `connect()` took, in microseconds.
    pub connect_us: u64,
}

impl Dialled {
    /// Whether it was refused in `connect()` with this error number.
    pub fn refused_with(&self, errno: rustix::io::Errno) -> bool {
        !self.connected && self.errno == Some(errno.raw_os_error())
    }
}

/// A connection that stays open until one side closes it; dropping it resets or ends it with its process.
pub struct Held {
    process: Process,
    /// What connecting came to.
    pub dialled: Dialled,
}

#[derive(Deserialize)]
struct Closed {
    closed: String,
    error: Option<String>,
}

impl Held {
    /// Waits until the connection is made or refused.
    pub(crate) fn new(mut process: Process) -> Result<Self> {
        let dialled = process.wait_line("a connection", |line| serde_json::from_str(line).ok())?;
        Ok(Self { process, dialled })
    }

    /// Sends `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.process.send_line(text)
    }

    /// Sends `text` to an echo server and waits until all of it is back.
    pub fn echo(&mut self, text: &str) -> Result<()> {
        let before = self.received().len();
        self.send(text)?;
        let wanted = before + text.len();
        let mut length = 0;
        self.process.wait_line("the echo", |line| {
            length += received(line).map_or(0, |part| part.len());
            (length >= wanted).then_some(())
        })
    }

    /// All that has arrived so far.
    pub fn received(&self) -> String {
        self.process.stdout().lines().filter_map(received).collect()
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        self.process.close_input();
    }

    /// Waits until the other side closes: `Ok(None)` for an orderly end, the error's words for a reset.
    pub fn wait_closed(&mut self) -> Result<Option<String>> {
        let closed: Closed = self.process.wait_line("the end", |line| serde_json::from_str(line).ok())?;
        Ok(closed.error.filter(|_| closed.closed == "error"))
    }

    /// Whether the other side has not closed yet.
    pub fn is_open(&mut self) -> Result<bool> {
        self.process.is_running()
    }
}

/// One process that dials again and again.
pub struct Redialler {
    process: Process,
    /// How often it has dialled.
    count: usize,
}

impl Redialler {
    pub(crate) fn new(process: Process) -> Self {
        Self { process, count: 0 }
    }

    /// Connects anew, sends `text`, half-closes, reads to the end.
    pub fn ask(&mut self, text: &str) -> Result<Dialled> {
        self.process.send_line(text)?;
        let mut earlier = self.count;
        self.count += 1;
        self.process.wait_line("what dialling came to", |line| match earlier.checked_sub(1) {
            Some(left) => {
                earlier = left;
                None
            }
            None => serde_json::from_str(line).ok(),
        })
    }
}

fn received(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    if value.get("connected").is_some() {
        return None;
    }
    value.get("received")?.as_str().map(str::to_owned)
}
