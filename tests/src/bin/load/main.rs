//! Load for the bench: one plain thing over TCP or HTTP, as fast as it goes, and what it took.
//!
//! `load serve WHAT ADDRESS` prints `listening ADDRESS` and serves; `load relay ADDRESS=TARGET…` copies between
//! connections; every other word measures one thing and prints one JSON object. [`USAGE`] has them all.
//! `--congestion NAME` sets TCP_CONGESTION on every socket, and the object says what the sockets have. Knows of
//! no mesh.

mod body;
mod credentials;
mod h2_client;
mod h2_server;
mod http1;
mod sockets;
mod tcp;
mod timed;

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::sockets::Sockets;

/// What one connect-and-close carries each way, and every small answer.
const MESSAGE: usize = 64;
/// What is written and read at once where bytes count.
const CHUNK: usize = 128 << 10;

const USAGE: &str = "\
serve echo ADDRESS             returns what it reads
serve answer ADDRESS           takes connections one by one, returns 64 bytes, closes
serve sink ADDRESS             reads to the end and writes how many bytes that were
serve idle ADDRESS             writes one byte and keeps the connection
serve http1 ADDRESS            HTTP/1.1: GET /bytes/N gives so many, PUT says how many it got
serve http2 ADDRESS            the same with HTTP/2; any other request is answered with 64 bytes, gRPC's too
relay ADDRESS=TARGET…          copies both ways, all on one thread
ping ADDRESS MS                one-byte round trips
connect ADDRESS MS             connect + 64 bytes each way + close
bulk ADDRESS MS STREAMS        bytes to a sink
idle ADDRESS COUNT             opens connections and keeps them to the end of its input
requests ADDRESS MS STREAMS http2|grpc   one connection, so many streams, each with one request after the other
pace ADDRESS MS RATE CONNECTIONS   HTTP/1.1, so many requests a second over all connections
body ADDRESS get|put BYTES http1|http2   one request with one large body; who takes it pauses half-way
certificates DIR NAME=URI…     a CA, and a certificate from it for each: DIR/ca.pem, DIR/NAME.pem, DIR/NAME.key";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let mut words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut sockets = Sockets { congestion: None };
    if let Some(at) = words.iter().position(|word| *word == "--congestion") {
        let name = words.get(at + 1).context("--congestion NAME")?;
        sockets.congestion = Some((*name).to_owned());
        words.drain(at..at + 2);
    }
    raise_limit()?;
    match words[..] {
        ["relay", ref pairs @ ..] => tcp::relays(sockets, pairs),
        ["serve", "http1", address] => http1::serve(&sockets, address.parse()?),
        ["serve", "http2", address] => h2_server::serve(&sockets, address.parse()?),
        ["serve", what, address] => tcp::serve(&sockets, what, address.parse()?),
        ["ping", address, time] => tcp::ping(&sockets, address.parse()?, millis(time)?),
        ["connect", address, time] => tcp::connects(&sockets, address.parse()?, millis(time)?),
        ["bulk", address, time, streams] => {
            tcp::bulk(sockets, address.parse()?, millis(time)?, streams.parse()?)
        }
        ["idle", address, count] => tcp::idle(&sockets, address.parse()?, count.parse()?),
        ["requests", address, time, streams, what] => {
            let kind = h2_client::Kind::named(what).with_context(|| format!("no requests called {what}"))?;
            h2_client::requests(&sockets, address.parse()?, millis(time)?, streams.parse()?, kind)
        }
        ["pace", address, time, rate, connections] => {
            http1::pace(&sockets, address.parse()?, millis(time)?, rate.parse()?, connections.parse()?)
        }
        ["body", address, direction, bytes, protocol] => {
            let direction = body::Direction::named(direction).context("get or put")?;
            body::measure(&sockets, address.parse()?, direction, bytes.parse()?, protocol)
        }
        ["certificates", dir, ref names @ ..] => credentials::certificates(dir.as_ref(), names),
        _ => bail!("one of:\n{USAGE}"),
    }
}

fn millis(text: &str) -> Result<Duration> {
    Ok(Duration::from_millis(text.parse()?))
}

/// Open files up to the hard limit.
fn raise_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
