//! What rules say of HTTP requests and of users, compiled, and the request they will be asked about.
//!
//! Entry points: [`HttpRequest`], [`HttpPart`]. Nothing here judges a request yet: until layer 7 is
//! carried, every part answers that it cannot tell, and the rule it stands in fails safe.

use std::{borrow::Cow, collections::BTreeMap, fmt};

/// One HTTP request, as far as policy looks at it.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path without query and fragment, normalised (RFC 3986 §6.2.2).
    pub path: &'a str,
    /// `:authority` or `Host`, without port, in lower case.
    pub host: &'a str,
    /// Header names in lower case, and values, in the order in which they came.
    pub headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// On behalf of whom, where a token proved it.
    pub user: Option<&'a User>,
}

/// The user that a verified token names (RFC 7519).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audiences: Vec<String>,
    /// All other claims that are a text or a list of texts.
    pub claims: BTreeMap<String, Vec<String>>,
}

/// One list of a rule that only layer 7 can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpPart {
    Methods(Vec<Method>),
    Paths(Vec<PathMatch>),
    Hosts(Vec<HostMatch>),
    Headers(Vec<HeaderMatch>),
    Issuers(Vec<String>),
    Audiences(Vec<String>),
    Claims(BTreeMap<String, Vec<String>>),
}

impl HttpPart {
    /// The field that holds it, seen from its `to` entry or from `when`.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Methods(_) => "methods",
            Self::Paths(_) => "paths",
            Self::Hosts(_) => "hosts",
            Self::Headers(_) => "headers",
            Self::Issuers(_) => "user.issuers",
            Self::Audiences(_) => "user.audiences",
            Self::Claims(_) => "user.claims",
        }
    }

    /// What it asks for, one text for each value.
    pub(super) fn texts(&self) -> Vec<String> {
        fn all<T: fmt::Display>(values: &[T]) -> Vec<String> {
            values.iter().map(T::to_string).collect()
        }
        match self {
            Self::Methods(methods) => all(methods),
            Self::Paths(paths) => all(paths),
            Self::Hosts(hosts) => all(hosts),
            Self::Headers(headers) => all(headers),
            Self::Issuers(texts) | Self::Audiences(texts) => texts.clone(),
            Self::Claims(claims) => {
                claims.iter().map(|(name, values)| format!("{name}: {}", values.join(" or "))).collect()
            }
        }
    }
}

/// `to[].methods`: exact, case-sensitive (RFC 9110 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Method(String);

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !is_token(text) || text.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err("a method is in upper case, like GET".into());
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `to[].paths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Every path that begins with this text, which ends in `/`: from `/v1/*`.
    Below(String),
}

impl std::str::FromStr for PathMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, below) = match text.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            _ => (text, false),
        };
        // A path that normalising would change never comes, so a rule that names it is a mistake.
        let changes = path.split('/').any(|part| part == "." || part == "..") || path.contains("//");
        if !path.starts_with('/') || changes || path.contains(['*', '?', '#']) || !is_visible(path) {
            return Err("a path is like /v1/pay, or /v1/* for all below; no . or .. parts, no query".into());
        }
        Ok(if below { Self::Below(path.into()) } else { Self::Exact(path.into()) })
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Below(path) => write!(f, "{path}*"),
        }
    }
}

/// `to[].hosts`, in lower case (RFC 3986 §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostMatch {
    /// This host and no other.
    Exact(String),
    /// Every host that ends in this text, which begins with a dot: from `*.local`.
    Below(String),
}

impl std::str::FromStr for HostMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, below) = match text.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (text, false),
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !host.is_empty() && host.bytes().all(allowed) && !host.starts_with('.');
        if !(is_name || is_address && !below) {
            return Err("a host is like pay.local, or *.local for all below; no port".into());
        }
        let host = host.to_ascii_lowercase();
        Ok(if below { Self::Below(format!(".{host}")) } else { Self::Exact(host) })
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*{host}"),
        }
    }
}

/// One of `to[].headers`: the header has any of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderMatch {
    name: String,
    values: Vec<String>,
}

impl HeaderMatch {
    /// A header that has any of `values`.
    pub(super) fn new(name: HeaderName, values: Vec<String>) -> Self {
        Self { name: name.0, values }
    }
}

impl fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.values.join(" or "))
    }
}

/// The name of a header, in lower case (RFC 9110 §5.1).
#[derive(Debug)]
pub(super) struct HeaderName(String);

impl std::str::FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !is_token(text) {
            return Err("a header has a name, like x-env".into());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact_or_all_below() {
        assert_eq!("/v1/pay".parse(), Ok(PathMatch::Exact("/v1/pay".into())));
        assert_eq!("/v1/*".parse(), Ok(PathMatch::Below("/v1/".into())));
        assert_eq!("/*".parse(), Ok(PathMatch::Below("/".into())));
        for text in ["", "v1", "*", "/v1*", "/*/pay", "/a/../b", "/a/./b", "/a//b", "/a?b", "/a b"] {
            text.parse::<PathMatch>().expect_err(text);
        }
    }

    #[test]
    fn hosts_are_exact_or_all_below_and_never_a_part_of_a_name() {
        assert_eq!("Pay.Local".parse(), Ok(HostMatch::Exact("pay.local".into())));
        assert_eq!("*.local".parse(), Ok(HostMatch::Below(".local".into())));
        assert_eq!("[::1]".parse(), Ok(HostMatch::Exact("[::1]".into())));
        for text in ["", "*", "*local", "pay.*", "pay:80", ".local", "*..local", "*.[::1]", "[pay]"] {
            text.parse::<HostMatch>().expect_err(text);
        }
    }

    #[test]
    fn a_method_that_no_client_sends_is_refused() {
        assert_eq!("GET".parse(), Ok(Method("GET".into())));
        for text in ["", "get", "Get", "GE T", "*/*"] {
            text.parse::<Method>().expect_err(text);
        }
    }
}
