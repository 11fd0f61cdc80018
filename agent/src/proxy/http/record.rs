//! From a request and its end to the words of a flow record.
//!
//! Entry points: [`of`], [`of_refused`], [`of_failure`]. Pure but for the time that a record bears.

use std::time::{Instant, SystemTime};

use http::StatusCode;

use super::{
    app::Refused,
    exchange::{Failure, Unconnected},
    message::RequestHead,
    parse::Malformed,
};
use crate::{
    flows::record::{FlowRecord, GrpcInfo, HttpInfo, Reason, RequestInfo, UserInfo},
    policy::User,
    proxy::outcome::{self, Outcome},
};

/// Longest path that a record keeps, in bytes.
const PATH: usize = 256;

/// A record of a request on the connection that `connection` is of.
pub(super) fn of(
    connection: &FlowRecord,
    head: &RequestHead,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
) -> FlowRecord {
    let mut record = connection.clone();
    record.time = SystemTime::now();
    record.protocol = head.protocol();
    let path = head.path();
    let cut = (0..=PATH.min(path.len())).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
    // "/package.Service/Method"
    let call = path.strip_prefix('/').and_then(|path| path.split_once('/')).filter(|_| head.is_grpc());
    record.request = Some(Box::new(RequestInfo {
        http: HttpInfo {
            method: head.method.as_str().into(),
            host: head.host().into(),
            path: path[..cut].into(),
            status: status.map(|status| status.as_u16()),
            retries: None,
            route: None,
        },
        grpc: call.map(|(service, method)| GrpcInfo {
            service: service.into(),
            method: method.into(),
            status: grpc_status,
        }),
        user: None,
    }));
    record
}

/// A record of what was no request.
pub(super) fn of_malformed(connection: &FlowRecord, malformed: Malformed) -> FlowRecord {
    let mut record = connection.clone();
    record.time = SystemTime::now();
    record.protocol = "http/1.1";
    Outcome::denied(Reason::HttpMalformed, malformed.to_string(), None).write(&mut record);
    record
}

/// How a request ended that was answered here.
pub(super) fn of_refused(refused: &Refused) -> Outcome {
    match refused.reason {
        None => Outcome::forwarded(),
        Some(
            reason @ (Reason::PolicyDenied
            | Reason::HttpMalformed
            | Reason::TokenInvalid
            | Reason::RateLimited),
        ) => Outcome::denied(reason, refused.detail.as_str(), None),
        Some(reason) => Outcome::failed(reason, refused.detail.as_str()),
    }
}

/// How a request ended that was not answered to the end.
pub(super) fn of_failure(failure: &Failure) -> Outcome {
    if let Some(error) = failure.of_tunnel() {
        return outcome::of_tunnel_error(error);
    }
    Outcome::failed(reason(failure), failure.to_string())
}

/// The reason's word for a failure that is not the tunnel's.
pub(super) fn reason(failure: &Failure) -> Reason {
    match failure {
        Failure::Late(_) => Reason::RequestTimeout,
        Failure::Unconnected(Unconnected::Dial(error)) => error.reason(),
        Failure::Unconnected(Unconnected::Certificate(_)) => Reason::NoCertificate,
        Failure::Unconnected(Unconnected::Tunnel(_)) => Reason::TunnelFailed,
        Failure::Request(_) => Reason::HttpMalformed,
        Failure::Response(_) => Reason::UpstreamMalformed,
        Failure::Client(_) => Reason::ClientGone,
        Failure::Server(_) | Failure::Unseen(_) => Reason::Reset,
    }
}

/// A user, as far as a record names one.
pub(super) fn user(user: &User) -> UserInfo {
    UserInfo { issuer: user.issuer.as_str().into(), subject: user.subject.as_str().into() }
}

/// Microseconds since `began`.
pub(super) fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Failure {
    /// Whether the client can be told anything.
    pub(super) fn is_answerable(&self) -> bool {
        !matches!(self, Self::Client(_))
    }

    /// The answer for a client that has none yet.
    pub(super) fn refused(&self) -> Refused {
        let outcome = of_failure(self);
        let denied =
            outcome.reason == Some(Reason::PolicyDenied) || outcome.reason == Some(Reason::NoLongerAllowed);
        let status = if denied { StatusCode::FORBIDDEN } else { self.status() };
        let refusal = match self.of_tunnel() {
            Some(crate::tunnel::TunnelError::Refused(refusal)) => refusal.policy.as_deref(),
            _ => None,
        };
        let reason = outcome.reason.unwrap_or(Reason::Reset);
        Refused { denied_by: refusal.map(str::to_owned), ..Refused::new(status, reason, self.to_string()) }
    }
}
