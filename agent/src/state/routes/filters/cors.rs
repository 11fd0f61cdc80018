//! Cross-origin requests.
//!
//! Entry points: [`Cors::preflight`], [`Cors::answer`] (Gateway API, `HTTPCORSFilter`; the Fetch
//! standard, "CORS protocol"). What names credentials together with a wildcard is answered with what
//! the request asked for, since browsers take no wildcard then.

use std::{borrow::Cow, sync::Arc};

use super::Scheme;

/// Headers of an answer, with names in lower case.
type Headers<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// `CORS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub(in super::super) origins: Vec<Origin>,
    pub(in super::super) credentials: bool,
    pub(in super::super) methods: Listed,
    pub(in super::super) headers: Listed,
    pub(in super::super) expose: Listed,
    /// Seconds.
    pub(in super::super) max_age: u32,
}

/// What a browser asks before it sends a request: the values of `origin`,
/// `access-control-request-method` and `access-control-request-headers`.
#[derive(Clone, Copy, Debug)]
pub struct Preflight<'a> {
    /// From where the request would come.
    pub origin: &'a str,
    /// Its method.
    pub method: &'a str,
    /// Its headers, separated by commas.
    pub headers: Option<&'a str>,
}

impl<'a> Preflight<'a> {
    /// The question that a request is, if it is one (Fetch, "CORS-preflight request"). `header` gives
    /// the value of a header.
    pub fn of(method: &str, header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        if method != "OPTIONS" {
            return None;
        }
        Some(Self {
            origin: header("origin")?,
            method: header("access-control-request-method")?,
            headers: header("access-control-request-headers"),
        })
    }
}

/// One of `allowOrigins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Origin {
    /// `*`.
    Any,
    /// `https://*`, `https://*.shop.example`, `http://shop.example:8080`.
    Hosts {
        scheme: Scheme,
        /// Whether `host` is only the end of the name, and something stands before it.
        below: bool,
        /// In lower case.
        host: Arc<str>,
        port: u16,
    },
}

/// A list of names, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Listed {
    All,
    /// Joined as a header has them; empty when nothing is listed.
    These(Arc<str>),
}

impl Cors {
    /// The headers of the answer to a preflight request, whose status is 204. There are none when the
    /// origin is not allowed: it is the browser that then refuses.
    pub fn preflight<'a>(&'a self, asked: &Preflight<'a>) -> Headers<'a> {
        let mut headers = self.allow_origin(asked.origin);
        if headers.is_empty() {
            return headers;
        }
        let lists = [
            ("access-control-allow-methods", &self.methods, Some(asked.method)),
            ("access-control-allow-headers", &self.headers, asked.headers),
        ];
        for (name, list, asked) in lists {
            match list {
                Listed::These(names) if names.is_empty() => {}
                Listed::These(names) => headers.push((name, Cow::Borrowed(names))),
                Listed::All if self.credentials => {
                    headers.extend(asked.map(|asked| (name, Cow::Borrowed(asked))));
                }
                Listed::All => headers.push((name, Cow::Borrowed("*"))),
            }
        }
        headers.push(("access-control-max-age", Cow::Owned(self.max_age.to_string())));
        headers
    }

    /// The headers that the answer to any other request with an `origin` gets, in place of those that
    /// the backend gave of the same names.
    pub fn answer<'a>(&'a self, origin: &'a str) -> Headers<'a> {
        let mut headers = self.allow_origin(origin);
        if headers.is_empty() {
            return headers;
        }
        match &self.expose {
            Listed::These(names) if names.is_empty() => {}
            Listed::These(names) => headers.push(("access-control-expose-headers", Cow::Borrowed(names))),
            // With credentials the wildcard is a header of that name, which nobody means.
            Listed::All if self.credentials => {}
            Listed::All => headers.push(("access-control-expose-headers", Cow::Borrowed("*"))),
        }
        headers
    }

    fn allow_origin<'a>(&'a self, origin: &'a str) -> Headers<'a> {
        if !self.origins.iter().any(|allowed| allowed.matches(origin)) {
            return Vec::new();
        }
        let any = self.origins.contains(&Origin::Any) && !self.credentials;
        let allowed = if any { "*" } else { origin };
        let mut headers = vec![("access-control-allow-origin", Cow::Borrowed(allowed))];
        if self.credentials {
            headers.push(("access-control-allow-credentials", Cow::Borrowed("true")));
        }
        if !any {
            // A cache must not give one origin's answer to another.
            headers.push(("vary", Cow::Borrowed("origin")));
        }
        headers
    }
}

impl Origin {
    /// From one of `allowOrigins`.
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (scheme, host, port) = parts(text)?;
        let (below, host) = match host.strip_prefix('*') {
            Some(end) => (true, end),
            None => (false, host),
        };
        let labels = host.strip_prefix('.').filter(|_| below).unwrap_or(host);
        let is_label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        // Only whole labels: `*` alone, or `*.` before the rest.
        let right = if below && host.is_empty() { true } else { labels.split('.').all(is_label) };
        let whole = !below || host.is_empty() || host.starts_with('.');
        (right && whole).then(|| Self::Hosts { scheme, below, host: host.to_ascii_lowercase().into(), port })
    }

    fn matches(&self, origin: &str) -> bool {
        let Self::Hosts { scheme, below, host, port } = self else {
            return true;
        };
        let Some((of_scheme, of_host, of_port)) = parts(origin) else {
            return false;
        };
        let of_host = of_host.to_ascii_lowercase();
        let host_matches = match below {
            true => of_host.len() > host.len() && of_host.ends_with(&**host),
            false => *of_host == **host,
        };
        of_scheme == *scheme && of_port == *port && host_matches
    }
}

/// Scheme, host and port of an origin (RFC 6454 §6.2).
fn parts(text: &str) -> Option<(Scheme, &str, u16)> {
    let (scheme, rest) = match text.split_once("://")? {
        ("http", rest) => (Scheme::Http, rest),
        ("https", rest) => (Scheme::Https, rest),
        _ => return None,
    };
    // The colons of an IPv6 address are inside its brackets.
    let end = rest.rfind(']').map_or(0, |end| end + 1);
    match rest[end..].find(':') {
        Some(colon) => {
            let (host, port) = rest.split_at(end + colon);
            let port = port[1..].parse().ok().filter(|port| *port > 0)?;
            Some((scheme, host, port))
        }
        None => Some((scheme, rest, scheme.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            origins: origins.iter().map(|text| Origin::parse(text).expect(text)).collect(),
            credentials: false,
            methods: Listed::These("GET,PUT".into()),
            headers: Listed::These("x-a,x-b".into()),
            expose: Listed::These("x-c".into()),
            max_age: 5,
        }
    }

    fn text(headers: Headers<'_>) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    const ASKED: Preflight<'static> =
        Preflight { origin: "https://shop.example", method: "PUT", headers: Some("x-a") };

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let table = [
            ("https://shop.example", "https://shop.example", true),
            ("https://shop.example", "https://shop.example:443", true),
            ("https://shop.example", "https://Shop.Example", true),
            ("https://shop.example", "http://shop.example", false),
            ("https://shop.example", "https://shop.example:8443", false),
            ("https://shop.example", "https://a.shop.example", false),
            ("http://shop.example:8080", "http://shop.example:8080", true),
            ("https://*.shop.example", "https://a.shop.example", true),
            ("https://*.shop.example", "https://a.b.shop.example", true),
            ("https://*.shop.example", "https://shop.example", false),
            ("https://*.shop.example", "https://.shop.example", false),
            ("https://*.shop.example", "https://notshop.example", false),
            ("https://*", "https://anything.example", true),
            ("https://*", "http://anything.example", false),
            ("https://*", "null", false),
            ("*", "http://anything.example:1", true),
            ("*", "null", true),
        ];
        for (allowed, origin, expected) in table {
            assert_eq!(!cors(&[allowed]).answer(origin).is_empty(), expected, "{allowed} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in
            ["", "shop", "ftp://a", "https://", "https://a*.b", "https://*b", "https://a:0", "http://a/"]
        {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_preflight_request_of_an_allowed_origin_is_told_what_is_allowed() {
        let expected = [
            "access-control-allow-origin: https://shop.example",
            "vary: origin",
            "access-control-allow-methods: GET,PUT",
            "access-control-allow-headers: x-a,x-b",
            "access-control-max-age: 5",
        ];
        assert_eq!(text(cors(&["https://shop.example"]).preflight(&ASKED)), expected);
        assert_eq!(text(cors(&["https://other.example"]).preflight(&ASKED)), [] as [&str; 0]);
    }

    #[test]
    fn wildcards_stay_wildcards_without_credentials_and_echo_the_question_with_them() {
        let all = |credentials| Cors {
            credentials,
            methods: Listed::All,
            headers: Listed::All,
            expose: Listed::All,
            ..cors(&["*"])
        };
        let (open, closed) = (all(false), all(true));
        let expected = [
            "access-control-allow-origin: *",
            "access-control-allow-methods: *",
            "access-control-allow-headers: *",
            "access-control-max-age: 5",
        ];
        assert_eq!(text(open.preflight(&ASKED)), expected);
        let expected = ["access-control-allow-origin: *", "access-control-expose-headers: *"];
        assert_eq!(text(open.answer(ASKED.origin)), expected);
        let expected = [
            "access-control-allow-origin: https://shop.example",
            "access-control-allow-credentials: true",
            "vary: origin",
            "access-control-allow-methods: PUT",
            "access-control-allow-headers: x-a",
            "access-control-max-age: 5",
        ];
        assert_eq!(text(closed.preflight(&ASKED)), expected);
        let without = Preflight { headers: None, ..ASKED };
        assert!(!text(closed.preflight(&without)).concat().contains("allow-headers"));
        assert!(!text(closed.answer(ASKED.origin)).concat().contains("expose"));
    }

    #[test]
    fn only_options_with_an_origin_and_a_method_is_a_preflight_request() {
        let header = |of: &'static [(&str, &str)]| {
            move |name: &str| of.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let whole: &[(&str, &str)] = &[("origin", "https://a"), ("access-control-request-method", "PUT")];
        assert!(Preflight::of("OPTIONS", header(whole)).is_some());
        assert!(Preflight::of("GET", header(whole)).is_none());
        assert!(Preflight::of("OPTIONS", header(&[("origin", "https://a")])).is_none());
        assert!(Preflight::of("OPTIONS", header(&[("access-control-request-method", "PUT")])).is_none());
    }
}
