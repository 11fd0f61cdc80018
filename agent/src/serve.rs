//! Small HTTP/1.1 servers of the agent's own: bounded connections, header timeouts, no task left behind.
//!
//! Entry point: [`serve`]. The caller binds the listener and owns the end. Knows no path of any API.

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
    let slots = Arc::new(Semaphore::new(limits.connections));
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
        let handler = handler.clone();
        connections.spawn(async move {
            one_connection(stream, limits.lifetime, handler).await;
            drop(slot);
        });
    }
}

async fn one_connection<S, H, F>(stream: S, lifetime: Duration, handler: H)
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
        .header_read_timeout(Duration::from_secs(30))
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(lifetime, connection).await {
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
