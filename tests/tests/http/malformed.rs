//! What two servers could read in two ways is refused before any server reads it.

use anyhow::Result;

use super::{PORT, Web, curl, raw};

#[test]
fn nothing_is_smuggled_past_the_policy() -> Result<()> {
    let mut web = Web::new()?;
    let inner = "GET /admin/smuggled HTTP/1.1\r\nHost: far\r\n\r\n";
    let post = |fields: &str, body: &str| format!("POST /a HTTP/1.1\r\nHost: far\r\n{fields}\r\n\r\n{body}");
    let chunked = format!("0\r\n\r\n{inner}");
    let texts: Vec<String> = vec![
        post("Content-Length: 5\r\nTransfer-Encoding: chunked", &chunked),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5", &chunked),
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &chunked),
        post("Transfer-Encoding: xchunked", &chunked),
        post("Transfer-Encoding : chunked", &chunked),
        post("Transfer-Encoding:\u{b}chunked", &chunked),
        post("X: a\r\n Transfer-Encoding: chunked", &chunked),
        post("Content-Length: 0\r\nContent-Length: 44", inner),
        post("Content-Length: 0, 44", inner),
        post("Content-Length: +0", inner),
        post("X: a\nContent-Length: 0", inner),
        format!("POST /a HTTP/1.1\nHost: far\nContent-Length: 0\n\n{inner}"),
        format!("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        format!("GET /a HTTP/1.1\r\nHost: far\r\nHost: other\r\n\r\n{inner}"),
        format!("GET /a\tHTTP/1.1\r\nHost: far\r\n\r\n{inner}"),
        format!("GET /a HTTP/1.1\r\nX Y: a\r\nHost: far\r\n\r\n{inner}"),
        post("Transfer-Encoding: chunked", &format!("5\r\nhello\n0\r\n\r\n{inner}")),
        post("Transfer-Encoding: chunked", &format!("0x5\r\nhello\r\n0\r\n\r\n{inner}")),
        post("Transfer-Encoding: chunked", &format!("5;a\nb\r\nhello\r\n0\r\n\r\n{inner}")),
    ];
    for to in [web.stage.far.v4(PORT), web.stage.near.v4(PORT)] {
        for (text, answer) in texts.iter().zip(raw(&web.stage.client, to, &texts)?) {
            let status: u16 = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!([400, 501, 502].contains(&status), "{text:?}\n{answer:?}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{text:?}\n{answer:?}");
        }
        // The servers are well, and heard nothing that was not meant for them.
        assert_eq!(curl(&web.stage.client, to, "/last", &[])?.0, 200);
    }
    for server in [&mut web.far, &mut web.near] {
        server.wait_line("the last request", |line| line.contains("/last").then_some(()))?;
        assert!(!server.stdout().contains("smuggled"), "{}", server.stdout());
    }
    web.there.wait_flow("of what was refused", |flow| {
        flow.is(&[("reason", "http_malformed"), ("verdict", "denied"), ("source.pod", "client")])
    })?;
    Ok(())
}

#[test]
fn a_head_without_end_is_bounded() -> Result<()> {
    let web = Web::new()?;
    let texts = [
        format!("GET /{} HTTP/1.1\r\nHost: far\r\n\r\n", "a".repeat(9000)),
        format!("GET / HTTP/1.1\r\nHost: far\r\n{}\r\n", "X: a\r\n".repeat(200)),
        format!("GET / HTTP/1.1\r\nHost: far\r\nX: {}\r\n\r\n", "a".repeat(70_000)),
    ];
    let answers = raw(&web.stage.client, web.stage.far.v4(PORT), &texts)?;
    let statuses: Vec<&str> = answers.iter().map(|answer| answer.get(9..12).unwrap_or_default()).collect();
    assert_eq!(statuses, ["414", "431", "431"]);
    Ok(())
}
