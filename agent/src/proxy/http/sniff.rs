//! What a client's first bytes are.
//!
//! Entry points: [`sniff`], which is pure, [`first`], which reads for it, and [`spoken`], where the server may speak first.

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

/// What can come before the client has said anything, in octets: a server of HTTP/2 says a few words of its own.
const AHEAD: usize = 1024;

/// Whether a server that speaks first may speak HTTP/2: its preface is a SETTINGS frame (RFC 9113 §3.4), which it need not
/// hold back for the client's. `None` while it could be.
fn may_be_http2(server: &[u8]) -> Option<bool> {
    // Length (3), type, flags, stream (4). More settings than fit in 64 KiB nobody has.
    const HEAD: [Option<u8>; 9] = [Some(0), None, None, Some(4), Some(0), Some(0), Some(0), Some(0), Some(0)];
    let fits = server.iter().zip(HEAD).all(|(byte, wanted)| wanted.is_none_or(|wanted| *byte == wanted));
    match fits {
        true if server.len() < HEAD.len() => None,
        fits => Some(fits),
    }
}

/// As [`first`], where the server may speak before the client does: one that does, and not as HTTP/2 would, speaks no HTTP.
/// Its bytes stay in its buffer.
///
/// # Errors
/// Those of the client's connection.
pub(super) async fn spoken<R, S>(
    client: &mut Reader<R>,
    server: &mut Reader<S>,
) -> io::Result<Option<Protocol>>
where
    R: AsyncRead + Unpin,
    S: AsyncRead + Unpin,
{
    loop {
        tokio::select! {
            spoken = first(client) => return spoken,
            filled = server.fill() => {
                let more = filled.is_ok_and(|count| count > 0) && server.buffer.len() <= AHEAD;
                if !more || may_be_http2(&server.buffer) == Some(false) {
                    return Ok(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// What is said of a connection of which the server says this, and then the client that, and how much of the server's
    /// is kept.
    async fn heard(server: &[u8], client: &[u8]) -> (Option<Protocol>, usize) {
        let ((mut speaks, of_server), (mut asks, of_client)) = (duplex(4096), duplex(4096));
        let (mut of_server, mut of_client) = (Reader::new(of_server), Reader::new(of_client));
        speaks.write_all(server).await.expect("room");
        let late = async {
            // The server is heard first, whatever it takes.
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            asks.write_all(client).await.expect("room");
            std::future::pending::<()>().await;
        };
        let protocol = tokio::select! {
            spoken = spoken(&mut of_client, &mut of_server) => spoken.expect("no error"),
            () = late => None,
        };
        (protocol, of_server.buffer.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_speaks_first_can_speak_http2() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        assert_eq!(heard(settings, PREFACE).await, (Some(Protocol::Http2), settings.len()));
        assert_eq!(heard(b"\0\0\0\x04\0\0\0\0\0", b"GET / HTTP/1.1").await.0, Some(Protocol::Http1));
        // A part of a frame's head.
        assert_eq!(heard(b"\0\0\x06", PREFACE).await, (Some(Protocol::Http2), 3));
        // Acknowledged before anything was said, another stream's, another frame, a greeting of MySQL's, words.
        for other in [
            &b"\0\0\0\x04\x01\0\0\0\0"[..],
            b"\0\0\0\x04\0\0\0\0\x01",
            b"\0\0\x08\x06\0\0\0\0\0",
            b"\x4a\0\0\0\x0a8.0.36\0",
            b"SSH-2.0-OpenSSH\r\n",
            b"220 mail.example\r\n",
        ] {
            assert_eq!(heard(other, PREFACE).await.0, None, "{}", other.escape_ascii());
        }
        let much = [settings, &[0; AHEAD][..]].concat();
        assert_eq!(heard(&much, PREFACE).await.0, None);
    }

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
