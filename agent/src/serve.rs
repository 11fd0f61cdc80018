//! Small HTTP/1.1 servers of the agent's own: bounded connections, header timeouts, no task left behind.
//!
//! Entry points: [`serve`], and [`accept`] for what is no HTTP/1.1. The caller binds the listener and owns the end. Knows no path of any API.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
};

use crate::metrics::Counter;

/// A response's body: whole, or streamed.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What one server allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at one time; more are closed at once and counted.
    pub(crate) connections: usize,
    /// How long one connection may live, however busy.
    pub(crate) lifetime: Duration,
    /// How long a connection may take over a request's head, or do nothing between two requests.
    pub(crate) silence: Duration,
}

/// A listener of either family. A connection that it refuses by itself is `None`.
pub(crate) trait Accept {
    /// What it accepts.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Option<Self::Stream>>>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Option<Self::Stream>> {
        TcpListener::accept(self).await.map(|(stream, _)| Some(stream))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    /// Takes root and the agent's own user only, whatever the mode of the socket's file is.
    async fn accept(&self) -> io::Result<Option<Self::Stream>> {
        let (stream, _) = UnixListener::accept(self).await?;
        let user = stream.peer_cred()?.uid();
        let own = rustix::process::geteuid().as_raw();
        Ok((user == 0 || user == own).then_some(stream))
    }
}

/// Gives each connection to `one` until `shutdown`, then ends every one; more than `most` at a time are closed at once.
pub(crate) async fn accept<L, F>(
    listener: L,
    most: usize,
    refused: Counter,
    one: impl Fn(L::Stream) -> F,
    shutdown: impl Future<Output = ()>,
) where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(Some(stream)) => stream,
            Ok(None) => {
                refused.inc();
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "an accept failed");
                // Out of descriptors: trying again at once would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            refused.inc();
            continue;
        };
        let connection = one(stream);
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
}

/// Serves `handler` until `shutdown`, then ends every connection.
pub(crate) async fn serve<L, H, F>(
    listener: L,
    limits: Limits,
    refused: Counter,
    handler: H,
    shutdown: impl Future<Output = ()>,
) where
    L: Accept,
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let one = |stream| one_connection(stream, limits, handler.clone());
    accept(listener, limits.connections, refused, one, shutdown).await;
}

async fn one_connection<S, H, F>(stream: S, limits: Limits, handler: H)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(move |request| {
        let response = handler(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.silence)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(limits.lifetime, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client of the agent broke off"),
        Err(_) => tracing::debug!("a client of the agent stayed too long"),
    }
}

/// A response whose body is at hand.
pub(crate) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
    };

    use super::*;

    const PATIENT: Limits =
        Limits { connections: 1, lifetime: Duration::from_secs(3600), silence: Duration::from_secs(3600) };

    async fn start(limits: Limits) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let handler = |_| std::future::ready(respond(StatusCode::OK, "text/plain", "here"));
        let server =
            tokio::spawn(serve(listener, limits, Counter::default(), handler, std::future::pending()));
        (TcpStream::connect(address).await.expect("a connection"), server)
    }

    async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_or_only_half_is_closed() {
        for half in ["", "GET / HTTP/1.1\r\nhost"] {
            let silence = Duration::from_millis(1);
            let (mut stream, server) = start(Limits { silence, ..PATIENT }).await;
            stream.write_all(half.as_bytes()).await.expect("it is written");
            read_to_end(stream).await;
            server.abort();
        }
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_lifetime() {
        let lifetime = Duration::from_millis(1);
        let (stream, server) = start(Limits { lifetime, ..PATIENT }).await;
        read_to_end(stream).await;
        server.abort();
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (stream, server) = start(PATIENT).await;
        let (mut reader, mut writer) = stream.into_split();
        let flood = tokio::spawn(async move { while writer.write_all(&[b'a'; 4096]).await.is_ok() {} });
        let mut answer = Vec::new();
        let _ = reader.read_to_end(&mut answer).await;
        let _ = flood.await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
        server.abort();
    }
}
