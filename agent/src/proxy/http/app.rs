//! Between a client's connection and whoever answers its requests.
//!
//! Entry points: [`App`], which answers; [`Refused`], an answer of our own; [`conclude`], with which a request ends.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    exchange::{AnswerOut, BodyIn, Failure, Progress, Relayed},
    forward,
    message::{Framing, RequestHead, ResponseHead, Version},
    parse::Malformed,
    record,
};
use crate::{
    flows::record::Reason,
    proxy::{
        context::{Context, count},
        outcome::Outcome,
        pod::{Http2, LocalPod, Place},
    },
};

/// Who answers requests.
pub(super) trait App {
    /// Has a request answered, and records it. An error says why the answer breaks off that has begun; the client
    /// can only learn it from a connection, or a stream, that does.
    async fn answer(
        &self,
        head: RequestHead,
        body: &mut impl BodyIn,
        answer: &mut impl AnswerOut,
    ) -> Result<(), Failure>;

    /// Records what was no request.
    fn malformed(&self, malformed: Malformed);

    /// What a connection of HTTP/2 with the client may hold.
    fn http2(&self) -> Http2 {
        Http2::default()
    }
}

/// An answer of our own.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// Absent for what is no failure: a redirect, say.
    pub(super) reason: Option<Reason>,
    /// For the client and for the record.
    pub(super) detail: String,
    /// The policy, in its own words, when one denied.
    pub(super) denied_by: Option<String>,
    /// More fields.
    pub(super) fields: Vec<(HeaderName, String)>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, reason: Reason, detail: impl Into<String>) -> Self {
        let reason = Some(reason);
        Self { status, reason, detail: detail.into(), denied_by: None, fields: Vec::new() }
    }
}

/// Answers in our own words; to gRPC in its own (gRPC over HTTP/2, "Trailers-Only").
///
/// # Errors
/// When the client is gone.
async fn refuse(head: &RequestHead, refused: &Refused, answer: &mut impl AnswerOut) -> Result<(), Failure> {
    let mut fields = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(&forward::printable(value)) {
            fields.append(name, value);
        }
    };
    if let Some(by) = &refused.denied_by {
        set(HeaderName::from_static("weir-denied-by"), by);
    }
    for (name, value) in &refused.fields {
        set(name.clone(), value);
    }
    if head.framing != Framing::Empty {
        // A body that nobody wants is not waited for.
        answer.close();
    }
    if head.is_grpc() {
        set(header::CONTENT_TYPE, "application/grpc");
        set(HeaderName::from_static("grpc-status"), &refused.grpc_status().to_string());
        set(HeaderName::from_static("grpc-message"), &refused.detail);
        let (version, status, framing) = (Version::Http2, StatusCode::OK, Framing::Empty);
        answer.head(ResponseHead { version, status, fields, framing }).await?;
        return answer.end(None).await;
    }
    let has_text = !refused.detail.is_empty()
        && !refused.status.is_informational()
        && refused.status != StatusCode::NO_CONTENT;
    let text = if has_text { format!("{}\n", refused.detail) } else { String::new() };
    if has_text {
        set(header::CONTENT_TYPE, "text/plain");
    }
    if refused.status != StatusCode::NO_CONTENT {
        set(header::CONTENT_LENGTH, &text.len().to_string());
    }
    let with_body = has_text && head.method != Method::HEAD;
    let framing = if with_body { Framing::Length(text.len() as u64) } else { Framing::Empty };
    answer.head(ResponseHead { version: Version::Http11, status: refused.status, fields, framing }).await?;
    if with_body {
        answer.data(Bytes::from(text)).await?;
    }
    answer.end(None).await
}

/// Counts a request of `pod` until it is over.
///
/// # Errors
/// When the pod has too many: what it does with them is bounded, so that other pods get their turn.
pub(super) fn enter(context: &Context, pod: &Arc<LocalPod>) -> Result<Place, Refused> {
    pod.request(context.options.requests_per_pod).ok_or_else(|| {
        count(&context.counters.limited_requests);
        let words = "the pod has too many requests at a time";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, Reason::LimitReached, words)
    })
}

/// How a request ended, for its record and its connection.
pub(super) struct Concluded {
    /// The status that the client was told.
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u16>,
    pub(super) outcome: Outcome,
    /// What [`App::answer`] returns.
    pub(super) told: Result<(), Failure>,
}

/// Ends a request that was `carried` as far as `progress` says: who has no answer yet is told why there is none.
pub(super) async fn conclude(
    head: &RequestHead,
    carried: Result<Result<Relayed, Failure>, Refused>,
    progress: &Progress,
    answer: &mut impl AnswerOut,
) -> Concluded {
    let refused = match carried {
        Ok(Ok(_)) => {
            let (status, grpc_status) = (progress.status, progress.grpc_status);
            return Concluded { status, grpc_status, outcome: Outcome::forwarded(), told: Ok(()) };
        }
        Ok(Err(failure)) if progress.begun || !failure.is_answerable() => {
            let (status, grpc_status) = (progress.status.filter(|_| progress.begun), progress.grpc_status);
            let outcome = record::of_failure(&failure);
            return Concluded { status, grpc_status, outcome, told: Err(failure) };
        }
        Ok(Err(failure)) => Ok((failure.refused(), record::of_failure(&failure))),
        Err(refused) => Err(refused),
    };
    let (refused, outcome) = refused.unwrap_or_else(|refused| {
        let outcome = record::of_refused(&refused);
        (refused, outcome)
    });
    let grpc_status = head.is_grpc().then(|| refused.grpc_status());
    let told = refuse(head, &refused, answer).await;
    Concluded { status: Some(refused.status), grpc_status, outcome, told }
}

impl Refused {
    /// The code of gRPC that says the same (google.rpc.Code).
    pub(super) fn grpc_status(&self) -> u16 {
        match self.reason {
            // The mapping of statuses has no word for it; RESOURCE_EXHAUSTED.
            Some(Reason::RateLimited) => 8,
            Some(Reason::UpstreamTimeout | Reason::RequestTimeout) => 4,
            Some(Reason::RouteInvalid) => 14,
            _ => crate::traffic::grpc_status(self.status.as_u16()),
        }
    }
}
