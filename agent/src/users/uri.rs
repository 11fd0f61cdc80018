//! Where a key set is: `https://…`, `http://…` or `file:///…`, parsed once.
//!
//! Entry point: [`JwksUri`]. Knows no sockets and no files.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// Longer ones are refused.
const LONGEST: usize = 2048;

/// The URI of a key set (RFC 3986), of a scheme that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUri {
    text: String,
    place: Place,
}

/// What a [`JwksUri`] leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A web server.
    Web {
        /// Whether it is asked over TLS; without, whoever is on the way can put their own keys in.
        tls: bool,
        /// A name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Path and query.
        target: String,
    },
    /// A file on the node.
    File(String),
}

impl JwksUri {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it leads to.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for JwksUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for JwksUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
        if text.len() > LONGEST || !graphic || text.contains('#') {
            return Err(format!("a URI has at most {LONGEST} visible ASCII characters and no fragment"));
        }
        let place = match text.split_once("://") {
            Some(("https", rest)) => web(true, rest)?,
            Some(("http", rest)) => web(false, rest)?,
            Some(("file", path)) if path.len() > 1 && path.starts_with('/') => Place::File(path.into()),
            Some(("file", _)) => return Err("a file is like file:///etc/weir/jwks.json".into()),
            _ => return Err("must begin with https://, http:// or file:///".into()),
        };
        Ok(Self { text: text.into(), place })
    }
}

fn web(tls: bool, rest: &str) -> Result<Place, String> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err("a URI with a user in it is not taken".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let number = port.parse::<u16>().ok().filter(|number| *number > 0);
            (host, number.ok_or("has no good port: a number from 1 to 65535")?)
        }
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match inner {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
        Some(_) => return Err("has no good address between the brackets".into()),
        None => host,
    };
    // An IPv4 address reads as a name; an IPv6 address must have its brackets.
    if inner.is_none() && !is_name(host) {
        return Err("has no good host: a name or an address".into());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Place::Web { tls, host: host.to_ascii_lowercase(), port, target: format!("{slash}{target}") })
}

/// A DNS name (RFC 1123 §2.1; underscores, which are not for hosts, are taken nevertheless).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(tls: bool, host: &str, port: u16, target: &str) -> Place {
        Place::Web { tls, host: host.into(), port, target: target.into() }
    }

    #[test]
    fn a_uri_is_taken_apart_into_where_to_ask_and_what() {
        for (text, place) in [
            ("https://id.example.com/keys", web(true, "id.example.com", 443, "/keys")),
            ("https://ID.example.com:8443", web(true, "id.example.com", 8443, "/")),
            ("http://10.0.0.1/a/b?c=d", web(false, "10.0.0.1", 80, "/a/b?c=d")),
            ("https://[fd00::1]:444?x", web(true, "fd00::1", 444, "/?x")),
            ("file:///etc/weir/jwks.json", Place::File("/etc/weir/jwks.json".into())),
        ] {
            assert_eq!(text.parse::<JwksUri>().map(|uri| uri.place), Ok(place), "{text}");
        }
    }

    #[test]
    fn a_uri_that_leads_nowhere_or_hides_something_is_refused() {
        let long = format!("https://a/{}", "x".repeat(LONGEST));
        for text in [
            "",
            "id.example.com/keys",
            "ftp://a/b",
            "HTTPS://a",
            "https://",
            "https:///keys",
            "https://a:0/",
            "https://a:65536/",
            "https://a:/",
            "https://user@a/",
            "https://user:pw@a/",
            "https://a/#frag",
            "https://a b/",
            "https://a/\n",
            "https://a\\b/",
            "https://[::1/",
            "https://fd00::1/",
            "https://1::2:80/",
            "https://[a]/",
            "https://a..b/",
            "file://etc/passwd",
            "file:///",
            "file:/etc",
            "https://ä/",
            &long,
        ] {
            text.parse::<JwksUri>().expect_err(text);
        }
    }
}
