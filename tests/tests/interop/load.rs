//! h2load against nginx, with pipelining over HTTP/1.1 and many streams over HTTP/2: no request is lost.

use anyhow::{Context, Result};

use super::{World, nginx::nginx};

/// Many times what nginx serves over one connection.
const REQUESTS: u64 = 1_000;

/// Statuses of 2xx and 4xx, and how many requests came to nothing.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    good: u64,
    refused: u64,
    failed: u64,
}

fn h2load(world: &World, words: &[&str]) -> Result<Load> {
    let count = REQUESTS.to_string();
    let printed = world.client(["h2load", "-n", &count, "-c", "4", "-m", "32"].iter().chain(words))?;
    // requests: 10000 total, …, 0 failed, 0 errored, 0 timeout
    let number = |line: &str, word: &str| -> Option<u64> {
        let line = printed.lines().find_map(|found| found.strip_prefix(line))?;
        let part = line.split(", ").find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    let all = || {
        let [failed, errored, timeout] =
            ["failed", "errored", "timeout"].map(|word| number("requests:", word));
        Some(Load {
            good: number("status codes:", "2xx")?,
            refused: number("status codes:", "4xx")?,
            // Failed ones are those that errored, those too late, and those with a bad status.
            failed: failed?.max(errored? + timeout?),
        })
    };
    all().with_context(|| format!("h2load printed {printed}"))
}

fn every_request_is_answered(listen: &str, option: &[&str], protocol: &str) -> Result<()> {
    let mut world = World::new("http")?;
    let dir = world.stage.topology.dir();
    let _servers = [nginx(&dir, &world.stage.near, listen)?, nginx(&dir, &world.stage.far, listen)?];
    // h2load writes an IPv6 address into `:authority` without its brackets.
    let [near, _, _, far_service] = world.destinations();
    for to in [near, far_service] {
        for (path, denied) in [("/small", false), ("/denied/x", true)] {
            let mark = world.mark(to)?;
            let url = format!("http://{}{path}", to.address);
            let load = h2load(&world, &[option, &[&url]].concat())?;
            let wanted = if denied {
                // To h2load any status from 400 on is a failure.
                Load { good: 0, refused: REQUESTS, failed: REQUESTS }
            } else {
                Load { good: REQUESTS, refused: 0, failed: 0 }
            };
            assert_eq!(load, wanted, "{to:?}");
            let status = if denied { 403 } else { 200 };
            world.seen(to, mark, &[("protocol", protocol), ("http.path", path)], status)?;
        }
    }
    Ok(())
}

#[test]
fn every_one_of_many_requests_is_answered_over_http_1() -> Result<()> {
    every_request_is_answered("", &["--h1"], "http/1.1")
}

#[test]
fn every_one_of_many_requests_is_answered_over_http_2() -> Result<()> {
    every_request_is_answered("http2", &[], "http/2")
}
