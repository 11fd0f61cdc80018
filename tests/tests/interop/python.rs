//! Python's httpx against net/http, and websockets at both ends.

use anyhow::Result;
use weir_tests::client;

use super::{PORT, World};

/// The words that run `program` with the packages that setup has brought.
pub(crate) fn packaged(program: &str, arguments: &[&str]) -> Result<Vec<String>> {
    let interpreter = client("python/bin/python3")?;
    let words = [&*interpreter, "-u", "-c", program];
    Ok(words.iter().chain(arguments).map(|word| (*word).to_owned()).collect())
}

#[test]
fn httpx_gets_all_it_asks_for_over_both_versions() -> Result<()> {
    let mut world = World::new("http")?;
    let _servers = world.serve(&[client("nethttp")?, "serve".into(), PORT.to_string()])?;
    // Each node and each kind of address with both.
    for (to, version) in world.destinations().into_iter().zip(["2", "1", "1", "2"]) {
        let mark = world.mark(to)?;
        let url = format!("http://{}", to.address);
        let printed = world.client(packaged(include_str!("pool.py"), &[&url, version])?)?;
        assert_eq!(printed, "pool\nstreams\nrefused\ndenied\n", "{to:?}");
        let protocol = if version == "1" { "http/1.1" } else { "http/2" };
        for (path, status) in [("/id/119", 200), ("/echo", 200), ("/early", 413), ("/denied/x", 403)] {
            world.seen(to, mark, &[("protocol", protocol), ("http.path", path)], status)?;
        }
    }
    Ok(())
}

#[test]
fn websockets_talk_and_close_as_they_would_without_a_mesh() -> Result<()> {
    let mut world = World::new("http")?;
    let mut servers = world.serve(&packaged(include_str!("sockets_server.py"), &[&PORT.to_string()])?)?;
    for to in world.destinations() {
        let mark = world.mark(to)?;
        let url = format!("ws://{}", to.address);
        let printed = world.client(packaged(include_str!("sockets.py"), &[&url])?)?;
        assert_eq!(
            printed,
            "echo\nlarge\nping\nserver pings\nclosed by the client\nclosed by the server 4001 enough\n\
             lost\ndenied 403\n",
            "{to:?}"
        );
        // What each end says with its last frame, the other one hears.
        let server = &mut servers[usize::from(to.pod == "far")];
        for line in ["/by-client 3000 done", "/lost 1006 "] {
            let line = format!("{line} over {}", if to.by_service { "service" } else { "pod" });
            server.wait_line(&line, |said| (said.trim_end() == line).then_some(()))?;
        }
        world.seen(to, mark, &[("protocol", "http/1.1"), ("http.path", "/echo")], 101)?;
        world.seen(to, mark, &[("http.path", "/denied/x")], 403)?;
    }
    Ok(())
}
