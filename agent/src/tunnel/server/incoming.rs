//! One CONNECT that came in, waiting for its answer.
//!
//! Entry point: [`Incoming`].

use std::{cell::RefCell, rc::Rc};

use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};

use crate::{
    identity::Identity,
    tunnel::{
        buffers::Chunk,
        error::TunnelError,
        headers::{ConnectRequest, HeaderError, Refusal, RefusalStatus},
        stream::{Stream, StreamSession},
        tls::TlsInfo,
        tls_stream::Wire,
    },
};

/// What all streams of a session share.
pub(super) struct Session {
    pub(super) peer: Identity,
    pub(super) tls: TlsInfo,
    pub(super) wire: Rc<Wire>,
    pub(super) end: Rc<RefCell<Option<TunnelError>>>,
}

/// A good CONNECT from a verified peer. Dropped without an answer, it is reset.
pub struct Incoming {
    /// The identity in the peer's verified certificate.
    pub peer: Identity,
    /// What the session's handshake agreed on.
    pub tls: TlsInfo,
    /// What the peer asks for; all but the authority is its claim.
    pub request: ConnectRequest,
    respond: SendResponse<Chunk>,
    receive: RecvStream,
    session: Rc<Session>,
}

impl Incoming {
    /// Reads a request; answers it with 400 when it is not a good CONNECT.
    pub(super) fn new(
        request: Request<RecvStream>,
        mut respond: SendResponse<Chunk>,
        session: &Rc<Session>,
    ) -> Option<Self> {
        match ConnectRequest::parse(&request) {
            Ok(parsed) => Some(Self {
                peer: session.peer.clone(),
                tls: session.tls,
                request: parsed,
                respond,
                receive: request.into_body(),
                session: session.clone(),
            }),
            Err(error) => {
                tracing::debug!(peer = %session.peer, %error, "a bad CONNECT");
                // Fails only when the peer has left, who needs no answer then.
                let _ = respond.send_response(bad_request(&error).to_http(), true);
                None
            }
        }
    }

    /// Answers 200.
    ///
    /// # Errors
    /// When the peer has left meanwhile.
    pub fn accept(mut self) -> Result<Stream, TunnelError> {
        let send = self.respond.send_response(Response::new(()), false).map_err(TunnelError::session)?;
        let session = StreamSession {
            wire: self.session.wire.clone(),
            end: self.session.end.clone(),
            place: Box::new(()),
        };
        Ok(Stream::accepted(self.receive, send, session))
    }

    /// Answers with a refusal.
    pub fn refuse(mut self, refusal: &Refusal) {
        // Fails only when the peer has left, who needs no answer then.
        let _ = self.respond.send_response(refusal.to_http(), true);
    }
}

fn bad_request(error: &HeaderError) -> Refusal {
    let word = match error {
        HeaderError::Method(_) => "bad_method",
        HeaderError::Authority(_) => "bad_authority",
        HeaderError::Baggage(_) => "bad_baggage",
    };
    Refusal::new(RefusalStatus::BadRequest, word)
}
