//! HTTP/1 heads from bytes, strictly: what two readers could read in two ways is refused, never repaired.
//!
//! Entry points: [`request`], [`response`], [`fields`]. RFC 9112 where it says MUST, and its stricter choice where it
//! leaves one: lines end in CRLF, no folding, no blank before a colon, one length. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::message::{Framing, RequestHead, ResponseHead, Version};

/// Most bytes of a head, or of the fields behind a body.
pub(in crate::proxy) const HEAD: usize = 64 * 1024;
/// Most bytes of a request's target.
const TARGET: usize = 8 * 1024;
/// Most fields.
const FIELDS: usize = 128;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum Malformed {
    /// The head is larger than anyone needs.
    #[error("the head has more than {HEAD} bytes")]
    HeadSize,
    /// There are more fields than anyone needs.
    #[error("more than {FIELDS} fields")]
    FieldCount,
    /// The target is longer than anyone needs.
    #[error("the target has more than {TARGET} bytes")]
    TargetLength,
    /// A line feed without a carriage return, or the other way round.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// Not `METHOD TARGET HTTP/1.x`, or not `HTTP/1.x STATUS …`.
    #[error("the first line is not one of HTTP/1")]
    FirstLine,
    /// Another version.
    #[error("the version is not 1.0 or 1.1")]
    Version,
    /// Not a token.
    #[error("the method is none")]
    Method,
    /// Not in origin form, absolute form with `http`, or `*` for OPTIONS.
    #[error("the target is not a path")]
    Target,
    /// Not `name: value`, or folded over lines.
    #[error("a field is not `name: value` on one line")]
    Field,
    /// A name that is no token, or a blank before the colon.
    #[error("a field's name is no token")]
    FieldName,
    /// A control character.
    #[error("a field's value has a control character")]
    FieldValue,
    /// None, several, or not a host.
    #[error("there is not exactly one good Host")]
    Host,
    /// Several, or not a number.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// Anything but `chunked`.
    #[error("Transfer-Encoding is not just `chunked`")]
    TransferEncoding,
    /// Both are there.
    #[error("Content-Length and Transfer-Encoding together")]
    TwoLengths,
    /// A chunk's length, or what is behind it.
    #[error("a chunk is not `length CR LF data CR LF`")]
    Chunk,
}

impl Malformed {
    /// What a client is told.
    pub(in crate::proxy) fn status(self) -> StatusCode {
        match self {
            Self::HeadSize | Self::FieldCount => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetLength => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a request's head from the start of `bytes`, with how many bytes it takes; `None` while it is not all there.
///
/// # Errors
/// [`Malformed`], also as soon as a part shows that the whole cannot be good.
pub(in crate::proxy) fn request(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Malformed> {
    // One empty line before a request is ignored (RFC 9112 §2.2).
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let Some((line, length)) = line(&bytes[skipped..], TARGET + 64).map_err(|error| match error {
        Malformed::HeadSize => Malformed::TargetLength,
        other => other,
    })?
    else {
        return Ok(None);
    };
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed::FirstLine);
    };
    if target.len() > TARGET {
        return Err(Malformed::TargetLength);
    }
    let version = self::version(version)?;
    let method = Method::from_bytes(method).map_err(|_| Malformed::Method)?;
    let Some((fields, taken)) = fields(&bytes[skipped + length..])? else { return Ok(None) };
    let (target, authority) = self::target(&method, target)?;
    let authority = host(version, &fields, authority)?;
    let framing = match framing(version, &fields)? {
        Framing::UntilClose => Framing::Empty,
        framing => framing,
    };
    let head = RequestHead { version, method, target, authority, fields, framing };
    Ok(Some((head, skipped + length + taken)))
}

/// Reads a response's head, as [`request`] does.
///
/// # Errors
/// [`Malformed`].
pub(in crate::proxy) fn response(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, Malformed> {
    let Some((line, length)) = line(bytes, HEAD)? else { return Ok(None) };
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (Some(version), Some(status)) = (words.next(), words.next()) else {
        return Err(Malformed::FirstLine);
    };
    let version = self::version(version)?;
    if status.len() != 3 {
        return Err(Malformed::FirstLine);
    }
    let status = StatusCode::from_bytes(status).map_err(|_| Malformed::FirstLine)?;
    let Some((fields, taken)) = fields(&bytes[length..])? else { return Ok(None) };
    Ok(Some((ResponseHead { version, status, fields, framing: Framing::Empty }, length + taken)))
}

/// How the body of the answer to a request with `method` ends (RFC 9112 §6.3).
///
/// # Errors
/// [`Malformed`].
pub(in crate::proxy) fn response_framing(method: &Method, head: &ResponseHead) -> Result<Framing, Malformed> {
    let framing = framing(head.version, &head.fields)?;
    let none = head.status.is_informational()
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    Ok(if none { Framing::Empty } else { framing })
}

/// Reads fields to the empty line behind them, which is taken too.
///
/// # Errors
/// [`Malformed`].
pub(in crate::proxy) fn fields(bytes: &[u8]) -> Result<Option<(HeaderMap, usize)>, Malformed> {
    let mut fields = HeaderMap::new();
    let mut taken = 0;
    loop {
        let Some((line, length)) = line(&bytes[taken..], HEAD - taken.min(HEAD))? else { return Ok(None) };
        taken += length;
        if line.is_empty() {
            return Ok(Some((fields, taken)));
        }
        if fields.len() == FIELDS {
            return Err(Malformed::FieldCount);
        }
        let (name, value) = field(line)?;
        fields.append(name, value);
    }
}

/// `name ":" OWS value OWS` (RFC 9112 §5).
fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), Malformed> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Malformed::Field);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed::Field)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let name = HeaderName::from_bytes(name).map_err(|_| Malformed::FieldName)?;
    // DEL and the control characters but the tab are refused by it.
    let value = HeaderValue::from_bytes(value).map_err(|_| Malformed::FieldValue)?;
    Ok((name, value))
}

/// The first line without its end, and its length with it.
fn line(bytes: &[u8], most: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let end = bytes.iter().take(most + 1).position(|byte| matches!(byte, b'\r' | b'\n'));
    match end {
        None if bytes.len() > most => Err(Malformed::HeadSize),
        None => Ok(None),
        Some(end) if bytes[end] == b'\n' => Err(Malformed::LineEnd),
        Some(end) => match bytes.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((&bytes[..end], end + 2))),
            Some(_) => Err(Malformed::LineEnd),
        },
    }
}

fn version(word: &[u8]) -> Result<Version, Malformed> {
    match word {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        word if word.starts_with(b"HTTP/") => Err(Malformed::Version),
        _ => Err(Malformed::FirstLine),
    }
}

/// Path and query, and the authority of an absolute form.
fn target(method: &Method, text: &[u8]) -> Result<(String, Option<String>), Malformed> {
    // A fragment never leaves a client, and what is not visible ASCII is to be escaped (RFC 3986 §2).
    if method == Method::CONNECT || text.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
        return Err(Malformed::Target);
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Target)?;
    if text.starts_with('/') || text == "*" && method == Method::OPTIONS {
        return Ok((text.into(), None));
    }
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let rest = scheme.and_then(|scheme| text.get(scheme.len()..)).ok_or(Malformed::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((path, Some(authority.into())))
}

/// The one host that the request is for. An absolute form that says otherwise is not repaired.
fn host(version: Version, fields: &HeaderMap, absolute: Option<String>) -> Result<String, Malformed> {
    let mut values = fields.get_all(header::HOST).into_iter();
    let (first, second) = (values.next(), values.next());
    let host = match (first, second) {
        (None, None) if version == Version::Http10 => absolute.as_deref().unwrap_or_default(),
        (Some(host), None) => host.to_str().map_err(|_| Malformed::Host)?,
        _ => return Err(Malformed::Host),
    };
    // No `@`: who is asked is not who asks (RFC 9110 §4.2.4).
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&byte);
    if !host.bytes().all(good)
        || absolute.as_deref().is_some_and(|absolute| !absolute.eq_ignore_ascii_case(host))
    {
        return Err(Malformed::Host);
    }
    Ok(host.into())
}

fn framing(version: Version, fields: &HeaderMap) -> Result<Framing, Malformed> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).into_iter();
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).into_iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::UntilClose),
        (Some(_), Some(_)) => Err(Malformed::TwoLengths),
        (Some(coding), None) => {
            let alone = codings.next().is_none() && version == Version::Http11;
            if alone && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(Malformed::TransferEncoding)
            }
        }
        (None, Some(length)) => {
            let digits = length.as_bytes();
            let good =
                lengths.next().is_none() && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let number = if good { length.to_str().ok().and_then(|text| text.parse().ok()) } else { None };
            number.map(Framing::Length).ok_or(Malformed::ContentLength)
        }
    }
}

#[cfg(test)]
mod tests;
