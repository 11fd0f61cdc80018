//! Percent-encoding of header text (RFC 3986 §2.1), strict where it is written and lenient where it is read.
//!
//! Entry points: [`encode`] and [`decode`].

use std::fmt::Write as _;

/// `text` with `%` and every byte that `keep` does not want as `%XX`.
pub(super) fn encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte != b'%' && byte.is_ascii() && keep(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `text` with `%XX` read back; what is not an escape stays, what is not UTF-8 becomes U+FFFD.
pub(super) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = bytes.get(at + 1).zip(bytes.get(at + 2)).filter(|_| byte == b'%');
        match escape.and_then(|(high, low)| Some((hex(*high)?, hex(*low)?))) {
            Some((high, low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A printable ASCII character that is not a space.
pub(super) fn is_visible(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
