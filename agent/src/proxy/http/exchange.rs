//! One request and its answer between a client and a server, both bodies at once, neither held.
//!
//! Entry point: [`relay`]. What each end's wire is, the four traits hide; back-pressure is the wires' own: nothing is
//! read that cannot be written. It decides nothing: `look` says whether an answer is passed on.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{body::Piece, message::ResponseHead, parse::Malformed};
use crate::{proxy::dial::DialError, tunnel::TunnelError};

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client's side.
    #[error("the client broke off: {0}")]
    Client(io::Error),
    /// What the client sent as a body.
    #[error("the request's body: {0}")]
    Request(Malformed),
    /// There was no connection to a server.
    #[error("{0}")]
    Unconnected(Unconnected),
    /// The server's side.
    #[error("the server broke off: {0}")]
    Server(io::Error),
    /// The server says that it did not look at the request (RFC 9113 §8.7).
    #[error("the server did not take the request: {0}")]
    Unseen(io::Error),
    /// What the server sent.
    #[error("the answer: {0}")]
    Response(Malformed),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(std::time::Duration),
}

/// Why there is no connection to a server. Nothing of the request has left then.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unconnected {
    /// By socket.
    #[error(transparent)]
    Dial(DialError),
    /// Through a tunnel.
    #[error(transparent)]
    Tunnel(TunnelError),
    /// Nobody proves who the pod is.
    #[error("{0}")]
    Certificate(String),
}

impl Failure {
    /// The tunnel's own words, where it is what failed.
    pub(super) fn of_tunnel(&self) -> Option<&TunnelError> {
        match self {
            Self::Unconnected(Unconnected::Tunnel(error)) => Some(error),
            Self::Server(error) | Self::Unseen(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }

    /// Whether it speaks against the server, not the client.
    pub(super) fn is_of_server(&self) -> bool {
        !matches!(self, Self::Client(_) | Self::Request(_))
    }

    /// What a client is told that has no answer yet.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Client(_) => StatusCode::BAD_REQUEST,
            Self::Request(malformed) => malformed.status(),
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unconnected(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Server(_) | Self::Unseen(_) | Self::Response(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// What became of a sender whose message has come whole.
#[derive(Debug)]
pub(super) enum Gone {
    /// It broke off.
    Broken(Failure),
    /// It has said all: it may be gone, or wait for the answer.
    Silent,
}

/// Content that comes, and the fields behind it.
pub(super) trait BodyIn {
    /// The next piece; after the end, the end again.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>>;

    /// Waits, behind the end, until the sender is gone, or says that it will send nothing more at all.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Gone> {
        Poll::Pending
    }

    /// From now on all that comes is content, to the end of the connection.
    fn switch(&mut self) {}
}

/// Content that goes, and the fields behind it.
pub(super) trait BodyOut {
    /// Takes content; it may wait here until [`BodyOut::flush`].
    async fn data(&mut self, data: Bytes) -> Result<(), Failure>;

    /// Sends what waits.
    async fn flush(&mut self) -> Result<(), Failure>;

    /// Ends the body and sends all.
    async fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure>;

    /// Says, behind the end, that nothing more will come at all, where that can be said.
    async fn silence(&mut self) {}

    /// Waits until the receiver is gone.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Failure> {
        Poll::Pending
    }

    /// From now on content goes as it is, and its end is the connection's.
    fn switch(&mut self) {}
}

/// An answer that comes.
pub(super) trait AnswerIn: BodyIn {
    /// The next head: any number that only inform, and then one that counts.
    async fn head(&mut self) -> Result<ResponseHead, Failure>;
}

/// An answer that goes.
pub(super) trait AnswerOut: BodyOut {
    /// Passes a head on that only informs.
    async fn inform(&mut self, head: &ResponseHead) -> Result<(), Failure>;

    /// Begins the answer.
    async fn head(&mut self, head: ResponseHead) -> Result<(), Failure>;

    /// Whether the client can change to another protocol, as it asked.
    fn can_switch(&self) -> bool {
        false
    }

    /// This answer is the connection's last, where that can be said: not all of the request will be read.
    fn close(&mut self) {}
}

/// How far an exchange came, also when it breaks off.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The status that the server answered with.
    pub(super) status: Option<StatusCode>,
    /// Whether the answer has begun for the client.
    pub(super) begun: bool,
    /// `grpc-status`, in head or trailers.
    pub(super) grpc_status: Option<u16>,
    /// Bytes of the two bodies.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// What becomes of an answer whose head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It is the client's.
    Pass,
    /// It is not; the request may be tried again.
    Drop,
}

/// How an exchange ended that did not fail.
#[derive(Debug)]
pub(super) enum Relayed {
    /// The answer is with the client; whether all of the request is with the server.
    Whole { sent: bool },
    /// Both ends changed to another protocol, and have said all.
    Switched,
    /// The answer was not passed on; whether all of the request is with the server.
    Dropped { sent: bool },
}

/// Sends `body` behind a head that `out` has, and passes what `input` answers on.
///
/// # Errors
/// Why it did not come to its end; `progress` says how far it came.
pub(super) async fn relay(
    (body, answer): (&mut impl BodyIn, &mut impl AnswerOut),
    (out, input): (&mut impl BodyOut, &mut impl AnswerIn),
    progress: &mut Progress,
    look: &mut dyn FnMut(&mut ResponseHead) -> Look,
) -> Result<Relayed, Failure> {
    let (sent, count) = (Cell::new(false), Cell::new(0));
    let received = {
        let mut sending = pin!(async {
            if let Err(failure) = pass(body, out, &count).await {
                return failure;
            }
            sent.set(true);
            match poll_fn(|cx| body.poll_gone(cx)).await {
                Gone::Broken(failure) => failure,
                Gone::Silent => {
                    // The server judges whether that is a client who went, as it would without us.
                    sent.set(false);
                    out.silence().await;
                    std::future::pending().await
                }
            }
        });
        let mut receiving = pin!(receive(input, answer, progress, look));
        tokio::select! {
            biased;
            received = &mut receiving => received,
            failure = &mut sending => match failure {
                // It may have answered before it stopped to listen, and knows best why it did.
                failure if failure.is_of_server() => receiving.await,
                failure => Err(failure),
            },
        }
    };
    progress.sent += count.get();
    match received? {
        Received::All => Ok(Relayed::Whole { sent: sent.get() }),
        Received::Dropped => Ok(Relayed::Dropped { sent: sent.get() }),
        Received::Switched => {
            body.switch();
            out.switch();
            input.switch();
            answer.switch();
            let (up, down) = (Cell::new(0), Cell::new(0));
            let (there, back) = tokio::join!(pass(body, out, &up), pass(input, answer, &down));
            progress.sent += up.get();
            progress.received += down.get();
            there?;
            back?;
            Ok(Relayed::Switched)
        }
    }
}

enum Received {
    All,
    Switched,
    Dropped,
}

/// The answer: heads that only inform, the head, the body.
async fn receive(
    input: &mut impl AnswerIn,
    answer: &mut impl AnswerOut,
    progress: &mut Progress,
    look: &mut dyn FnMut(&mut ResponseHead) -> Look,
) -> Result<Received, Failure> {
    let mut head = loop {
        let head = tokio::select! {
            biased;
            head = input.head() => head?,
            failure = poll_fn(|cx| answer.poll_gone(cx)) => return Err(failure),
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !answer.can_switch() {
                return Err(Failure::Response(Malformed::FirstLine));
            }
            break head;
        }
        if !head.status.is_informational() {
            break head;
        }
        answer.inform(&head).await?;
    };
    progress.status = Some(head.status);
    progress.grpc_status = grpc_status(&head.fields);
    if look(&mut head) == Look::Drop {
        return Ok(Received::Dropped);
    }
    progress.begun = true;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        answer.head(head).await?;
        return Ok(Received::Switched);
    }
    answer.head(head).await?;
    let count = Cell::new(0);
    let passed = pass(input, answer, &count).await;
    progress.received += count.get();
    progress.grpc_status = passed?.or(progress.grpc_status);
    Ok(Received::All)
}

/// Passes a body on to its end; the `grpc-status` behind it, where there is one.
async fn pass(
    from: &mut impl BodyIn,
    to: &mut impl BodyOut,
    count: &Cell<u64>,
) -> Result<Option<u16>, Failure> {
    loop {
        let at_hand = poll_fn(|cx| {
            Poll::Ready(match from.poll_piece(cx) {
                Poll::Ready(piece) => Some(piece),
                Poll::Pending => None,
            })
        });
        let piece = match at_hand.await {
            Some(Ok(piece)) => piece,
            Some(Err(failure)) => {
                // What came before it broke off is passed on.
                let _ = to.flush().await;
                return Err(failure);
            }
            None => {
                to.flush().await?;
                let more = poll_fn(|cx| match to.poll_gone(cx) {
                    Poll::Ready(failure) => Poll::Ready(Err(failure)),
                    Poll::Pending => from.poll_piece(cx),
                });
                more.await?
            }
        };
        match piece {
            Piece::Data(data) => {
                count.set(count.get() + data.len() as u64);
                to.data(data).await?;
            }
            Piece::End(trailers) => {
                let status = trailers.as_ref().and_then(grpc_status);
                to.end(trailers).await?;
                return Ok(status);
            }
        }
    }
}

pub(super) fn grpc_status(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl<B: BodyIn> BodyIn for &mut B {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        (**self).poll_piece(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        (**self).poll_gone(cx)
    }

    fn switch(&mut self) {
        (**self).switch();
    }
}
