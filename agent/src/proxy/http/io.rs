//! A connection's two directions with a buffer each, over a socket or a tunnel's stream.
//!
//! Entry points: [`Reader`], [`Writer`], [`FromTunnel`], [`IntoTunnel`]. Knows no HTTP.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::tunnel::{Chunk, ReceiveHalf, SendHalf, TunnelError};

/// What is read at once.
const READ: usize = 16 * 1024;

/// Both directions of a connection.
pub(super) struct End<R, W> {
    pub(super) reader: Reader<R>,
    pub(super) writer: Writer<W>,
}

/// Bytes that came and are not taken yet.
pub(super) struct Reader<R> {
    source: R,
    pub(super) buffer: BytesMut,
    /// All that ever came.
    pub(super) count: u64,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new(), count: 0 }
    }

    /// Reads once; 0 at the end.
    ///
    /// # Errors
    /// Those of the source.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        let count = self.source.read_buf(&mut self.buffer).await?;
        self.count += count as u64;
        Ok(count)
    }

    /// What is in the buffer first, then what the source has.
    fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.buffer.is_empty() {
            let count = self.buffer.len().min(target.remaining());
            target.put_slice(&self.buffer.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = target.filled().len();
        ready!(Pin::new(&mut self.source).poll_read(cx, target))?;
        self.count += (target.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }

    /// Takes `count` bytes from the front.
    pub(super) fn buffer_advance(&mut self, count: usize) {
        self.buffer.advance(count);
    }

    /// An idle connection holds no buffer.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// Bytes that are to leave.
pub(super) struct Writer<W> {
    target: W,
    pub(super) buffer: BytesMut,
    /// All that ever left.
    pub(super) count: u64,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(target: W) -> Self {
        Self { target, buffer: BytesMut::new(), count: 0 }
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// Those of the target.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            let count = self.target.write_buf(&mut self.buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.count += count as u64;
        }
        self.target.flush().await
    }

    /// Says that nothing more will come, after all that waits.
    ///
    /// # Errors
    /// Those of the target.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.target.shutdown().await
    }
}

/// A stream's receiving half as a reader.
pub(super) struct FromTunnel<'a> {
    receive: &'a mut ReceiveHalf,
    left: Bytes,
}

impl<'a> FromTunnel<'a> {
    pub(super) fn new(receive: &'a mut ReceiveHalf) -> Self {
        Self { receive, left: Bytes::new() }
    }
}

impl AsyncRead for FromTunnel<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.left.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(bytes)) => this.left = bytes,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.left.len().min(target.remaining());
        target.put_slice(&this.left[..count]);
        this.left.advance(count);
        // What is in the reader's buffer is credited: the buffer is bounded, and read when there is room downstream.
        this.receive.release(count);
        Poll::Ready(Ok(()))
    }
}

/// A stream's sending half as a writer.
pub(super) struct IntoTunnel<'a>(pub(super) &'a mut SendHalf);

impl AsyncWrite for IntoTunnel<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let send = &mut *self.get_mut().0;
        let room = ready!(send.poll_room(cx)).map_err(broken)?;
        let count = room.min(bytes.len());
        send.send(Chunk::from(bytes[..count].to_vec())).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().0.finish().map_err(broken))
    }
}

fn broken(error: TunnelError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Both directions of a borrowed connection as one thing, for those who want that.
pub(super) struct Duplex<'a, R, W>(pub(super) &'a mut End<R, W>);

/// The same, owned.
pub(super) struct Owned<R, W>(pub(super) End<R, W>);

macro_rules! both_directions {
    ($name:ty, [$($generics:tt)*]) => {
        impl<$($generics)* R: AsyncRead + Unpin, W: Unpin> AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                target: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.get_mut().0.reader.poll_read(cx, target)
            }
        }

        impl<$($generics)* R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                let writer = &mut self.get_mut().0.writer;
                let count = ready!(Pin::new(&mut writer.target).poll_write(cx, bytes))?;
                writer.count += count as u64;
                Poll::Ready(Ok(count))
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().0.writer.target).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().0.writer.target).poll_shutdown(cx)
            }
        }
    };
}

both_directions!(Duplex<'a, R, W>, ['a,]);
both_directions!(Owned<R, W>, []);
