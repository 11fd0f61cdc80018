//! Which headers may carry a claim to the app, and how a claim is written there.
//!
//! Entry points: [`header_name`], [`is_reserved`], [`value`].

use std::fmt::Write as _;

/// Headers that begin so are the mesh's own: no client's gets through, whether or not an object names them.
pub const RESERVED_PREFIX: &str = "weir-user-";

/// What an app, a proxy or the mesh itself reads a meaning of its own into.
pub(super) const TAKEN: [&str; 31] = [
    "accept-encoding",
    "authorization",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "retry-after",
    "server",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "weir-denied-by",
    "www-authenticate",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// So do they into headers that begin so.
pub(super) const FAMILIES: [&str; 5] = ["grpc-", "proxy-", "sec-", "x-forwarded-", "x-envoy-"];

/// A header in which a claim may be given to the app, in lower case.
///
/// # Errors
/// Words that say what would be right.
pub(super) fn header_name(text: &str) -> Result<Box<str>, &'static str> {
    let name = text.to_ascii_lowercase();
    if !is_token(&name) {
        return Err("a header has a name, like weir-user-name");
    }
    if TAKEN.contains(&&*name) || FAMILIES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err("this header has another meaning: choose one of your own, like weir-user-name");
    }
    Ok(name.into())
}

/// Whether no client may send the header `name` (lower case), whatever objects there are.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The texts of a claim as one field value: separated by commas, and percent-encoded (RFC 3986 §2.1) where
/// a byte is not visible ASCII, or is a comma or a percent sign, so that no text can pass for two.
pub(super) fn value(texts: &[String]) -> String {
    let mut value = String::new();
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            value.push(',');
        }
        for byte in text.bytes() {
            if byte.is_ascii_graphic() && byte != b',' && byte != b'%' {
                value.push(char::from(byte));
            } else {
                let _infallible = write!(value, "%{byte:02X}");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_cannot_break_a_header_or_pass_for_two() {
        let written = |texts: &[&str]| value(&texts.iter().map(|text| text.to_string()).collect::<Vec<_>>());
        assert_eq!(written(&["alice@example.com"]), "alice@example.com");
        assert_eq!(written(&["a", "b"]), "a,b");
        assert_eq!(written(&["a,b"]), "a%2Cb");
        assert_eq!(written(&["a\r\nx-admin: yes", "50%", "ä b"]), "a%0D%0Ax-admin:%20yes,50%25,%C3%A4%20b");
        assert_eq!(written(&[]), "");
    }

    #[test]
    fn a_header_with_a_meaning_of_its_own_carries_no_claim() {
        assert_eq!(header_name("X-User"), Ok("x-user".into()));
        assert_eq!(header_name("weir-user-groups"), Ok("weir-user-groups".into()));
        for name in
            ["", "a b", ":path", "Host", "Cookie", "x-forwarded-for", "sec-fetch-site", "Content-Length", "ä"]
        {
            header_name(name).expect_err(name);
        }
        assert!(is_reserved("weir-user-name") && !is_reserved("x-user"));
    }
}
