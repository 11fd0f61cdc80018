//! Redirects.
//!
//! Entry point: [`Redirect::location`] (Gateway API, `HTTPRequestRedirectFilter`).

use std::{borrow::Cow, sync::Arc};

use super::PathModifier;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// The scheme as a URL has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that need not be named.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// To where a request came.
#[derive(Clone, Copy, Debug)]
pub struct RequestUrl<'a> {
    /// Of the request.
    pub scheme: Scheme,
    /// Without port; an IPv6 address in brackets.
    pub host: &'a str,
    /// The Service's port: what a Gateway's listener is elsewhere.
    pub port: u16,
    /// Without query.
    pub path: &'a str,
    /// Without `?`; empty when there is none.
    pub query: &'a str,
}

/// `RequestRedirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub(in super::super) scheme: Option<Scheme>,
    pub(in super::super) hostname: Option<Arc<str>>,
    pub(in super::super) port: Option<u16>,
    pub(in super::super) path: Option<PathModifier>,
}

impl Redirect {
    /// The value of the answer's `location`.
    pub fn location(&self, from: &RequestUrl<'_>) -> String {
        let scheme = self.scheme.unwrap_or(from.scheme);
        // A scheme that is given brings its own port with it.
        let port = self.port.or(self.scheme.map(Scheme::port)).unwrap_or(from.port);
        let host = self.hostname.as_deref().unwrap_or(from.host);
        let path = self.path.as_ref().map_or(Cow::Borrowed(from.path), |path| path.apply(from.path));
        let mut location = format!("{}://{host}", scheme.word());
        if port != scheme.port() {
            location.push_str(&format!(":{port}"));
        }
        location.push_str(&path);
        if !from.query.is_empty() {
            location.push('?');
            location.push_str(from.query);
        }
        location
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Redirect = Redirect { status: 302, scheme: None, hostname: None, port: None, path: None };
    const URL: RequestUrl<'static> =
        RequestUrl { scheme: Scheme::Http, host: "pay.shop", port: 8080, path: "/a/b", query: "" };

    #[test]
    fn the_port_follows_the_rules_of_the_specification() {
        let at = |port| RequestUrl { port, ..URL };
        let to = |scheme, port| Redirect { scheme, port, ..PLAIN };
        let table = [
            // No scheme: the port to which the request came, unless it is the scheme's own.
            (to(None, None), at(8080), "http://pay.shop:8080/a/b"),
            (to(None, None), at(80), "http://pay.shop/a/b"),
            (to(None, None), at(443), "http://pay.shop:443/a/b"),
            // A scheme: its well-known port.
            (to(Some(Scheme::Https), None), at(8080), "https://pay.shop/a/b"),
            (to(Some(Scheme::Http), None), at(8080), "http://pay.shop/a/b"),
            // A port: this one, left out where it is the scheme's own.
            (to(None, Some(8083)), at(80), "http://pay.shop:8083/a/b"),
            (to(None, Some(80)), at(8080), "http://pay.shop/a/b"),
            (to(Some(Scheme::Https), Some(443)), at(80), "https://pay.shop/a/b"),
            (to(Some(Scheme::Https), Some(80)), at(80), "https://pay.shop:80/a/b"),
            (to(Some(Scheme::Http), Some(443)), at(80), "http://pay.shop:443/a/b"),
        ];
        for (redirect, url, expected) in table {
            assert_eq!(redirect.location(&url), expected, "{redirect:?} {url:?}");
        }
    }

    #[test]
    fn what_is_not_given_is_the_requests_own() {
        let url = RequestUrl { query: "x=1&y", port: 80, ..URL };
        assert_eq!(PLAIN.location(&url), "http://pay.shop/a/b?x=1&y");
        let path = PathModifier::Prefix { prefix: "/a".into(), replacement: "/z".into() };
        let elsewhere =
            Redirect { hostname: Some("example.org".into()), path: Some(path), status: 301, ..PLAIN };
        assert_eq!(elsewhere.location(&url), "http://example.org/z/b?x=1&y");
    }
}
