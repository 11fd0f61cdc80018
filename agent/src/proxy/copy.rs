//! Carries bytes between two ends until both have said all, or one is reset.
//!
//! Entry points: [`through_tunnel`] between an application's socket and a tunnel's stream, and [`plain`]
//! between two sockets. Half-closes and resets are carried to the other end. An idle connection holds no
//! buffer: bytes are read when they are there, into buffers of the worker. Both futures borrow their ends,
//! so that a caller who gives up (a policy changed, the agent stops) drops the future and resets the ends
//! by [`reset`] and by dropping the stream. Must not know who is connected to whom.

mod pending;
mod sockets;
mod tunnel;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::net::TcpStream;

use crate::tunnel::{Refusal, TunnelError};
pub use sockets::plain;
pub use tunnel::through_tunnel;

/// Bytes carried so far; written by the worker that copies, read by whoever lists connections.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    /// Bytes from the near end (the application, or the first socket) to the far end.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes from the far end to the near end.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn add_sent(&self, count: usize) {
        add(&self.sent, count);
    }

    fn add_received(&self, count: usize) {
        add(&self.received, count);
    }
}

/// How often a copy is looked at that is to end when it rests, and for how long it then has been silent.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 3;
/// A copy that never rests is waited for so long.
const RESTLESS: Duration = Duration::from_secs(60);

/// Waits until nothing is under way, as far as bytes show it: the far end spoke last, and both have been silent for a
/// while. Between two requests of HTTP it is so.
pub async fn at_rest(counters: &Counters) {
    let rest = async {
        let now = || (counters.sent(), counters.received());
        let (mut before, mut silent, mut answered) = (now(), 0, true);
        while silent < LOOKS || !answered {
            tokio::time::sleep(LOOK).await;
            let after = now();
            silent = if after == before { silent + 1 } else { 0 };
            answered = match (after.0 != before.0, after.1 != before.1) {
                (_, true) => true,
                (true, false) => false,
                (false, false) => answered,
            };
            before = after;
        }
    };
    let _ = tokio::time::timeout(RESTLESS, rest).await;
}

/// One worker writes a counter, so no read-modify-write is needed on the path of the bytes.
fn add(counter: &AtomicU64, count: usize) {
    counter.store(counter.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
}

/// Which end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The application's socket, or the first of two.
    Near,
    /// The tunnel's stream, or the second socket.
    Far,
}

/// How a copy ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// Both ends said all they had.
    Clean,
    /// This end reset the connection, or its socket failed. The other end has been told.
    Reset(End),
    /// The tunnel's peer answered with a refusal; nothing was received.
    Refused(Refusal),
    /// The tunnel's session failed.
    Failed(TunnelError),
}

/// What a copy carried, and how it ended.
#[derive(Clone, Debug)]
pub struct CopyOutcome {
    /// Bytes from the near end to the far end.
    pub sent: u64,
    /// Bytes from the far end to the near end.
    pub received: u64,
    /// How it ended.
    pub ended: Ended,
}

impl CopyOutcome {
    fn new(counters: &Counters, ended: Ended) -> Self {
        Self { sent: counters.sent(), received: counters.received(), ended }
    }
}

/// Makes the close of `socket` a reset, so that its peer does not take a broken connection for a complete one.
///
/// # Errors
/// Those of `setsockopt`.
pub fn reset(socket: &TcpStream) -> io::Result<()> {
    socket.set_zero_linger()
}

#[cfg(test)]
mod tests;
