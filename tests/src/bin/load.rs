//! Load for the bench: one plain thing over TCP, as fast as it goes, and what it took.
//!
//! `load serve WHAT ADDRESS` prints `listening ADDRESS` and serves: `echo` returns what it reads; `answer`
//! takes connections one by one, returns 64 bytes and closes; `sink` reads to the end and writes how
//! many bytes that were; `idle` writes one byte and keeps the connection. `load relay ADDRESS=TARGET…` copies
//! between the connections that it takes and those that it makes, all on one thread.
//! `load ping ADDRESS MS` measures one-byte round trips, `load connect ADDRESS MS` connect + 64 bytes each way +
//! close, `load bulk ADDRESS MS STREAMS` bytes to a sink, `load idle ADDRESS COUNT` opens connections, prints
//! how many, and keeps them to the end of its input. Each prints one JSON object. `--congestion NAME` sets
//! TCP_CONGESTION on every socket, and the object says what the sockets have. Knows of no mesh.

use std::{
    env,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::json;

/// What one connect-and-close carries each way.
const MESSAGE: usize = 64;
/// What is written and read at once where bytes count.
const CHUNK: usize = 128 << 10;

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
        ["relay", ref pairs @ ..] => relays(sockets, pairs),
        ["serve", what, address] => serve(&sockets, what, address.parse()?),
        ["ping", address, time] => ping(&sockets, address.parse()?, millis(time)?),
        ["connect", address, time] => connects(&sockets, address.parse()?, millis(time)?),
        ["bulk", address, time, streams] => bulk(sockets, address.parse()?, millis(time)?, streams.parse()?),
        ["idle", address, count] => idle(&sockets, address.parse()?, count.parse()?),
        _ => bail!(
            "serve WHAT ADDRESS | relay ADDRESS=TARGET… | ping, connect ADDRESS MS | bulk ADDRESS MS N | idle ADDRESS N"
        ),
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

/// How sockets are made here.
struct Sockets {
    congestion: Option<String>,
}

impl Sockets {
    fn new_socket(&self, address: SocketAddr) -> Result<std::os::fd::OwnedFd> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if let Some(name) = &self.congestion {
            sockopt::set_tcp_congestion(&socket, name).with_context(|| format!("TCP_CONGESTION {name}"))?;
        }
        Ok(socket)
    }

    /// Sockets that it accepts have its congestion control.
    fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let socket = self.new_socket(address)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address).with_context(|| format!("listening on {address}"))?;
        listen(&socket, 4096)?;
        Ok(TcpListener::from(socket))
    }

    fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let socket = self.new_socket(address)?;
        connect(&socket, &address).with_context(|| format!("connecting to {address}"))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }
}

fn serve(sockets: &Sockets, what: &str, address: SocketAddr) -> Result<()> {
    let listener = sockets.listen(address)?;
    println!("listening {}", listener.local_addr()?);
    let mut kept = Vec::new();
    for connection in listener.incoming() {
        let mut connection = connection?;
        connection.set_nodelay(true)?;
        // Whoever breaks off hears so at the other end; the server goes on.
        match what {
            "echo" => drop(thread::spawn(move || echo(&mut connection))),
            "sink" => drop(thread::spawn(move || sink(&mut connection))),
            "answer" => drop(answer(&mut connection)),
            "idle" => {
                let _ = connection.write_all(b"!");
                kept.push(connection);
            }
            _ => bail!("nothing called {what}: echo, sink, answer, idle"),
        }
    }
    Ok(())
}

fn echo(connection: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            length => connection.write_all(&buffer[..length])?,
        }
    }
}

fn sink(connection: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        match connection.read(&mut buffer)? {
            0 => return connection.write_all(&total.to_le_bytes()),
            length => total += length as u64,
        }
    }
}

fn answer(connection: &mut TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    connection.read_exact(&mut message)?;
    connection.write_all(&message)
}

fn ping(sockets: &Sockets, address: SocketAddr, time: Duration) -> Result<()> {
    let mut connection = sockets.connect(address)?;
    let congestion = sockopt::tcp_congestion(&connection)?;
    let mut byte = [7];
    let mut round = || -> Result<()> {
        connection.write_all(&byte)?;
        Ok(connection.read_exact(&mut byte)?)
    };
    (0..200).try_for_each(|_| round())?;
    report(&congestion, &timed(time, round)?);
    Ok(())
}

fn connects(sockets: &Sockets, address: SocketAddr, time: Duration) -> Result<()> {
    let mut message = [7; MESSAGE];
    let mut one = || -> Result<()> {
        let mut connection = sockets.connect(address)?;
        connection.write_all(&message)?;
        Ok(connection.read_exact(&mut message)?)
    };
    (0..20).try_for_each(|_| one())?;
    let took = timed(time, one)?;
    report(&sockopt::tcp_congestion(sockets.new_socket(address)?)?, &took);
    Ok(())
}

/// Relays until it is ended.
fn relays(sockets: Sockets, pairs: &[&str]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sockets, local) = (Rc::new(sockets), tokio::task::LocalSet::new());
    for pair in pairs {
        let (address, target) = pair.split_once('=').context("ADDRESS=TARGET")?;
        let listener = sockets.listen(address.parse()?)?;
        listener.set_nonblocking(true)?;
        local.spawn_local(relay(sockets.clone(), listener, target.parse()?));
    }
    println!("listening");
    runtime.block_on(local.run_until(std::future::pending()))
}

async fn relay(sockets: Rc<Sockets>, listener: TcpListener, target: SocketAddr) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        let sockets = sockets.clone();
        tokio::task::spawn_local(async move {
            let far = TcpStream::from(sockets.new_socket(target)?);
            far.set_nonblocking(true)?;
            let far = tokio::net::TcpSocket::from_std_stream(far);
            let mut far = far.connect(target).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, CHUNK, CHUNK).await?;
            anyhow::Ok(())
        });
    }
}

/// Does `one` again and again for `time`; how long each took, shortest first.
fn timed(time: Duration, mut one: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time {
        let start = Instant::now();
        one()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

fn report(congestion: &str, took: &[Duration]) {
    let at = |part: f64| {
        let index = (took.len().saturating_sub(1) as f64 * part) as usize;
        took.get(index).map(|took| took.as_nanos() as f64 / 1e3)
    };
    println!(
        "{}",
        json!({"congestion": congestion, "count": took.len(), "p50_us": at(0.5), "p99_us": at(0.99)})
    );
}

fn bulk(sockets: Sockets, address: SocketAddr, time: Duration, streams: usize) -> Result<()> {
    let sockets = Arc::new(sockets);
    let connections = (0..streams).map(|_| sockets.connect(address)).collect::<Result<Vec<_>>>()?;
    let congestion = connections.first().map(sockopt::tcp_congestion).transpose()?;
    let began = Instant::now();
    let writers: Vec<_> =
        connections.into_iter().map(|connection| thread::spawn(move || pour(connection, time))).collect();
    let mut bytes = 0;
    for writer in writers {
        bytes += writer.join().ok().context("a writer panicked")??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = bytes as f64 * 8.0 / seconds / 1e9;
    println!("{}", json!({"congestion": congestion, "bytes": bytes, "seconds": seconds, "gbit_s": rate}));
    Ok(())
}

/// Writes for `time`, then waits until the sink says that it has it all.
fn pour(mut connection: TcpStream, time: Duration) -> Result<u64> {
    let chunk = vec![7; CHUNK];
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < time {
        connection.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    connection.shutdown(Shutdown::Write)?;
    let mut total = [0; 8];
    connection.read_exact(&mut total)?;
    ensure!(u64::from_le_bytes(total) == sent, "the sink has {} of {sent} bytes", u64::from_le_bytes(total));
    Ok(sent)
}

fn idle(sockets: &Sockets, address: SocketAddr, count: usize) -> Result<()> {
    let mut connections = Vec::with_capacity(count);
    let began = Instant::now();
    for number in 0..count {
        let mut connection = sockets.connect(address)?;
        // Its first byte shows that it reaches the server, whatever is between.
        connection.read_exact(&mut [0]).with_context(|| format!("connection {number}"))?;
        // The server does not watch for an end: it hears of it by a reset.
        sockopt::set_socket_linger(&connection, Some(Duration::ZERO))?;
        connections.push(connection);
    }
    println!("{}", json!({"open": connections.len(), "seconds": began.elapsed().as_secs_f64()}));
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}
