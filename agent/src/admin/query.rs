//! Query strings: read for the API, written for its clients.
//!
//! Entry points: [`pairs`], [`flow_query`], [`explain_query`], [`write`]. Percent-encoding is RFC 3986
//! §2.1; a plus sign is a plus sign. Every error names the parameter and its value.

use std::time::SystemTime;

use super::report::ExplainQuery;
use crate::flows::{FlowQuery, filter::ParameterError};

/// Names and values in `query`, decoded, in order.
///
/// # Errors
/// When a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, ParameterError> {
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decoded = decode(name).zip(decode(value));
        pairs.push(decoded.ok_or_else(|| ParameterError::new(name, value, "not percent-encoded UTF-8"))?);
    }
    Ok(pairs)
}

/// `pairs` as a query string, encoded.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let parts: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    parts.join("&")
}

/// The flows that a query string asks for.
///
/// # Errors
/// When a parameter is unknown, given twice, or has a value that cannot be used.
pub fn flow_query(query: &str, now: SystemTime) -> Result<FlowQuery, ParameterError> {
    let mut asked = FlowQuery::default();
    let pairs = pairs(query)?;
    for (index, (field, value)) in pairs.iter().enumerate() {
        refuse_twice(&pairs[..index], field, value)?;
        match field.as_str() {
            "follow" => asked.follow = yes_or_no(field, value)?,
            "last" => {
                let number = value.parse().map_err(|_| bad(field, value, "a whole number is needed"))?;
                asked.last = Some(number);
            }
            _ if asked.filter.set(field, value, now)? => {}
            _ => return Err(unknown(field, value)),
        }
    }
    Ok(asked)
}

/// The question that a query string asks.
///
/// # Errors
/// When a parameter is unknown, missing, given twice, or has a value that cannot be used.
pub fn explain_query(query: &str) -> Result<ExplainQuery, ParameterError> {
    let mut asked = ExplainQuery::default();
    let pairs = pairs(query)?;
    for (index, (field, value)) in pairs.iter().enumerate() {
        if field != "header" {
            refuse_twice(&pairs[..index], field, value)?;
        }
        match field.as_str() {
            "from" => asked.from = namespaced(field, value)?,
            "to" => asked.to = namespaced(field, value)?,
            "port" => asked.port = port(field, value)?,
            "method" => asked.method = Some(value.clone()),
            "path" => asked.path = Some(value.clone()),
            "header" => {
                let header =
                    value.split_once('=').ok_or_else(|| bad(field, value, "NAME=VALUE is needed"))?;
                asked.headers.push((header.0.to_ascii_lowercase(), header.1.to_owned()));
            }
            "user" => asked.user = Some(claims(field, value)?),
            _ => return Err(unknown(field, value)),
        }
    }
    for (field, is_missing) in
        [("from", asked.from.0.is_empty()), ("to", asked.to.0.is_empty()), ("port", asked.port == 0)]
    {
        if is_missing {
            return Err(bad(field, "", "this parameter is needed"));
        }
    }
    Ok(asked)
}

fn bad(field: &str, value: &str, message: &str) -> ParameterError {
    ParameterError::new(field, value, message)
}

fn unknown(field: &str, value: &str) -> ParameterError {
    bad(field, value, "there is no such parameter")
}

fn refuse_twice(before: &[(String, String)], field: &str, value: &str) -> Result<(), ParameterError> {
    match before.iter().any(|(name, _)| name == field) {
        true => Err(bad(field, value, "this parameter is given twice")),
        false => Ok(()),
    }
}

fn yes_or_no(field: &str, value: &str) -> Result<bool, ParameterError> {
    value.parse().map_err(|_| bad(field, value, "true or false is needed"))
}

fn namespaced(field: &str, value: &str) -> Result<(String, String), ParameterError> {
    match value.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.into(), name.into()))
        }
        _ => Err(bad(field, value, "NAMESPACE/NAME is needed")),
    }
}

fn port(field: &str, value: &str) -> Result<u16, ParameterError> {
    match value.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(bad(field, value, "a port from 1 to 65535 is needed")),
    }
}

fn claims(field: &str, value: &str) -> Result<serde_json::Value, ParameterError> {
    match serde_json::from_str(value) {
        Ok(claims @ serde_json::Value::Object(_)) => Ok(claims),
        _ => Err(bad(field, value, "a JSON object of claims is needed")),
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flows::record::Verdict;

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(name in "[^&=%]{1,8}", value in "\\PC{0,40}") {
            let written = write([(name.as_str(), value.as_str())]);
            prop_assert_eq!(pairs(&written), Ok(vec![(name, value)]));
        }

        #[test]
        fn no_query_string_panics(text in "\\PC{0,60}") {
            let _ = flow_query(&text, SystemTime::UNIX_EPOCH);
            let _ = explain_query(&text);
        }
    }

    #[test]
    fn a_flow_query_has_filters_last_and_follow() {
        let query = flow_query("follow=true&last=5&verdict=denied&pod=shop%2Fcart-0", SystemTime::now());
        let query = query.expect("a query");
        assert_eq!((query.follow, query.last, query.filter.verdict), (true, Some(5), Some(Verdict::Denied)));
        assert_eq!(query.filter.pod, Some(("shop".into(), "cart-0".into())));
        assert_eq!(flow_query("", SystemTime::now()), Ok(FlowQuery::default()));
    }

    #[test]
    fn an_explain_query_has_both_ends_a_port_and_what_layer_7_adds() {
        let text = "from=shop/cart-0&to=shop/pay&port=80&method=GET&path=/a%3Fb&header=X-Env=prod&header=a=b=c\
                    &user=%7B%22sub%22%3A1%7D";
        let query = explain_query(text).expect("a query");
        assert_eq!(query.from, ("shop".into(), "cart-0".into()));
        assert_eq!((query.to.1.as_str(), query.port, query.path.as_deref()), ("pay", 80, Some("/a?b")));
        assert_eq!(query.headers, [("x-env".into(), "prod".into()), ("a".into(), "b=c".into())]);
        assert_eq!(query.user, Some(serde_json::json!({"sub": 1})));
    }

    #[test]
    fn bad_queries_name_the_field_and_the_value() {
        for (query, field, value) in [
            ("follow=yes", "follow", "yes"),
            ("last=-1", "last", "-1"),
            ("last=1&last=2", "last", "2"),
            ("colour=red", "colour", "red"),
            ("pod=%zz", "pod", "%zz"),
            ("pod=%f", "pod", "%f"),
            ("namespace=%ff", "namespace", "%ff"),
            ("since=soon", "since", "soon"),
        ] {
            let error = flow_query(query, SystemTime::now()).expect_err(query);
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
        }
        for (query, field, value) in [
            ("to=a/b&port=1", "from", ""),
            ("from=a/b&to=a/c", "port", ""),
            ("from=a&to=a/c&port=1", "from", "a"),
            ("from=a/b&to=a/c&port=0", "port", "0"),
            ("from=a/b&to=a/c&port=65536", "port", "65536"),
            ("header=x", "header", "x"),
            ("user=[]", "user", "[]"),
        ] {
            let error = explain_query(query).expect_err(query);
            assert_eq!((error.field.as_str(), error.value.as_str()), (field, value));
        }
    }
}
