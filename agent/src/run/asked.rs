//! The HTTP request that a question to `weir policy explain` is about.
//!
//! Entry point: [`asked`]. Pure: it only makes of the question's texts what a request would be judged by.

use std::{borrow::Cow, fmt};

use http::{HeaderName, Method};

use crate::{
    admin::ExplainQuery,
    flows::filter::ParameterError,
    policy::{HttpRequest, User, normalise},
};

/// A request as it would be judged.
#[derive(Debug)]
pub(super) struct Asked {
    method: String,
    path: String,
    host: String,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    user: Option<User>,
}

/// The request that `query` asks about; none when it asks about a connection.
///
/// # Errors
/// The parameter that no request could have, or whose path is refused.
pub(super) fn asked(query: &ExplainQuery) -> Result<Option<Asked>, ParameterError> {
    let ExplainQuery { method, path, headers, user, .. } = query;
    if method.is_none() && path.is_none() && headers.is_empty() && user.is_none() {
        return Ok(None);
    }
    let method = method.as_deref().unwrap_or("GET");
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(ParameterError::new("method", method, "not a method (RFC 9110 §9.1)"));
    }
    let sent = path.as_deref().unwrap_or("/");
    let path = sent.split_once('?').map_or(sent, |(path, _)| path);
    let path = normalise(path.as_bytes())
        .map_err(|error| ParameterError::new("path", sent, format!("this path is refused: {error}")))?;
    let (host, headers) = split_host(headers)?;
    let user = user.as_ref().map(user_of).transpose()?;
    Ok(Some(Asked { method: method.into(), path: path.into(), host, headers, user }))
}

type Headers = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// The host, without its port and in lower case, and all other headers.
fn split_host(headers: &[(String, String)]) -> Result<(String, Headers), ParameterError> {
    let mut host: Option<String> = None;
    let mut others = Headers::new();
    for (name, value) in headers {
        let written = || format!("{name}={value}");
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(ParameterError::new(
                "header",
                &written(),
                "not the name of a header (RFC 9110 §5.1)",
            ));
        }
        if name != "host" {
            others.push((name.clone().into(), value.clone().into()));
        } else if host.is_some() {
            return Err(ParameterError::new("header", &written(), "a request has one host (RFC 9112 §3.2)"));
        } else {
            host = Some(without_port(value).to_ascii_lowercase());
        }
    }
    Ok((host.unwrap_or_default(), others))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn user_of(claims: &serde_json::Value) -> Result<User, ParameterError> {
    let object = claims.as_object().ok_or_else(|| {
        ParameterError::new("user", &claims.to_string(), "a JSON object of claims is needed")
    })?;
    User::from_claims(object).map_err(|(claim, message)| {
        let value = object.get(&claim).map(ToString::to_string).unwrap_or_default();
        ParameterError::new("user", &format!("{claim}: {value}"), message)
    })
}

impl Asked {
    /// As policy looks at it.
    pub(super) fn http(&self) -> HttpRequest<'_> {
        HttpRequest {
            method: &self.method,
            path: Ok(&self.path),
            host: &self.host,
            headers: &self.headers,
            user: self.user.as_ref(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> ExplainQuery {
        let ends = "from=shop/cart-0&to=shop/pay&port=80";
        crate::admin::query::explain_query(&format!("{ends}{text}")).expect("a query")
    }

    fn said(text: &str) -> Option<Asked> {
        asked(&query(text)).expect("a request")
    }

    #[test]
    fn a_question_without_a_part_of_layer_7_is_about_a_connection() {
        assert!(said("").is_none());
    }

    #[test]
    fn what_is_left_out_is_a_get_of_the_root_by_nobody() {
        let asked = said("&header=x-env=prod").expect("a request");
        let http = asked.http();
        assert_eq!((http.method, http.path, http.host), ("GET", Ok("/"), ""));
        assert_eq!(http.headers, [("x-env".into(), "prod".into())]);
        assert!(http.user.is_none());
    }

    #[test]
    fn a_request_is_as_it_would_be_judged() {
        let asked = said(
            "&method=POST&path=/a/%252e%252e/v1//pay%3Fx=%252F&header=Host=Pay.Shop:8080&header=a=b\
             &user={%22iss%22:%22me%22,%22groups%22:[%22dev%22]}",
        );
        let asked = asked.expect("a request");
        assert_eq!(asked.to_string(), "POST /v1/pay");
        let http = asked.http();
        assert_eq!((http.host, http.headers.len()), ("pay.shop", 1));
        assert_eq!(http.user.map(|user| user.issuer.as_str()), Some("me"));
        let six = said("&header=host=[fd10::1]").expect("a request");
        assert_eq!(six.http().host, "[fd10::1]");
    }

    #[test]
    fn what_no_request_could_be_is_refused_with_its_parameter_and_value() {
        for (text, field, value, word) in [
            ("&method=G%20T", "method", "G T", "not a method"),
            ("&path=v1", "path", "v1", "does not begin with /"),
            ("&path=/a%252Fb", "path", "/a%2Fb", "refused: it has an encoded slash"),
            ("&path=/a%2500", "path", "/a%00", "control character"),
            ("&header=x%20y=1", "header", "x y=1", "not the name"),
            ("&header=host=a&header=host=b", "header", "host=b", "one host"),
            ("&user={%22aud%22:1}", "user", "aud: 1", "a text or a list of texts"),
        ] {
            let error = asked(&query(text)).expect_err(text);
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
            assert!(error.message.contains(word), "{error:?}");
        }
    }
}
