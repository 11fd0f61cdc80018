//! A client of HTTP/2 with prior knowledge: one connection, so many streams, each with one request after the other.
//!
//! Entry points: [`requests`], [`connect`], [`run`]. A request that is not answered as it should be ends it all: a
//! figure with failures in it is no figure.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::{
    MESSAGE, body,
    h2_server::{GRPC, MESSAGE_PREFIX, STREAM_WINDOW, grpc_message},
    sockets::Sockets,
    timed::report,
};

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// GET, answered with 64 bytes.
    Http2,
    /// A unary call, 64 bytes each way.
    Grpc,
}

impl Kind {
    /// By its word.
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word {
            "http2" => Some(Self::Http2),
            "grpc" => Some(Self::Grpc),
            _ => None,
        }
    }

    fn request(self, address: SocketAddr) -> Result<Request<()>> {
        let request = Request::builder();
        Ok(match self {
            Self::Http2 => request.uri(format!("http://{address}/v1/answer")).body(())?,
            Self::Grpc => request
                .method("POST")
                .uri(format!("http://{address}/bench.Echo/Unary"))
                .header("content-type", GRPC)
                .header("te", "trailers")
                .body(())?,
        })
    }
}

/// Runs `task`, and what it spawns, on this thread.
pub(crate) fn run<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(task))
}

/// A handle on a new connection.
pub(crate) async fn connect(sockets: &Sockets, address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = sockets.connect_async(address)?;
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).initial_window_size(STREAM_WINDOW);
    let (requests, connection) =
        builder.initial_connection_window_size(8 * STREAM_WINDOW).handshake(stream).await?;
    // Each stream learns for itself what went wrong.
    spawn_local(async { drop(connection.await) });
    Ok(requests)
}

/// Has requests answered for `time` and prints how long each took.
pub(crate) fn requests(
    sockets: &Sockets,
    address: SocketAddr,
    time: Duration,
    streams: usize,
    kind: Kind,
) -> Result<()> {
    let congestion = rustix::net::sockopt::tcp_congestion(sockets.new_socket(address)?)?;
    let (mut took, seconds) = run(async {
        let requests = connect(sockets, address).await?;
        // The first one makes what is kept: sessions, verdicts, routes.
        one(requests.clone().ready().await?, address, kind).await?;
        let took = Rc::new(RefCell::new(Vec::new()));
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..streams {
            let (mut requests, took) = (requests.clone(), took.clone());
            clients.spawn_local(async move {
                while began.elapsed() < time {
                    let start = Instant::now();
                    requests = one(requests.ready().await?, address, kind).await?;
                    took.borrow_mut().push(start.elapsed());
                }
                anyhow::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok((took.take(), seconds))
    })?;
    took.sort_unstable();
    report(&congestion, &took, seconds);
    Ok(())
}

async fn one(
    mut requests: SendRequest<Bytes>,
    address: SocketAddr,
    kind: Kind,
) -> Result<SendRequest<Bytes>> {
    let (response, mut send) = requests.send_request(kind.request(address)?, matches!(kind, Kind::Http2))?;
    if let Kind::Grpc = kind {
        send.send_data(grpc_message(), true)?;
    }
    let response = response.await?;
    ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
    let mut answer = response.into_body();
    let received = body::receive_stream(&mut answer, None).await?;
    match kind {
        Kind::Http2 => ensure!(received == MESSAGE as u64, "an answer of {received} bytes"),
        Kind::Grpc => {
            let trailers = answer.trailers().await?.context("an answer without trailers")?;
            let status = trailers.get("grpc-status");
            ensure!(status.is_some_and(|status| status == "0"), "gRPC status {status:?}");
            ensure!(received == (MESSAGE_PREFIX + MESSAGE) as u64, "an answer of {received} bytes");
        }
    }
    Ok(requests)
}
