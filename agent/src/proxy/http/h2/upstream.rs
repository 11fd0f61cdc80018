//! Streams of HTTP/2 to a server.
//!
//! Entry points: [`connect`] for a connection, [`start`] for an exchange on it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Body, SEND_BUFFER, end, framing, into_io, send_data};
use crate::{
    proxy::{
        http::{
            body::Piece,
            exchange::{AnswerIn, BodyIn, BodyOut, Failure},
            forward::{self, Client},
            io::{End, Owned},
            message::{Framing, RequestHead, ResponseHead, Version},
            parse::{self, Malformed},
        },
        pod::Http2,
    },
    turns,
};

/// Makes a connection to a server that speaks HTTP/2. A task of its own moves its bytes, until it breaks or nobody has
/// a handle or a stream of it any more. It may hold what `held` says.
///
/// # Errors
/// When the server does not speak it.
pub(in crate::proxy::http) async fn connect<R, W>(
    server: End<R, W>,
    held: Http2,
) -> Result<SendRequest<Bytes>, h2::Error>
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(held.windows.stream)
        .initial_connection_window_size(held.windows.connection)
        .max_header_list_size(parse::HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER);
    let (requests, connection) = builder.handshake(Owned(server)).await?;
    turns::spawn(async move {
        // What went wrong, each stream learns for itself.
        let _ = connection.await;
        drop(held);
    });
    Ok(requests)
}

/// Begins an exchange on a stream of its own.
///
/// # Errors
/// When the connection takes no more streams.
pub(in crate::proxy::http) async fn start(
    requests: SendRequest<Bytes>,
    head: &RequestHead,
    client: &Client,
) -> Result<(Out, In), Failure> {
    let unseen = |error: h2::Error| Failure::Unseen(into_io(error));
    let mut requests = requests.ready().await.map_err(unseen)?;
    let request = forwarded(head, client).ok_or(Failure::Request(Malformed::Target))?;
    let ended = head.framing == Framing::Empty;
    let (answer, send) = requests.send_request(request, ended).map_err(unseen)?;
    Ok((Out { send, ended }, In { state: Some(Awaited::Head(answer)) }))
}

/// The request for the next hop.
fn forwarded(head: &RequestHead, client: &Client) -> Option<Request<()>> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(head.authority.as_str())
        .path_and_query(head.target.as_str())
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    let from = match head.version {
        Version::Http2 => &head.fields,
        Version::Http10 | Version::Http11 => &forward::without_hop(&head.fields),
    };
    let fields = request.headers_mut();
    for (name, value) in from {
        if name != header::HOST && !forward::is_asserted(name) {
            fields.append(name, value.clone());
        }
    }
    for (name, value) in client.asserted() {
        fields.insert(name, value.clone());
    }
    Some(request)
}

/// A request to a server.
pub(in crate::proxy::http) struct Out {
    send: SendStream<Bytes>,
    ended: bool,
}

impl BodyOut for Out {
    async fn data(&mut self, data: Bytes) -> Result<(), Failure> {
        send_data(&mut self.send, data).await.map_err(of_server)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        end(&mut self.send, trailers).map_err(of_server)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // A request that nobody waits for any more; where all is sent and answered it changes nothing.
        if !self.ended {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// A server's answer.
pub(in crate::proxy::http) struct In {
    state: Option<Awaited>,
}

enum Awaited {
    Head(ResponseFuture),
    Body(Body),
}

impl BodyIn for In {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        match &mut self.state {
            Some(Awaited::Body(body)) => body.poll_piece(cx),
            _ => Poll::Ready(Ok(Piece::End(None))),
        }
    }
}

impl AnswerIn for In {
    async fn head(&mut self) -> Result<ResponseHead, Failure> {
        let Some(Awaited::Head(answer)) = &mut self.state else {
            return Err(Failure::Response(Malformed::FirstLine));
        };
        let head = poll_fn(|cx| {
            if let Poll::Ready(Some(informed)) = answer.poll_informational(cx) {
                return Poll::Ready(informed.map(|response| (response.map(|()| None), true)));
            }
            Pin::new(&mut *answer).poll(cx).map_ok(|response| (response.map(Some), false))
        });
        let (response, _) = head.await.map_err(of_server)?;
        let (parts, body) = response.into_parts();
        let mut ends = Framing::Empty;
        if let Some(stream) = body {
            ends = framing(&parts.headers, stream.is_end_stream());
            self.state = Some(Awaited::Body(Body { stream, owed: 0, whose: Failure::Server }));
        }
        Ok(ResponseHead {
            version: Version::Http2,
            status: parts.status,
            fields: parts.headers,
            framing: ends,
        })
    }
}

/// Why there is no connection to a server that should speak HTTP/2.
pub(in crate::proxy::http) fn failed(error: h2::Error) -> Failure {
    of_server(error)
}

fn of_server(error: h2::Error) -> Failure {
    let unseen = error.reason() == Some(Reason::REFUSED_STREAM) && error.is_remote();
    let error = into_io(error);
    if unseen { Failure::Unseen(error) } else { Failure::Server(error) }
}
