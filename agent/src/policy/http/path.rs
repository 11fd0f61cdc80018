//! One spelling for each path, so that no other spelling gets around a rule.
//!
//! Entry point: [`normalise`]. Knows nothing of rules: a path that could be read in two ways is refused
//! here, and what that means for a request is the rule's business.

use std::borrow::Cow;

/// Why a path is not judged: it is no path, or it could mean more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It does not begin with a slash: absolute-form, authority-form (RFC 9112 §3.2), or nonsense.
    #[error("it does not begin with /")]
    NotAbsolute,
    /// This byte may not stand in a path as it is (RFC 3986 §3.3); query and fragment are not part of it.
    #[error("the byte 0x{0:02X} may not stand in a path as it is (RFC 3986 §3.3)")]
    BadByte(u8),
    /// A percent sign without two hexadecimal digits (RFC 3986 §2.1).
    #[error("a % is not followed by two hexadecimal digits (RFC 3986 §2.1)")]
    BadEscape,
    /// `%2F`: to some applications a separator, to others a part of a name.
    #[error("it has an encoded slash (%2F)")]
    EncodedSlash,
    /// `\` or `%5C`: to some applications a separator.
    #[error("it has a backslash (%5C)")]
    Backslash,
    /// NUL, another control character, or DEL, encoded.
    #[error("it has an encoded control character (0x{0:02X})")]
    Control(u8),
    /// `;` or `%3B`: some applications cut a segment there before they look at it.
    #[error("it has a parameter (; or %3B)")]
    Parameter,
    /// `%25` and two hexadecimal digits: a second decoding would read another path.
    #[error("it is encoded twice (%25 and two hexadecimal digits)")]
    EncodedTwice,
    /// Encoded bytes that are not UTF-8 (RFC 3629); an overlong form is not.
    #[error("its encoded bytes are not UTF-8")]
    NotUtf8,
}

/// The one spelling of the path `raw` of an HTTP request, without query (RFC 3986 §6.2.2): unreserved
/// characters decoded, other escapes in upper case, dot segments resolved, repeated slashes made one.
///
/// Borrows, and allocates nothing, when `raw` is that spelling. The asterisk of `OPTIONS *` (RFC 9112
/// §3.2.4) stands for itself. What is refused is what two applications could read as two paths; a path
/// that is not refused is the same for all that follow RFC 3986.
///
/// # Errors
/// Why `raw` has no such spelling.
pub fn normalise(raw: &[u8]) -> Result<Cow<'_, str>, PathError> {
    match raw {
        [] => return Err(PathError::Empty),
        b"*" => return Ok(Cow::Borrowed("*")),
        [b'/', ..] => {}
        _ => return Err(PathError::NotAbsolute),
    }
    if is_normal(raw)? {
        return str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| PathError::NotUtf8);
    }
    String::from_utf8(rewritten(raw)).map(Cow::Owned).map_err(|_| PathError::NotUtf8)
}

/// Whether nothing has to be changed.
fn is_normal(raw: &[u8]) -> Result<bool, PathError> {
    let mut normal = true;
    let mut at = 0;
    // Where the segment began that ends here.
    let mut segment = 1;
    while let Some(&byte) = raw.get(at) {
        match byte {
            b'/' => {
                normal &= at == 0 || at > segment && !is_dots(&raw[segment..at]);
                segment = at + 1;
                at += 1;
            }
            b'%' => {
                let (length, as_it_should_be) = escape(raw, at)?;
                normal &= as_it_should_be;
                at += length;
            }
            b'\\' => return Err(PathError::Backslash),
            b';' => return Err(PathError::Parameter),
            byte if is_unreserved(byte) || is_delimiter(byte) => at += 1,
            byte => return Err(PathError::BadByte(byte)),
        }
    }
    Ok(normal && !is_dots(&raw[segment..]))
}

/// Looks at the escape at `at`, and at those that make up one character with it: how many bytes of `raw`
/// they are, and whether they are written as they should be.
fn escape(raw: &[u8], at: usize) -> Result<(usize, bool), PathError> {
    let value = decoded(raw, at).ok_or(PathError::BadEscape)?;
    match value {
        b'/' => return Err(PathError::EncodedSlash),
        b'\\' => return Err(PathError::Backslash),
        b';' => return Err(PathError::Parameter),
        0..0x20 | 0x7f => return Err(PathError::Control(value)),
        b'%' if begins_escape(raw, at + 3) => return Err(PathError::EncodedTwice),
        _ => {}
    }
    let length = if value.is_ascii() { 3 } else { character(raw, at, value)? };
    let upper = !raw[at..at + length].iter().any(u8::is_ascii_lowercase);
    Ok((length, upper && !is_unreserved(value)))
}

/// Whether two hexadecimal digits come at `at`, themselves encoded or not.
fn begins_escape(raw: &[u8], at: usize) -> bool {
    let digit = |at: usize| match raw.get(at)? {
        b'%' => Some((decoded(raw, at)?, at + 3)),
        byte => Some((*byte, at + 1)),
    };
    let Some((first, next)) = digit(at) else { return false };
    let Some((second, _)) = digit(next) else { return false };
    first.is_ascii_hexdigit() && second.is_ascii_hexdigit()
}

/// How many bytes of `raw` the character takes that begins with the encoded byte `first` at `at`.
fn character(raw: &[u8], at: usize, first: u8) -> Result<usize, PathError> {
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(PathError::NotUtf8),
    };
    let mut bytes = [0; 4];
    for (index, byte) in bytes[..length].iter_mut().enumerate() {
        *byte = decoded(raw, at + 3 * index).ok_or(PathError::NotUtf8)?;
    }
    str::from_utf8(&bytes[..length]).map(|_| 3 * length).map_err(|_| PathError::NotUtf8)
}

/// `raw`, which `is_normal` has looked through, as it should be.
fn rewritten(raw: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(raw.len());
    path.push(b'/');
    let mut segments = raw[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        // `path` ends in a slash here.
        let begin = path.len();
        rewrite(segment, &mut path);
        match &path[begin..] {
            b"" | b"." => path.truncate(begin),
            b".." => {
                let above = path[..begin - 1].iter().rposition(|byte| *byte == b'/');
                path.truncate(above.map_or(1, |slash| slash + 1));
            }
            _ if segments.peek().is_some() => path.push(b'/'),
            _ => {}
        }
    }
    path
}

fn rewrite(segment: &[u8], path: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = segment.get(at) {
        match decoded(segment, at) {
            Some(value) if is_unreserved(value) => path.push(value),
            Some(_) => path.extend(segment[at..at + 3].iter().map(u8::to_ascii_uppercase)),
            None => {
                path.push(byte);
                at += 1;
                continue;
            }
        }
        at += 3;
    }
}

/// The byte that the escape at `at` stands for, if there is one.
fn decoded(raw: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = *raw.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What else may stand in a segment as it is (RFC 3986 §3.3), but for the semicolon.
fn is_delimiter(byte: u8) -> bool {
    b"!$&'()*+,=:@".contains(&byte)
}

/// The bytes of a normalised path as an application reads them where encoding makes no difference: `%40`
/// is `@` to whoever decodes a path, although RFC 3986 §2.2 tells the two apart.
///
/// Only what may stand in a segment either way is decoded; all else was decoded already, or refused, or
/// can only stand encoded.
#[derive(Clone, Debug)]
pub(super) struct Folded<'a>(&'a [u8]);

impl<'a> Folded<'a> {
    pub(super) fn new(path: &'a str) -> Self {
        Self(path.as_bytes())
    }
}

impl Iterator for Folded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let Some(value) = decoded(self.0, 0)
            && is_delimiter(value)
        {
            self.0 = &self.0[3..];
            return Some(value);
        }
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

impl DoubleEndedIterator for Folded<'_> {
    fn next_back(&mut self) -> Option<u8> {
        let third_last = self.0.len().checked_sub(3);
        if let Some((at, value)) = third_last.and_then(|at| Some((at, decoded(self.0, at)?)))
            && is_delimiter(value)
        {
            self.0 = &self.0[..at];
            return Some(value);
        }
        let (last, rest) = self.0.split_last()?;
        self.0 = rest;
        Some(*last)
    }
}

#[cfg(test)]
mod tests;
