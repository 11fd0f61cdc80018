//! What rules say of HTTP requests and of users, and the requests that they are asked about.
//!
//! Entry points: [`HttpRequest`], [`HttpPart::judge`]; [`normalise`] for the path. Judging allocates
//! nothing. Knows no wire: whoever reads a request gives it in the form that is asked for here.

mod affix;
mod header;
mod host;
mod path;
mod path_match;
mod user;

use std::{borrow::Cow, collections::BTreeMap, fmt};

pub(super) use self::{
    header::{HeaderMatch, HeaderName, HeaderValue},
    host::{HostMatch, Hosts},
    path_match::{PathMatch, Paths},
};
pub use self::{
    path::{PathError, normalise},
    user::User,
};
use super::rule::Judgement;

/// One HTTP request, as far as policy looks at it.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path without query, as [`normalise`] gives it; or why it has none, and then what a rule says
    /// of paths cannot be told.
    pub path: Result<&'a str, PathError>,
    /// `:authority` or `Host`, without port, in lower case; empty when there is none.
    pub host: &'a str,
    /// Header names in lower case, and values, in the order in which they came.
    pub headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// On behalf of whom, where a token proved it.
    pub user: Option<&'a User>,
}

/// One list of a rule that only layer 7 can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpPart {
    Methods(Vec<Method>),
    Paths(Paths),
    Hosts(Hosts),
    Headers(Vec<HeaderMatch>),
    Issuers(Vec<String>),
    Audiences(Vec<String>),
    Claims(BTreeMap<String, Vec<String>>),
}

impl HttpPart {
    /// Whether `http` has what it asks for. What is not HTTP has nothing that could be looked at. A request
    /// without a verified user could be anyone's: leaving a token off must not get around a rule.
    pub(super) fn judge(&self, http: Option<&HttpRequest<'_>>) -> Judgement {
        let Some(http) = http else { return Judgement::CannotTell };
        let of_user = |matches: &dyn Fn(&User) -> bool| {
            http.user.map_or(Judgement::CannotTell, |user| Judgement::from(matches(user)))
        };
        match self {
            Self::Methods(methods) => Judgement::from(methods.iter().any(|method| method.0 == http.method)),
            Self::Paths(paths) => match http.path {
                Ok(path) => Judgement::from(paths.has(path)),
                // Whatever it means, it is any path.
                Err(_) if paths.are_any() => Judgement::Yes,
                Err(_) => Judgement::CannotTell,
            },
            Self::Hosts(hosts) => hosts.judge(http.host),
            Self::Headers(headers) => Judgement::all(headers.iter().map(|header| header.judge(http.headers))),
            Self::Issuers(issuers) => of_user(&|user| issuers.contains(&user.issuer)),
            Self::Audiences(audiences) => {
                of_user(&|user| user.audiences.iter().any(|audience| audiences.contains(audience)))
            }
            Self::Claims(claims) => {
                of_user(&|user| claims.iter().all(|(name, values)| user.has_claim(name, values)))
            }
        }
    }

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

    /// What `http` has where this part looks.
    pub(super) fn had(&self, http: Option<&HttpRequest<'_>>) -> String {
        let Some(http) = http else { return "nothing that layer 4 can see".into() };
        let of_user = |had: &dyn Fn(&User) -> String| http.user.map_or("no verified user".into(), had);
        let listed = |name: &str, values: &[String]| match values.iter().all(String::is_empty) {
            true => format!("no {name}"),
            false => values.join(", "),
        };
        match self {
            Self::Methods(_) => http.method.into(),
            Self::Paths(_) => match http.path {
                Ok(path) => path.into(),
                Err(error) => format!("a path that is refused: {error}"),
            },
            Self::Hosts(_) if http.host.is_empty() => "no host".into(),
            Self::Hosts(_) => http.host.into(),
            Self::Headers(headers) => {
                let had: Vec<String> = headers.iter().map(|header| header.had(http.headers)).collect();
                had.join("; ")
            }
            Self::Issuers(_) => of_user(&|user| listed("issuer", user.claim("iss"))),
            Self::Audiences(_) => of_user(&|user| listed("audience", &user.audiences)),
            Self::Claims(claims) => of_user(&|user| {
                let had = claims.keys().map(|name| match user.claim(name) {
                    [] => format!("no {name}"),
                    values => format!("{name}: {}", values.join(", ")),
                });
                had.collect::<Vec<_>>().join("; ")
            }),
        }
    }

    /// What it asks for, one text for each value.
    pub(super) fn texts(&self) -> Vec<String> {
        fn all<T: fmt::Display>(values: &[T]) -> Vec<String> {
            values.iter().map(T::to_string).collect()
        }
        match self {
            Self::Methods(methods) => all(methods),
            Self::Paths(paths) => all(paths.written()),
            Self::Hosts(hosts) => all(hosts.written()),
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

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_no_client_sends_is_refused() {
        assert_eq!("GET".parse(), Ok(Method("GET".into())));
        for text in ["", "get", "Get", "GE T", "*/*"] {
            text.parse::<Method>().expect_err(text);
        }
    }
}
