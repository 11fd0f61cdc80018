//! One large body in one request, up or down: sent as fast as it is taken, and taken with a pause half-way.
//!
//! Entry points: [`measure`] for the client; what both sides send and receive with. In the pause the taker reads
//! nothing, so that whoever is between fills up as far as it ever does.

use std::{
    future::poll_fn,
    io::{BufReader, Read, Write},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::{CHUNK, h2_client, http1::Head, sockets::Sockets};

/// For how long nothing is taken.
const PAUSE: Duration = Duration::from_millis(300);

static BLOCK: [u8; CHUNK] = [7; CHUNK];

/// Where the body goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the client.
    Get,
    /// To the server.
    Put,
}

impl Direction {
    /// By its word.
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word {
            "get" => Some(Self::Get),
            "put" => Some(Self::Put),
            _ => None,
        }
    }
}

/// Has one body carried and prints how long it took.
pub(crate) fn measure(
    sockets: &Sockets,
    address: SocketAddr,
    direction: Direction,
    bytes: u64,
    protocol: &str,
) -> Result<()> {
    let began = Instant::now();
    match protocol {
        "http1" => over_http1(sockets, address, direction, bytes)?,
        "http2" => h2_client::run(over_http2(sockets, address, direction, bytes))?,
        _ => bail!("http1 or http2"),
    }
    println!("{}", json!({"bytes": bytes, "seconds": began.elapsed().as_secs_f64()}));
    Ok(())
}

fn over_http1(sockets: &Sockets, address: SocketAddr, direction: Direction, bytes: u64) -> Result<()> {
    let mut writer = sockets.connect(address)?;
    let mut reader = BufReader::with_capacity(CHUNK, writer.try_clone()?);
    match direction {
        Direction::Get => {
            write!(writer, "GET /bytes/{bytes} HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
            let head = Head::read_success(&mut reader)?;
            ensure!(head.length == Some(bytes), "a body of {:?} bytes", head.length);
            receive(&mut reader, bytes)
        }
        Direction::Put => {
            write!(writer, "PUT /upload HTTP/1.1\r\nhost: {address}\r\ncontent-length: {bytes}\r\n\r\n")?;
            send(&mut writer, bytes)?;
            let head = Head::read_success(&mut reader)?;
            let mut text = String::new();
            reader.take(head.length.unwrap_or(0)).read_to_string(&mut text)?;
            ensure!(text == bytes.to_string(), "{text} of {bytes} bytes arrived");
            Ok(())
        }
    }
}

async fn over_http2(sockets: &Sockets, address: SocketAddr, direction: Direction, bytes: u64) -> Result<()> {
    let mut requests = h2_client::connect(sockets, address).await?.ready().await?;
    let (method, path) = match direction {
        Direction::Get => (Method::GET, format!("/bytes/{bytes}")),
        Direction::Put => (Method::PUT, "/upload".to_owned()),
    };
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    if direction == Direction::Put {
        request = request.header("content-length", bytes);
    }
    let (response, mut upload) = requests.send_request(request.body(())?, direction == Direction::Get)?;
    if direction == Direction::Put {
        send_stream(&mut upload, bytes).await?;
    }
    let response: Response<RecvStream> = response.await?;
    ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
    let mut body = response.into_body();
    match direction {
        Direction::Get => {
            let received = receive_stream(&mut body, Some(bytes / 2)).await?;
            ensure!(received == bytes, "{received} of {bytes} bytes arrived");
        }
        Direction::Put => {
            let text = body.data().await.context("no text")??;
            ensure!(text == bytes.to_string(), "{} of {bytes} bytes arrived", text.escape_ascii());
        }
    }
    Ok(())
}

/// How many bytes a path asks for.
pub(crate) fn asked_for(path: &str) -> Option<u64> {
    path.strip_prefix("/bytes/")?.parse().ok()
}

/// Sends a body.
pub(crate) fn send(writer: &mut impl Write, mut left: u64) -> Result<()> {
    while left > 0 {
        let now = left.min(CHUNK as u64) as usize;
        writer.write_all(&BLOCK[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// Takes a body, with a pause half-way.
pub(crate) fn receive(reader: &mut impl Read, length: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    let mut rested = false;
    while left > 0 {
        let most = left.min(CHUNK as u64) as usize;
        let count = reader.read(&mut buffer[..most])?;
        ensure!(count > 0, "it ends {left} bytes early");
        left -= count as u64;
        if !rested && left < length / 2 {
            thread::sleep(PAUSE);
            rested = true;
        }
    }
    Ok(())
}

/// Sends a body, no faster than it is taken, and ends it.
pub(crate) async fn send_stream(stream: &mut SendStream<Bytes>, mut left: u64) -> Result<()> {
    while left > 0 {
        stream.reserve_capacity(left.min(CHUNK as u64) as usize);
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.context("the peer ended it")??;
        let now = (room as u64).min(left).min(CHUNK as u64);
        left -= now;
        stream.send_data(Bytes::from_static(&BLOCK[..now as usize]), left == 0)?;
    }
    Ok(())
}

/// Takes a body to its end, with a pause once `pause_at` bytes are here; how many there were.
pub(crate) async fn receive_stream(body: &mut RecvStream, mut pause_at: Option<u64>) -> Result<u64> {
    let mut received = 0;
    while let Some(data) = body.data().await {
        let length = data?.len();
        received += length as u64;
        if pause_at.is_some_and(|at| received > at) {
            pause_at = None;
            tokio::time::sleep(PAUSE).await;
        }
        body.flow_control().release_capacity(length)?;
    }
    Ok(received)
}
