//! Exchanges of HTTP/1 with a server.
//!
//! Entry point: [`start`].

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Whose, cut, poll_piece, send};
use crate::proxy::http::{
    body::{Decoder, Piece, encode_end},
    exchange::{AnswerIn, BodyIn, BodyOut, Failure},
    forward::{self, Client},
    io::{End, Reader, Writer},
    message::{Framing, RequestHead, ResponseHead, is_persistent},
    parse,
};

/// Begins an exchange: `head`, for the server, waits in its writer until there is something behind it.
pub(in crate::proxy::http) fn start<'a, R, W>(
    server: &'a mut End<R, W>,
    head: &RequestHead,
    client: &Client,
) -> (Out<'a, W>, In<'a, R>) {
    forward::request(head, client, &mut server.writer.buffer);
    let out = Out { writer: &mut server.writer, framing: head.framing, switched: false };
    let method = head.method.clone();
    (
        out,
        In {
            reader: &mut server.reader,
            decoder: Decoder::new(Framing::Empty),
            method,
            stays: false,
            ended: false,
        },
    )
}

/// A request to a server.
pub(in crate::proxy::http) struct Out<'a, W> {
    writer: &'a mut Writer<W>,
    framing: Framing,
    switched: bool,
}

impl<W: AsyncWrite + Unpin> BodyOut for Out<'_, W> {
    async fn data(&mut self, data: Bytes) -> Result<(), Failure> {
        send(self.writer, self.framing, &data, Failure::Server).await
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().await.map_err(Failure::Server)
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        if self.switched {
            return self.writer.finish().await.map_err(Failure::Server);
        }
        encode_end(self.framing, trailers.as_ref(), &mut self.writer.buffer);
        self.flush().await
    }

    async fn silence(&mut self) {
        // Whoever reads the answer learns of a server that is gone.
        let _ = self.writer.finish().await;
    }

    fn switch(&mut self) {
        self.framing = Framing::UntilClose;
        self.switched = true;
    }
}

/// A server's answer.
pub(in crate::proxy::http) struct In<'a, R> {
    reader: &'a mut Reader<R>,
    decoder: Decoder,
    method: Method,
    stays: bool,
    ended: bool,
}

impl<R> In<'_, R> {
    /// Whether the connection can take another request, as far as its server is concerned.
    pub(in crate::proxy::http) fn stays(&self) -> bool {
        self.stays && self.ended && self.reader.buffer.is_empty()
    }
}

impl<R: AsyncRead + Unpin> In<'_, R> {
    /// Reads what is at hand of an answer that nobody wants, so that the connection may stay.
    pub(in crate::proxy::http) async fn skip(&mut self) {
        while !self.ended {
            let at_hand = poll_fn(|cx| Poll::Ready(self.poll_piece(cx)));
            match pin!(at_hand).await {
                Poll::Ready(Ok(_)) => {}
                Poll::Pending | Poll::Ready(Err(_)) => return,
            }
        }
    }
}

impl<R: AsyncRead + Unpin> BodyIn for In<'_, R> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        let errors: Whose = (Failure::Response, Failure::Server);
        let piece = ready!(poll_piece(self.reader, &mut self.decoder, cx, errors));
        self.ended |= matches!(piece, Ok(Piece::End(_)));
        Poll::Ready(piece)
    }

    fn switch(&mut self) {
        self.stays = false;
        self.decoder = Decoder::new(Framing::UntilClose);
    }
}

impl<R: AsyncRead + Unpin> AnswerIn for In<'_, R> {
    async fn head(&mut self) -> Result<ResponseHead, Failure> {
        let mut head = loop {
            if let Some((head, taken)) = parse::response(&self.reader.buffer).map_err(Failure::Response)? {
                self.reader.buffer_advance(taken);
                break head;
            }
            if self.reader.fill().await.map_err(Failure::Server)? == 0 {
                return Err(Failure::Server(cut()));
            }
        };
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            head.framing = parse::response_framing(&self.method, &head).map_err(Failure::Response)?;
        }
        self.decoder = Decoder::new(head.framing);
        self.stays = is_persistent(head.version, &head.fields) && head.framing != Framing::UntilClose;
        Ok(head)
    }
}
