//! One request and its answer between a client and a server, both bodies at once, neither held.
//!
//! Entry point: [`exchange`]. Back-pressure is the sockets' own: nothing is read that cannot be written.

use std::{cell::Cell, io};

use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    body::{Decoder, Piece, encode, encode_end},
    forward,
    io::{End, Reader, Writer},
    message::{Framing, RequestHead, ResponseHead, Version, is_persistent},
    parse::{self, Malformed},
};

/// Encoded bytes that wait before they are written even though more is at hand.
const HIGH: usize = 64 * 1024;
/// Bytes that a client may send ahead of the answers to what it sent before.
const AHEAD: usize = 64 * 1024;

/// What became of an exchange.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// The answer's status, when a head was passed on.
    pub(super) status: Option<StatusCode>,
    /// Whether the client's connection can take another request.
    pub(super) client_stays: bool,
    /// Whether the server's connection can.
    pub(super) server_stays: bool,
    /// Why it was not carried to its end.
    pub(super) failed: Option<Failure>,
    /// Both ends changed to another protocol: what follows is passed on as it is.
    pub(super) switched: bool,
}

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client's side.
    #[error("the client broke off: {0}")]
    Client(io::Error),
    /// What the client sent as a body.
    #[error("the request's body: {0}")]
    Request(Malformed),
    /// The server's side.
    #[error("the server broke off: {0}")]
    Server(io::Error),
    /// What the server sent.
    #[error("the answer: {0}")]
    Response(Malformed),
}

/// Sends the body that belongs to `head`, whose own bytes are in the server's writer, and passes the answer on.
pub(super) async fn exchange<CR, CW, SR, SW>(
    head: &RequestHead,
    client: &mut End<CR, CW>,
    server: &mut End<SR, SW>,
) -> Exchanged
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    SR: AsyncRead + Unpin,
    SW: AsyncWrite + Unpin,
{
    let mut answer = Answer { status: None, client_stays: true, server_stays: true, switched: false };
    let keeps = is_persistent(head.version, &head.fields);
    let sent = Cell::new(false);
    let outcome = {
        let mut sending = std::pin::pin!(async {
            if let Err(failure) = send(head.framing, &mut client.reader, &mut server.writer).await {
                return failure;
            }
            sent.set(true);
            Failure::Client(gone(&mut client.reader).await)
        });
        let mut receiving =
            std::pin::pin!(receive(head, keeps, &mut server.reader, &mut client.writer, &mut answer));
        tokio::select! {
            biased;
            received = &mut receiving => received,
            failure = &mut sending => match failure {
                // It may have answered before it stopped to listen.
                Failure::Server(_) => receiving.await,
                failure => Err(failure),
            },
        }
    };
    let whole = outcome.is_ok() && sent.get();
    Exchanged {
        status: answer.status,
        client_stays: whole && answer.client_stays,
        server_stays: whole && answer.server_stays && !answer.switched,
        switched: whole && answer.switched,
        failed: outcome.err(),
    }
}

/// What is known of the answer, also when it breaks off.
struct Answer {
    status: Option<StatusCode>,
    client_stays: bool,
    server_stays: bool,
    switched: bool,
}

/// The request, its head first.
async fn send<R, W>(framing: Framing, client: &mut Reader<R>, server: &mut Writer<W>) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    server.flush().await.map_err(Failure::Server)?;
    let mut decoder = Decoder::new(framing);
    loop {
        match decoder.next(&mut client.buffer).map_err(Failure::Request)? {
            Some(Piece::Data(data)) => {
                encode(framing, &data, &mut server.buffer);
                if server.buffer.len() >= HIGH {
                    server.flush().await.map_err(Failure::Server)?;
                }
            }
            Some(Piece::End(trailers)) => {
                encode_end(framing, trailers.as_ref(), &mut server.buffer);
                return server.flush().await.map_err(Failure::Server);
            }
            None => {
                server.flush().await.map_err(Failure::Server)?;
                if client.fill().await.map_err(Failure::Client)? == 0 {
                    return Err(Failure::Client(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}

/// The answer: heads that only inform, the head, the body.
async fn receive<R, W>(
    request: &RequestHead,
    keeps: bool,
    server: &mut Reader<R>,
    client: &mut Writer<W>,
    answer: &mut Answer,
) -> Result<(), Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let head = loop {
        let head = response_head(server).await?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            answer.switched = forward::upgrade(&request.fields).is_some();
            if !answer.switched {
                return Err(Failure::Response(Malformed::FirstLine));
            }
            break head;
        }
        if !head.status.is_informational() {
            break head;
        }
        if request.version == Version::Http11 {
            forward::response(&head, Framing::Empty, (Version::Http11, false), &mut client.buffer);
            client.flush().await.map_err(Failure::Client)?;
        }
    };
    let from = parse::response_framing(&request.method, &head).map_err(Failure::Response)?;
    // A body without a length, for a client that knows no chunks, ends with the connection.
    let to = match (from, request.version) {
        (Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked, Version::Http10) => Framing::UntilClose,
        (same, _) => same,
    };
    answer.server_stays = is_persistent(head.version, &head.fields) && from != Framing::UntilClose;
    answer.client_stays = keeps && to != Framing::UntilClose;
    answer.status = Some(head.status);
    forward::response(&head, to, (request.version, !answer.client_stays), &mut client.buffer);
    let mut decoder = Decoder::new(from);
    loop {
        match decoder.next(&mut server.buffer).map_err(Failure::Response)? {
            Some(Piece::Data(data)) => {
                encode(to, &data, &mut client.buffer);
                if client.buffer.len() >= HIGH {
                    client.flush().await.map_err(Failure::Client)?;
                }
            }
            Some(Piece::End(trailers)) => {
                encode_end(to, trailers.as_ref(), &mut client.buffer);
                return client.flush().await.map_err(Failure::Client);
            }
            None => {
                client.flush().await.map_err(Failure::Client)?;
                if server.fill().await.map_err(Failure::Server)? == 0 {
                    if !decoder.close() {
                        return Err(Failure::Server(io::ErrorKind::UnexpectedEof.into()));
                    }
                    encode_end(to, None, &mut client.buffer);
                    return client.flush().await.map_err(Failure::Client);
                }
            }
        }
    }
}

async fn response_head<R: AsyncRead + Unpin>(server: &mut Reader<R>) -> Result<ResponseHead, Failure> {
    loop {
        if let Some((head, taken)) = parse::response(&server.buffer).map_err(Failure::Response)? {
            bytes::Buf::advance(&mut server.buffer, taken);
            return Ok(head);
        }
        if server.fill().await.map_err(Failure::Server)? == 0 {
            return Err(Failure::Server(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Waits until the client is gone, while it waits for us; what it sends ahead is kept, to a bound.
async fn gone<R: AsyncRead + Unpin>(client: &mut Reader<R>) -> io::Error {
    while client.buffer.len() < AHEAD {
        match client.fill().await {
            // It has said all, and may well wait for the answer.
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    std::future::pending().await
}

/// Passes everything on, both ways, until both ends have said all.
///
/// # Errors
/// The first that either end has.
pub(super) async fn tunnel<CR, CW, SR, SW>(
    client: &mut End<CR, CW>,
    server: &mut End<SR, SW>,
) -> Result<(), Failure>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    SR: AsyncRead + Unpin,
    SW: AsyncWrite + Unpin,
{
    let (up, down) = tokio::join!(
        pass(&mut client.reader, &mut server.writer),
        pass(&mut server.reader, &mut client.writer)
    );
    up.map_err(Failure::Client)?;
    down.map_err(Failure::Server)
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

/// Whether a request may be sent a second time to a server that broke off before it answered (RFC 9110 §9.2.2).
pub(super) fn may_repeat(method: &Method) -> bool {
    method.is_idempotent()
}
