//! Cross-origin requests: what `state::routes` says of them, as answers of ours.
//!
//! Entry points: [`preflight`], [`answer`].

use http::{HeaderName, StatusCode};

use super::{
    super::{app::Refused, message::RequestHead},
    filters::text,
};
use crate::state::routes::{Cors, Preflight};

/// The answer to a preflight request; none when the request is no such.
pub(super) fn preflight(cors: &Cors, head: &RequestHead) -> Option<Refused> {
    let asked = Preflight::of(head.method.as_str(), |name| text(&head.fields, name))?;
    let fields = named(cors.preflight(&asked));
    let (status, detail) = (StatusCode::NO_CONTENT, String::new());
    Some(Refused { status, reason: None, detail, denied_by: None, fields })
}

/// What any other answer says to a client of `origin`, in place of what the server says of the same.
pub(super) fn answer(cors: &Cors, origin: &str) -> Vec<(HeaderName, String)> {
    named(cors.answer(origin))
}

fn named<'a>(
    fields: impl IntoIterator<Item = (&'static str, std::borrow::Cow<'a, str>)>,
) -> Vec<(HeaderName, String)> {
    fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), value.into_owned())).collect()
}
