//! Which flow records a reader asked for.
//!
//! Entry point: [`FlowFilter`]; [`FlowFilter::set`] reads one parameter of the command line or the API.
//! A record matches when every part that is set matches. Knows nothing of HTTP or of the clock: times
//! given relative to now are made absolute by the `now` that is passed in.

use std::time::{Duration, SystemTime};

use super::{
    record::{Direction, FlowRecord, Peer, Reason, RequestInfo, TraceId, Verdict},
    status::StatusRange,
};

/// What a record must have; a part that is `None` asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Namespace of either end.
    pub namespace: Option<String>,
    /// Namespace and name of the pod at either end.
    pub pod: Option<(String, String)>,
    /// `namespace/name` of the Service that was dialled.
    pub service: Option<String>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: Option<Reason>,
    /// Which end saw it.
    pub direction: Option<Direction>,
    /// Not before this.
    pub since: Option<SystemTime>,
    /// The status of the answer to a request.
    pub status: Option<StatusRange>,
    /// How the path of a request begins.
    pub path_prefix: Option<String>,
    /// On whose behalf a request was made: the subject of its token.
    pub user: Option<String>,
    /// `namespace/name` of the route by which a request went.
    pub route: Option<String>,
    /// The trace that a request is of.
    pub trace: Option<TraceId>,
}

/// The parts of a record that a filter looks at, whatever form the record is kept in.
#[derive(Clone, Copy, Debug)]
pub struct FlowView<'a> {
    /// When it ended.
    pub time: SystemTime,
    /// Which end saw it.
    pub direction: Direction,
    /// How it ended.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<Reason>,
    /// Who connected.
    pub source: &'a Peer,
    /// To whom.
    pub destination: &'a Peer,
    /// The request, where it is of one.
    pub request: Option<&'a RequestInfo>,
    /// The trace that the request is of.
    pub trace_id: Option<TraceId>,
}

impl<'a> From<&'a FlowRecord> for FlowView<'a> {
    fn from(record: &'a FlowRecord) -> Self {
        Self {
            time: record.time,
            direction: record.direction,
            verdict: record.verdict,
            reason: record.reason,
            source: &record.source,
            destination: &record.destination,
            request: record.request.as_deref(),
            trace_id: record.trace_id,
        }
    }
}

/// A parameter whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}={value}: {message}")]
pub struct ParameterError {
    /// The parameter's name.
    pub field: String,
    /// What was given.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl ParameterError {
    /// `value` cannot be used for `field` because of `message`.
    pub fn new(field: &str, value: &str, message: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.into(), message: message.into() }
    }
}

impl FlowFilter {
    /// Sets the part called `field` from text; `Ok(false)` when no part has that name.
    ///
    /// # Errors
    /// When `value` is not of the form that the part needs.
    pub fn set(&mut self, field: &str, value: &str, now: SystemTime) -> Result<bool, ParameterError> {
        let bad = |message: String| ParameterError::new(field, value, message);
        match field {
            "namespace" if value.is_empty() => return Err(bad("a namespace's name is needed".into())),
            "namespace" => self.namespace = Some(value.into()),
            "pod" => {
                let (namespace, name) = namespaced(value).map_err(bad)?;
                self.pod = Some((namespace.into(), name.into()));
            }
            "service" => {
                namespaced(value).map_err(bad)?;
                self.service = Some(value.into());
            }
            "verdict" => self.verdict = Some(word(value, Verdict::from_word, &Verdict::ALL).map_err(bad)?),
            "reason" => self.reason = Some(word(value, Reason::from_word, &Reason::ALL).map_err(bad)?),
            "direction" => {
                self.direction = Some(word(value, Direction::from_word, &Direction::ALL).map_err(bad)?);
            }
            "since" => self.since = Some(moment(value, now).map_err(bad)?),
            "status" => self.status = Some(value.parse().map_err(bad)?),
            "path_prefix" if value.starts_with('/') => self.path_prefix = Some(value.into()),
            "path_prefix" => return Err(bad("a path is needed, which begins with /".into())),
            "user" if value.is_empty() => return Err(bad("the subject of a token is needed".into())),
            "user" => self.user = Some(value.into()),
            "route" => {
                namespaced(value).map_err(bad)?;
                self.route = Some(value.into());
            }
            "trace" => {
                let id = TraceId::parse(value);
                let id = id.ok_or_else(|| bad("a trace id of 32 hexadecimal digits is needed".into()))?;
                self.trace = Some(id);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether a record has all that is asked for.
    pub fn matches<'a>(&self, flow: impl Into<FlowView<'a>>) -> bool {
        let flow = flow.into();
        let either = |test: &dyn Fn(&Peer) -> bool| test(flow.source) || test(flow.destination);
        self.since.is_none_or(|since| flow.time >= since)
            && self.verdict.is_none_or(|verdict| flow.verdict == verdict)
            && self.direction.is_none_or(|direction| flow.direction == direction)
            && (self.reason.is_none() || self.reason == flow.reason)
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| either(&|peer| peer.namespace.as_deref() == Some(wanted)))
            && self.pod.as_ref().is_none_or(|(namespace, name)| {
                either(&|peer| {
                    peer.namespace.as_deref() == Some(namespace) && peer.pod.as_deref() == Some(name)
                })
            })
            && self
                .service
                .as_deref()
                .is_none_or(|wanted| flow.destination.service.as_deref() == Some(wanted))
            && (self.trace.is_none() || self.trace == flow.trace_id)
            && self.matches_request(flow.request)
    }

    /// A connection has nothing that is asked of a request.
    fn matches_request(&self, request: Option<&RequestInfo>) -> bool {
        let has = |test: &dyn Fn(&RequestInfo) -> bool| request.is_some_and(test);
        self.status
            .is_none_or(|wanted| has(&|request| request.http.status.is_some_and(|status| wanted.has(status))))
            && self
                .path_prefix
                .as_deref()
                .is_none_or(|wanted| has(&|request| request.http.path.starts_with(wanted)))
            && self.user.as_deref().is_none_or(|wanted| {
                has(&|request| request.user.as_ref().is_some_and(|user| &*user.subject == wanted))
            })
            && self.route.as_deref().is_none_or(|wanted| {
                // "namespace/name/rule"
                has(&|request| {
                    let route = request.http.route.as_deref().and_then(|route| route.rsplit_once('/'));
                    route.is_some_and(|(route, _)| route == wanted)
                })
            })
    }
}

fn namespaced(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace, name))
        }
        _ => Err("NAMESPACE/NAME is needed".into()),
    }
}

fn word<T: std::fmt::Display>(text: &str, read: fn(&str) -> Option<T>, all: &[T]) -> Result<T, String> {
    read(text).ok_or_else(|| {
        let words: Vec<String> = all.iter().map(T::to_string).collect();
        format!("not one of {}", words.join(", "))
    })
}

/// A moment in the past: RFC 3339, or a duration before `now` such as `90s` or `1h30m`.
fn moment(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    if let Ok(at) = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339) {
        return Ok(at.into());
    }
    let ago = duration(text).ok_or("a duration such as 90s, 5m or 1h30m, or an RFC 3339 time, is needed")?;
    now.checked_sub(ago).ok_or_else(|| "that is too long ago".into())
}

/// Whole numbers each with a unit: `ms`, `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(millis)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::record::samples;

    fn filter(parts: &[(&str, &str)]) -> FlowFilter {
        let mut filter = FlowFilter::default();
        for (field, value) in parts {
            assert_eq!(filter.set(field, value, samples::time()), Ok(true), "{field}={value}");
        }
        filter
    }

    #[test]
    fn an_empty_filter_takes_everything() {
        assert!(FlowFilter::default().matches(&samples::full()));
    }

    #[test]
    fn a_namespace_or_pod_matches_at_either_end_and_a_service_only_at_the_destination() {
        let mut flow = samples::full();
        flow.destination.namespace = Some("bank".into());
        for (parts, expected) in [
            (vec![("namespace", "shop")], true),
            (vec![("namespace", "bank")], true),
            (vec![("namespace", "sho")], false),
            (vec![("pod", "shop/cart-0")], true),
            (vec![("pod", "bank/pay-0")], true),
            (vec![("pod", "shop/pay-0")], false),
            (vec![("service", "shop/pay")], true),
            (vec![("service", "shop/cart")], false),
        ] {
            assert_eq!(filter(&parts).matches(&flow), expected, "{parts:?}");
        }
    }

    #[test]
    fn every_part_that_is_set_must_match() {
        let flow = samples::full();
        assert!(
            filter(&[("verdict", "denied"), ("reason", "policy_denied"), ("direction", "outbound")])
                .matches(&flow)
        );
        for wrong in [("verdict", "forwarded"), ("reason", "reset"), ("direction", "inbound")] {
            assert!(!filter(&[("namespace", "shop"), wrong]).matches(&flow), "{wrong:?}");
        }
    }

    #[test]
    fn a_reason_does_not_match_a_flow_that_has_none() {
        let mut flow = samples::full();
        flow.reason = None;
        assert!(!filter(&[("reason", "policy_denied")]).matches(&flow));
    }

    #[test]
    fn a_request_is_found_by_what_was_asked_and_answered_and_on_whose_behalf() {
        let flow = samples::full();
        for (part, expected) in [
            (("status", "403"), true),
            (("status", "4xx"), true),
            (("status", "5xx"), false),
            (("path_prefix", "/v1/"), true),
            (("path_prefix", "/v1/pay/1"), true),
            (("path_prefix", "/v1/pay/12"), false),
            (("user", "ann"), true),
            (("user", "an"), false),
            (("route", "shop/pay"), true),
            (("route", "shop/pa"), false),
            (("trace", "4BF92F3577B34DA6A3CE929D0E0E4736"), true),
            (("trace", "00000000000000000000000000000001"), false),
        ] {
            assert_eq!(filter(&[part]).matches(&flow), expected, "{part:?}");
            assert!(!filter(&[part]).matches(&samples::plain()), "a connection: {part:?}");
        }
        let mut unanswered = samples::full();
        let request = unanswered.request.as_mut().expect("a request");
        (request.http.status, request.user, request.http.route) = (None, None, None);
        for part in [("status", "4xx"), ("user", "ann"), ("route", "shop/pay")] {
            assert!(!filter(&[part]).matches(&unanswered), "{part:?}");
        }
    }

    #[test]
    fn since_takes_a_duration_or_a_time_and_includes_its_own_moment() {
        let mut filter = FlowFilter::default();
        let flow = samples::full();
        let now = flow.time + Duration::from_secs(300);
        for (value, expected) in [
            ("5m", true),
            ("299s", false),
            ("1h30m", true),
            ("299999ms", false),
            ("2026-01-02T03:04:05Z", true),
        ] {
            assert_eq!(filter.set("since", value, now), Ok(true));
            assert_eq!(filter.matches(&flow), expected, "{value}");
        }
    }

    #[test]
    fn bad_values_name_the_field_the_value_and_what_would_be_right() {
        for (field, value, hint) in [
            ("namespace", "", "needed"),
            ("pod", "cart-0", "NAMESPACE/NAME"),
            ("pod", "a/b/c", "NAMESPACE/NAME"),
            ("service", "/pay", "NAMESPACE/NAME"),
            ("verdict", "refused", "forwarded, denied"),
            ("reason", "POLICY_DENIED", "policy_denied"),
            ("direction", "in", "outbound, inbound"),
            ("since", "5", "5m"),
            ("since", "", "5m"),
            ("since", "-5m", "5m"),
            ("since", "99999999999999999999d", "5m"),
            ("status", "20", "5xx"),
            ("status", "6xx", "5xx"),
            ("status", "", "5xx"),
            ("path_prefix", "v1", "/"),
            ("user", "", "subject"),
            ("route", "pay", "NAMESPACE/NAME"),
            ("trace", "4bf9", "32"),
            ("trace", "zbf92f3577b34da6a3ce929d0e0e4736", "32"),
        ] {
            let error = FlowFilter::default().set(field, value, samples::time()).expect_err(value);
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
            assert!(error.message.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_field_that_is_no_part_of_a_filter_is_left_to_the_caller() {
        assert_eq!(FlowFilter::default().set("follow", "true", samples::time()), Ok(false));
    }
}
