//! Connections that the agent makes from inside a pod's namespace.
//!
//! Entry points: [`connect`], [`connect_tunnel`], and [`DialError`] with the reason's word.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::pod::LocalPod;
use crate::{datapath::sockets::SocketMaker, flows::record::Reason};

/// Within which time every node has captured a pod of its own that others know to be in the mesh.
const CAPTURED_WITHIN: Duration = Duration::from_secs(3);

/// Before a tunnel port is tried again for the first time; each next pause is twice as long, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(200);

/// Why a destination could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It did not answer.
    #[error("{0} did not answer within {1:?}")]
    Timeout(SocketAddr, Duration),
    /// It, or something on the way, said no.
    #[error("{0}: {1}")]
    Failed(SocketAddr, io::Error),
}

impl DialError {
    /// The word for a flow record.
    pub fn reason(&self) -> Reason {
        match self {
            DialError::Timeout(..) => Reason::UpstreamTimeout,
            DialError::Failed(_, error) => reason_of(error),
        }
    }
}

/// The word for a failed connect(2).
pub fn reason_of(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Reason::UpstreamRefused,
        io::ErrorKind::TimedOut => Reason::UpstreamTimeout,
        _ => Reason::UpstreamUnreachable,
    }
}

/// Connects to `to` from `pod`'s namespace, with a socket that capture leaves alone.
///
/// # Errors
/// What connect(2) says.
pub async fn connect(sockets: SocketMaker, pod: Arc<LocalPod>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = sockets.dialler(&pod.netns, to)?;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// As [`connect`], to a pod's tunnel port. It is tried again for a while when nobody is there: the pod's node may hear a
/// moment later than this one that it is in the mesh.
///
/// # Errors
/// As [`connect`].
pub async fn connect_tunnel(
    sockets: SocketMaker,
    pod: Arc<LocalPod>,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let late = Instant::now() + CAPTURED_WITHIN;
    let mut pause = PAUSE;
    loop {
        match connect(sockets.clone(), pod.clone(), to).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < late => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            outcome => return outcome,
        }
    }
}

/// As [`connect`], but gives up after `limit`.
///
/// # Errors
/// [`DialError`].
pub async fn connect_within(
    limit: Duration,
    sockets: SocketMaker,
    pod: Arc<LocalPod>,
    to: SocketAddr,
) -> Result<TcpStream, DialError> {
    match timeout(limit, connect(sockets, pod, to)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError::Failed(to, error)),
        Err(_) => Err(DialError::Timeout(to, limit)),
    }
}
