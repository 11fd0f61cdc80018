//! The head of a request and of a response, whatever version carried it.
//!
//! Entry points: [`RequestHead`], [`ResponseHead`], [`Framing`]. Plain data: knows no wire and no socket.

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode};

/// How the end of a body is told (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Pieces, each with its length, and fields behind the last one.
    Chunked,
    /// All that comes until the connection ends; responses only.
    UntilClose,
}

/// The version that carried a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct RequestHead {
    /// Its version.
    pub(in crate::proxy) version: Version,
    /// The method, as sent.
    pub(in crate::proxy) method: Method,
    /// Path and query as sent, in origin form; `*` for `OPTIONS *`.
    pub(in crate::proxy) target: String,
    /// Host and port, as in the `Host` field; empty for a client of HTTP/1.0 that names none.
    pub(in crate::proxy) authority: String,
    /// All fields, `Host` too.
    pub(in crate::proxy) fields: HeaderMap,
    /// How its body ends.
    pub(in crate::proxy) framing: Framing,
}

impl RequestHead {
    /// The path alone.
    pub(in crate::proxy) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// Whether it is a call of gRPC.
    pub(in crate::proxy) fn is_grpc(&self) -> bool {
        let kind = self.fields.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        self.version == Version::Http2 && kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
    }

    /// Names in lower case and values, as policy and routes look at them.
    pub(in crate::proxy) fn pairs(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        let fields = self.fields.iter();
        fields
            .map(|(name, value)| (name.as_str().into(), String::from_utf8_lossy(value.as_bytes())))
            .collect()
    }

    /// The word of a flow record for what carried it.
    pub(in crate::proxy) fn protocol(&self) -> &'static str {
        match self.version {
            Version::Http2 if self.is_grpc() => "grpc",
            Version::Http2 => "http/2",
            Version::Http10 | Version::Http11 => "http/1.1",
        }
    }

    /// The host without its port, in lower case and without a last dot.
    pub(in crate::proxy) fn host(&self) -> String {
        let host = match self.authority.rsplit_once(':') {
            // The colons of an IPv6 address are inside brackets.
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => host,
            _ => &self.authority,
        };
        host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
    }
}

/// What a server answers.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct ResponseHead {
    /// Its version.
    pub(in crate::proxy) version: Version,
    /// The status.
    pub(in crate::proxy) status: StatusCode,
    /// All fields.
    pub(in crate::proxy) fields: HeaderMap,
    /// How its body ends; of a head from bytes alone, as long as the request's method is not known, nothing is said.
    pub(in crate::proxy) framing: Framing,
}

/// Whether a connection stays after this message (RFC 9112 §9.3).
pub(in crate::proxy) fn is_persistent(version: Version, fields: &HeaderMap) -> bool {
    match version {
        Version::Http11 | Version::Http2 => !names(fields, "close"),
        Version::Http10 => names(fields, "keep-alive") && !names(fields, "close"),
    }
}

/// Whether a `Connection` field has the option.
pub(in crate::proxy) fn names(fields: &HeaderMap, option: &str) -> bool {
    options(fields).any(|found| found.eq_ignore_ascii_case(option))
}

/// Every option of the `Connection` fields (RFC 9110 §7.6.1).
pub(in crate::proxy) fn options(fields: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = fields.get_all(http::header::CONNECTION).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_and_no_capitals() {
        let head = |authority: &str| RequestHead {
            version: Version::Http11,
            method: Method::GET,
            target: "/a/b?c=/d".into(),
            authority: authority.into(),
            fields: HeaderMap::new(),
            framing: Framing::Empty,
        };
        for (authority, host) in [
            ("Pay.Shop", "pay.shop"),
            ("pay.shop:8080", "pay.shop"),
            ("pay.shop.", "pay.shop"),
            ("pay.shop.:80", "pay.shop"),
            ("[fd10::1]:80", "[fd10::1]"),
            ("[fd10::1]", "[fd10::1]"),
            ("", ""),
        ] {
            assert_eq!(head(authority).host(), host, "{authority}");
        }
        assert_eq!(head("").path(), "/a/b");
    }
}
