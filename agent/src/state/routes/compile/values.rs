//! Texts that have a meaning of their own: durations, names, header values, paths.
//!
//! Entry points: [`duration`], [`name`], [`header_name`], [`header_value`], [`path`]. Errors say what
//! would be right.

use std::time::Duration;

use crate::policy::{PathError, normalise};

/// GEP-2257: one to four times one to five digits and `h`, `m`, `s` or `ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| {
        "is no duration: one to four numbers of up to 5 digits, each with h, m, s or ms, like 1m30s \
         (GEP-2257)"
            .into()
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        parts += 1;
        if !(1..=5).contains(&digits) || parts > 4 {
            return None;
        }
        total += Duration::from_millis(number.parse::<u64>().ok()? * milliseconds);
        rest = after;
    }
    (parts > 0).then_some(total)
}

/// The name of an object, of a rule, of a host (RFC 1123 subdomain).
pub(super) fn name(text: &str) -> Result<(), String> {
    let is_outer = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|byte| is_outer(*byte))
            && bytes.last().is_some_and(|byte| is_outer(*byte))
            && bytes.iter().all(|byte| is_outer(*byte) || *byte == b'-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(());
    }
    Err("must be at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends of \
         each part"
        .into())
}

/// The name of a header, in lower case (RFC 9110 §5.1).
pub(super) fn header_name(text: &str) -> Result<Box<str>, String> {
    parameter_name(text)?;
    Ok(text.to_ascii_lowercase().into())
}

/// The name of a query parameter: as strict as that of a header, but in its own case.
pub(super) fn parameter_name(text: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 256 || !text.bytes().all(allowed) {
        return Err("must be a name of at most 256 characters, like x-env".into());
    }
    Ok(())
}

/// The value of a header (RFC 9110 §5.5): nothing in it can end the field.
pub(super) fn header_value(text: &str) -> Result<(), String> {
    let visible = |b: u8| b.is_ascii_graphic();
    let right = !text.is_empty()
        && text.len() <= 4096
        && text.bytes().all(|b| visible(b) || b == b' ' || b == b'\t')
        && text.bytes().next().is_some_and(visible)
        && text.bytes().last().is_some_and(visible);
    if right {
        return Ok(());
    }
    Err("must be 1 to 4096 visible ASCII characters, with spaces or tabs only between them".into())
}

/// The value of an `Exact` or `PathPrefix` match, normalised as a request's path is.
pub(super) fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.len() > 1024 {
        return Err("must begin with / and have at most 1024 characters".into());
    }
    let dots = |element: &str| matches!(&*element.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    if text.contains("//") || text.split('/').any(dots) {
        return Err("no request has such a path: repeated slashes and . or .. are normalised away".into());
    }
    match normalise(text.as_bytes()) {
        Ok(normal) => Ok(normal.into_owned()),
        // The specification takes it, and a request's path that has no normal form is compared as sent.
        Err(PathError::Parameter) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.into()),
        Err(error) => Err(format!("is no path that a request can be compared with: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_specifications_table() {
        let table = [
            ("0h", 0),
            ("0s", 0),
            ("0h0m0s", 0),
            ("1h", 3_600_000),
            ("30m", 1_800_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2h30m", 9_000_000),
            ("150m", 9_000_000),
            ("7230s", 7_230_000),
            ("1h30m10s", 5_410_000),
            ("10s30m1h", 5_410_000),
            ("100ms200ms300ms", 600),
            ("00060m", 3_600_000),
        ];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "0", "1", "1m1", "1d", "1h30m10s20ms50h", "999999h", "1.5h", "-15m", "1 s", "1S", "s", "1us"]
        {
            duration(text).expect_err(text);
        }
    }

    #[test]
    fn paths_are_normalised_as_requests_are() {
        let table =
            [("/", "/"), ("/a/b/", "/a/b/"), ("/%61%7e", "/a~"), ("/%3a", "/%3A"), ("/a;b=c", "/a;b=c")];
        for (text, normal) in table {
            assert_eq!(path(text).as_deref(), Ok(normal), "{text}");
        }
        let refused = [
            "",
            "a",
            "/a//b",
            "/a/./b",
            "/a/..",
            "/%2e%2E/a",
            "/a%2fb",
            "/a%00",
            "/a%",
            "/a%g0",
            "/a?b",
            "/ä",
        ];
        for text in refused {
            path(text).expect_err(text);
        }
    }

    #[test]
    fn a_header_value_cannot_end_its_field() {
        header_value("a b\tc").expect("a value");
        for text in ["", " a", "a ", "a\r\nb: c", "a\0", "ä"] {
            header_value(text).expect_err(text);
        }
    }
}
