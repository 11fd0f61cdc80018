//! Where a body is at: how much of the bytes at hand is content, and whether it has ended.
//!
//! Entry points: [`Decoder`] for what comes, [`encode`] and [`encode_end`] for what goes. Pure: bytes in, bytes out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;

use super::{
    message::Framing,
    parse::{Malformed, fields},
};

/// Most bytes of a chunk's first line, its extensions included; they are dropped (RFC 9112 §7.1.1).
const CHUNK_LINE: usize = 256;
/// A chunk's length has at most so many digits: sixteen would still fit, and nobody sends fifteen.
const CHUNK_DIGITS: usize = 15;

/// What comes next of a body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Content.
    Data(Bytes),
    /// Its end, with the fields behind it.
    End(Option<HeaderMap>),
}

/// Reads a body out of a buffer.
#[derive(Debug)]
pub(super) struct Decoder(State);

#[derive(Debug)]
enum State {
    /// So many bytes are missing.
    Length(u64),
    UntilClose,
    ChunkLine,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Ended,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Empty | Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Takes the next piece from the start of `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            match &mut self.0 {
                State::Ended => return Ok(Some(Piece::End(None))),
                State::UntilClose => {
                    return Ok((!buffer.is_empty()).then(|| Piece::Data(buffer.split().freeze())));
                }
                State::Length(left) => {
                    let piece = take(buffer, left);
                    if *left == 0 {
                        self.0 = State::Ended;
                    }
                    return Ok(piece);
                }
                State::Chunk(left) => {
                    let piece = take(buffer, left);
                    if *left == 0 {
                        self.0 = State::ChunkEnd;
                    }
                    return Ok(piece);
                }
                State::ChunkLine => match chunk_line(buffer)? {
                    None => return Ok(None),
                    Some(0) => self.0 = State::Trailers,
                    Some(length) => self.0 = State::Chunk(length),
                },
                State::ChunkEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.0 = State::ChunkLine;
                    }
                    None if buffer.is_empty() || buffer[..] == b"\r"[..] => return Ok(None),
                    _ => return Err(Malformed::Chunk),
                },
                State::Trailers => {
                    let Some((found, length)) = fields(buffer)? else { return Ok(None) };
                    buffer.advance(length);
                    self.0 = State::Ended;
                    return Ok(Some(Piece::End((!found.is_empty()).then_some(found))));
                }
            }
        }
    }

    /// The connection ended. Whether the body had.
    pub(super) fn close(&mut self) -> bool {
        let complete = matches!(self.0, State::Ended | State::UntilClose);
        self.0 = State::Ended;
        complete
    }
}

fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Piece> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    *left -= count as u64;
    (count > 0).then(|| Piece::Data(buffer.split_to(count).freeze()))
}

/// The length in `chunk-size [ chunk-ext ] CRLF`.
fn chunk_line(buffer: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let end = buffer.iter().take(CHUNK_LINE).position(|byte| matches!(byte, b'\r' | b'\n'));
    let end = match end {
        None if buffer.len() >= CHUNK_LINE => return Err(Malformed::Chunk),
        None => return Ok(None),
        Some(end) => end,
    };
    match (buffer[end], buffer.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) => return Ok(None),
        _ => return Err(Malformed::Chunk),
    }
    let line = &buffer[..end];
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let behind = line[digits..].trim_ascii_start();
    let control = behind.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    if !(1..=CHUNK_DIGITS).contains(&digits) || control || !(behind.is_empty() || behind[0] == b';') {
        return Err(Malformed::Chunk);
    }
    let length =
        std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    buffer.advance(end + 2);
    length.map(Some).ok_or(Malformed::Chunk)
}

/// Writes content as `framing` wants it.
pub(super) fn encode(framing: Framing, data: &[u8], out: &mut BytesMut) {
    if data.is_empty() {
        // An empty chunk would be the last one.
        return;
    }
    if framing == Framing::Chunked {
        out.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.put_slice(data);
        out.put_slice(b"\r\n");
    } else {
        out.put_slice(data);
    }
}

/// Writes the end of a body, with the fields behind it where `framing` can carry them.
pub(super) fn encode_end(framing: Framing, trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    if framing != Framing::Chunked {
        return;
    }
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        put_field(name.as_str(), value.as_bytes(), out);
    }
    out.put_slice(b"\r\n");
}

/// `name: value` and the line's end.
pub(super) fn put_field(name: &str, value: &[u8], out: &mut BytesMut) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Content, and what is left behind the body.
    type Decoded = (Vec<u8>, Vec<u8>);

    /// All content of `text`, which comes in pieces of `step` bytes, and what is left behind the body.
    fn decode(framing: Framing, text: &[u8], step: usize) -> Result<Option<Decoded>, Malformed> {
        let (mut decoder, mut buffer, mut content) = (Decoder::new(framing), BytesMut::new(), Vec::new());
        let mut rest = text.chunks(step.max(1));
        loop {
            match decoder.next(&mut buffer)? {
                Some(Piece::Data(data)) => content.extend_from_slice(&data),
                Some(Piece::End(_)) => {
                    buffer.extend_from_slice(&rest.collect::<Vec<_>>().concat());
                    return Ok(Some((content, buffer.to_vec())));
                }
                None => match rest.next() {
                    Some(more) => buffer.extend_from_slice(more),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for step in [1, 2, 3, 100] {
            let whole =
                |framing, text: &str| decode(framing, text.as_bytes(), step).expect("good").expect("whole");
            let is = |content: &str, rest: &str| (content.as_bytes().to_vec(), rest.as_bytes().to_vec());
            assert_eq!(whole(Framing::Length(5), "helloGET"), is("hello", "GET"));
            assert_eq!(whole(Framing::Empty, "GET"), is("", "GET"));
            let chunked = "5\r\nhello\r\n006;a=b\r\n, you\n\r\n0\r\nX-Sum: 1\r\n\r\nGET";
            assert_eq!(whole(Framing::Chunked, chunked), is("hello, you\n", "GET"));
        }
    }

    #[test]
    fn the_fields_behind_a_body_are_given() {
        let mut buffer = BytesMut::from("0\r\ngrpc-status: 0\r\n\r\n");
        let Ok(Some(Piece::End(Some(fields)))) = Decoder::new(Framing::Chunked).next(&mut buffer) else {
            panic!("no fields")
        };
        assert_eq!(fields["grpc-status"], "0");
    }

    #[test]
    fn a_chunk_that_two_readers_could_read_in_two_ways_is_refused() {
        for bad in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "\r\nhello\r\n",
            "5;a\u{0}\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "1000000000000000\r\n",
            "ffffffffffffffffff\r\n",
            "g\r\n",
            "0\r\nContent-Length : 1\r\n\r\n",
        ] {
            decode(Framing::Chunked, bad.as_bytes(), 100).expect_err(bad);
        }
        let long = format!("5;{}\r\nhello\r\n", "a".repeat(CHUNK_LINE));
        decode(Framing::Chunked, long.as_bytes(), 100).expect_err("an extension without end");
    }

    #[test]
    fn a_body_that_breaks_off_is_not_complete() {
        let mut buffer = BytesMut::from("hel");
        let mut decoder = Decoder::new(Framing::Length(5));
        decoder.next(&mut buffer).expect("good");
        assert!(!decoder.close());
        assert!(!Decoder::new(Framing::Chunked).close());
        assert!(Decoder::new(Framing::UntilClose).close());
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            step in 1usize..30,
        ) {
            let mut out = BytesMut::new();
            pieces.iter().for_each(|piece| encode(Framing::Chunked, piece, &mut out));
            encode_end(Framing::Chunked, None, &mut out);
            let decoded = decode(Framing::Chunked, &out, step).expect("good").expect("whole");
            prop_assert_eq!(decoded, (pieces.concat(), Vec::new()));
        }

        #[test]
        fn no_bytes_bring_a_decoder_down(bytes in proptest::collection::vec(any::<u8>(), 0..100), step in 1usize..9) {
            for framing in [Framing::Chunked, Framing::Length(7), Framing::Empty] {
                let _ = decode(framing, &bytes, step);
            }
        }
    }
}
