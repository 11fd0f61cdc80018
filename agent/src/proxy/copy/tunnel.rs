//! The copy between an application's socket and a tunnel's stream.
//!
//! Entry point: [`through_tunnel`].

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{io::AsyncWrite, net::TcpStream};

use super::{
    CopyOutcome, Counters, End, Ended,
    pending::{Pending, no_slices},
};
use crate::tunnel::{Chunk, ReceiveHalf, SendHalf, Stream, TunnelError};

/// Reads of the application in one turn, after which other connections have theirs. What they bring fits the
/// processor's cache on its way through encryption to the socket.
const READS: usize = 2;

/// Carries bytes between `application` and `stream` until both directions have ended, or one end is reset.
/// On a reset by the stream, the application's socket is set to be reset when it is closed.
pub async fn through_tunnel(
    application: &mut TcpStream,
    stream: &mut Stream,
    counters: &Counters,
) -> CopyOutcome {
    let mut up = Up { done: false };
    let mut down = Down::default();
    let ended = poll_fn(|cx| {
        // What came is passed on first: when the peer refuses or resets, there is nothing to send any more.
        if let Poll::Ready(Err(ended)) = down.poll(application, &mut stream.receive, counters, cx) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(Err(ended)) = up.poll(application, &mut stream.send, counters, cx) {
            return Poll::Ready(ended);
        }
        if up.done && down.done { Poll::Ready(Ended::Clean) } else { Poll::Pending }
    })
    .await;
    match &ended {
        Ended::Clean => {}
        Ended::Reset(End::Near) => stream.reset(),
        // Fails only on a socket that is gone already.
        _ => drop(super::reset(application)),
    }
    CopyOutcome::new(counters, ended)
}

/// From the application into the tunnel.
struct Up {
    done: bool,
}

impl Up {
    fn poll(
        &mut self,
        application: &mut TcpStream,
        send: &mut SendHalf,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        for _ in 0..READS {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            let readable = application.poll_read_ready(cx).map_err(|_| Ended::Reset(End::Near))?;
            if readable.is_pending() {
                // Only a stream that is read tells of its reset; one whose peer has said all is not read.
                return send.poll_reset(cx).map(|error| Err(by_stream(error)));
            }
            let room = ready!(send.poll_room(cx)).map_err(by_stream)?;
            match Chunk::poll_read(Pin::new(&mut *application), room, cx) {
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => {
                    send.release();
                    send.finish().map_err(by_stream)?;
                    self.done = true;
                }
                Poll::Ready(Ok(chunk)) => {
                    let count = chunk.len();
                    send.send(chunk).map_err(by_stream)?;
                    counters.add_sent(count);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::Reset(End::Near))),
                Poll::Pending => {
                    send.release();
                    return send.poll_reset(cx).map(|error| Err(by_stream(error)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// From the tunnel to the application.
#[derive(Default)]
struct Down {
    pending: Pending,
    /// The application did not take all there was.
    stalled: bool,
    ended: bool,
    done: bool,
}

impl Down {
    fn poll(
        &mut self,
        application: &mut TcpStream,
        receive: &mut ReceiveHalf,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            // Everything that came is taken at once: a session ends when too many small frames wait in it.
            // The peer is held back all the same, because only what the application took is credited.
            let failed = self.take(receive, cx);
            if self.pending.is_empty() {
                if let Some(error) = failed {
                    return Poll::Ready(Err(by_stream(error)));
                }
                if !self.ended {
                    return Poll::Pending;
                }
                ready!(Pin::new(&mut *application).poll_shutdown(cx)).map_err(|_| Ended::Reset(End::Near))?;
                self.done = true;
                continue;
            }
            if let Some(error) = failed {
                // Bytes that came before a reset are worth one try; after it, there is no waiting.
                let _ = self.give(application, cx);
                return Poll::Ready(Err(by_stream(error)));
            }
            let given = self.give(application, cx);
            self.stalled = given.is_pending();
            let count = ready!(given).map_err(|_| Ended::Reset(End::Near))?;
            receive.release(count);
            counters.add_received(count);
        }
    }

    fn take(&mut self, receive: &mut ReceiveHalf, cx: &mut Context<'_>) -> Option<TunnelError> {
        while !self.ended {
            match receive.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.pending.push(bytes, self.stalled),
                Poll::Ready(Some(Err(error))) => return Some(error),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        None
    }

    fn give(&mut self, application: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = no_slices();
        let count = self.pending.slices(&mut slices);
        let written = ready!(Pin::new(application).poll_write_vectored(cx, &slices[..count]))?;
        self.pending.advance(written);
        Poll::Ready(Ok(written))
    }
}

fn by_stream(error: TunnelError) -> Ended {
    match error {
        TunnelError::Refused(refusal) => Ended::Refused(refusal),
        error if error.is_reset() => Ended::Reset(End::Far),
        error => Ended::Failed(error),
    }
}
