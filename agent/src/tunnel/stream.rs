//! One connection inside a session: open, read, write, half-close, reset. Nothing else crosses this border.
//!
//! Entry point: [`Stream`], a [`SendHalf`] and a [`ReceiveHalf`]. A stream can send before its answer has
//! come; the answer is then the first thing that its receiving half learns. Must not know what it carries.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::StatusCode;

use super::{
    buffers::{CHUNK, Chunk},
    error::TunnelError,
    headers::Refusal,
    tls_stream::Wire,
};

/// Frames below this size are never sent twice in one flush: receivers that count small frames (h2 from
/// 0.4.16 on counts those below 256 bytes) end the session, and every stream of it, when they get many.
const SMALL: usize = 256;

/// Error code of a stream that policy no longer allows: "WEIR". Peers that do not know it see a reset like
/// any other (RFC 9113 §7).
const WITHDRAWN: u32 = 0x5745_4952;

/// Both directions of one connection.
pub struct Stream {
    /// Towards the peer.
    pub send: SendHalf,
    /// From the peer.
    pub receive: ReceiveHalf,
}

impl Stream {
    pub(super) fn opened(answer: ResponseFuture, send: SendStream<Chunk>, session: StreamSession) -> Self {
        let session = Rc::new(session);
        Self {
            send: SendHalf::new(send, session.clone()),
            receive: ReceiveHalf { state: Receiving::Awaited(answer), session, accepted: None },
        }
    }

    pub(super) fn accepted(receive: RecvStream, send: SendStream<Chunk>, session: StreamSession) -> Self {
        let session = Rc::new(session);
        Self {
            send: SendHalf::new(send, session.clone()),
            receive: ReceiveHalf { state: Receiving::Open(receive), session, accepted: None },
        }
    }

    /// Waits for the peer's answer; at once `Ok` on a stream that the peer opened.
    ///
    /// # Errors
    /// [`TunnelError::Refused`] with the peer's words, or why there was no answer.
    pub async fn answered(&mut self) -> Result<(), TunnelError> {
        poll_fn(|cx| self.receive.poll_answer(cx)).await
    }

    /// Calls `accepted` when the peer's answer is 200, which whoever reads learns only with the first bytes.
    pub fn when_accepted(&mut self, accepted: impl FnOnce() + 'static) {
        self.receive.accepted = Some(Box::new(accepted));
    }

    /// Ends both directions at once, as a TCP reset does.
    pub fn reset(&mut self) {
        self.send.reset();
    }

    /// As [`Stream::reset`], and says that policy no longer allows the connection.
    pub fn withdraw(&mut self) {
        self.send.stream.send_reset(WITHDRAWN.into());
    }
}

/// The error a reset stands for.
fn of_reset(reason: h2::Reason) -> TunnelError {
    if u32::from(reason) == WITHDRAWN {
        return TunnelError::Withdrawn;
    }
    TunnelError::Reset(Arc::from(reason.description()))
}

/// What a stream needs of its session: its wire, the reason of its end, and its place in a count.
pub(super) struct StreamSession {
    pub(super) wire: Rc<Wire>,
    pub(super) end: Rc<RefCell<Option<TunnelError>>>,
    /// Released when both halves are gone.
    pub(super) place: Box<dyn std::any::Any>,
}

impl StreamSession {
    /// `error` as a stream sees it: a reset is its own, all else is the session's end.
    fn explain(&self, error: &h2::Error) -> TunnelError {
        if error.is_reset() && error.is_remote() {
            let reason = error.reason().unwrap_or(h2::Reason::INTERNAL_ERROR);
            return of_reset(reason);
        }
        let _ = &self.place;
        self.end.borrow().clone().unwrap_or_else(|| TunnelError::session(error))
    }
}

/// The direction towards the peer.
pub struct SendHalf {
    stream: SendStream<Chunk>,
    session: Rc<StreamSession>,
    id: u32,
    /// The count of flushes when the last small frame was made.
    small: Option<u64>,
}

impl SendHalf {
    fn new(stream: SendStream<Chunk>, session: Rc<StreamSession>) -> Self {
        let id = stream.stream_id().as_u32();
        Self { stream, session, id, small: None }
    }

    /// Waits until bytes can be sent, and says how many, at least 1 and at most [`CHUNK`]. Room that is not
    /// used must be given back by [`SendHalf::release`], since it is taken from the whole session's.
    ///
    /// # Errors
    /// When the stream or its session has ended.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, TunnelError>> {
        let wire = &self.session.wire;
        if wire.is_high() || self.small == Some(wire.flushes()) {
            wire.wait(self.id, cx);
            // A session that ends wakes those who wait; they learn why from the stream itself.
            if self.session.end.borrow().is_none() {
                return Poll::Pending;
            }
        }
        self.stream.reserve_capacity(CHUNK);
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(CHUNK)));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.session.explain(&error))),
                None => return Poll::Ready(Err(self.ended())),
            }
        }
    }

    /// Gives unused room back to the session.
    pub fn release(&mut self) {
        self.stream.reserve_capacity(0);
    }

    /// Sends `chunk`, which fits the room of [`SendHalf::poll_room`].
    ///
    /// # Errors
    /// When the stream or its session has ended.
    pub fn send(&mut self, chunk: Chunk) -> Result<(), TunnelError> {
        let small = chunk.len() < SMALL;
        self.stream.send_data(chunk, false).map_err(|error| self.session.explain(&error))?;
        self.stream.reserve_capacity(0);
        self.small = small.then(|| self.session.wire.flushes());
        Ok(())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the stream or its session has ended.
    pub fn finish(&mut self) -> Result<(), TunnelError> {
        self.stream.send_data(Chunk::default(), true).map_err(|error| self.session.explain(&error))
    }

    /// Ends the whole stream at once; the peer sees a reset.
    pub fn reset(&mut self) {
        self.stream.send_reset(h2::Reason::CANCEL);
    }

    /// Waits until the peer resets the stream, also while nothing is received any more.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<TunnelError> {
        match ready!(self.stream.poll_reset(cx)) {
            // The peer got all it wanted and takes no more (RFC 9113 §8.1): to TCP this is a reset too.
            Ok(reason) => Poll::Ready(of_reset(reason)),
            Err(error) => Poll::Ready(self.session.explain(&error)),
        }
    }

    /// Writes to the session's socket so far.
    #[cfg(test)]
    pub(super) fn writes(&self) -> u64 {
        self.session.wire.writes.get()
    }

    fn ended(&self) -> TunnelError {
        let end = self.session.end.borrow().clone();
        end.unwrap_or_else(|| TunnelError::Reset("the stream has ended".into()))
    }
}

/// The direction from the peer.
pub struct ReceiveHalf {
    state: Receiving,
    session: Rc<StreamSession>,
    /// Called when the peer has accepted the stream.
    accepted: Option<Box<dyn FnOnce()>>,
}

enum Receiving {
    Awaited(ResponseFuture),
    Open(RecvStream),
    Failed(TunnelError),
}

impl ReceiveHalf {
    /// Waits for the answer; at once `Ok` when it has come, or none is due.
    ///
    /// # Errors
    /// [`TunnelError::Refused`] with the peer's words, or why there was no answer; the same again later.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        let answer = match &mut self.state {
            Receiving::Awaited(answer) => ready!(std::pin::Pin::new(answer).poll(cx)),
            Receiving::Open(_) => return Poll::Ready(Ok(())),
            Receiving::Failed(error) => return Poll::Ready(Err(error.clone())),
        };
        let error = match answer {
            Ok(response) if response.status() == StatusCode::OK => {
                self.state = Receiving::Open(response.into_body());
                if let Some(accepted) = self.accepted.take() {
                    accepted();
                }
                return Poll::Ready(Ok(()));
            }
            Ok(response) => TunnelError::Refused(Refusal::parse(&response)),
            Err(error) => self.session.explain(&error),
        };
        self.state = Receiving::Failed(error.clone());
        Poll::Ready(Err(error))
    }

    /// The next bytes, `None` when the peer sends no more. Bytes hold the peer back until they are given
    /// to [`ReceiveHalf::release`].
    ///
    /// # Errors
    /// As [`ReceiveHalf::poll_answer`], or when the stream or its session ended before its time.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TunnelError>>> {
        if let Err(error) = ready!(self.poll_answer(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let Receiving::Open(stream) = &mut self.state else { return Poll::Ready(None) };
        ready!(stream.poll_data(cx))
            .map(|data| data.map_err(|error| self.session.explain(&error)))
            .map_or(Poll::Ready(None), |data| Poll::Ready(Some(data)))
    }

    /// Lets the peer send `count` bytes more, because as many have been passed on.
    pub fn release(&mut self, count: usize) {
        if let Receiving::Open(stream) = &mut self.state {
            // Fails only when more is released than came, which the copy does not do.
            let _ = stream.flow_control().release_capacity(count);
        }
    }
}
