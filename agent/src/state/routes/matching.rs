//! Whether one match of a rule fits a request.
//!
//! Entry points: [`RequestView`], [`HttpMatch`], [`GrpcMatch`]. Which of several that fit is taken is
//! `rank`'s and `index`'s business.

use std::borrow::Cow;

use super::pattern::{Pattern, TextMatch};

/// A request's head, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path without query, as [`normalise`](crate::policy::normalise) gives it; as sent where it has
    /// no such spelling.
    pub path: &'a str,
    /// What stands after the first `?`, as sent; empty when there is none.
    pub query: &'a str,
    /// `:authority` or `Host`, without port, in lower case.
    pub host: &'a str,
    /// Header names in lower case, and values, in the order in which they came.
    pub headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
}

impl<'a> RequestView<'a> {
    /// All values of a header as one (RFC 9110 §5.3, and §8.2.3 of RFC 9113 for `cookie`); the host for
    /// `host`, wherever it was sent.
    fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        if name == "host" {
            return Some(Cow::Borrowed(self.host));
        }
        let mut values =
            self.headers.iter().filter(|(of, _)| of == name).map(|(_, value)| -> &'a str { value });
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let separator = if name == "cookie" { "; " } else { "," };
        let mut joined = format!("{first}{separator}{second}");
        for value in values {
            joined.push_str(separator);
            joined.push_str(value);
        }
        Some(Cow::Owned(joined))
    }

    /// The first value of a query parameter, decoded.
    fn parameter(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .filter(|(of, _)| decoded(of).as_ref() == name.as_bytes())
            .map(|(_, value)| decoded(value))
            .next()
    }
}

/// `application/x-www-form-urlencoded`; what is not rightly encoded stands for itself.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut rest = text.as_bytes();
    let mut plain = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|digit| (*digit as char).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', ..) => plain.push(b' '),
            _ => plain.push(byte),
        }
    }
    Cow::Owned(plain)
}

/// One of an HTTPRoute's `matches`: all of its parts must fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HttpMatch {
    pub(super) path: PathMatch,
    pub(super) method: Option<Box<str>>,
    pub(super) headers: Vec<ValueMatch>,
    pub(super) query: Vec<ValueMatch>,
}

impl HttpMatch {
    /// Whether all of it fits.
    pub(super) fn fits(&self, request: &RequestView<'_>) -> bool {
        // Headers are cheaper to compare than an expression is to run.
        self.fits_beside_path(request)
            && match &self.path {
                PathMatch::Exact(path) => **path == *request.path,
                PathMatch::Prefix(prefix) => is_below(request.path, prefix),
                PathMatch::Regex(pattern) => pattern.matches(request.path.as_bytes()),
            }
    }

    /// Whether everything but the path fits.
    pub(super) fn fits_beside_path(&self, request: &RequestView<'_>) -> bool {
        self.method.as_deref().is_none_or(|method| method == request.method)
            && headers_fit(&self.headers, request)
            && self.query.iter().all(|of| of.fits(request.parameter(&of.name).as_deref()))
    }
}

/// `path` of an HTTPRoute's match, with its value normalised like a request's path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PathMatch {
    Exact(Box<str>),
    /// Without the `/` at its end: the prefix `/` is empty here.
    Prefix(Box<str>),
    Regex(Pattern),
}

/// Whether `path` is `prefix` or below it, element by element.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    // The prefix `/` is every request, even the one for `*` (RFC 9112 §3.2.4).
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a header or a query parameter is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValueMatch {
    pub(super) name: Box<str>,
    pub(super) value: TextMatch,
}

impl ValueMatch {
    fn fits(&self, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| self.value.matches(value))
    }
}

fn headers_fit(headers: &[ValueMatch], request: &RequestView<'_>) -> bool {
    headers.iter().all(|of| of.fits(request.header(&of.name).as_deref().map(str::as_bytes)))
}

/// One of a GRPCRoute's `matches`: all of its parts must fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GrpcMatch {
    pub(super) service: Option<TextMatch>,
    pub(super) method: Option<TextMatch>,
    pub(super) headers: Vec<ValueMatch>,
}

impl GrpcMatch {
    /// Whether it fits a request for `call`; none is a request whose path names no method. A match that
    /// asks for neither service nor method fits that too.
    pub(super) fn fits(&self, call: Option<(&str, &str)>, request: &RequestView<'_>) -> bool {
        let part = |part: &Option<TextMatch>, text: Option<&str>| match part {
            None => true,
            Some(part) => text.is_some_and(|text| part.matches(text.as_bytes())),
        };
        part(&self.service, call.map(|(service, _)| service))
            && part(&self.method, call.map(|(_, method)| method))
            && headers_fit(&self.headers, request)
    }
}

/// Service and method of a gRPC request: its path is `/service/method`.
pub(super) fn grpc_call(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let is_call = !service.is_empty() && !method.is_empty() && !method.contains('/');
    is_call.then_some((service, method))
}
