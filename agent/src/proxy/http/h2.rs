//! HTTP/2 with prior knowledge: each stream is judged and forwarded as a stream of the server's own connection.
//!
//! Entry point: [`serve`]. Streams of one client share one connection to the server; each has its own flow control
//! from end to end, so that one that stalls stalls no other. Abuse of the protocol ends the client's connection alone.

use std::{future::poll_fn, time::Instant};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::FuturesUnordered};
use h2::{
    Reason, RecvStream, SendStream,
    client::SendRequest,
    server::{Connection, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    exchange::Failure,
    forward,
    io::{Duplex, End, Owned},
    message::{Framing, RequestHead, Version},
    serve::{Done, DoneBy, Handler, Refused, Served, Server, over},
};

/// Streams of one client at a time.
const STREAMS: u32 = 256;
/// What a stream, and all of a connection, may have on its way to us.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Bytes of a stream that wait for the peer's window.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves `client` until its connection ends; `server` is used first where it is there.
pub(super) async fn serve<R, W>(
    client: &mut End<R, W>,
    server: Option<Server>,
    handler: &impl Handler,
) -> Served
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(super::parse::HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER);
    let mut connection: Connection<_, Bytes> = match builder.handshake(Duplex(client)).await {
        Ok(connection) => connection,
        Err(error) => return Served::Broken(error.to_string()),
    };
    let upstream = Upstream::default();
    if let Some(server) = server
        && let Err(error) = upstream.use_socket(server).await
    {
        return Served::Broken(error.to_string());
    }
    let mut streams = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => streams.push(one(request, respond, &upstream, handler)),
                Some(Err(error)) => return broken(&error),
                None => return Served::Clean,
            },
            Some(()) = streams.next() => {}
            () = upstream.drive() => {}
        }
    }
}

fn broken(error: &h2::Error) -> Served {
    match error.get_io() {
        // A client that goes without a word.
        Some(_) => Served::Clean,
        None => Served::Broken(error.to_string()),
    }
}

type Driver = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// The connection to the server, made when it is needed.
#[derive(Default)]
struct Upstream {
    requests: tokio::sync::Mutex<Option<SendRequest<Bytes>>>,
    driver: std::cell::RefCell<Option<Driver>>,
    changed: tokio::sync::Notify,
}

impl Upstream {
    /// Moves the connection's bytes; ends when there is another connection, or none any more.
    async fn drive(&self) {
        let changed = self.changed.notified();
        let driven = poll_fn(|cx| match self.driver.borrow_mut().as_mut() {
            Some(driver) => driver.as_mut().poll(cx),
            None => std::task::Poll::Pending,
        });
        tokio::select! {
            () = driven => drop(self.driver.borrow_mut().take()),
            () = changed => {}
        }
    }

    async fn use_socket(&self, server: Server) -> Result<(), h2::Error> {
        self.requests.lock().await.replace(self.start(server).await?);
        Ok(())
    }

    async fn start(&self, server: Server) -> Result<SendRequest<Bytes>, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(super::parse::HEAD as u32)
            .max_send_buffer_size(SEND_BUFFER);
        let (requests, connection) = builder.handshake(Owned(server)).await?;
        self.driver.replace(Some(Box::pin(async move {
            // What went wrong, each stream learns for itself.
            let _ = connection.await;
        })));
        self.changed.notify_waiters();
        self.changed.notify_one();
        Ok(requests)
    }

    /// A handle that takes a stream.
    async fn ready(&self, handler: &impl Handler) -> Result<SendRequest<Bytes>, Refused> {
        let mut kept = self.requests.lock().await;
        if let Some(requests) = kept.take()
            && let Ok(ready) = requests.ready().await
        {
            return Ok(kept.insert(ready).clone());
        }
        let server = over(handler.dial().await?);
        let started = self.start(server).await.map_err(|error| unavailable(&error))?;
        let ready = started.ready().await.map_err(|error| unavailable(&error))?;
        Ok(kept.insert(ready).clone())
    }
}

fn unavailable(error: &h2::Error) -> Refused {
    Refused {
        status: StatusCode::BAD_GATEWAY,
        reason: crate::flows::record::Reason::UpstreamRefused,
        detail: format!("the server speaks no HTTP/2: {error}"),
        denied_by: None,
    }
}

/// One request, from its head to its record.
async fn one(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    upstream: &Upstream,
    handler: &impl Handler,
) {
    let began = Instant::now();
    let (parts, mut body) = request.into_parts();
    let Some(head) = head(&parts, body.is_end_stream()) else {
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    };
    let mut progress = Progress::default();
    let outcome = async {
        handler.judge(&head)?;
        let requests = upstream.ready(handler).await?;
        let forwarded = forwarded(&head, handler).ok_or_else(not_forwardable)?;
        Ok(carry(requests, forwarded, &mut body, &mut respond, &mut progress).await)
    }
    .await;
    let (status, end) = match &outcome {
        Ok(Ok(())) => (progress.status, DoneBy::Server),
        Ok(Err(failure)) => (progress.status, DoneBy::Failed(failure)),
        Err(refused) => {
            answer(&head, refused, &mut respond);
            progress.grpc_status = head.is_grpc().then(|| grpc_code(refused.status).into());
            (Some(refused.status), DoneBy::Refused(refused))
        }
    };
    let bytes = (progress.sent, progress.received);
    handler.done(Done { head: &head, status, grpc_status: progress.grpc_status, began, bytes, end });
}

fn not_forwardable() -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        reason: crate::flows::record::Reason::HttpMalformed,
        detail: "the target cannot be forwarded".into(),
        denied_by: None,
    }
}

/// How far a request came.
#[derive(Default)]
struct Progress {
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    sent: u64,
    received: u64,
}

/// The head, where it names one host and a path.
fn head(parts: &http::request::Parts, ended: bool) -> Option<RequestHead> {
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
    let framing = if ended { Framing::Empty } else { Framing::Chunked };
    let (method, fields) = (parts.method.clone(), parts.headers.clone());
    Some(RequestHead { version: Version::Http2, method, target, authority, fields, framing })
}

/// The request for the next hop.
fn forwarded(head: &RequestHead, handler: &impl Handler) -> Option<Request<()>> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(head.authority.as_str())
        .path_and_query(head.target.as_str())
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    let fields = request.headers_mut();
    for (name, value) in &head.fields {
        if name != header::HOST && !forward::is_asserted(name) {
            fields.append(name, value.clone());
        }
    }
    for (name, value) in forward::asserted(handler.client()) {
        fields.insert(name, HeaderValue::from_str(&value).ok()?);
    }
    Some(request)
}

/// Both bodies at once; a reset of either end is passed on to the other.
async fn carry(
    mut requests: SendRequest<Bytes>,
    request: Request<()>,
    body: &mut RecvStream,
    respond: &mut SendResponse<Bytes>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let ended = body.is_end_stream();
    let (answer, mut send) = requests.send_request(request, ended).map_err(of_server)?;
    let (mut sent, mut received) = (0, 0);
    let result = {
        let mut sending = std::pin::pin!(async {
            if !ended {
                pass(body, &mut send, &mut sent).await?;
            }
            std::future::pending::<Result<(), Passing>>().await
        });
        let mut receiving = std::pin::pin!(receive(answer, respond, &mut received, progress));
        tokio::select! {
            biased;
            received = &mut receiving => received,
            Err(passing) = &mut sending => match passing {
                Passing::From(error) => Err(Failure::Client(into_io(error))),
                // The server may have answered before it stopped to listen.
                Passing::To(_) => receiving.await,
            },
        }
    };
    progress.sent += sent;
    progress.received += received;
    if let Err(failure) = &result {
        // Both ends learn it; on one that knows already it changes nothing.
        send.send_reset(Reason::CANCEL);
        if !matches!(failure, Failure::Client(_)) && progress.status.is_none() {
            let gone = Response::builder().status(StatusCode::BAD_GATEWAY).body(()).ok();
            if let Some(gone) = gone
                && respond.send_response(gone, true).is_ok()
            {
                progress.status = Some(StatusCode::BAD_GATEWAY);
                return result;
            }
        }
        respond.send_reset(Reason::INTERNAL_ERROR);
    }
    result
}

async fn receive(
    answer: h2::client::ResponseFuture,
    respond: &mut SendResponse<Bytes>,
    received: &mut u64,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let answer = tokio::select! {
        answer = answer => answer.map_err(of_server)?,
        reset = poll_fn(|cx| respond.poll_reset(cx)) => {
            return Err(Failure::Client(into_io(reset.map_or_else(|error| error, Into::into))));
        }
    };
    let (parts, mut body) = answer.into_parts();
    progress.grpc_status = grpc_status(&parts.headers);
    let mut head = Response::new(());
    *head.status_mut() = parts.status;
    *head.headers_mut() = parts.headers;
    let ended = body.is_end_stream();
    let mut send = respond.send_response(head, ended).map_err(|error| Failure::Client(into_io(error)))?;
    progress.status = Some(parts.status);
    if ended {
        return Ok(());
    }
    let passed = tokio::select! {
        biased;
        passed = pass(&mut body, &mut send, received) => passed,
    };
    match passed {
        Ok(trailers) => {
            progress.grpc_status = trailers.as_ref().and_then(grpc_status).or(progress.grpc_status);
            Ok(())
        }
        Err(Passing::From(error)) => Err(of_server(error)),
        Err(Passing::To(error)) => Err(Failure::Client(into_io(error))),
    }
}

/// Which end of a body failed.
enum Passing {
    From(h2::Error),
    To(h2::Error),
}

/// Passes a body and the fields behind it on; what was not passed on is not credited.
async fn pass(
    from: &mut RecvStream,
    to: &mut SendStream<Bytes>,
    count: &mut u64,
) -> Result<Option<HeaderMap>, Passing> {
    while let Some(data) = from.data().await {
        let mut data = data.map_err(Passing::From)?;
        let length = data.len();
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let room = match poll_fn(|cx| to.poll_capacity(cx)).await {
                Some(room) => room.map_err(Passing::To)?,
                None => return Err(Passing::To(Reason::STREAM_CLOSED.into())),
            };
            to.send_data(data.split_to(room.min(data.len())), false).map_err(Passing::To)?;
        }
        *count += length as u64;
        // Fails only when more is released than came.
        let _ = from.flow_control().release_capacity(length);
    }
    let trailers = from.trailers().await.map_err(Passing::From)?;
    match &trailers {
        Some(fields) => to.send_trailers(fields.clone()).map_err(Passing::To)?,
        None => to.send_data(Bytes::new(), true).map_err(Passing::To)?,
    }
    Ok(trailers)
}

fn grpc_status(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn of_server(error: h2::Error) -> Failure {
    Failure::Server(into_io(error))
}

fn into_io(error: h2::Error) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, error)
}

/// Answers in our own words; to gRPC in its own (gRPC over HTTP/2, "Trailers-Only").
fn answer(head: &RequestHead, refused: &Refused, respond: &mut SendResponse<Bytes>) {
    let mut response = Response::new(());
    let fields = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(&forward::printable(value)) {
            fields.insert(name, value);
        }
    };
    if let Some(by) = &refused.denied_by {
        set("weir-denied-by", by);
    }
    let text = if head.is_grpc() {
        set("content-type", "application/grpc");
        set("grpc-status", &grpc_code(refused.status).to_string());
        set("grpc-message", &refused.detail);
        None
    } else {
        set("content-type", "text/plain");
        set("content-length", &(refused.detail.len() + 1).to_string());
        Some(BytesMut::from(format!("{}\n", refused.detail).as_bytes()).freeze())
    };
    if !head.is_grpc() {
        *response.status_mut() = refused.status;
    }
    let text = text.filter(|_| head.method != http::Method::HEAD);
    // Fails only when the client is gone.
    if let Ok(mut send) = respond.send_response(response, text.is_none())
        && let Some(text) = text
    {
        let _ = send.send_data(text, true);
    }
}

/// The code of gRPC that says the same (google.rpc.Code).
fn grpc_code(status: StatusCode) -> u8 {
    match status {
        StatusCode::FORBIDDEN => 7,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::BAD_REQUEST => 13,
        StatusCode::NOT_FOUND => 12,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
