//! HTTP/2 on the wire, at either end: a client's connection, and streams to a server.
//!
//! Entry points: [`serve`] for a client's connection, [`connect`] and [`start`] for a
//! server's. Frames, flow control and the bounds against floods are the library's.

mod upstream;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use h2::{
    Reason, RecvStream, SendStream,
    server::{Connection, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    app::App,
    body::Piece,
    exchange::{AnswerOut, BodyIn, BodyOut, Failure},
    flood::Guarded,
    forward,
    io::{Duplex, End},
    message::{Framing, RequestHead, ResponseHead, Version},
    parse::Malformed,
    serve::{Ends, Served},
};
pub(super) use upstream::{connect, failed, start};

/// Streams of one client at a time.
const STREAMS: u32 = 256;
/// Streams whose requests, or whose answers, leave together.
const TOGETHER: usize = 8;
/// Bytes of a stream that wait for the peer's window.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves `client` stream by stream until its connection ends; once `ends` says so, no new streams are taken.
pub(super) async fn serve<R, W>(client: &mut End<R, W>, app: &impl App, ends: &Ends) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let held = app.http2();
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(held.windows.stream)
        .initial_connection_window_size(held.windows.connection)
        .max_header_list_size(super::parse::HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER);
    let mut connection: Connection<_, Bytes> = match builder.handshake(Guarded::new(Duplex(client))).await {
        Ok(connection) => connection,
        Err(error) => return Served::Broken(error.to_string()),
    };
    let mut streams = FuturesUnordered::new();
    let mut ending = false;
    let mut taken = 0;
    let served = loop {
        // Several streams first: what they have to say then leaves at once, and not in a write for each. Not all of
        // them: the next one on their way can begin meanwhile.
        let accepted = poll_fn(|cx| {
            let mut ended = 0;
            while ended < TOGETHER && matches!(streams.poll_next_unpin(cx), Poll::Ready(Some(()))) {
                ended += 1;
            }
            if ended == TOGETHER || taken == TOGETHER {
                cx.waker().wake_by_ref();
            }
            if taken == TOGETHER {
                taken = 0;
                return Poll::Pending;
            }
            connection.poll_accept(cx)
        });
        tokio::select! {
            biased;
            accepted = accepted => match accepted {
                Some(Ok((request, respond))) => {
                    taken += 1;
                    streams.push(one(request, respond, app));
                }
                Some(Err(error)) => break broken(&error),
                None => break Served::Clean,
            },
            () = ends.wait(), if !ending => {
                ending = true;
                // GOAWAY; streams that are under way come to their end.
                connection.graceful_shutdown();
            }
        }
    };
    // Without it those that are left learn that their client is gone, and come to their ends, and to their records.
    drop(connection);
    while streams.next().await.is_some() {}
    served
}

fn broken(error: &h2::Error) -> Served {
    match error.get_io() {
        // Not one that is told to go.
        Some(io) if io.kind() == io::ErrorKind::InvalidData => Served::Broken(io.to_string()),
        // A client that goes without a word.
        Some(_) => Served::Clean,
        None => Served::Broken(error.to_string()),
    }
}

/// One request, from its head to its end.
async fn one(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, app: &impl App) {
    let (parts, body) = request.into_parts();
    let Some(head) = head(parts, body.is_end_stream()) else {
        app.malformed(Malformed::Target);
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    };
    let mut body = Body { stream: body, owed: 0, whose: Failure::Client };
    let mut answer = Answer { respond, send: None, ended: false };
    if app.answer(head, &mut body, &mut answer).await.is_err() {
        answer.reset();
    }
    // Where not all of the request is wanted, the library says so when the stream is dropped, behind the answer.
}

/// The head, where it names one host and a path.
fn head(parts: http::request::Parts, ended: bool) -> Option<RequestHead> {
    let target = parts.uri.path_and_query()?.as_str().to_owned();
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let host = hosts.next().map(HeaderValue::to_str).transpose().ok()?;
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => return None,
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, host) => host.unwrap_or_default().to_owned(),
    };
    if hosts.next().is_some() || authority.contains('@') || parts.method == http::Method::CONNECT {
        return None;
    }
    let framing = framing(&parts.headers, ended);
    Some(RequestHead {
        version: Version::Http2,
        method: parts.method,
        target,
        authority,
        fields: parts.headers,
        framing,
    })
}

/// How an HTTP/1 peer would be told where the body ends.
fn framing(fields: &HeaderMap, ended: bool) -> Framing {
    let length = fields.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        _ if ended => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Content of a stream; what was not passed on is not credited.
pub(super) struct Body {
    stream: RecvStream,
    owed: usize,
    whose: fn(io::Error) -> Failure,
}

impl BodyIn for Body {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            // Fails only when more is released than came.
            let _ = self.stream.flow_control().release_capacity(owed);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                self.owed = data.len();
                Poll::Ready(Ok(Piece::Data(data)))
            }
            Some(Err(error)) => Poll::Ready(Err((self.whose)(into_io(error)))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(cx));
                Poll::Ready(trailers.map(Piece::End).map_err(|error| (self.whose)(into_io(error))))
            }
        }
    }
}

/// The answer to a client's request.
struct Answer {
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    ended: bool,
}

impl Answer {
    fn reset(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl BodyOut for Answer {
    async fn data(&mut self, data: Bytes) -> Result<(), Failure> {
        match &mut self.send {
            Some(send) => send_data(send, data).await.map_err(|error| Failure::Client(into_io(error))),
            None => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        let Some(send) = self.send.as_mut().filter(|_| !self.ended) else { return Ok(()) };
        self.ended = true;
        end(send, trailers).map_err(|error| Failure::Client(into_io(error)))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let reset = match &mut self.send {
            Some(send) => ready!(send.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        Poll::Ready(Failure::Client(into_io(reset.map_or_else(|error| error, Into::into))))
    }
}

impl AnswerOut for Answer {
    async fn inform(&mut self, head: &ResponseHead) -> Result<(), Failure> {
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = forward::without_hop(&head.fields);
        // A client that is gone is learned of elsewhere.
        let _ = self.respond.send_informational(response);
        Ok(())
    }

    async fn head(&mut self, head: ResponseHead) -> Result<(), Failure> {
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = match head.version {
            Version::Http2 => head.fields,
            Version::Http10 | Version::Http11 => forward::without_hop(&head.fields),
        };
        self.ended = head.framing == Framing::Empty;
        let sent = self.respond.send_response(response, self.ended);
        self.send = Some(sent.map_err(|error| Failure::Client(into_io(error)))?);
        Ok(())
    }
}

/// Sends content as the peer has room for it.
async fn send_data(to: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = match poll_fn(|cx| to.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Err(Reason::STREAM_CLOSED.into()),
        };
        to.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

fn end(to: &mut SendStream<Bytes>, trailers: Option<HeaderMap>) -> Result<(), h2::Error> {
    match trailers {
        Some(fields) => to.send_trailers(fields),
        None => to.send_data(Bytes::new(), true),
    }
}

/// The error of what carried the connection, where it is that.
fn into_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
mod tests;
