//! Buffers that belong to a worker, not to a connection: borrowed while they hold bytes, then given back.
//!
//! Entry points: [`take`] for a read or write buffer, [`Chunk`] for bytes on their way into a tunnel.
//! One pool per thread, since a connection lives and dies on one worker.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use tokio::io::{AsyncRead, ReadBuf};

/// Largest DATA frame that is asked of peers, and that is made. One is allocated for each frame that comes, so
/// it stays below the 128 KiB from which the allocator maps and faults pages in each time. `h2` writes a
/// frame's header with the first 247 bytes; the 64 KiB that are left fill whole TLS records.
pub(super) const FRAME: u32 = 64 * 1024 + 247;
/// Most bytes that one [`Chunk`] holds: fewer and larger reads wake an application less often that sends much.
pub const CHUNK: usize = 2 * FRAME as usize;
/// Reads of at most this many bytes are copied out of their buffer, so that waiting bytes do not hold it.
const SMALL: usize = 4 * 1024;
/// Most spare buffers of one use that a worker keeps.
const KEPT: usize = 4;
/// Largest buffer of [`Use::Outgoing`] that it keeps, in bytes.
const LARGEST_OUTGOING: usize = 1024 * 1024;

/// What a buffer is for, which is how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Bytes read from an application.
    Chunk,
    /// TLS records read from a socket.
    Records,
    /// TLS records that wait for a socket: grows with need, from nothing.
    Outgoing,
}

impl Use {
    /// Of a buffer that is new, in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Chunk => CHUNK,
            Self::Records => 256 * 1024,
            Self::Outgoing => 0,
        }
    }

    /// Whether a worker keeps `buffer` for later.
    fn keeps(self, buffer: &[u8]) -> bool {
        match self {
            Self::Chunk | Self::Records => buffer.len() == self.size(),
            Self::Outgoing => (1..=LARGEST_OUTGOING).contains(&buffer.len()),
        }
    }
}

/// A worker's buffers that nobody uses at the moment.
#[derive(Default)]
struct Spare {
    buffers: [Vec<Vec<u8>>; 3],
    /// Whether one was taken since [`rest`] looked.
    taken: bool,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// A buffer for `purpose`, initialised, from the worker's pool.
pub(super) fn take(purpose: Use) -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(|spare| {
        spare.taken = true;
        spare.buffers[purpose as usize].pop()
    });
    spare.unwrap_or_else(|| vec![0; purpose.size()])
}

/// Gives a buffer back to the worker's pool.
pub(super) fn give(purpose: Use, buffer: Vec<u8>) {
    if !purpose.keeps(&buffer) {
        return;
    }
    // While the thread ends the pool may be gone already; then the buffer just goes too.
    let _ = SPARE.try_with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.buffers[purpose as usize].len() < KEPT
        {
            spare.buffers[purpose as usize].push(buffer);
        }
    });
}

/// Frees the worker's spare buffers if none was taken since the last call; whether there were any. For quiet
/// moments: whoever needs one next has its pages to fault in.
pub fn rest() -> bool {
    SPARE.with_borrow_mut(|spare| {
        if std::mem::take(&mut spare.taken) {
            return false;
        }
        let any = spare.buffers.iter().any(|buffers| !buffers.is_empty());
        spare.buffers = Default::default();
        any
    })
}

/// Bytes on their way into a tunnel. Its buffer returns to the worker's pool when the bytes are encrypted.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// Reads at most `limit` bytes once from `source`. An empty chunk means that the source has ended.
    ///
    /// # Errors
    /// Those of the source.
    pub fn poll_read(
        source: Pin<&mut impl AsyncRead>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Self>> {
        let mut bytes = take(Use::Chunk);
        let mut target = ReadBuf::new(&mut bytes[..limit.min(CHUNK)]);
        let read = source.poll_read(cx, &mut target);
        let end = target.filled().len();
        match read {
            Poll::Ready(Ok(())) if end > SMALL => Poll::Ready(Ok(Self { bytes, start: 0, end })),
            other => {
                let chunk = Self { bytes: bytes[..end].to_vec(), start: 0, end };
                give(Use::Chunk, bytes);
                ready!(other)?;
                Poll::Ready(Ok(chunk))
            }
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), bytes }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced beyond the chunk's end");
        self.start += count;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        give(Use::Chunk, std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_read_does_not_hold_a_large_buffer() {
        let mut source: &[u8] = b"x";
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(chunk)) = Chunk::poll_read(Pin::new(&mut source), CHUNK, &mut cx) else {
            panic!("a slice is always ready");
        };
        assert_eq!((chunk.chunk(), chunk.bytes.len()), (&b"x"[..], 1));
    }

    #[test]
    fn a_worker_at_rest_keeps_no_buffer() {
        give(Use::Records, take(Use::Records));
        assert!(!rest(), "one was taken just now");
        assert!(rest());
        assert!(!rest(), "it is gone");
        assert!(SPARE.with_borrow(|spare| spare.buffers.iter().all(Vec::is_empty)));
    }

    #[test]
    fn a_dropped_chunk_gives_its_buffer_back() {
        let data = vec![7; CHUNK];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut place = std::ptr::null();
        for round in 0..3 {
            let mut source = &data[..];
            let Poll::Ready(Ok(chunk)) = Chunk::poll_read(Pin::new(&mut source), CHUNK, &mut cx) else {
                panic!("a slice is always ready");
            };
            assert_eq!(chunk.remaining(), CHUNK);
            assert!(round == 0 || place == chunk.bytes.as_ptr(), "another buffer was taken");
            place = chunk.bytes.as_ptr();
        }
    }
}
