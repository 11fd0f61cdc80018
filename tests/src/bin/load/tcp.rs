//! Plain TCP: round trips, connects, bytes, connections that do nothing, and relays.
//!
//! Entry points: one function for each word of the command line.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt;
use serde_json::json;

use super::{
    CHUNK, MESSAGE,
    sockets::Sockets,
    timed::{report, timed},
};

/// Serves until it is ended.
pub(crate) fn serve(sockets: &Sockets, what: &str, address: SocketAddr) -> Result<()> {
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
            _ => bail!("nothing called {what}"),
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

pub(crate) fn ping(sockets: &Sockets, address: SocketAddr, time: Duration) -> Result<()> {
    let mut connection = sockets.connect(address)?;
    let congestion = sockopt::tcp_congestion(&connection)?;
    let mut byte = [7];
    let mut round = || -> Result<()> {
        connection.write_all(&byte)?;
        Ok(connection.read_exact(&mut byte)?)
    };
    (0..200).try_for_each(|_| round())?;
    report(&congestion, &timed(time, round)?, time.as_secs_f64());
    Ok(())
}

pub(crate) fn connects(sockets: &Sockets, address: SocketAddr, time: Duration) -> Result<()> {
    let mut message = [7; MESSAGE];
    let mut one = || -> Result<()> {
        let mut connection = sockets.connect(address)?;
        connection.write_all(&message)?;
        Ok(connection.read_exact(&mut message)?)
    };
    (0..20).try_for_each(|_| one())?;
    let took = timed(time, one)?;
    report(&sockopt::tcp_congestion(sockets.new_socket(address)?)?, &took, time.as_secs_f64());
    Ok(())
}

/// Relays until it is ended.
pub(crate) fn relays(sockets: Sockets, pairs: &[&str]) -> Result<()> {
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

pub(crate) fn bulk(sockets: Sockets, address: SocketAddr, time: Duration, streams: usize) -> Result<()> {
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

pub(crate) fn idle(sockets: &Sockets, address: SocketAddr, count: usize) -> Result<()> {
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
