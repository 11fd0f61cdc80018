//! The copy between two sockets, for what goes through the agent in plaintext.
//!
//! Entry point: [`plain`].

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use tokio::{io::AsyncWrite, net::TcpStream};

use super::{CopyOutcome, Counters, End, Ended};
use crate::tunnel::{CHUNK, Chunk};

/// Reads of one end in one turn, after which other connections have theirs.
const READS: usize = 4;

/// Carries bytes between `near` and `far` until both directions have ended, or one end is reset; the other
/// is then set to be reset when it is closed.
pub async fn plain(near: &mut TcpStream, far: &mut TcpStream, counters: &Counters) -> CopyOutcome {
    let mut up = Direction::default();
    let mut down = Direction::default();
    let ended = poll_fn(|cx| {
        let sent = up.poll(near, far, |count| counters.add_sent(count), cx);
        if let Poll::Ready(Err(end)) = sent {
            return Poll::Ready(Ended::Reset(end));
        }
        let received = down.poll(far, near, |count| counters.add_received(count), cx);
        if let Poll::Ready(Err(end)) = received {
            return Poll::Ready(Ended::Reset(end.other()));
        }
        if up.done && down.done { Poll::Ready(Ended::Clean) } else { Poll::Pending }
    })
    .await;
    let victim = match ended {
        Ended::Reset(End::Near) => Some(far),
        Ended::Reset(End::Far) => Some(near),
        _ => None,
    };
    if let Some(socket) = victim {
        // Fails only on a socket that is gone already.
        let _ = super::reset(socket);
    }
    CopyOutcome::new(counters, ended)
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// Bytes from one socket to the other.
#[derive(Default)]
struct Direction {
    chunk: Chunk,
    ended: bool,
    done: bool,
}

impl Direction {
    /// Errors name the end that failed: `Near` is `from`.
    fn poll(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        count: impl Fn(usize),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        let mut reads = 0;
        loop {
            while !self.chunk.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, self.chunk.chunk()));
                let written = written.map_err(|_| End::Far)?;
                self.chunk.advance(written);
                count(written);
            }
            if self.ended && !self.done {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| End::Far)?;
                self.done = true;
            }
            if self.done {
                return Poll::Ready(Ok(()));
            }
            // The buffer of the last bytes goes back before anybody waits.
            self.chunk = Chunk::default();
            if reads == READS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            ready!(from.poll_read_ready(cx)).map_err(|_| End::Near)?;
            self.chunk = ready!(Chunk::poll_read(Pin::new(&mut *from), CHUNK, cx)).map_err(|_| End::Near)?;
            self.ended = self.chunk.is_empty();
        }
    }
}
