//! The side that takes sessions in: verifies who comes, and hands each CONNECT on with the identity.
//!
//! Entry point: [`serve`], one call per accepted socket. What is not a good CONNECT is answered here; who
//! may connect where is the handler's decision. Must not know policy.

mod incoming;
mod options;

use std::{cell::RefCell, future::Future, io, pin::Pin, rc::Rc, sync::Arc, task::Poll, time::Duration};

use h2::{RecvStream, server::SendResponse};
use http::Request;
use rustls::{CertificateError, Error, ServerConfig, server::UnbufferedServerConnection};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    buffers::Chunk,
    error::{SessionError, TunnelError},
    session::{Health, HealthOptions, poll_turn},
    tls::{ALPN, TlsInfo},
    tls_stream::{Shared, TlsStream},
    verify::{WrongIdentity, identity_of},
};
use crate::{identity::Identity, running::Tasks, turns};
pub use incoming::Incoming;
use incoming::Session;
pub use options::ServerOptions;

type Connection = h2::server::Connection<Shared<UnbufferedServerConnection>, Chunk>;

/// Takes one session in on `socket` and calls `handler` for each stream, in a task of its own, until the
/// session ends. When `shutdown` is ready, no new streams are taken and those there are have the time that it
/// gives to end; then the session is reset. Dropping the future ends the session, which its streams are told.
///
/// # Errors
/// Why the session was refused, or ended other than by either side's wish.
pub async fn serve<F>(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    options: &ServerOptions,
    shutdown: impl Future<Output = Duration>,
    handler: impl Fn(Incoming) -> F,
) -> Result<(), SessionError>
where
    F: Future<Output = ()> + 'static,
{
    let limit = options.handshake_timeout;
    let deadline = Instant::now() + limit;
    let late = |_| SessionError::HandshakeTimeout(limit);
    let (tls, peer) = timeout_at(deadline, handshake(socket, config)).await.map_err(late)??;
    let info = TlsInfo::of(tls.common());
    let tls = Shared::new(tls);
    let mut preface = options.builder().handshake::<_, Chunk>(tls.clone());
    let preface = super::session::drive(&tls, |cx| Pin::new(&mut preface).poll(cx));
    let mut connection =
        timeout_at(deadline, preface).await.map_err(late)?.map_err(|error| broken(&error))?;
    let wire = tls.wire();
    let session = Rc::new(Session { peer, tls: info, wire: wire.clone(), end: Rc::new(RefCell::new(None)) });
    let handlers = Rc::new(Tasks::default());
    let health = Health::new(wire.clone());
    let ping_pong = connection.ping_pong();
    let times = HealthOptions { interval: options.ping_interval, timeout: options.ping_timeout };
    let outcome = {
        let mut accept = |request, respond| {
            if let Some(incoming) = Incoming::new(request, respond, &session) {
                drop(turns::spawn(handlers.count(handler(incoming))));
            }
        };
        tokio::select! {
            biased;
            ended = run(&mut connection, &tls, shutdown, options, &mut accept) => ended,
            () = health.watch(ping_pong, times, || true) => {
                Err(SessionError::Protocol("no answer to a PING".into()))
            }
        }
    };
    let why = match &outcome {
        Ok(()) => TunnelError::session("it was closed"),
        Err(error) => TunnelError::session(error),
    };
    session.end.replace(Some(why));
    drop((connection, tls));
    wire.wake();
    // Every stream has ended with its session; the handlers still have that to record.
    handlers.ended().await;
    outcome
}

async fn handshake(
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<(TlsStream<UnbufferedServerConnection>, Identity), SessionError> {
    socket.set_nodelay(true).map_err(SessionError::Gone)?;
    let side =
        UnbufferedServerConnection::new(config).map_err(|error| SessionError::Tls(error.to_string()))?;
    let tls = TlsStream::handshake(socket, side).await.map_err(refused)?;
    if tls.common().alpn_protocol() != Some(ALPN) {
        return Err(SessionError::NotHttp2);
    }
    // Verified during the handshake; read again, since rustls keeps certificates and not what was read.
    let certificate = tls.common().peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or(SessionError::NoCertificate)?;
    let peer =
        identity_of(certificate).map_err(|wrong| SessionError::NoIdentity(wrong.presented.to_string()))?;
    Ok((tls, peer))
}

/// Why a handshake failed, by kind.
fn refused(error: io::Error) -> SessionError {
    let Some(tls) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return SessionError::Gone(error);
    };
    if let Some(wrong) = WrongIdentity::find(tls) {
        return SessionError::NoIdentity(wrong.presented.to_string());
    }
    match tls {
        Error::NoCertificatesPresented => SessionError::NoCertificate,
        Error::InvalidCertificate(CertificateError::BadEncoding) => {
            SessionError::Untrusted("unreadable".into())
        }
        Error::InvalidCertificate(error) => SessionError::Untrusted(error.to_string()),
        Error::NoApplicationProtocol => SessionError::NotHttp2,
        other => SessionError::Tls(other.to_string()),
    }
}

/// Takes streams in until the session ends by itself, by shutdown, or by the drain's deadline.
async fn run(
    connection: &mut Connection,
    tls: &Shared<UnbufferedServerConnection>,
    shutdown: impl Future<Output = Duration>,
    options: &ServerOptions,
    accept: &mut impl FnMut(Request<RecvStream>, SendResponse<Chunk>),
) -> Result<(), SessionError> {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut drained = None;
    let mut idle = std::pin::pin!(sleep_until(Instant::now() + options.idle_timeout));
    std::future::poll_fn(|cx| {
        if drained.is_none()
            && let Poll::Ready(limit) = shutdown.as_mut().poll(cx)
        {
            connection.graceful_shutdown();
            drained = Some(Box::pin(sleep_until(Instant::now() + limit)));
        }
        if drained.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            tls.wire().abandon();
            return Poll::Ready(Ok(()));
        }
        if idle.as_mut().poll(cx).is_ready() {
            // Looked at once per period: a session is let go between one and two periods of idling.
            if tls.wire().quiet_for() >= options.idle_timeout && !connection.has_streams() {
                connection.graceful_shutdown();
            }
            idle.as_mut().reset(Instant::now() + options.idle_timeout);
            let _ = idle.as_mut().poll(cx);
        }
        poll_turn(tls, &mut |cx| poll_accept(connection, accept, cx), cx)
    })
    .await
}

fn poll_accept(
    connection: &mut Connection,
    accept: &mut impl FnMut(Request<RecvStream>, SendResponse<Chunk>),
    cx: &mut std::task::Context<'_>,
) -> Poll<Result<(), SessionError>> {
    loop {
        match std::task::ready!(connection.poll_accept(cx)) {
            None => return Poll::Ready(Ok(())),
            Some(Ok((request, respond))) => accept(request, respond),
            Some(Err(error)) if error.is_io() && is_goodbye(&error) => return Poll::Ready(Ok(())),
            Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
        }
    }
}

/// A peer that goes without a word, between streams or not, is no error of the protocol.
fn is_goodbye(error: &h2::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    error.get_io().is_some_and(|io| matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
}

fn broken(error: &h2::Error) -> SessionError {
    SessionError::Protocol(error.to_string())
}
