//! W3C trace context: the id by which the records of one request are found wherever it came by.
//!
//! Entry point: [`id`]. A context that an app sends goes on as it is, since nothing here makes spans that others could
//! hang from; where there is none, one begins, and what to sample stays the app's decision.

use std::{cell::RefCell, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::traffic::Random;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace id of a request with these fields, which get one if they have none.
pub(super) fn id(fields: &mut HeaderMap, random: &RefCell<Random>) -> Arc<str> {
    let mut given = fields.get_all(TRACEPARENT).into_iter();
    let (first, second) = (given.next(), given.next());
    if let (Some(value), None) = (first, second)
        && let Some(id) = value.to_str().ok().and_then(trace_id)
    {
        return id.into();
    }
    let mut random = random.borrow_mut();
    let id = format!("{:016x}{:016x}", random.bits() | 1, random.bits());
    let parent = format!("00-{id}-{:016x}-00", random.bits() | 1);
    if let Ok(value) = HeaderValue::try_from(parent) {
        fields.insert(TRACEPARENT, value);
        // It belongs to a context that was none (W3C Trace Context §3.3.1.5).
        fields.remove(TRACESTATE);
    }
    id.into()
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2): `VERSION-TRACE-PARENT-FLAGS`, lower-case hexadecimal.
fn trace_id(value: &str) -> Option<&str> {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    // What a later version has behind the flags is its own.
    let whole = version != "00" || parts.next().is_none();
    let good = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let named = |id: &str| id.bytes().any(|byte| byte != b'0');
    (whole && good && named(trace) && named(parent)).then_some(trace)
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
            (id.to_string(), now, fields.contains_key(TRACESTATE))
        };
        let kept = ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), GIVEN.to_owned(), true);
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
            assert_eq!((trace_id(&now), state), (Some(&*id), false), "{bad:?}");
            assert_ne!(id, kept.0);
        }
    }
}
