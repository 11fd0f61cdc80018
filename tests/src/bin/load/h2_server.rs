//! A server of HTTP/2 with prior knowledge: small answers, unary gRPC, bodies. One thread.
//!
//! Entry point: [`serve`].

use std::net::SocketAddr;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use tokio::{net::TcpListener, net::TcpStream, task::spawn_local};

use super::{MESSAGE, body, h2_client::run, sockets::Sockets};

/// What a stream may have on its way, at either end; a connection may have eight times that.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// `content-type` of gRPC.
pub(crate) const GRPC: &str = "application/grpc";
/// Bytes before a message of gRPC: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(crate) const MESSAGE_PREFIX: usize = 5;

static SMALL: [u8; MESSAGE] = [b'7'; MESSAGE];

/// A message of 64 bytes with its prefix.
pub(crate) fn grpc_message() -> Bytes {
    let mut message = BytesMut::with_capacity(MESSAGE_PREFIX + MESSAGE);
    message.put_u8(0);
    message.put_u32(MESSAGE as u32);
    message.put_slice(&SMALL);
    message.freeze()
}

/// Serves until it is ended.
pub(crate) fn serve(sockets: &Sockets, address: SocketAddr) -> Result<()> {
    let listener = sockets.listen(address)?;
    listener.set_nonblocking(true)?;
    println!("listening {}", listener.local_addr()?);
    run(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // Whoever breaks off hears so at the other end; the server goes on.
            spawn_local(async { drop(connection(stream).await) });
        }
    })
}

async fn connection(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(8 * STREAM_WINDOW);
    let mut connection = builder.max_concurrent_streams(1000).handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let is_small = request.body().is_end_stream() && body::asked_for(request.uri().path()).is_none();
        if is_small {
            respond.send_response(Response::new(()), false)?.send_data(Bytes::from_static(&SMALL), true)?;
        } else {
            spawn_local(async { drop(answer(request, respond).await) });
        }
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    if let Some(bytes) = body::asked_for(request.uri().path()) {
        let head = Response::builder().header("content-length", bytes).body(())?;
        return body::send_stream(&mut respond.send_response(head, false)?, bytes).await;
    }
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == GRPC);
    let is_put = request.method() == Method::PUT;
    let length =
        request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let pause_at = length.filter(|_| is_put).map(|length: u64| length / 2);
    let received = body::receive_stream(&mut request.into_body(), pause_at).await?;
    if !is_grpc {
        let text = if is_put { received.to_string().into() } else { Bytes::from_static(&SMALL) };
        respond.send_response(Response::new(()), false)?.send_data(text, true)?;
        return Ok(());
    }
    let head = Response::builder().header(CONTENT_TYPE, GRPC).body(())?;
    let mut send = respond.send_response(head, false)?;
    send.send_data(grpc_message(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(send.send_trailers(trailers)?)
}
