//! The words of HBONE: what a CONNECT says, and what its answer says.
//!
//! Entry points: [`ConnectRequest::to_http`] and [`ConnectRequest::parse`] for the question,
//! [`Refusal::to_http`] and [`Refusal::parse`] for a negative answer. Names and forms are those of Istio
//! ambient, RFC 7239 (`forwarded`), W3C Baggage and W3C Trace Context. Knows nothing of connections.

mod baggage;
mod percent;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

pub use baggage::{Baggage, WorkloadType};
use percent::{decode, encode, is_visible};

/// Workload metadata of the source (W3C Baggage).
pub(super) const BAGGAGE: &str = "baggage";
/// The address on whose behalf the stream was opened (RFC 7239).
pub(super) const FORWARDED: &str = "forwarded";
/// The trace of which the stream is a part (W3C Trace Context).
pub(super) const TRACEPARENT: &str = "traceparent";
/// Weir's own: what the stream carries, where its sender has looked.
pub(super) const CARRIES: &str = "weir-carries";
/// The word of HTTP in it.
const REQUESTS: &str = "requests";
/// Weir's own: the policy that refused, in words.
pub(super) const DENIED_BY: &str = "weir-denied-by";
/// Weir's own: the reason's word.
pub(super) const REASON: &str = "weir-reason";

/// Longest text taken from one answer header; the rest is cut.
const ANSWER_TEXT: usize = 512;
/// Longest `forwarded` that is kept.
const FORWARDED_TEXT: usize = 256;

/// What the client's node says when it opens a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The destination as the application asked for it, `ip:port`.
    pub authority: SocketAddr,
    /// The source workload, for telemetry only: a claim, never proof.
    pub baggage: Baggage,
    /// The source's address. Sent; a receiver trusts it from nobody by default.
    pub forwarded: Option<Arc<str>>,
    /// The trace context, passed on as it is.
    pub traceparent: Option<Arc<str>>,
    /// Whether its sender says that the stream carries HTTP, and so that there are requests to look at.
    pub requests: bool,
}

/// Why a CONNECT is answered with 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Another method.
    #[error("the method is {0}, not CONNECT")]
    Method(String),
    /// `:authority` is not `ip:port`.
    #[error("the authority {0:?} is not an address and port")]
    Authority(String),
    /// `baggage` is not W3C Baggage within its bounds.
    #[error("the baggage is malformed: {0}")]
    Baggage(&'static str),
}

impl ConnectRequest {
    /// A request for `authority` that says nothing else.
    pub fn new(authority: SocketAddr) -> Self {
        Self { authority, baggage: Baggage::default(), forwarded: None, traceparent: None, requests: false }
    }

    /// States the source's address (RFC 7239 §6: an IPv6 address stands in brackets and quotes).
    #[must_use]
    pub fn forwarded_for(mut self, source: IpAddr) -> Self {
        self.forwarded = Some(match source.to_canonical() {
            IpAddr::V4(ip) => format!("for={ip}").into(),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\"").into(),
        });
        self
    }

    /// Says that the stream carries requests.
    #[must_use]
    pub fn of_requests(mut self) -> Self {
        self.requests = true;
        self
    }

    /// The HTTP form.
    pub(super) fn to_http(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = http::Version::HTTP_2;
        if let Ok(uri) = http::Uri::builder().authority(self.authority.to_string()).build() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        let baggage = self.baggage.to_string();
        insert(headers, BAGGAGE, (!baggage.is_empty()).then_some(&*baggage));
        insert(headers, FORWARDED, self.forwarded.as_deref());
        insert(headers, TRACEPARENT, self.traceparent.as_deref());
        insert(headers, CARRIES, self.requests.then_some(REQUESTS));
        request
    }

    /// Reads a CONNECT. What is merely decoration (`forwarded`, `traceparent`) is dropped when malformed.
    ///
    /// # Errors
    /// When the method, the authority or the baggage is not what HBONE asks for.
    pub(super) fn parse<B>(request: &Request<B>) -> Result<Self, HeaderError> {
        if request.method() != Method::CONNECT {
            return Err(HeaderError::Method(bounded(request.method().as_str(), 32)));
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let address: SocketAddr =
            authority.parse().map_err(|_| HeaderError::Authority(bounded(authority, 128)))?;
        if address.port() == 0 {
            return Err(HeaderError::Authority(bounded(authority, 128)));
        }
        let headers = request.headers();
        Ok(Self {
            authority: crate::addr::canonical(address),
            baggage: Baggage::parse(headers.get_all(BAGGAGE))?,
            forwarded: text(headers, FORWARDED).filter(|text| text.len() <= FORWARDED_TEXT).map(Into::into),
            traceparent: text(headers, TRACEPARENT).filter(|text| is_traceparent(text)).map(Into::into),
            requests: text(headers, CARRIES).is_some_and(|text| text == REQUESTS),
        })
    }
}

/// W3C Trace Context §3.2: version 00, lower-case hexadecimal, neither id all zero.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    version == "00"
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0')
}

/// The statuses with which HBONE refuses a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalStatus {
    /// 400: the CONNECT, its authority or its baggage is bad.
    BadRequest,
    /// 401: policy.
    Unauthorized,
    /// 503: the destination could not be reached.
    Unavailable,
    /// Another status of a peer that is not Weir.
    Other(u16),
}

impl RefusalStatus {
    /// The status code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Unavailable => 503,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u16) -> Self {
        match code {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            503 => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

/// A negative answer, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: RefusalStatus,
    /// The reason's word, when the peer said one.
    pub reason: Option<Arc<str>>,
    /// The refusing policy in words, when the peer said one.
    pub policy: Option<Arc<str>>,
}

impl Refusal {
    /// A refusal with a reason's word and no policy.
    pub fn new(status: RefusalStatus, reason: &str) -> Self {
        Self { status, reason: Some(reason.into()), policy: None }
    }

    /// Adds the policy that refused.
    #[must_use]
    pub fn by(mut self, policy: impl Into<Arc<str>>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// The HTTP form.
    pub(super) fn to_http(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(self.status.code()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers_mut();
        insert(headers, REASON, self.reason.as_deref().map(words).as_deref());
        insert(headers, DENIED_BY, self.policy.as_deref().map(words).as_deref());
        response
    }

    /// Reads a negative answer; text beyond its bound is cut.
    pub(super) fn parse<B>(response: &Response<B>) -> Self {
        let word =
            |name| text(response.headers(), name).map(|text| bounded(&decode(text), ANSWER_TEXT).into());
        Self {
            status: RefusalStatus::from_code(response.status().as_u16()),
            reason: word(REASON),
            policy: word(DENIED_BY),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status.code())?;
        if let Some(reason) = &self.reason {
            write!(f, ", {reason}")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, ", by {policy}")?;
        }
        Ok(())
    }
}

/// Sets `name`, unless `text` cannot stand in a header: what comes from outside is encoded by the caller.
fn insert(headers: &mut HeaderMap, name: &'static str, text: Option<&str>) {
    if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(name, value);
    }
}

/// Words as a header value: no text from an object's name can break the header or be lost.
fn words(text: &str) -> String {
    encode(text, |b| b == b' ' || is_visible(b))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `text`, cut to at most `limit` bytes at a character's border.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
