//! What a client's first bytes are.
//!
//! Entry points: [`sniff`], which is pure, and [`first`], which reads for it.

use std::io;

use tokio::io::AsyncRead;

use super::io::Reader;

/// What a connection speaks, by its client's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A method, and what follows one.
    Http1,
    /// The preface of HTTP/2 (RFC 9113 §3.4).
    Http2,
    /// Anything else, TLS too.
    Other,
}

/// First bytes of a connection that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method that is looked for.
const METHOD: usize = 32;

/// Says what `bytes` begin; `None` while they could be more than one thing.
pub(super) fn sniff(bytes: &[u8]) -> Option<Protocol> {
    if bytes.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    // An empty line in front of a request is usual enough.
    if PREFACE.starts_with(bytes) || b"\r\n".starts_with(bytes) {
        return None;
    }
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || b"-_".contains(byte)).count();
    match bytes.get(method) {
        Some(b' ') if (1..=METHOD).contains(&method) => match bytes.get(method + 1) {
            Some(b'/' | b'*' | b'h' | b'H') => Some(Protocol::Http1),
            Some(_) => Some(Protocol::Other),
            None => None,
        },
        None if method <= METHOD => None,
        _ => Some(Protocol::Other),
    }
}

/// Reads until it is clear what is spoken; `None` when the client says nothing at all.
///
/// # Errors
/// Those of the client's connection.
pub(super) async fn first<R: AsyncRead + Unpin>(client: &mut Reader<R>) -> io::Result<Option<Protocol>> {
    loop {
        if let Some(protocol) = sniff(&client.buffer) {
            return Ok(Some(protocol));
        }
        if client.fill().await? == 0 {
            return Ok((!client.buffer.is_empty()).then_some(Protocol::Other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_is_spoken_as_soon_as_they_can() {
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Protocol::Http1)),
            (b"\r\nGET /", Some(Protocol::Http1)),
            (b"OPTIONS *", Some(Protocol::Http1)),
            (b"M-SEARCH * ", Some(Protocol::Http1)),
            (b"GET http://a/", Some(Protocol::Http1)),
            (b"AMETHODOFTHIRTYTWOBYTESISTHELAST /", Some(Protocol::Http1)),
            // By its first 33 bytes it is other, so it is when they come together.
            (b"AMETHODOFTHIRTYTHREEBYTESISNOMORE", Some(Protocol::Other)),
            (b"AMETHODOFTHIRTYTHREEBYTESISNOMORE /", Some(Protocol::Other)),
            (b"GE", None),
            (b"\r", None),
            (b"\r\n", None),
            (b"\r\r", Some(Protocol::Other)),
            (b"GET ", None),
            (b"", None),
            (b"PRI * HT", None),
            (PREFACE, Some(Protocol::Http2)),
            (b"PRI /", Some(Protocol::Http1)),
            (b"\x16\x03\x01", Some(Protocol::Other)),
            (b"SSH-2.0-OpenSSH\r\n", Some(Protocol::Other)),
            (b"EHLO a\r\n", Some(Protocol::Other)),
            (b"get / HTTP/1.1", Some(Protocol::Other)),
            (b" GET /", Some(Protocol::Other)),
            (&[b'A'; 40], Some(Protocol::Other)),
        ] {
            assert_eq!(sniff(bytes), protocol, "{}", bytes.escape_ascii());
        }
    }
}
