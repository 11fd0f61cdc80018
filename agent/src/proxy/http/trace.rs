//! W3C trace context: the id by which the records of one request are found wherever it came by.
//!
//! Entry point: [`id`]. A context that an app sends goes on as it is, since nothing here makes spans that others could
//! hang from; where there is none, one begins, and what to sample stays the app's decision.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{flows::record::TraceId, traffic::Random};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace id of a request with these fields, which get one if they have none.
pub(super) fn id(fields: &mut HeaderMap, random: &RefCell<Random>) -> Option<TraceId> {
    let mut given = fields.get_all(TRACEPARENT).into_iter();
    let (first, second) = (given.next(), given.next());
    if let (Some(value), None) = (first, second)
        && let Some(id) = value.to_str().ok().and_then(trace_id)
    {
        return Some(id);
    }
    let mut random = random.borrow_mut();
    let id = TraceId::new(u128::from(random.bits() | 1) << 64 | u128::from(random.bits()))?;
    let parent = format!("00-{id}-{:016x}-00", random.bits() | 1);
    if let Ok(value) = HeaderValue::try_from(parent) {
        fields.insert(TRACEPARENT, value);
        // It belongs to a context that was none (W3C Trace Context §3.3.1.5).
        fields.remove(TRACESTATE);
    }
    Some(id)
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2): `VERSION-TRACE-PARENT-FLAGS`, lower-case hexadecimal.
fn trace_id(value: &str) -> Option<TraceId> {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    // What a later version has behind the flags is its own.
    let whole = version != "00" || parts.next().is_none();
    let good = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let named = parent.bytes().any(|byte| byte != b'0');
    if whole && good && named { TraceId::parse(trace) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_goes_on_as_it_is_and_a_missing_or_broken_one_begins() {
        let random = RefCell::new(Random::seeded(7));
        let ask = |given: &[&str]| {
            let mut fields = HeaderMap::new();
            for value in given {
                fields.append(TRACEPARENT, HeaderValue::from_str(value).expect("a value"));
            }
            fields.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            let id = id(&mut fields, &random);
            let now = fields[TRACEPARENT].to_str().expect("text").to_owned();
            (id.map(|id| id.to_string()), now, fields.contains_key(TRACESTATE))
        };
        let kept = (Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()), GIVEN.to_owned(), true);
        assert_eq!(ask(&[GIVEN]), kept);
        for bad in [
            &[][..],
            &[""],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"],
            &[GIVEN, GIVEN],
        ] {
            let (id, now, state) = ask(bad);
            assert_eq!((trace_id(&now).map(|id| id.to_string()), state), (id.clone(), false), "{bad:?}");
            assert!(id.is_some(), "{bad:?}");
            assert_ne!(id, kept.0);
        }
    }
}
