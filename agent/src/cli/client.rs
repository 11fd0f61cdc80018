//! A client of the admin API: HTTP over the agent's Unix socket, answers line by line.
//!
//! Entry points: [`get`], [`post`], [`run`]. Every error says what to do about it. Knows nothing of what lines mean.

use std::{future::Future, io, path::Path};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1, header, http::request::Builder};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;

use crate::admin::report::ErrorReport;

/// The longest line that is taken: a status of some hundred thousand workloads.
const LONGEST_LINE: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent answers at {socket}: is `weir agent` running, with this --socket?")]
    NoAgent {
        /// The socket's path.
        socket: String,
    },
    /// The socket is not for this user.
    #[error("{socket} is for root: run this as root, or choose another --socket")]
    NotAllowed {
        /// The socket's path.
        socket: String,
    },
    /// The socket cannot be used for another reason.
    #[error("{socket} (--socket): {error}")]
    Socket {
        /// The socket's path.
        socket: String,
        /// What the system says.
        error: io::Error,
    },
    /// The agent found a parameter that it cannot use.
    #[error("{0}")]
    BadUse(String),
    /// The agent answered with another error.
    #[error("the agent at {socket} answers {status}: {message}")]
    Refused {
        /// The socket's path.
        socket: String,
        /// HTTP status.
        status: u16,
        /// The agent's words.
        message: String,
    },
    /// The connection ended in the middle of an answer.
    #[error("the agent at {socket} broke off its answer: {error}")]
    BrokenOff {
        /// The socket's path.
        socket: String,
        /// What was seen.
        error: hyper::Error,
    },
    /// The agent takes its time.
    #[error("the agent at {socket} does not answer")]
    Late {
        /// The socket's path.
        socket: String,
    },
    /// A line is longer than any that an agent sends.
    #[error("the answer from {socket} has a line of more than {LONGEST_LINE} bytes")]
    TooLong {
        /// The socket's path.
        socket: String,
    },
}

/// Runs a client to its end, on this thread.
///
/// # Errors
/// The client's own, or that the system gives no more descriptors.
pub fn run<T, E>(client: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(client)?)
}

/// Asks the agent at `socket` for `path` (with its query) and gives the lines of the answer.
///
/// # Errors
/// When there is no agent, or it answers with an error.
pub async fn get(socket: &Path, path: &str) -> Result<Lines, ClientError> {
    send(socket, Request::get(path), Bytes::new()).await
}

/// Tells the agent at `socket` something, and gives the lines of the answer.
///
/// # Errors
/// When there is no agent, or it answers with an error.
pub async fn post(socket: &Path, path: &str, body: &impl Serialize) -> Result<Lines, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::BadUse(error.to_string()))?;
    send(socket, Request::post(path).header(header::CONTENT_TYPE, "application/json"), body.into()).await
}

async fn send(socket: &Path, request: Builder, body: Bytes) -> Result<Lines, ClientError> {
    let name = socket.display().to_string();
    let stream = UnixStream::connect(socket).await.map_err(|error| not_connected(name.clone(), error))?;
    let broken = |error| ClientError::BrokenOff { socket: name.clone(), error };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the answer, or with the runtime of a command that needs no more of it.
    tokio::spawn(connection);
    let request = request
        .header(header::HOST, "weir")
        .body(Full::new(body))
        .map_err(|error| ClientError::BadUse(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new(), socket: name.clone() };
    if status.is_success() {
        return Ok(lines);
    }
    while lines.fill().await? {}
    let report: ErrorReport = serde_json::from_slice(&lines.buffer).unwrap_or_default();
    Err(match (report.field, report.value) {
        (Some(field), Some(value)) => ClientError::BadUse(format!("{field}={value}: {}", report.error)),
        _ => ClientError::Refused { socket: name, status: status.as_u16(), message: report.error },
    })
}

fn not_connected(socket: String, error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent { socket },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
        _ => ClientError::Socket { socket, error },
    }
}

/// An answer, line by line.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    socket: String,
}

impl Lines {
    /// The next line that has already come, with its newline.
    pub fn buffered(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer[..=end].to_vec();
        self.buffer.advance(end + 1);
        Some(line)
    }

    /// Waits for more; `false` at the end of the answer.
    ///
    /// # Errors
    /// When the agent breaks off, or sends a line without end.
    pub async fn fill(&mut self) -> Result<bool, ClientError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        let broken = |error| ClientError::BrokenOff { socket: self.socket.clone(), error };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            self.buffer.extend_from_slice(&data);
        }
        if self.buffer.len() > LONGEST_LINE {
            return Err(ClientError::TooLong { socket: self.socket.clone() });
        }
        Ok(true)
    }

    /// Every line of an answer that ends.
    ///
    /// # Errors
    /// As [`Lines::fill`].
    pub async fn all(mut self) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut lines = Vec::new();
        loop {
            while let Some(line) = self.buffered() {
                lines.push(line);
            }
            if !self.fill().await? {
                return Ok(lines);
            }
        }
    }
}
