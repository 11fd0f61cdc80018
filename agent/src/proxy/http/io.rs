//! A connection's two directions with a buffer each, over a socket or a tunnel's stream.
//!
//! Entry points: [`Reader`], [`Writer`], [`FromTunnel`], [`IntoTunnel`], [`tunnel`]. Knows no HTTP.

use std::{
    borrow::BorrowMut,
    future::poll_fn,
    io,
    pin::{Pin, pin},
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
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// As [`Reader::fill`].
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(READ);
        }
        // A read that is given up has taken nothing.
        let count = ready!(pin!(self.source.read_buf(&mut self.buffer)).poll(cx))?;
        self.count += count as u64;
        Poll::Ready(Ok(count))
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

/// Passes everything on, both ways, until both ends have said all.
///
/// # Errors
/// The first that either end has.
pub(super) async fn tunnel<CR, CW, SR, SW>(
    client: &mut End<CR, CW>,
    server: &mut End<SR, SW>,
) -> io::Result<()>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    SR: AsyncRead + Unpin,
    SW: AsyncWrite + Unpin,
{
    let there = pass(&mut client.reader, &mut server.writer);
    let back = pass(&mut server.reader, &mut client.writer);
    tokio::try_join!(there, back).map(|_| ())
}

async fn pass<R, W>(from: &mut Reader<R>, to: &mut Writer<W>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        to.flush().await?;
        if from.buffer.is_empty() && from.fill().await? == 0 {
            return to.finish().await;
        }
        std::mem::swap(&mut from.buffer, &mut to.buffer);
    }
}

/// A stream's receiving half as a reader.
pub(super) struct FromTunnel<T> {
    receive: T,
    left: Bytes,
}

impl<T: BorrowMut<ReceiveHalf>> FromTunnel<T> {
    pub(super) fn new(receive: T) -> Self {
        Self { receive, left: Bytes::new() }
    }
}

impl<T: BorrowMut<ReceiveHalf> + Unpin> AsyncRead for FromTunnel<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.left.is_empty() {
            match ready!(this.receive.borrow_mut().poll_data(cx)) {
                Some(Ok(bytes)) => this.left = bytes,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.left.len().min(target.remaining());
        target.put_slice(&this.left[..count]);
        this.left.advance(count);
        // What is in the reader's buffer is credited: the buffer is bounded, and read when there is room downstream.
        this.receive.borrow_mut().release(count);
        Poll::Ready(Ok(()))
    }
}

/// A stream's sending half as a writer.
pub(super) struct IntoTunnel<T>(pub(super) T);

impl<T: BorrowMut<SendHalf> + Unpin> AsyncWrite for IntoTunnel<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let send = self.get_mut().0.borrow_mut();
        let room = ready!(send.poll_room(cx)).map_err(broken)?;
        let count = room.min(bytes.len());
        send.send(Chunk::from(bytes[..count].to_vec())).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().0.borrow_mut().finish().map_err(broken))
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
