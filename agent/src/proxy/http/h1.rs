//! HTTP/1 on the wire, at either end: a client's connection, and an exchange with a server.
//!
//! Entry points: [`serve`] for a client's connection, [`start`] for an exchange with a server.

mod upstream;

use std::{
    cell::Cell,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    app::App,
    body::{Decoder, Piece, encode, encode_end},
    exchange::{AnswerOut, BodyIn, BodyOut, Failure, Gone},
    forward,
    io::{End, Reader, Writer},
    message::{Framing, RequestHead, ResponseHead, Version, is_persistent},
    parse::{self, Malformed},
    serve::{Ends, Served},
};
pub(super) use upstream::start;

/// Encoded bytes that wait before they are written even though more is at hand.
const HIGH: usize = 64 * 1024;
/// Bytes that a client may send ahead of the answers to what it sent before.
const AHEAD: usize = 64 * 1024;
/// For how long a head may take from its first byte to its last.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// For how long a connection may have no request on it.
const IDLE_TIME: Duration = Duration::from_secs(3600);
/// For how long a client may go on to send that has its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `client` request by request until its connection ends, or `ends` says that the next answer is its last.
pub(super) async fn serve<R, W>(client: &mut End<R, W>, app: &impl App, ends: &Ends) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let head = match next_head(&mut client.reader, ends).await {
            Ok(Some(head)) => head,
            Ok(None) => return finish(client).await,
            Err(Next::Broken(error)) => return Served::Broken(error.to_string()),
            Err(Next::Malformed(malformed)) => {
                app.malformed(malformed);
                let answer = forward::answer(malformed.status(), &malformed.to_string());
                client.writer.buffer.extend_from_slice(&answer);
                return finish(client).await;
            }
        };
        let End { reader, writer } = client;
        let ended = Cell::new(head.framing == Framing::Empty);
        let mut body = RequestBody { reader, decoder: Decoder::new(head.framing), ended: &ended };
        let mut answer = Answer {
            writer,
            version: head.version,
            switches: forward::upgrade(&head.fields).is_some(),
            framing: Framing::Empty,
            stays: is_persistent(head.version, &head.fields),
            ends,
            ended: &ended,
            state: State::Awaited,
        };
        let answered = app.answer(head, &mut body, &mut answer).await;
        let (ended, stays, state) = (ended.get(), answer.stays, answer.state);
        match (answered, state) {
            (Ok(()), State::Complete) if ended && stays => client.reader.rest(),
            // Both ends have said all.
            (Ok(()), State::Switched) => return Served::Clean,
            (Ok(()), State::Complete) => return finish(client).await,
            (Ok(()), _) => return Served::Broken("the answer is not whole".into()),
            // A part of the answer is with the client: only a connection that breaks tells that it is not whole.
            (Err(failure), _) => return Served::Broken(failure.to_string()),
        }
    }
}

async fn finish<R, W>(client: &mut End<R, W>) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if let Err(error) = client.writer.finish().await {
        return Served::Broken(error.to_string());
    }
    // What is still on its way here must not meet a closed socket: its reset could overtake the answer
    // (RFC 9112 §9.6).
    let _ = timeout(LINGER, async {
        while matches!(client.reader.fill().await, Ok(count) if count > 0) {
            client.reader.buffer.clear();
        }
    })
    .await;
    Served::Clean
}

enum Next {
    Malformed(Malformed),
    Broken(io::Error),
}

/// The next request's head; `None` when the client has said all, or is to come again.
async fn next_head<R: AsyncRead + Unpin>(
    client: &mut Reader<R>,
    ends: &Ends,
) -> Result<Option<RequestHead>, Next> {
    if client.buffer.is_empty() {
        let first = tokio::select! {
            biased;
            first = timeout(IDLE_TIME, client.fill()) => first.map_err(|_| Next::Broken(late()))?,
            () = ends.wait() => return Ok(None),
        };
        if first.map_err(Next::Broken)? == 0 {
            return Ok(None);
        }
    }
    timeout(HEAD_TIME, whole_head(client)).await.unwrap_or_else(|_| Err(Next::Broken(late())))
}

async fn whole_head<R: AsyncRead + Unpin>(client: &mut Reader<R>) -> Result<Option<RequestHead>, Next> {
    loop {
        if let Some((head, taken)) = parse::request(&client.buffer).map_err(Next::Malformed)? {
            client.buffer_advance(taken);
            return Ok(Some(head));
        }
        if client.fill().await.map_err(Next::Broken)? == 0 {
            return Err(Next::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Whose failure it is when a body is malformed, and when it breaks off.
type Whose = (fn(Malformed) -> Failure, fn(io::Error) -> Failure);

/// Encodes content, and writes what waits once it is much.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut Writer<W>,
    framing: Framing,
    data: &[u8],
    broken: fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    encode(framing, data, &mut writer.buffer);
    if writer.buffer.len() >= HIGH {
        writer.flush().await.map_err(broken)?;
    }
    Ok(())
}

/// The next piece of a body out of `reader`.
fn poll_piece<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    decoder: &mut Decoder,
    cx: &mut Context<'_>,
    (malformed, broken): Whose,
) -> Poll<Result<Piece, Failure>> {
    loop {
        if let Some(piece) = decoder.next(&mut reader.buffer).map_err(malformed)? {
            return Poll::Ready(Ok(piece));
        }
        if ready!(reader.poll_fill(cx)).map_err(broken)? == 0 {
            return Poll::Ready(if decoder.close() { Ok(Piece::End(None)) } else { Err(broken(cut())) });
        }
    }
}

/// A client's request.
struct RequestBody<'a, R> {
    reader: &'a mut Reader<R>,
    decoder: Decoder,
    ended: &'a Cell<bool>,
}

impl<R: AsyncRead + Unpin> BodyIn for RequestBody<'_, R> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        let errors: Whose = (Failure::Request, Failure::Client);
        let piece = ready!(poll_piece(self.reader, &mut self.decoder, cx, errors));
        if matches!(piece, Ok(Piece::End(_))) {
            self.ended.set(true);
        }
        Poll::Ready(piece)
    }

    /// What it sends ahead is kept, to a bound.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while self.reader.buffer.len() < AHEAD {
            match ready!(self.reader.poll_fill(cx)) {
                // Requests that it sent ahead are still to be answered.
                Ok(0) if !self.reader.buffer.is_empty() => return Poll::Pending,
                Ok(0) => return Poll::Ready(Gone::Silent),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Gone::Broken(Failure::Client(error))),
            }
        }
        Poll::Pending
    }

    fn switch(&mut self) {
        self.decoder = Decoder::new(Framing::UntilClose);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Awaited,
    Begun,
    Complete,
    Switched,
}

/// The answer to a client's request.
struct Answer<'a, W> {
    writer: &'a mut Writer<W>,
    version: Version,
    /// Whether the client wants to change to another protocol.
    switches: bool,
    framing: Framing,
    stays: bool,
    ends: &'a Ends,
    /// Whether the request has come whole.
    ended: &'a Cell<bool>,
    state: State,
}

impl<W: AsyncWrite + Unpin> BodyOut for Answer<'_, W> {
    async fn data(&mut self, data: Bytes) -> Result<(), Failure> {
        send(self.writer, self.framing, &data, Failure::Client).await
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().await.map_err(Failure::Client)
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        if self.state == State::Switched {
            return self.writer.finish().await.map_err(Failure::Client);
        }
        encode_end(self.framing, trailers.as_ref(), &mut self.writer.buffer);
        self.state = State::Complete;
        self.flush().await
    }

    fn switch(&mut self) {
        self.framing = Framing::UntilClose;
        self.state = State::Switched;
    }
}

impl<W: AsyncWrite + Unpin> AnswerOut for Answer<'_, W> {
    async fn inform(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        if self.version != Version::Http11 {
            return Ok(());
        }
        forward::response(head, Framing::Empty, (Version::Http11, false), &mut self.writer.buffer);
        self.flush().await
    }

    async fn head(&mut self, head: ResponseHead) -> Result<(), Failure> {
        // A body without a length, for a client that knows no chunks, ends with the connection.
        self.framing = match (head.framing, self.version) {
            (Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (same, _) => same,
        };
        // Of a request that is not read to its end, what is left would be taken for the next one.
        self.stays &= self.framing != Framing::UntilClose && self.ended.get() && !self.ends.is_set();
        self.state = State::Begun;
        forward::response(&head, self.framing, (self.version, !self.stays), &mut self.writer.buffer);
        Ok(())
    }

    fn can_switch(&self) -> bool {
        self.switches && self.version == Version::Http11
    }

    fn close(&mut self) {
        self.stays = false;
    }
}
