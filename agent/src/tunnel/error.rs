//! What can go wrong in a tunnel, as types that a caller branches on.
//!
//! Entry points: [`TunnelError`] for the side that opens streams, [`SessionError`] for the side that
//! takes sessions in. Words, never codes; nothing here knows flow records.

use std::{io, sync::Arc, time::Duration};

use super::headers::Refusal;
use crate::identity::Identity;

/// A bound that turned a new stream away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bound {
    /// Sessions for one pool key.
    #[error("sessions to this destination")]
    SessionsPerDestination,
    /// Sessions of one worker.
    #[error("sessions of this worker")]
    SessionsPerWorker,
}

/// Why a stream could not be opened, or ended before its time. Cheap to clone: all who wait for one
/// handshake get the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TunnelError {
    /// The TCP connection to the tunnel's port failed.
    #[error("the tunnel's connection failed: {0}")]
    Connect(Arc<io::Error>),
    /// The TCP connection did not come about in time.
    #[error("the tunnel's connection was not made within {0:?}")]
    ConnectTimeout(Duration),
    /// TLS, HTTP/2 or the first answer did not come about in time.
    #[error("the tunnel's handshake did not end within {0:?}")]
    HandshakeTimeout(Duration),
    /// TLS failed for another reason than the peer's identity.
    #[error("TLS failed: {0}")]
    Tls(Arc<str>),
    /// The peer's certificate is one of the mesh, but of another workload.
    #[error("expected {expected}, but the certificate is of {presented}")]
    IdentityMismatch {
        /// Who the endpoint should be.
        expected: Identity,
        /// What its certificate says, bounded.
        presented: Arc<str>,
    },
    /// The session ended or its peer broke HTTP/2.
    #[error("the tunnel's session ended: {0}")]
    Session(Arc<str>),
    /// A bound was reached; nothing was sent.
    #[error("limit reached: {0}")]
    LimitReached(Bound),
    /// The peer answered with something else than 200.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer reset this stream; the others of its session live on.
    #[error("the peer reset the stream ({0})")]
    Reset(Arc<str>),
    /// The destination's node ended the stream, because it is no longer allowed.
    #[error("the destination's node no longer allows it")]
    Withdrawn,
}

impl TunnelError {
    pub(super) fn session(why: impl std::fmt::Display) -> Self {
        Self::Session(why.to_string().into())
    }

    /// Whether the peer reset the stream, as opposed to the session having failed.
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Reset(_))
    }
}

/// Why an incoming session was refused or ended abnormally. The word is for counters and logs.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The peer did not finish its handshake in time.
    #[error("no handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer closed or reset the connection before the handshake's end.
    #[error("the peer left during the handshake: {0}")]
    Gone(io::Error),
    /// What came was not TLS 1.3 as the tunnel speaks it.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The certificate is of another root, expired, or not to be used so.
    #[error("the peer's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The certificate does not hold exactly one identity of this trust domain.
    #[error("the peer's certificate has no identity of this mesh: {0}")]
    NoIdentity(String),
    /// The peer did not agree on `h2`.
    #[error("the peer does not speak HTTP/2")]
    NotHttp2,
    /// The peer broke HTTP/2, or stopped answering.
    #[error("HTTP/2 failed: {0}")]
    Protocol(String),
}

impl SessionError {
    /// One word per kind, for a metric's label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::Gone(_) => "gone",
            Self::Tls(_) => "tls_failed",
            Self::NoCertificate => "no_peer_certificate",
            Self::Untrusted(_) => "untrusted",
            Self::NoIdentity(_) => "no_identity",
            Self::NotHttp2 => "not_http2",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Every word of [`SessionError::word`], so that counters exist before they count.
    pub const WORDS: [&'static str; 8] = [
        "handshake_timeout",
        "gone",
        "tls_failed",
        "no_peer_certificate",
        "untrusted",
        "no_identity",
        "not_http2",
        "protocol",
    ];
}
