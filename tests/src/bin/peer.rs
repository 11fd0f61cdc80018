//! A TCP server or client for pods: does one plain thing and says in JSON lines what happened.
//!
//! `peer serve MODE ADDRESS [TEXT]` prints `listening ADDRESS`, then serves every connection:
//! `echo` returns what it reads, `greet` writes `TEXT <client's address>` and closes, `sink` reads to the end
//! and writes how many bytes that were.
//! `peer dial ADDRESS [--send TEXT] [--bind ADDRESS] [--timeout MS]` connects, sends, half-closes, reads to
//! the end and prints one object. `peer hold ADDRESS [--bind ADDRESS] [--timeout MS]` prints that object after
//! connecting, then sends every line of its input and prints what arrives, until either side closes.
//! Sockets are the plainest the standard library makes: nothing here knows of a mesh.

use std::{
    env,
    io::{self, BufRead, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", mode, address] => serve(mode, address.parse()?, ""),
        ["serve", mode, address, text] => serve(mode, address.parse()?, text),
        ["dial", address, ref options @ ..] => dial(address.parse()?, &Options::parse(options)?),
        ["hold", address, ref options @ ..] => hold(address.parse()?, &Options::parse(options)?),
        _ => bail!("serve MODE ADDRESS [TEXT] | dial ADDRESS [OPTIONS] | hold ADDRESS [OPTIONS]"),
    }
}

fn serve(mode: &str, address: SocketAddr, text: &str) -> Result<()> {
    let answer: fn(&mut TcpStream, &str) -> io::Result<()> = match mode {
        "echo" => echo,
        "greet" => greet,
        "sink" => sink,
        _ => bail!("no mode {mode}: echo, greet, sink"),
    };
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    println!("listening {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let mut connection = connection?;
        let text = text.to_owned();
        std::thread::spawn(move || {
            // The client sees what went wrong; the server has nothing to add.
            let _ = answer(&mut connection, &text);
        });
    }
    Ok(())
}

fn echo(connection: &mut TcpStream, _: &str) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match connection.read(&mut buffer)? {
            0 => return connection.shutdown(Shutdown::Write),
            length => connection.write_all(&buffer[..length])?,
        }
    }
}

fn greet(connection: &mut TcpStream, text: &str) -> io::Result<()> {
    let client = connection.peer_addr()?;
    connection.write_all(format!("{text} {client}\n").as_bytes())
}

fn sink(connection: &mut TcpStream, _: &str) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0_u64;
    loop {
        match connection.read(&mut buffer)? {
            0 => return connection.write_all(format!("{total}\n").as_bytes()),
            length => total += length as u64,
        }
    }
}

/// What `dial` and `hold` can be told.
struct Options {
    send: String,
    bind: Option<SocketAddr>,
    timeout: Duration,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { send: String::new(), bind: None, timeout: Duration::from_secs(10) };
        for pair in words.chunks(2) {
            match pair {
                ["--send", text] => options.send = (*text).to_owned(),
                ["--bind", address] => options.bind = Some(address.parse()?),
                ["--timeout", limit] => options.timeout = Duration::from_millis(limit.parse()?),
                _ => bail!("no option {pair:?}: --send TEXT, --bind ADDRESS, --timeout MS"),
            }
        }
        Ok(options)
    }
}

fn dial(address: SocketAddr, options: &Options) -> Result<()> {
    let began = Instant::now();
    let outcome = match open(address, options) {
        Ok(mut connection) => {
            let mut outcome = connected(&connection, began);
            let mut received = Vec::new();
            let talked = connection
                .write_all(options.send.as_bytes())
                .and_then(|()| connection.shutdown(Shutdown::Write))
                .and_then(|()| connection.read_to_end(&mut received));
            outcome["received"] = String::from_utf8_lossy(&received).into();
            if let Err(error) = talked {
                put_error(&mut outcome, &error);
            }
            outcome
        }
        Err(error) => refused(&error, began),
    };
    println!("{outcome}");
    Ok(())
}

fn hold(address: SocketAddr, options: &Options) -> Result<()> {
    let began = Instant::now();
    let connection = match open(address, options) {
        Ok(connection) => connection,
        Err(error) => {
            println!("{}", refused(&error, began));
            return Ok(());
        }
    };
    connection.set_read_timeout(None)?;
    println!("{}", connected(&connection, began));
    let mut writer = connection.try_clone()?;
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if writer.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
        let _ = writer.shutdown(Shutdown::Write);
    });
    report_received(connection)
}

/// Prints `{"received":…}` for what arrives and `{"closed":…}` once, at the end.
fn report_received(mut connection: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => {
                println!("{}", json!({"closed": "end"}));
                return Ok(());
            }
            Ok(length) => {
                println!("{}", json!({"received": String::from_utf8_lossy(&buffer[..length])}));
            }
            Err(error) => {
                let mut outcome = json!({"closed": "error"});
                put_error(&mut outcome, &error);
                println!("{outcome}");
                return Ok(());
            }
        }
    }
}

/// Connects, from an address of the caller's choice if there is one.
fn open(address: SocketAddr, options: &Options) -> io::Result<TcpStream> {
    let Some(own) = options.bind else {
        let connection = TcpStream::connect_timeout(&address, options.timeout)?;
        connection.set_read_timeout(Some(options.timeout))?;
        return Ok(connection);
    };
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &own)?;
    // SO_SNDTIMEO bounds a blocking connect too.
    let connection = TcpStream::from(socket);
    connection.set_write_timeout(Some(options.timeout))?;
    connection.set_read_timeout(Some(options.timeout))?;
    connect(&connection, &address)?;
    Ok(connection)
}

fn connected(connection: &TcpStream, began: Instant) -> Value {
    json!({
        "connected": true,
        "peer": connection.peer_addr().ok(),
        "local": connection.local_addr().ok(),
        "connect_us": began.elapsed().as_micros() as u64,
    })
}

fn refused(error: &io::Error, began: Instant) -> Value {
    let mut outcome = json!({"connected": false, "connect_us": began.elapsed().as_micros() as u64});
    put_error(&mut outcome, error);
    outcome
}

fn put_error(outcome: &mut Value, error: &io::Error) {
    outcome["error"] = error.to_string().into();
    outcome["errno"] = error.raw_os_error().into();
}
