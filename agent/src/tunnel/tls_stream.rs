//! A TLS connection over a non-blocking socket that crosses into the kernel as seldom as it can.
//!
//! Entry point: [`TlsStream::handshake`]; [`Shared`] is what HTTP/2 reads from and writes to. Three things
//! differ from the usual adapter: reads take up to 256 KiB at once into a buffer that belongs to the worker
//! and is given back when it is drained; writes only encrypt; and a flush asked for by HTTP/2 does nothing,
//! because the session's driver writes everything that one turn made in a single system call
//! ([`Shared::poll_send`]). Knows nothing of HTTP/2.

mod records;
mod wire;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use rustls::CommonState;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use records::Records;
pub(super) use records::Side;
pub(super) use wire::Wire;

/// Encrypted bytes that may wait for the socket; above, HTTP/2 has to wait.
const BACKLOG: usize = 512 * 1024;
/// Plaintext that HTTP/2 gets in one turn, so that streams consume before more is queued for them.
const TURN: usize = 256 * 1024;

/// A socket and its TLS session.
pub(super) struct TlsStream<S> {
    socket: TcpStream,
    records: Records<S>,
    wire: Rc<Wire>,
    /// Plaintext handed up since the reader last had to wait.
    turn: usize,
    /// HTTP/2 was told to wait for room.
    refused: bool,
    ended: bool,
    closing: bool,
    /// Kept, because HTTP/2 passes on no more than the text of an error.
    failed: Option<rustls::Error>,
}

impl<S: Side> TlsStream<S> {
    /// Completes the handshake. The caller bounds its time.
    ///
    /// # Errors
    /// Those of the socket; a `rustls::Error` travels inside [`io::ErrorKind::InvalidData`].
    pub(super) async fn handshake(socket: TcpStream, side: S) -> io::Result<Self> {
        let mut stream = Self {
            socket,
            records: Records::new(side),
            wire: Rc::default(),
            turn: 0,
            refused: false,
            ended: false,
            closing: false,
            failed: None,
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = self.records.advance();
            // An alert that says why is worth one try, also when the handshake failed.
            let sent = self.poll_send(cx);
            let done = step.map_err(invalid)?.writable;
            if done {
                return sent;
            }
            ready!(sent)?;
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What the handshake agreed on.
    pub(super) fn common(&self) -> &CommonState {
        self.records.common()
    }

    /// Reads once from the socket into the worker's buffer; 0 at its end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        let received = self.records.receive(|space| {
            let mut target = ReadBuf::new(space);
            ready!(socket.poll_read(cx, &mut target))?;
            Poll::Ready(Ok(target.filled().len()))
        });
        if let Poll::Ready(Ok(1..)) = received {
            self.wire.hear();
        }
        received
    }

    /// Writes what is encrypted until nothing is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.unsent().is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, self.records.unsent()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.records.sent(count);
                    self.wire.writes.set(self.wire.writes.get() + 1);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.wire.set(self.records.unsent().len());
                    return Poll::Pending;
                }
            }
        }
        self.wire.set(0);
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = target.filled().len();
        loop {
            if let Err(error) = self.records.decrypt(target) {
                self.failed = Some(error.clone());
                return Poll::Ready(Err(invalid(error)));
            }
            let taken = target.filled().len() - before;
            if taken > 0 {
                self.turn += taken;
                return Poll::Ready(Ok(()));
            }
            if self.ended || self.records.closed() {
                return Poll::Ready(Ok(()));
            }
            if self.turn >= TURN {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.turn = 0;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Encrypts `slices`; waits when too much is waiting for the socket.
    fn poll_write(&mut self, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.records.unsent().len() > BACKLOG {
            self.refused = true;
            return Poll::Pending;
        }
        let mut count = 0;
        for slice in slices {
            self.records.encrypt(slice).map_err(invalid)?;
            count += slice.len();
        }
        self.wire.set(self.records.unsent().len());
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            self.records.close().map_err(invalid)?;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S> Drop for TlsStream<S> {
    fn drop(&mut self) {
        if self.wire.is_abandoned() {
            // A socket that waits for its FIN to be acknowledged keeps its network namespace alive.
            let _ = self.socket.set_zero_linger();
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A [`TlsStream`] that HTTP/2 and the session's driver, both of one task, use in turn.
pub(super) struct Shared<S>(Rc<RefCell<TlsStream<S>>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Side> Shared<S> {
    pub(super) fn new(stream: TlsStream<S>) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    /// Writes what has been encrypted. `Ready(true)` when HTTP/2 was waiting for room and has it now.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut stream = self.0.borrow_mut();
        let sent = stream.poll_send(cx)?;
        if stream.refused && stream.records.unsent().len() <= BACKLOG {
            stream.refused = false;
            return Poll::Ready(Ok(true));
        }
        sent.map(|()| Ok(false))
    }

    /// Why TLS failed after its handshake, such as the alert of a peer that refused our certificate.
    pub(super) fn failure(&self) -> Option<rustls::Error> {
        self.0.borrow().failed.clone()
    }

    /// How the socket fares.
    pub(super) fn wire(&self) -> Rc<Wire> {
        self.0.borrow().wire.clone()
    }
}

impl<S: Side> AsyncRead for Shared<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, target)
    }
}

impl<S: Side> AsyncWrite for Shared<S> {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The driver, whose task this is, polls again when there is room.
        self.0.borrow_mut().poll_write(&[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}
