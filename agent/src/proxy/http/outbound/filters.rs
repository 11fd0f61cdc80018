//! What filters of a route do to heads of ours: `state::routes` says what, this does it.
//!
//! Entry points: [`request`], [`response`].

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::message::RequestHead;
use crate::state::routes::{Filters, HeaderModifier, HeaderOperation};

/// Changes a request: those of the rule first, then those of the backend.
pub(super) fn request(chain: &[&Arc<Filters>], head: &mut RequestHead) {
    for filters in chain {
        if let Some(modifier) = &filters.request_headers {
            modify(modifier, &mut head.fields);
        }
        let Some(rewrite) = &filters.rewrite else { continue };
        if let Some(host) = &rewrite.hostname {
            head.authority = host.to_string();
        }
        if rewrite.path.is_some() {
            let (path, query) = match head.target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (&*head.target, None),
            };
            // A prefix was matched in the normal spelling, and can only be cut off that.
            let normal = crate::policy::normalise(path.as_bytes());
            let path = rewrite.path(normal.as_deref().unwrap_or(path));
            head.target = match query {
                Some(query) => format!("{path}?{query}"),
                None => path.into_owned(),
            };
        }
    }
}

/// Changes an answer: those of the rule first, then those of the backend.
pub(super) fn response(chain: &[&Arc<Filters>], fields: &mut HeaderMap) {
    for modifier in chain.iter().filter_map(|filters| filters.response_headers.as_ref()) {
        modify(modifier, fields);
    }
}

/// The one text of a field.
pub(super) fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn modify(modifier: &HeaderModifier, fields: &mut HeaderMap) {
    // Names and values were looked at when the object was read; one that is none after all changes nothing.
    let pair = |name: &str, value: &str| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    for operation in modifier.operations() {
        match operation {
            HeaderOperation::Remove(name) => drop(fields.remove(name)),
            HeaderOperation::Set(name, value) => {
                if let Some((name, value)) = pair(name, value) {
                    fields.insert(name, value);
                }
            }
            HeaderOperation::Add(name, value) => {
                let Some((name, value)) = pair(name, value) else { continue };
                let last = fields.get_all(&name).iter().next_back().cloned();
                match last.filter(|_| name != http::header::SET_COOKIE) {
                    Some(last) => {
                        let joined = [last.as_bytes(), b",", value.as_bytes()].concat();
                        let Ok(joined) = HeaderValue::from_bytes(&joined) else { continue };
                        let mut all: Vec<HeaderValue> = fields.get_all(&name).iter().cloned().collect();
                        all.pop();
                        fields.remove(&name);
                        for value in all.into_iter().chain([joined]) {
                            fields.append(name.clone(), value);
                        }
                    }
                    None => drop(fields.append(name, value)),
                }
            }
        }
    }
}
