//! A connection to a server, by socket or through a tunnel, of either version.
//!
//! Entry points: [`over`], [`through`], and [`Link::exchange`]. Whose it is and how long it is kept, its holder knows.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    exchange::{AnswerOut, BodyIn, Failure, Look, Progress, Relayed, relay},
    forward::Client,
    h1, h2 as http2,
    io::{End, FromTunnel, IntoTunnel, Reader, Writer},
    message::{RequestHead, ResponseHead},
};
use crate::tunnel::{ReceiveHalf, SendHalf, Stream};

/// Both directions of a server's connection.
pub(super) type Server = End<ServerRead, ServerWrite>;

/// From a server.
pub(super) enum ServerRead {
    Socket(OwnedReadHalf),
    Tunnel(FromTunnel<ReceiveHalf>),
}

/// To a server.
pub(super) enum ServerWrite {
    Socket(OwnedWriteHalf),
    Tunnel(IntoTunnel<SendHalf>),
}

/// A socket's two directions.
pub(super) fn over(socket: TcpStream) -> Server {
    // Batches are made before the socket is reached.
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    End { reader: Reader::new(ServerRead::Socket(read)), writer: Writer::new(ServerWrite::Socket(write)) }
}

/// A stream's two directions.
pub(super) fn through(stream: Stream) -> Server {
    let Stream { send, receive } = stream;
    End {
        reader: Reader::new(ServerRead::Tunnel(FromTunnel::new(receive))),
        writer: Writer::new(ServerWrite::Tunnel(IntoTunnel(send))),
    }
}

impl Server {
    /// Whether the server is still there, and silent, as is due between two requests.
    pub(super) async fn is_quiet(&mut self) -> bool {
        self.reader.buffer.is_empty()
            && poll_fn(|cx| Poll::Ready(self.reader.poll_fill(cx).is_pending())).await
    }

    /// Says that there will be no more requests, and lets the server say the same.
    pub(super) async fn close(mut self) {
        if self.writer.finish().await.is_ok() {
            while matches!(self.reader.fill().await, Ok(count) if count > 0) {
                self.reader.buffer.clear();
            }
        }
    }
}

/// A connection on which exchanges are made.
pub(super) enum Link {
    /// One exchange at a time.
    H1(Box<Server>),
    /// Any number.
    H2(SendRequest<Bytes>),
}

impl Link {
    /// Sends a request and passes its answer on; with how that ended, whether the connection takes another one.
    pub(super) async fn exchange(
        &mut self,
        (head, client): (&RequestHead, &Client),
        (body, answer): (&mut impl BodyIn, &mut impl AnswerOut),
        progress: &mut Progress,
        look: &mut dyn FnMut(&mut ResponseHead) -> Look,
    ) -> (Result<Relayed, Failure>, bool) {
        match self {
            Self::H1(server) => {
                let (mut out, mut input) = h1::start(server, head, client);
                let relayed = relay((body, answer), (&mut out, &mut input), progress, look).await;
                let stays = match &relayed {
                    Ok(Relayed::Whole { sent }) => *sent && input.stays(),
                    Ok(Relayed::Dropped { sent }) => {
                        input.skip().await;
                        *sent && input.stays()
                    }
                    Ok(Relayed::Switched) | Err(_) => false,
                };
                (relayed, stays)
            }
            Self::H2(requests) => {
                let (mut out, mut input) = match http2::start(requests.clone(), head, client).await {
                    Ok(started) => started,
                    Err(failure) => return (Err(failure), false),
                };
                let relayed = relay((body, answer), (&mut out, &mut input), progress, look).await;
                (relayed, true)
            }
        }
    }
}

impl AsyncRead for ServerRead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(cx, target),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, target),
        }
    }
}

impl AsyncWrite for ServerWrite {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
