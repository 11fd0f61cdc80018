//! A client's session: its driver, its health, and the streams that it still takes.
//!
//! Entry point: [`establish`] makes a session of a connected socket, [`Session::open`] a stream on it. The
//! pool decides which session serves whom; this file must not know keys or identities.

mod driver;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use h2::client::SendRequest;
use rustls::{ClientConfig, client::UnbufferedClientConnection, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    buffers::Chunk,
    error::TunnelError,
    headers::ConnectRequest,
    pool_options::PoolOptions,
    stream::{Stream, StreamSession},
    tls::{ALPN, TlsInfo},
    tls_stream::{Shared, TlsStream, Wire},
    verify::WrongIdentity,
};
use crate::identity::{Credentials, Identity};
pub(super) use driver::{Health, HealthOptions, drive, poll_turn};

/// A session on which streams can be opened.
pub(super) struct Session {
    /// With which it was made; a renewal makes it serve its streams only.
    pub(super) credentials: Arc<Credentials>,
    /// What the handshake agreed on.
    pub(super) tls: TlsInfo,
    requests: RefCell<Option<SendRequest<Chunk>>>,
    wire: Rc<Wire>,
    end: Rc<RefCell<Option<TunnelError>>>,
    active: Rc<Cell<usize>>,
    idle_since: Rc<Cell<Instant>>,
    pub(super) health: Rc<Health>,
    killed: Notify,
    limit: usize,
}

/// Holds one of a session's places for streams.
pub(super) struct Place {
    active: Rc<Cell<usize>>,
    idle_since: Rc<Cell<Instant>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.active.set(self.active.get() - 1);
        self.idle_since.set(Instant::now());
    }
}

impl Session {
    /// Whether new streams may come here, with `credentials` in force.
    pub(super) fn serves(&self, credentials: &Arc<Credentials>) -> bool {
        self.requests.borrow().is_some() && Arc::ptr_eq(&self.credentials, credentials)
    }

    /// Takes a place for a stream, when there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let limit = self.requests.borrow().as_ref()?.current_max_send_streams().min(self.limit);
        (self.active.get() < limit).then(|| {
            self.active.set(self.active.get() + 1);
            Place { active: self.active.clone(), idle_since: self.idle_since.clone() }
        })
    }

    /// Streams that are open.
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    /// Takes no more streams; ends when those it has are through.
    pub(super) fn retire(&self) {
        self.requests.borrow_mut().take();
    }

    /// Ends now, with all its streams, and without a word to the peer.
    pub(super) fn kill(&self) {
        self.retire();
        self.wire.abandon();
        self.killed.notify_one();
    }

    /// Makes sure that a session which was silent for a while still has its peer.
    ///
    /// # Errors
    /// When the peer did not answer in time; the session is over then.
    pub(super) async fn check(&self, options: &PoolOptions) -> Result<(), TunnelError> {
        if self.wire.quiet_for() < options.check_after {
            return Ok(());
        }
        if self.health.probe(options.ping_timeout).await {
            return Ok(());
        }
        self.kill();
        Err(TunnelError::session("no answer to a PING"))
    }

    /// Opens a stream. On an error nothing of the request has left, so another session may be tried.
    ///
    /// # Errors
    /// When the session takes no more streams.
    pub(super) async fn open(&self, request: &ConnectRequest, place: Place) -> Result<Stream, TunnelError> {
        let requests = self.requests.borrow().clone();
        let Some(mut requests) = requests else { return Err(self.ended()) };
        poll_fn(|cx| requests.poll_ready(cx)).await.map_err(|_| self.ended())?;
        let (answer, send) = requests.send_request(request.to_http(), false).map_err(|_| self.ended())?;
        let session =
            StreamSession { wire: self.wire.clone(), end: self.end.clone(), place: Box::new(place) };
        Ok(Stream::opened(answer, send, session))
    }

    fn ended(&self) -> TunnelError {
        self.end.borrow().clone().unwrap_or_else(|| TunnelError::session("it takes no more streams"))
    }

    /// Idle long enough to be ended.
    fn is_idle(&self, limit: Duration) -> bool {
        self.active.get() == 0 && self.idle_since.get().elapsed() >= limit
    }
}

/// Makes a session of `socket` and calls `ready` once the peer has answered over it; then drives it to its
/// end. One future, so that whoever owns it owns all of the session.
pub(super) async fn establish(
    socket: TcpStream,
    config: Arc<ClientConfig>,
    credentials: Arc<Credentials>,
    expected: &Identity,
    options: &PoolOptions,
    ready: impl FnOnce(Result<Rc<Session>, TunnelError>),
) {
    let limit = options.handshake_timeout;
    let deadline = Instant::now() + limit;
    let handshake = timeout(limit, handshake(socket, config, expected)).await;
    let tls = match handshake.unwrap_or(Err(TunnelError::HandshakeTimeout(limit))) {
        Ok(tls) => tls,
        Err(error) => return ready(Err(error)),
    };
    let info = TlsInfo::of(tls.common());
    let tls = Shared::new(tls);
    let (requests, mut connection) = match options.builder().handshake(tls.clone()).await {
        Ok(made) => made,
        Err(error) => return ready(Err(TunnelError::session(error))),
    };
    let wire = tls.wire();
    let session = Rc::new(Session {
        credentials,
        tls: info,
        requests: RefCell::new(Some(requests)),
        wire: wire.clone(),
        end: Rc::default(),
        active: Rc::default(),
        idle_since: Rc::new(Cell::new(Instant::now())),
        health: Rc::new(Health::new(wire)),
        killed: Notify::new(),
        limit: options.streams_per_session,
    });
    let ping_pong = connection.ping_pong();
    let mut life = std::pin::pin!(run(&session, &mut connection, &tls, ping_pong, options));
    // The peer's answer to the first PING tells that it accepted our certificate and speaks HTTP/2, and
    // brings its settings: no byte of an application is sent to a peer that will refuse the session.
    let probed = tokio::select! {
        error = &mut life => Err(error),
        answered = session.health.probe(deadline.saturating_duration_since(Instant::now())) => {
            if answered { Ok(()) } else { Err(TunnelError::HandshakeTimeout(limit)) }
        }
    };
    match probed {
        Ok(()) => ready(Ok(session.clone())),
        Err(error) => return ready(Err(error)),
    }
    let error = life.await;
    tracing::debug!(%error, "a tunnel session ended");
}

async fn handshake(
    socket: TcpStream,
    config: Arc<ClientConfig>,
    expected: &Identity,
) -> Result<TlsStream<UnbufferedClientConnection>, TunnelError> {
    let failed = |error: &dyn std::fmt::Display| TunnelError::Tls(error.to_string().into());
    // Batches are made before the socket is reached; waiting for more would only delay them.
    socket.set_nodelay(true).map_err(|error| TunnelError::Connect(Arc::new(error)))?;
    let peer = socket.peer_addr().map_err(|error| TunnelError::Connect(Arc::new(error)))?;
    // The name is not sent and not looked at: the identity is what is verified.
    let name = ServerName::IpAddress(peer.ip().into());
    let side = UnbufferedClientConnection::new(config, name).map_err(|error| failed(&error))?;
    let tls = TlsStream::handshake(socket, side).await.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause.and_then(WrongIdentity::find) {
            Some(wrong) => {
                TunnelError::IdentityMismatch { expected: expected.clone(), presented: wrong.presented }
            }
            None => failed(&error),
        }
    })?;
    if tls.common().alpn_protocol() != Some(ALPN) {
        return Err(failed(&"the peer does not speak HTTP/2"));
    }
    Ok(tls)
}

/// Drives a session until it ends, and says why.
async fn run(
    session: &Session,
    connection: &mut h2::client::Connection<Shared<UnbufferedClientConnection>, Chunk>,
    tls: &Shared<UnbufferedClientConnection>,
    ping_pong: Option<h2::PingPong>,
    options: &PoolOptions,
) -> TunnelError {
    let health = HealthOptions { interval: options.ping_interval, timeout: options.ping_timeout };
    let watch = session.health.watch(ping_pong, health, || session.active() > 0);
    let idle = end_when_idle(session, options);
    let driven = drive(tls, |cx| std::pin::Pin::new(&mut *connection).poll(cx));
    let error = tokio::select! {
        biased;
        ended = driven => match ended {
            Ok(()) => TunnelError::session("it was closed"),
            Err(error) if error.is_go_away() => {
                let reason = error.reason().unwrap_or(h2::Reason::NO_ERROR);
                TunnelError::session(format_args!("GOAWAY: {reason}"))
            }
            Err(error) => match tls.failure() {
                Some(failure) => TunnelError::Tls(failure.to_string().into()),
                None => TunnelError::session(error),
            },
        },
        () = watch => TunnelError::session("no answer to a PING"),
        () = session.killed.notified() => TunnelError::session("it was closed by this node"),
        () = idle => TunnelError::session("idle"),
    };
    session.retire();
    session.end.replace(Some(error.clone()));
    session.health.fail();
    session.wire.wake();
    error
}

/// Lets a session go that nobody has used for long; its driver then ends by itself.
async fn end_when_idle(session: &Session, options: &PoolOptions) {
    let step = options.idle_timeout.min(options.ping_interval);
    while !session.is_idle(options.idle_timeout) {
        tokio::time::sleep(step).await;
    }
    session.retire();
    std::future::pending().await
}
