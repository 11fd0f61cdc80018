//! Frames of HTTP/2 that cost their sender nothing: PING and SETTINGS, each of which wants an answer.
//!
//! Entry point: [`Guarded`], a connection that breaks off when there are too many. The library counts resets,
//! CONTINUATIONs and empty DATA by itself, but not these.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many at once; what is used comes back at a rate that no keep-alive reaches.
const BURST: f64 = 1000.0;
const PER_SECOND: f64 = 20.0;

/// Length of what a client says before its first frame, and of a frame's head (RFC 9113 §3.4, §4.1).
const PREFACE: usize = 24;
const HEAD: usize = 9;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// Looks at the heads of frames as they pass by.
#[derive(Debug)]
struct Flood {
    /// Bytes to be passed over: the preface, or a frame's content.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
    left: f64,
    since: Instant,
}

impl Flood {
    fn new(now: Instant) -> Self {
        Self { skip: PREFACE, head: [0; HEAD], filled: 0, left: BURST, since: now }
    }

    /// Whether the connection may go on after `bytes`.
    fn passes(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            if bytes.is_empty() {
                return true;
            }
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            (self.filled, bytes) = (self.filled + taken, &bytes[taken..]);
            if self.filled < HEAD {
                return true;
            }
            self.filled = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            if matches!(kind, SETTINGS | PING) && flags & ACK == 0 && !self.take(now()) {
                return false;
            }
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.left = (self.left + passed * PER_SECOND).min(BURST) - 1.0;
        self.left >= 0.0
    }
}

/// A client's connection that ends when it is flooded.
pub(super) struct Guarded<T> {
    inner: T,
    flood: Flood,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, flood: Flood::new(Instant::now()) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = target.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, target))?;
        if this.flood.passes(&target.filled()[before..], Instant::now) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a flood of PING or SETTINGS frames")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = (length as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 0][..], &vec![b'x'; length]].concat()
    }

    /// How many of `frames` pass, given in pieces of `step` bytes.
    fn passed(frames: &[Vec<u8>], step: usize, each: Duration) -> usize {
        let begun = Instant::now();
        let mut flood = Flood::new(begun);
        assert!(flood.passes(&[0; PREFACE], || begun));
        let mut count = 0;
        for (index, frame) in frames.iter().enumerate() {
            let now = begun + each * index as u32;
            if !frame.chunks(step).all(|piece| flood.passes(piece, || now)) {
                return count;
            }
            count += 1;
        }
        count
    }

    #[test]
    fn floods_are_told_from_use_however_the_bytes_are_cut() {
        let at_once = Duration::ZERO;
        for step in [1, 7, 100_000] {
            assert_eq!(passed(&vec![frame(PING, 0, 8); 1500], step, at_once), 1000);
            assert_eq!(passed(&vec![frame(SETTINGS, 0, 6); 1500], step, at_once), 1000);
            // Answers to our own, and requests: none of these wants one.
            assert_eq!(passed(&vec![frame(PING, ACK, 8); 1500], step, at_once), 1500);
            assert_eq!(passed(&vec![frame(0, 0, 20); 1500], step, at_once), 1500);
        }
        let keep_alive = Duration::from_millis(100);
        assert_eq!(passed(&vec![frame(PING, 0, 8); 5000], 100, keep_alive), 5000);
    }
}
