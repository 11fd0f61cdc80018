//! What holds of the HTTP/1 edge whatever bytes come, for the fuzzer to break.
//!
//! Entry point: [`http1`]. Panics where something does not hold. What it says is said nowhere else: that heads do not
//! depend on how they are cut, and that what is sent on is read by the next one as it was read here.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use http::{HeaderMap, Method};

use super::{
    body::{self, Decoder, Piece},
    forward::{self, Client},
    message::{Framing, RequestHead, Version},
    parse::{self, Malformed},
    sniff::sniff,
};
use crate::policy;

/// The bytes are a request, a response, and a body; the first one says in what pieces they come.
pub(crate) fn http1(bytes: &[u8]) {
    // What is sent on is a little longer than what came, and there are bounds.
    let Some((step, bytes)) = bytes.split_first().filter(|(_, bytes)| bytes.len() <= parse::HEAD / 2) else {
        return;
    };
    let step = usize::from(*step % 64) + 1;
    sniffed(bytes, step);
    if let Some((head, taken)) = in_pieces(bytes, step, parse::request) {
        request(&head);
        decoded(head.framing, &bytes[taken..], step);
    }
    if let Some((head, taken)) = in_pieces(bytes, step, parse::response) {
        for method in [Method::GET, Method::HEAD] {
            let Ok(framing) = parse::response_framing(&method, &head) else { continue };
            decoded(framing, &bytes[taken..], step);
            let mut out = BytesMut::new();
            forward::response(&head, framing, (Version::Http11, false), &mut out);
            let sent = parse::response(&out).expect("what is sent on is well formed");
            let (again, length) = sent.expect("and whole");
            assert_eq!((again.status, length), (head.status, out.len()));
        }
    }
    in_pieces(bytes, step, parse::fields);
    for framing in [Framing::Chunked, Framing::Length(bytes.len() as u64 / 2), Framing::UntilClose] {
        decoded(framing, bytes, step);
    }
}

/// What the first bytes are once known to be stays so.
fn sniffed(bytes: &[u8], step: usize) {
    let mut known = None;
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        let now = sniff(&bytes[..end]);
        assert!(known.is_none() || now == known, "{known:?} became {now:?}");
        known = now;
    }
}

/// Parses `bytes`, once when they are all there and once as they come: both must say the same.
fn in_pieces<T>(
    bytes: &[u8],
    step: usize,
    parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Malformed>,
) -> Option<(T, usize)> {
    let whole = parse(bytes);
    let ends = (0..bytes.len()).step_by(step).chain([bytes.len()]);
    let pieces = ends.map(|end| parse(&bytes[..end])).find(|read| !matches!(read, Ok(None)));
    match (whole, pieces.unwrap_or(Ok(None))) {
        (Ok(Some(whole)), Ok(Some((_, taken)))) => {
            assert_eq!(whole.1, taken, "a head's length depends on how it comes");
            assert!(taken <= bytes.len());
            Some(whole)
        }
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => None,
        (whole, pieces) => {
            let said = |read: Result<Option<(T, usize)>, Malformed>| read.map(|read| read.map(|(_, n)| n));
            panic!("whole: {:?}, in pieces: {:?}", said(whole), said(pieces))
        }
    }
}

/// What is sent on is the request that was read.
fn request(head: &RequestHead) {
    let path = head.path();
    if let Ok(normal) = policy::normalise(path.as_bytes()) {
        let again = policy::normalise(normal.as_bytes());
        assert_eq!(again.as_deref(), Ok(&*normal), "normalisation is not idempotent");
    }
    let _ = (head.host(), head.is_grpc(), head.pairs());
    // Ours come on top, and there are bounds.
    if head.fields.len() > 100 {
        return;
    }
    let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), None);
    let mut out = BytesMut::new();
    forward::request(head, &client, &mut out);
    let (again, length) = match parse::request(&out) {
        Ok(Some(again)) => again,
        other => panic!("what is sent on is refused: {other:?}: {}", out.escape_ascii()),
    };
    assert_eq!(length, out.len());
    assert_eq!(
        (&again.method, &again.target, &again.authority),
        (&head.method, &head.target, &head.authority)
    );
    assert_eq!(again.framing, head.framing, "{}", out.escape_ascii());
    assert!(!again.fields.contains_key("x-forwarded-client-cert"), "nobody proved one");
}

/// What a body is does not depend on how it comes, and no byte is made up.
fn decoded(framing: Framing, bytes: &[u8], step: usize) {
    let (whole, pieces) = (decode(framing, bytes, bytes.len().max(1)), decode(framing, bytes, step));
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces, "a body depends on how it comes");
            assert!(whole.content.len() + whole.rest <= bytes.len());
            let mut out = BytesMut::new();
            body::encode(Framing::Chunked, &whole.content, &mut out);
            body::encode_end(Framing::Chunked, whole.trailers.as_ref(), &mut out);
            let again = decode(Framing::Chunked, &out, step).expect("what is sent on is well formed");
            assert!(again.ended && again.rest == 0);
            assert_eq!(
                (again.content, again.trailers),
                (whole.content, whole.trailers),
                "what is sent on is another body"
            );
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => panic!("whole: {whole:?}, in pieces: {pieces:?}"),
    }
}

#[derive(Debug, Default, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// How many bytes are behind it, or not yet understood.
    rest: usize,
}

fn decode(framing: Framing, bytes: &[u8], step: usize) -> Result<Decoded, Malformed> {
    let (mut decoder, mut buffer, mut decoded) = (Decoder::new(framing), BytesMut::new(), Decoded::default());
    let mut coming = bytes.chunks(step);
    loop {
        match decoder.next(&mut buffer)? {
            Some(Piece::Data(data)) => {
                assert!(!data.is_empty(), "a piece of nothing");
                decoded.content.extend_from_slice(&data);
            }
            Some(Piece::End(trailers)) => {
                decoded.rest = buffer.len() + coming.map(<[u8]>::len).sum::<usize>();
                return Ok(Decoded { trailers, ended: true, ..decoded });
            }
            None => match coming.next() {
                Some(more) => buffer.extend_from_slice(more),
                None => return Ok(Decoded { rest: buffer.len(), ..decoded }),
            },
        }
    }
}
