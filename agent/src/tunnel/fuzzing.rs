//! What holds of the tunnel's headers whatever a peer says, for the fuzzer to break.
//!
//! Entry point: [`headers`]. Panics where something does not hold.

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::headers::{ConnectRequest, Refusal};

/// The bytes are lines: an authority, a status, and then fields, `name: value`.
pub(crate) fn headers(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let (authority, status) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (mut request, mut response) = (Request::new(()), Response::new(()));
    *request.method_mut() = Method::CONNECT;
    if let Ok(uri) = Uri::builder().authority(authority).build() {
        *request.uri_mut() = uri;
    }
    *response.status_mut() = StatusCode::from_bytes(status).unwrap_or(StatusCode::UNAUTHORIZED);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(2..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            request.headers_mut().append(name.clone(), value.clone());
            response.headers_mut().append(name, value);
        }
    }
    if let Ok(read) = ConnectRequest::parse(&request) {
        assert_ne!(read.authority.port(), 0);
        let again = ConnectRequest::parse(&read.to_http());
        assert_eq!(again.as_ref(), Ok(&read), "what is sent on is another request");
    }
    let read = Refusal::parse(&response);
    assert_eq!(Refusal::parse(&read.to_http()), read, "what is sent on is another refusal");
}
