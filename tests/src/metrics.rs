//! What an agent or a controller serves: Prometheus' text format, read as far as a test asks.
//!
//! Entry points: [`fetch`], [`sum`].

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{LIMIT, netns};

/// In a node's own network namespace: every node has this port for itself.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15020);

type Sample<'t> = (&'t str, Vec<(String, String)>, f64);

/// The body that `address` in a network namespace answers to `GET path`, if it is a 200.
pub(crate) fn fetch(netns: &Path, address: SocketAddr, path: &str) -> Result<String> {
    let answer = netns::inside(netns, || -> Result<String> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("the port at {address}"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: weir\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("GET {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// Adds up the samples called `name` that have all of `labels`; `None` where there is none.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = text.lines().filter_map(sample);
    let values = samples.filter(|(own, own_labels, _)| {
        *own == name
            && labels.iter().all(|(key, value)| own_labels.iter().any(|(k, v)| k == key && v == value))
    });
    values.map(|(_, _, value)| value).reduce(|left, right| left + right)
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        labels.push((key.to_owned(), value));
        rest = after;
    }
}

/// Text up to the closing quote, with its escapes resolved, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total words\n# TYPE a_total counter\n\
        a_total{reason=\"x\",pod=\"p \\\"1\\\",}\"} 2\na_total{reason=\"y\"} 3 1700000000\nb 1.5\n# EOF\n";

    #[test]
    fn samples_with_the_labels_are_added_up() {
        assert_eq!(sum(TEXT, "a_total", &[]), Some(5.0));
        assert_eq!(sum(TEXT, "a_total", &[("reason", "y")]), Some(3.0));
        assert_eq!(sum(TEXT, "a_total", &[("pod", "p \"1\",}")]), Some(2.0));
        assert_eq!(sum(TEXT, "b", &[]), Some(1.5));
    }

    #[test]
    fn no_sample_is_not_zero() {
        assert_eq!(sum(TEXT, "a_total", &[("reason", "z")]), None);
        assert_eq!(sum(TEXT, "a", &[]), None);
    }
}
