//! The words of Istio's label `response_flags`: what was unusual about a connection's or a request's end.
//!
//! Entry point: [`response_flags`]. Of requests they are Envoy's (`%RESPONSE_FLAGS%` in its documentation of access
//! logs), of connections those of Istio ambient's node proxy. `DENY` is of both: Envoy has no flag for what its own
//! policy denies, and a dashboard that counts denials should count all of them.

use crate::flows::record::{FlowRecord, Reason, RequestInfo, Verdict};

/// No flag.
const NONE: &str = "-";

/// The flags of a flow; `-` for none.
pub(super) fn response_flags(flow: &FlowRecord) -> &'static str {
    match &flow.request {
        Some(request) => of_request(flow, request),
        None => of_connection(flow),
    }
}

fn of_connection(flow: &FlowRecord) -> &'static str {
    match (flow.verdict, flow.reason) {
        (Verdict::Denied, _) | (_, Some(Reason::NoLongerAllowed)) => "DENY",
        (Verdict::Failed, _) => "CONNECT",
        _ => NONE,
    }
}

fn of_request(flow: &FlowRecord, request: &RequestInfo) -> &'static str {
    // The last of several tries: what is wrong with it is wrong in spite of them (`URX`).
    let tried_again = request.http.retries.is_some_and(|retries| retries > 0);
    match (flow.verdict, flow.reason) {
        (_, Some(Reason::NoRoute)) => "NR",
        (_, Some(Reason::RouteInvalid)) => "NC",
        (_, Some(Reason::NoEndpoints)) => "UH",
        (_, Some(Reason::CircuitOpen | Reason::LimitReached)) => "UO",
        (_, Some(Reason::RateLimited)) => "RL",
        (_, Some(Reason::FaultInjected)) => "FI",
        (_, Some(Reason::RequestTimeout)) => "UT",
        (_, Some(Reason::HttpMalformed)) => "DPE",
        (_, Some(Reason::UpstreamMalformed)) => "UPE",
        (_, Some(Reason::ClientGone)) => "DC",
        (_, Some(Reason::Reset)) if tried_again => "UC,URX",
        (_, Some(Reason::Reset)) => "UC",
        (Verdict::Denied, _) | (_, Some(Reason::NoLongerAllowed)) => "DENY",
        (Verdict::Failed, _) if tried_again => "UF,URX",
        (Verdict::Failed, _) => "UF",
        (_, None) if tried_again && is_failure(request) => "URX",
        _ => NONE,
    }
}

/// Whether the server's answer is one that is tried again where nothing else is said of it: 5xx, and of gRPC's codes
/// CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL and UNAVAILABLE.
fn is_failure(request: &RequestInfo) -> bool {
    let grpc = request.grpc.as_ref().and_then(|grpc| grpc.status);
    grpc.is_some_and(|code| [1, 4, 8, 13, 14].contains(&code))
        || request.http.status.is_some_and(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    fn with(verdict: Verdict, reason: Option<Reason>) -> FlowRecord {
        FlowRecord { verdict, reason, ..samples::plain() }
    }

    fn request(verdict: Verdict, reason: Option<Reason>, retries: Option<u32>) -> FlowRecord {
        let mut flow = FlowRecord { request: samples::full().request, ..with(verdict, reason) };
        let request = flow.request.as_mut().expect("a request");
        (request.http.retries, request.grpc, request.http.status) = (retries, None, Some(200));
        flow
    }

    #[test]
    fn every_reason_of_a_request_has_the_flag_that_envoy_documents() {
        use Verdict::{Denied, Failed, Forwarded};
        let expected = |reason| match reason {
            // NoRouteFound, with 404.
            Reason::NoRoute => (Failed, "NR"),
            // NoClusterFound: the backend does not exist.
            Reason::RouteInvalid => (Failed, "NC"),
            // NoHealthyUpstream, with 503.
            Reason::NoEndpoints => (Failed, "UH"),
            // UpstreamOverflow, with 503.
            Reason::CircuitOpen | Reason::LimitReached => (Failed, "UO"),
            // RateLimited, with 429.
            Reason::RateLimited => (Denied, "RL"),
            // FaultInjected: aborted with a status that was asked for.
            Reason::FaultInjected => (Failed, "FI"),
            // UpstreamRequestTimeout, with 504.
            Reason::RequestTimeout => (Failed, "UT"),
            // DownstreamProtocolError.
            Reason::HttpMalformed => (Denied, "DPE"),
            // UpstreamProtocolError.
            Reason::UpstreamMalformed => (Failed, "UPE"),
            // DownstreamConnectionTermination.
            Reason::ClientGone => (Failed, "DC"),
            // UpstreamConnectionTermination, with 503; also in the middle of an answer.
            Reason::Reset => (Failed, "UC"),
            // UpstreamConnectionFailure, with 503.
            Reason::UpstreamRefused
            | Reason::UpstreamTimeout
            | Reason::UpstreamUnreachable
            | Reason::TlsFailed
            | Reason::IdentityMismatch
            | Reason::TunnelFailed
            | Reason::NoCertificate
            | Reason::AgentUnavailable => (Failed, "UF"),
            // No flag of Envoy's: policy, and what the mesh requires.
            Reason::PolicyDenied
            | Reason::PlaintextRefused
            | Reason::NoLongerAllowed
            | Reason::BoundToDevice
            | Reason::NotRedirected
            | Reason::RelayRefused
            | Reason::TokenInvalid => (Denied, "DENY"),
            // Nothing that the request or the server did.
            Reason::Drained | Reason::RequestsAsked => (Forwarded, "-"),
        };
        for reason in Reason::ALL {
            let (verdict, flags) = expected(reason);
            assert_eq!(response_flags(&request(verdict, Some(reason), None)), flags, "{}", reason.word());
        }
        assert_eq!(response_flags(&request(Forwarded, None, None)), "-");
        assert_eq!(response_flags(&request(Verdict::Audited, None, None)), "-");
        assert_eq!(response_flags(&request(Forwarded, Some(Reason::Reset), None)), "UC");
        assert_eq!(response_flags(&request(Forwarded, Some(Reason::NoLongerAllowed), None)), "DENY");
    }

    #[test]
    fn a_request_that_failed_in_spite_of_retries_says_so() {
        let failed = |reason| response_flags(&request(Verdict::Failed, Some(reason), Some(2)));
        assert_eq!(failed(Reason::UpstreamRefused), "UF,URX");
        assert_eq!(failed(Reason::Reset), "UC,URX");
        assert_eq!(failed(Reason::RequestTimeout), "UT");
        assert_eq!(failed(Reason::ClientGone), "DC");
        let answered = |status, grpc: Option<u16>, retries| {
            let mut flow = request(Verdict::Forwarded, None, retries);
            let request = flow.request.as_mut().expect("a request");
            request.http.status = Some(status);
            request.grpc = grpc.map(|code| crate::flows::record::GrpcInfo {
                service: "pay.v1".into(),
                method: "Pay".into(),
                status: Some(code),
            });
            response_flags(&flow)
        };
        assert_eq!(answered(503, None, Some(1)), "URX");
        assert_eq!(answered(200, Some(14), Some(1)), "URX");
        assert_eq!(answered(200, Some(5), Some(1)), "-", "NOT_FOUND is an answer");
        assert_eq!(answered(200, None, Some(1)), "-", "the retry helped");
        assert_eq!(answered(503, None, None), "-", "the server's own answer");
        assert_eq!(answered(503, None, Some(0)), "-");
    }

    #[test]
    fn a_connection_is_denied_or_could_not_be_made_whatever_the_reason() {
        for reason in Reason::ALL.map(Some).into_iter().chain([None]) {
            let of = |verdict| response_flags(&with(verdict, reason));
            assert_eq!(of(Verdict::Denied), "DENY", "{reason:?}");
            let ended = reason == Some(Reason::NoLongerAllowed);
            assert_eq!(of(Verdict::Failed), if ended { "DENY" } else { "CONNECT" }, "{reason:?}");
            assert_eq!(of(Verdict::Forwarded), if ended { "DENY" } else { "-" }, "{reason:?}");
            assert_eq!(of(Verdict::Audited), if ended { "DENY" } else { "-" }, "{reason:?}");
        }
    }
}
