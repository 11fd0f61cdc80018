//! A client's connection, request by request: read, judge, forward, record.
//!
//! Entry point: [`serve`]. What is decided, where the server is and what is recorded, its caller says by [`Handler`].

use std::{
    io,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    exchange::{Exchanged, Failure, exchange, may_repeat, tunnel},
    forward::{self, Client},
    io::{End, Reader, Writer},
    message::{Framing, RequestHead},
    parse::{self, Malformed},
};

/// For how long a head may take from its first byte to its last.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// For how long a connection may have no request on it.
const IDLE_TIME: Duration = Duration::from_secs(3600);

/// For how long, and how many bytes, a client may go on to send that has its last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGERED: usize = 1024 * 1024;

/// What a request came to, for its record.
pub(super) struct Done<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) status: Option<StatusCode>,
    /// Of gRPC, where the server said one.
    pub(super) grpc_status: Option<u16>,
    pub(super) began: Instant,
    /// Bytes on the wire, from the client and to it, heads too.
    pub(super) bytes: (u64, u64),
    pub(super) end: DoneBy<'a>,
}

/// How a request ended.
pub(super) enum DoneBy<'a> {
    /// It was answered by the server.
    Server,
    /// It was answered here, in these words.
    Refused(&'a Refused),
    /// It was not answered to the end.
    Failed(&'a Failure),
}

/// An answer of our own.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: crate::flows::record::Reason,
    /// For the client and for the record.
    pub(super) detail: String,
    /// The policy, in its own words, when one denied.
    pub(super) denied_by: Option<String>,
}

/// What the caller knows.
pub(super) trait Handler {
    /// Judges a request before a byte of it leaves.
    fn judge(&self, head: &RequestHead) -> Result<(), Refused>;
    /// Connects to the server.
    async fn dial(&self) -> Result<TcpStream, Refused>;
    /// Who the client is.
    fn client(&self) -> Client<'_>;
    /// Records a request.
    fn done(&self, done: Done<'_>);
    /// Records what was no request.
    fn malformed(&self, malformed: Malformed);
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Served {
    /// As HTTP ends.
    Clean,
    /// One end broke off, or nothing came in time.
    Broken(String),
}

/// A connection to a server.
pub(super) type Server = End<OwnedReadHalf, OwnedWriteHalf>;

/// The two directions of a server's socket.
pub(super) fn over(socket: TcpStream) -> Server {
    // Batches are made before the socket is reached.
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    End { reader: Reader::new(read), writer: Writer::new(write) }
}

/// Serves `client` until its connection ends; `server` is used for its first request where it is there.
pub(super) async fn serve<R, W>(
    client: &mut End<R, W>,
    mut server: Option<Server>,
    handler: &impl Handler,
) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let head = match next_head(&mut client.reader).await {
            Ok(Some(head)) => head,
            Ok(None) => return finish(client).await,
            Err(Next::Broken(error)) => return Served::Broken(error.to_string()),
            Err(Next::Malformed(malformed)) => {
                handler.malformed(malformed);
                let answer = forward::answer(malformed.status(), &[], &malformed.to_string(), true, true);
                client.writer.buffer.extend_from_slice(&answer);
                return finish(client).await;
            }
        };
        let began = Instant::now();
        // The head and what came with it is the request's; what was there before is counted already.
        let before = (client.reader.count - client.reader.buffer.len() as u64, client.writer.count);
        let exchanged = match one(&head, client, &mut server, handler).await {
            Ok(exchanged) => exchanged,
            Err(refused) => {
                let Some(stays) = refuse(&head, client, &refused).await else {
                    return Served::Broken("the client broke off".into());
                };
                let bytes = (0, client.writer.count - before.1);
                let end = DoneBy::Refused(&refused);
                let (status, grpc_status) = (Some(refused.status), None);
                handler.done(Done { head: &head, status, grpc_status, began, bytes, end });
                if stays {
                    continue;
                }
                return finish(client).await;
            }
        };
        let read = (client.reader.count - client.reader.buffer.len() as u64).saturating_sub(before.0);
        let bytes = (read, client.writer.count - before.1);
        let end = exchanged.failed.as_ref().map_or(DoneBy::Server, DoneBy::Failed);
        handler.done(Done { head: &head, status: exchanged.status, grpc_status: None, began, bytes, end });
        if !exchanged.server_stays && !exchanged.switched {
            server = None;
        }
        match (exchanged, &mut server) {
            (Exchanged { switched: true, .. }, Some(server)) => {
                return match tunnel(client, server).await {
                    Ok(()) => Served::Clean,
                    Err(failure) => Served::Broken(failure.to_string()),
                };
            }
            (Exchanged { failed: Some(failure), status: None, .. }, _) => {
                return broken_off(client, &failure).await;
            }
            // A part of the answer is with the client: only a connection that breaks tells that it is not whole.
            (Exchanged { failed: Some(failure), .. }, _) => return Served::Broken(failure.to_string()),
            (Exchanged { client_stays: false, .. }, _) => return finish(client).await,
            _ => client.reader.rest(),
        }
    }
}

/// Judges a request and has it answered by the server.
async fn one<R, W>(
    head: &RequestHead,
    client: &mut End<R, W>,
    server: &mut Option<Server>,
    handler: &impl Handler,
) -> Result<Exchanged, Refused>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    handler.judge(head)?;
    let reused = server.take();
    let was_reused = reused.is_some();
    let connected = server.insert(match reused {
        Some(server) => server,
        None => connect(handler).await?,
    });
    forward::request(head, handler.client(), &mut connected.writer.buffer);
    let exchanged = exchange(head, client, connected).await;
    // A server may close a connection just when a request is on its way (RFC 9112 §9.3.1).
    let again = was_reused
        && exchanged.status.is_none()
        && head.framing == Framing::Empty
        && may_repeat(&head.method)
        && matches!(exchanged.failed, Some(Failure::Server(_)));
    if !again {
        return Ok(exchanged);
    }
    let connected = server.insert(connect(handler).await?);
    forward::request(head, handler.client(), &mut connected.writer.buffer);
    Ok(exchange(head, client, connected).await)
}

async fn connect(handler: &impl Handler) -> Result<Server, Refused> {
    Ok(over(handler.dial().await?))
}

/// Answers in our own words; whether the connection stays, `None` when the client is gone.
async fn refuse<R, W>(head: &RequestHead, client: &mut End<R, W>, refused: &Refused) -> Option<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // A body that nobody wants is not waited for.
    let stays = head.framing == Framing::Empty && super::message::is_persistent(head.version, &head.fields);
    let by = refused.denied_by.as_deref().map(|by| ("weir-denied-by", by));
    let fields: Vec<(&str, &str)> = by.into_iter().collect();
    let body = head.method != Method::HEAD;
    let answer = forward::answer(refused.status, &fields, &refused.detail, body, !stays);
    client.writer.buffer.extend_from_slice(&answer);
    client.writer.flush().await.ok()?;
    Some(stays)
}

/// The server, or the client's body, failed before there was an answer.
async fn broken_off<R, W>(client: &mut End<R, W>, failure: &Failure) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let status = match failure {
        Failure::Client(_) => return Served::Broken(failure.to_string()),
        Failure::Request(malformed) => malformed.status(),
        Failure::Server(_) | Failure::Response(_) => StatusCode::BAD_GATEWAY,
    };
    let answer = forward::answer(status, &[], &failure.to_string(), true, true);
    client.writer.buffer.extend_from_slice(&answer);
    finish(client).await
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
        let mut left = LINGERED;
        while left > 0 {
            client.reader.buffer.clear();
            match client.reader.fill().await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    })
    .await;
    Served::Clean
}

enum Next {
    Malformed(Malformed),
    Broken(io::Error),
}

/// The next request's head; `None` when the client has said all.
async fn next_head<R: AsyncRead + Unpin>(client: &mut Reader<R>) -> Result<Option<RequestHead>, Next> {
    if client.buffer.is_empty() {
        let first = timeout(IDLE_TIME, client.fill()).await.map_err(|_| Next::Broken(late()))?;
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

#[cfg(test)]
mod tests;
