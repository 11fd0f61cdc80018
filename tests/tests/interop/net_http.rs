//! Go's net/http at both ends, over HTTP/1.1 and over HTTP/2 without TLS.

use anyhow::Result;
use weir_tests::client;

use super::{PORT, World};

/// What `tests/clients/go/nethttp` asserts of each, its cases say.
const CASES: [&str; 10] = [
    "duplex",
    "trailers",
    "continue",
    "continue-refused",
    "early",
    "parallel",
    "cancel",
    "hints",
    "empty",
    "close",
];
/// 64 MB each.
const LARGE: [&str; 3] = ["upload", "download", "echo"];

/// Each way with all cases, over one version.
fn all_cases(version: &str, protocol: &str) -> Result<()> {
    let mut world = World::new("http")?;
    let program = client("nethttp")?;
    let _servers = world.serve(&[program.clone(), "serve".into(), PORT.to_string()])?;
    for to in world.destinations() {
        let mark = world.mark(to)?;
        let address = to.address.to_string();
        let printed = world.client([&*program, "client", version, &address].into_iter().chain(CASES))?;
        assert_eq!(printed.lines().collect::<Vec<_>>(), CASES, "{to:?}");
        for (method, path, status) in [
            ("POST", "/echo", 200),
            ("POST", "/early", 413),
            ("GET", "/status/304", 304),
            ("HEAD", "/status/404", 404),
            ("GET", "/hints", 200),
        ] {
            let texts = [("protocol", protocol), ("http.method", method), ("http.path", path)];
            world.seen(to, mark, &texts, status)?;
        }
    }
    Ok(())
}

/// To the other node, by the pod's own address and by a Service's.
fn large_bodies(version: &str, protocol: &str) -> Result<()> {
    let mut world = World::new("http")?;
    let program = client("nethttp")?;
    let _servers = world.serve(&[program.clone(), "serve".into(), PORT.to_string()])?;
    for to in world.destinations().into_iter().filter(|to| to.pod == "far") {
        let mark = world.mark(to)?;
        let address = to.address.to_string();
        let printed = world.client([&*program, "client", version, &address].into_iter().chain(LARGE))?;
        assert_eq!(printed.lines().collect::<Vec<_>>(), LARGE, "{to:?}");
        let flow = world.seen(to, mark, &[("protocol", protocol), ("http.path", "/echo")], 200)?;
        for field in ["bytes_sent", "bytes_received"] {
            assert!(flow.number(field) >= Some(64 << 20), "{field} {flow:?}");
        }
    }
    Ok(())
}

#[test]
fn net_http_gets_all_it_asks_for_over_http_1() -> Result<()> {
    all_cases("1", "http/1.1")
}

#[test]
fn net_http_gets_all_it_asks_for_over_http_2() -> Result<()> {
    all_cases("2", "http/2")
}

#[test]
fn large_bodies_stream_over_http_1() -> Result<()> {
    large_bodies("1", "http/1.1")
}

#[test]
fn large_bodies_stream_over_http_2() -> Result<()> {
    large_bodies("2", "http/2")
}
