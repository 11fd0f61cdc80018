//! A TCP server or client for pods: does one plain thing and says in JSON lines what happened.
//!
//! `peer serve MODE ADDRESS [TEXT]` prints `listening ADDRESS`, then serves every connection:
//! `echo` returns what it reads, `greet` writes `TEXT <client's address>` and closes, `sink` reads to the end
//! and writes how many bytes that were.
//! `peer dial ADDRESS [--send TEXT] [OPTIONS]` connects, sends, half-closes, reads to the end and prints one
//! object. `peer hold ADDRESS [OPTIONS]` prints that object after connecting, then sends every line of its
//! input and prints what arrives, until either side closes. `peer redial ADDRESS [OPTIONS]` dials anew for every
//! line of its input, which is what it sends. `peer ask-udp ADDRESS TEXT` sends a datagram and
//! prints the answer, which `peer serve udp ADDRESS` gives: the same text.
//! Sockets are those that applications make ([`socket`]): nothing here knows of a mesh.

mod socket;

use std::{
    env,
    io::{self, BufRead, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use socket::{Options, open};

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
        ["serve", "udp", address] => serve_udp(address.parse()?),
        ["serve", mode, address] => serve(mode, address.parse()?, ""),
        ["serve", mode, address, text] => serve(mode, address.parse()?, text),
        ["dial", address, ref options @ ..] => dial(address.parse()?, &Options::parse(options)?),
        ["hold", address, ref options @ ..] => hold(address.parse()?, &Options::parse(options)?),
        ["redial", address, ref options @ ..] => redial(address.parse()?, Options::parse(options)?),
        ["ask-udp", address, text] => ask_udp(address.parse()?, text),
        _ => bail!(
            "serve MODE ADDRESS [TEXT] | (dial | hold | redial) ADDRESS [OPTIONS] | ask-udp ADDRESS TEXT"
        ),
    }
}

fn serve(mode: &str, address: SocketAddr, text: &str) -> Result<()> {
    let answer: fn(&mut TcpStream, &str) -> io::Result<()> = match mode {
        "echo" => echo,
        "greet" => greet,
        "sink" => sink,
        _ => bail!("no mode {mode}: echo, greet, sink, udp"),
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

fn serve_udp(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("listening on {address}"))?;
    println!("listening {}", socket.local_addr()?);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], client)?;
    }
}

fn ask_udp(address: SocketAddr, text: &str) -> Result<()> {
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.connect(address)?;
    socket.send(text.as_bytes())?;
    let mut buffer = vec![0; 64 << 10];
    let length = socket.recv(&mut buffer)?;
    println!("{}", String::from_utf8_lossy(&buffer[..length]));
    Ok(())
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

fn redial(address: SocketAddr, mut options: Options) -> Result<()> {
    for line in io::stdin().lock().lines() {
        options.send = line?;
        dial(address, &options)?;
    }
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
