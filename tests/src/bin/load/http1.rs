//! HTTP/1.1, as little as the bench needs of it, on sockets that block: a server of bodies, and a paced client.
//!
//! Entry points: [`serve`], [`pace`], [`Head`]. It reads what well-behaved programs write, and checks little.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt;

use super::{CHUNK, body, sockets::Sockets, timed::report};

/// Serves bodies until it is ended.
pub(crate) fn serve(sockets: &Sockets, address: SocketAddr) -> Result<()> {
    let listener = sockets.listen(address)?;
    println!("listening {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        // Whoever breaks off hears so at the other end; the server goes on.
        thread::spawn(move || answer(connection));
    }
    Ok(())
}

fn answer(connection: TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::with_capacity(CHUNK, connection);
    while let Some(head) = Head::read(&mut reader)? {
        if head.first.starts_with("PUT ") {
            let length = head.length.context("a body without a length")?;
            body::receive(&mut reader, length)?;
            let text = length.to_string();
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
        } else {
            let path = head.first.split(' ').nth(1).unwrap_or_default();
            let length = body::asked_for(path).context("neither PUT nor GET /bytes/N")?;
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            body::send(&mut writer, length)?;
        }
    }
    Ok(())
}

/// What stands before a body.
pub(crate) struct Head {
    /// The first line, without its end.
    pub(crate) first: String,
    /// `content-length`.
    pub(crate) length: Option<u64>,
}

impl Head {
    /// The next one; `None` at the end.
    pub(crate) fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut head = Self { first: first.trim_end().to_owned(), length: None };
        loop {
            let mut line = String::new();
            ensure!(reader.read_line(&mut line)? > 0, "it ends within a head");
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                head.length = Some(value.trim().parse()?);
            }
        }
        Ok(Some(head))
    }

    /// The next one of a server, which must be good news.
    pub(crate) fn read_success(reader: &mut impl BufRead) -> Result<Self> {
        let head = Self::read(reader)?.context("the server closed without an answer")?;
        ensure!(head.first.split(' ').nth(1) == Some("200"), "answered with {}", head.first);
        Ok(head)
    }
}

/// `rate` requests a second over all `connections`, at even distances; prints how long answers took.
pub(crate) fn pace(
    sockets: &Sockets,
    address: SocketAddr,
    time: Duration,
    rate: f64,
    connections: u32,
) -> Result<()> {
    let gap = Duration::from_secs_f64(f64::from(connections) / rate);
    let opened = (0..connections).map(|_| sockets.connect(address)).collect::<Result<Vec<_>>>()?;
    let congestion = opened.first().map(sockopt::tcp_congestion).transpose()?;
    let began = Instant::now();
    let clients: Vec<_> = (0..connections)
        .zip(opened)
        .map(|(number, connection)| {
            let first = began + gap * number / connections;
            thread::spawn(move || paced(connection, address, (first, began + time), gap))
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.join().ok().context("a client panicked")??);
    }
    took.sort_unstable();
    report(&congestion.unwrap_or_default(), &took, time.as_secs_f64());
    Ok(())
}

fn paced(
    mut connection: TcpStream,
    address: SocketAddr,
    (first, end): (Instant, Instant),
    gap: Duration,
) -> Result<Vec<Duration>> {
    let request = format!("GET /v1/paced HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut took = Vec::new();
    let mut due = first;
    while due < end {
        // Who waits for an answer is not excused when the next request is due; who overslept is.
        let mut start = due;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
            start = Instant::now();
        }
        connection.write_all(request.as_bytes())?;
        let head = Head::read_success(&mut reader)?;
        let mut text = vec![0; usize::try_from(head.length.context("an answer without a length")?)?];
        reader.read_exact(&mut text)?;
        took.push(start.elapsed());
        due += gap;
    }
    Ok(took)
}
