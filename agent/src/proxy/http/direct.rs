//! Requests that all go to one server, over connections that belong to their client's.
//!
//! Entry point: [`Direct`], an [`App`]. What is decided, where the server is and what is recorded, its [`Handler`] says.

use std::{cell::RefCell, time::Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, StatusCode};
use tokio::{net::TcpStream, sync::Mutex};

use super::{
    app::{App, Concluded, Refused, conclude},
    exchange::{AnswerOut, BodyIn, Failure, Look, Progress, Relayed},
    forward::Client,
    h2 as http2,
    link::{Link, Server, over},
    message::{Framing, RequestHead, Version},
    parse::Malformed,
};
use crate::{
    flows::record::Reason,
    proxy::{outcome::Outcome, pod::Http2},
};

/// What a request came to, for its record.
pub(super) struct Done<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) status: Option<StatusCode>,
    /// Of gRPC, where the server said one, or we did.
    pub(super) grpc_status: Option<u16>,
    pub(super) began: Instant,
    /// Bytes of the two bodies, from the client and to it.
    pub(super) bytes: (u64, u64),
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// What the caller knows.
pub(super) trait Handler {
    /// What is known of a request once it is judged.
    type Judged;

    /// Judges a request before a byte of it leaves, and gives it the spelling that was judged.
    async fn judge(&self, head: &mut RequestHead) -> (Self::Judged, Result<(), Refused>);
    /// Connects to the server.
    async fn dial(&self) -> Result<TcpStream, Refused>;
    /// Who the client is.
    fn client(&self) -> &Client;
    /// Records a request.
    fn done(&self, judged: Self::Judged, done: Done<'_>);
    /// Records what was no request.
    fn malformed(&self, malformed: Malformed);
    /// What a connection of HTTP/2 with the client or the server may hold.
    fn http2(&self) -> Http2 {
        Http2::default()
    }
}

/// One client's server.
pub(super) struct Direct<'a, H> {
    handler: &'a H,
    /// The connection that stands between two requests of HTTP/1.
    idle: RefCell<Option<Box<Server>>>,
    /// The one for all requests of HTTP/2.
    shared: Mutex<Option<SendRequest<Bytes>>>,
}

impl<'a, H: Handler> Direct<'a, H> {
    /// Requests go to the server that `handler` dials; to `server` first, when it has been dialled.
    pub(super) fn new(handler: &'a H, server: Option<Server>) -> Self {
        Self { handler, idle: RefCell::new(server.map(Box::new)), shared: Mutex::new(None) }
    }

    async fn server(&self) -> Result<Box<Server>, Refused> {
        let dialled = self.idle.take();
        match dialled {
            Some(server) => Ok(server),
            None => Ok(Box::new(over(self.handler.dial().await?))),
        }
    }

    /// A connection for a request, and whether it has had others.
    async fn link(&self, version: Version) -> Result<(Link, bool), Refused> {
        if version != Version::Http2 {
            let reused = self.idle.borrow().is_some();
            return Ok((Link::H1(self.server().await?), reused));
        }
        let mut shared = self.shared.lock().await;
        if let Some(requests) = shared.take()
            && let Ok(ready) = requests.ready().await
        {
            return Ok((Link::H2(shared.insert(ready).clone()), true));
        }
        let made = http2::connect(*self.server().await?, self.handler.http2()).await.map_err(|error| {
            let words = format!("the server speaks no HTTP/2: {error}");
            Refused::new(StatusCode::BAD_GATEWAY, Reason::UpstreamRefused, words)
        })?;
        Ok((Link::H2(shared.insert(made).clone()), false))
    }

    async fn carry(
        &self,
        head: &RequestHead,
        (body, answer): (&mut impl BodyIn, &mut impl AnswerOut),
        progress: &mut Progress,
    ) -> Result<Result<Relayed, Failure>, Refused> {
        let mut again = true;
        loop {
            let (mut link, reused) = self.link(head.version).await?;
            let request = (head, self.handler.client());
            let mut pass = |_: &mut _| Look::Pass;
            let (relayed, stays) = link.exchange(request, (body, answer), progress, &mut pass).await;
            if let Link::H1(server) = link
                && stays
            {
                self.idle.replace(Some(server));
            }
            // A server may close a connection just when a request is on its way (RFC 9112 §9.3.1).
            let stale = reused
                && progress.status.is_none()
                && head.framing == Framing::Empty
                && (may_repeat(&head.method) || matches!(relayed, Err(Failure::Unseen(_))))
                && matches!(relayed, Err(Failure::Server(_) | Failure::Unseen(_)));
            if !stale || !std::mem::take(&mut again) {
                return Ok(relayed);
            }
        }
    }
}

impl<H: Handler> App for Direct<'_, H> {
    async fn answer(
        &self,
        mut head: RequestHead,
        body: &mut impl BodyIn,
        answer: &mut impl AnswerOut,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut progress = Progress::default();
        let (judged, allowed) = self.handler.judge(&mut head).await;
        let carried = match allowed {
            Ok(()) => self.carry(&head, (body, &mut *answer), &mut progress).await,
            Err(refused) => Err(refused),
        };
        let Concluded { status, grpc_status, outcome, told } =
            conclude(&head, carried, &progress, answer).await;
        let bytes = (progress.sent, progress.received);
        self.handler.done(judged, Done { head: &head, status, grpc_status, began, bytes, outcome });
        told
    }

    fn malformed(&self, malformed: Malformed) {
        self.handler.malformed(malformed);
    }

    fn http2(&self) -> Http2 {
        self.handler.http2()
    }
}

/// Whether a request may be sent a second time to a server that broke off before it answered (RFC 9110 §9.2.2).
pub(super) fn may_repeat(method: &Method) -> bool {
    method.is_idempotent()
}

#[cfg(test)]
mod tests;
