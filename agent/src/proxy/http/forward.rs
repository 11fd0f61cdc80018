//! What a head becomes on its way through: fields that concern one hop go, what apps assert of the way is replaced.
//!
//! Entry points: [`request`], [`response`], [`answer`]. RFC 9110 §7.6.1, RFC 9112 §9. Pure: heads in, bytes out.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    body::put_field,
    message::{Framing, RequestHead, ResponseHead, Version, names, options},
};
use crate::identity::Identity;

/// Fields of one hop that need not be named in `Connection` to be it.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "upgrade",
];

/// Who is in front of us, as far as it is proved, in the words that a server is told: the same for all requests of a
/// connection.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Client(Vec<(HeaderName, HeaderValue)>);

impl Client {
    pub(in crate::proxy) fn new(address: IpAddr, identity: Option<&Identity>) -> Self {
        let identity = identity.map(|identity| ("x-forwarded-client-cert", format!("URI={identity}")));
        let fields = [("x-forwarded-for", address.to_string()), ("x-forwarded-proto", "http".to_owned())];
        let fields = fields.into_iter().chain(identity);
        // An address and an identity have no character that a field could not have.
        let value = |text: String| HeaderValue::try_from(text).ok();
        Self(fields.filter_map(|(name, text)| Some((HeaderName::from_static(name), value(text)?))).collect())
    }

    /// What Weir says of a request.
    pub(super) fn asserted(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0
    }
}

/// Whether only Weir says this of a request: an app that could set it could pretend.
pub(super) fn is_asserted(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name == "forwarded" || name.starts_with("x-weir-")
}

/// Words of ours as a field's value; a name from an object could have any character.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// The protocol that both ends want to change to, where they do (RFC 9110 §7.8).
pub(super) fn upgrade(fields: &HeaderMap) -> Option<&http::HeaderValue> {
    fields.get(header::UPGRADE).filter(|_| names(fields, "upgrade"))
}

/// Writes a request for the next hop.
pub(super) fn request(head: &RequestHead, client: &Client, out: &mut BytesMut) {
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(head.target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    put_field("host", head.authority.as_bytes(), out);
    let keep = |name: &HeaderName| !(name == header::HOST || is_asserted(name));
    end_to_end(&head.fields, keep, out);
    // Trailers are passed on, whoever asked for them (RFC 9110 §10.1.4).
    if head.fields.get_all(header::TE).iter().any(|value| value.as_bytes().starts_with(b"trailers")) {
        out.put_slice(b"te: trailers\r\n");
    }
    if let Some(protocol) = upgrade(&head.fields) {
        out.put_slice(b"connection: upgrade\r\n");
        put_field("upgrade", protocol.as_bytes(), out);
    }
    // A server that does not change must find the end of the body, else it would read requests in it.
    put_framing(head.framing, out);
    for (name, value) in client.asserted() {
        put_field(name.as_str(), value.as_bytes(), out);
    }
    out.put_slice(b"\r\n");
}

/// Writes a response for the client. `last` says that the connection ends with it.
pub(super) fn response(
    head: &ResponseHead,
    framing: Framing,
    (version, last): (Version, bool),
    out: &mut BytesMut,
) {
    put_status(head.status, out);
    end_to_end(&head.fields, |_| true, out);
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    match upgrade(&head.fields) {
        Some(protocol) if switches => {
            out.put_slice(b"connection: upgrade\r\n");
            put_field("upgrade", protocol.as_bytes(), out);
        }
        _ => {
            if framing == Framing::Chunked {
                put_framing(framing, out);
            } else if let Some(length) = head.fields.get(header::CONTENT_LENGTH) {
                // Also where there is no body: it says how long it would have been.
                put_field("content-length", length.as_bytes(), out);
            }
            if last && !head.status.is_informational() {
                out.put_slice(b"connection: close\r\n");
            } else if version == Version::Http10 && !head.status.is_informational() {
                out.put_slice(b"connection: keep-alive\r\n");
            }
        }
    }
    out.put_slice(b"\r\n");
}

/// A last answer of our own to what was no request, with a line of text as its body.
pub(super) fn answer(status: StatusCode, text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    put_status(status, &mut out);
    put_field("content-type", b"text/plain", &mut out);
    put_field("content-length", (text.len() + 1).to_string().as_bytes(), &mut out);
    out.put_slice(b"connection: close\r\n\r\n");
    out.put_slice(text.as_bytes());
    out.put_slice(b"\n");
    out
}

fn put_status(status: StatusCode, out: &mut BytesMut) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

fn put_framing(framing: Framing, out: &mut BytesMut) {
    match framing {
        Framing::Length(length) => put_field("content-length", length.to_string().as_bytes(), out),
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Empty | Framing::UntilClose => {}
    }
}

/// Writes the fields that are for the far end and that `keep` keeps.
fn end_to_end(fields: &HeaderMap, keep: impl Fn(&HeaderName) -> bool, out: &mut BytesMut) {
    let named: Vec<&str> = options(fields).collect();
    for (name, value) in fields {
        let framing = name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING;
        if !framing && !is_of_hop(name, &named) && keep(name) {
            put_field(name.as_str(), value.as_bytes(), out);
        }
    }
}

/// The fields that a message of HTTP/1 brings for the far end, for one of HTTP/2.
pub(super) fn without_hop(fields: &HeaderMap) -> HeaderMap {
    let named: Vec<&str> = options(fields).collect();
    let keep = |name: &HeaderName| *name != header::TRANSFER_ENCODING && !is_of_hop(name, &named);
    let kept = fields.iter().filter(|(name, _)| keep(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_of_hop(name: &HeaderName, named: &[&str]) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
        || named.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    fn forwarded(text: &str) -> String {
        let (head, _) = parse::request(text.as_bytes()).expect("good").expect("whole");
        let identity: Identity = "spiffe://cluster.local/ns/shop/sa/cart".parse().expect("an identity");
        let mut out = BytesMut::new();
        let client = Client::new(IpAddr::from([10, 244, 1, 2]), Some(&identity));
        request(&head, &client, &mut out);
        let (_, taken) = parse::request(&out).expect("our own is good").expect("and whole");
        assert_eq!(taken, out.len());
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn fields_of_one_hop_go_and_the_rest_stays() {
        let text = "GET /a?b HTTP/1.1\r\nHost: pay\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                    Proxy-Connection: a\r\nProxy-Authorization: b\r\nAccept: */*\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n";
        assert_eq!(
            forwarded(text),
            "GET /a?b HTTP/1.1\r\nhost: pay\r\naccept: */*\r\ncookie: a=1\r\ncookie: b=2\r\nte: trailers\r\n\
             x-forwarded-for: 10.244.1.2\r\nx-forwarded-proto: http\r\n\
             x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/cart\r\n\r\n"
        );
    }

    #[test]
    fn what_an_app_asserts_of_the_way_is_replaced() {
        let text = "POST / HTTP/1.1\r\nHost: pay\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nx-forwarded-client-cert: URI=a\r\n\
                    X-Forwarded-Anything: b\r\nX-Weir-User: root\r\nContent-Length: 3\r\n\r\n";
        let forwarded = forwarded(text);
        for lie in ["1.1.1.1", "URI=a", "anything", "root"] {
            assert!(!forwarded.contains(lie), "{forwarded}");
        }
        assert!(forwarded.contains("content-length: 3\r\n"), "{forwarded}");
    }

    #[test]
    fn a_change_of_protocol_is_passed_on() {
        let text = "GET /chat HTTP/1.1\r\nHost: pay\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let forwarded = forwarded(text);
        assert!(forwarded.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{forwarded}");
        let with_body = text.replace("Upgrade: websocket\r\n", "Upgrade: websocket\r\nContent-Length: 5\r\n");
        assert!(super::tests::forwarded(&with_body).contains("content-length: 5\r\n"));
        // Without the option the field is of a hop that ended with us.
        assert!(!super::tests::forwarded(&text.replace(", Upgrade", "")).contains("websocket"));
    }
}
