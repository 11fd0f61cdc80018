//! Connections to endpoints, kept between requests: each belongs to one pod of this node and leads to one endpoint.
//!
//! Entry points: [`open`] for a connection, [`Upstreams`] for those that are kept.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{sync::Mutex, time::Instant};

use super::{
    super::{
        exchange::{Failure, Unconnected},
        h2 as http2,
        link::{Link, Server, over, through},
    },
    Target,
};
use crate::{
    addr::{ClientAddr, EndpointAddr},
    flows::record::TlsInfo,
    identity::{Credentials, Identity},
    proxy::{context::Worker, dial, outbound, pod::LocalPod},
    traffic::{Bound, Breaker, Permit},
    tunnel::{PoolKey, TUNNEL_PORT, TunnelError},
    turns,
};

/// Connections that stay idle for one pod and endpoint; of all, to all.
const IDLE_EACH: usize = 64;
const IDLE_ALL: usize = 2048;
/// For how long a connection stays without a request.
const IDLE_TIME: Duration = Duration::from_secs(50);
/// Streams that one connection of HTTP/2 carries before another one is made, and how many of those there are.
const STREAMS: usize = 100;
const CONNECTIONS: usize = 8;

/// Whose connections are not mixed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source_pod: Arc<str>,
    endpoint: EndpointAddr,
    /// Who the endpoint has to be; none for plaintext.
    expected: Option<Identity>,
}

/// One worker's.
#[derive(Default)]
pub(in crate::proxy) struct Upstreams {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
    count: Cell<usize>,
    shared: RefCell<HashMap<Key, Vec<Rc<Shared>>>>,
    /// Held by who makes a connection of HTTP/2, for which those who come meanwhile wait.
    making: RefCell<HashMap<Key, Rc<Mutex<()>>>>,
}

/// A connection of HTTP/1 between two requests.
struct Idle {
    server: Box<Server>,
    made: Rc<Made>,
    since: Instant,
}

/// A connection of HTTP/2.
struct Shared {
    requests: RefCell<Option<SendRequest<Bytes>>>,
    made: Rc<Made>,
    streams: Cell<usize>,
    since: Cell<Instant>,
}

/// By whom a connection was made, and what it counts as.
struct Made {
    /// A renewal makes it serve no more requests.
    credentials: Option<Arc<Credentials>>,
    tls: Option<TlsInfo>,
    _permit: Permit,
}

/// A connection for one exchange.
pub(super) struct Lent {
    pub(super) link: Link,
    /// Whether it has had other requests.
    pub(super) reused: bool,
    key: Key,
    made: Rc<Made>,
    shared: Option<Streaming>,
}

/// A stream's place on its connection.
struct Streaming(Rc<Shared>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
    }
}

impl Lent {
    pub(super) fn tls(&self) -> Option<TlsInfo> {
        self.made.tls.clone()
    }
}

impl Upstreams {
    /// A connection to `target` for one request, kept from another one or new. `fresh` asks for a new one.
    ///
    /// # Errors
    /// Why none could be made, or the bound of the Service's circuit breaker.
    pub(super) async fn lend(
        &self,
        (worker, pod, client): (&Rc<Worker>, &Arc<LocalPod>, ClientAddr),
        target: &Target,
        (http2, fresh): (bool, bool),
        breaker: &Breaker,
    ) -> Result<Result<Lent, Failure>, Bound> {
        let expected = target.tunnelled().map(|workload| workload.identity.clone());
        let key = Key { source_pod: pod.uid.clone(), endpoint: target.endpoint, expected };
        let current = key.expected.as_ref().and_then(|_| worker.context.certificates.current(&pod.identity));
        let serves = |made: &Made| match (&made.credentials, &current) {
            (Some(made), Some(current)) => Arc::ptr_eq(made, current),
            (made, _) => made.is_none(),
        };
        if !fresh
            && http2
            && let Some(lent) = self.stream(&key, &serves)
        {
            return Ok(Ok(lent));
        }
        while !fresh
            && !http2
            && let Some(mut idle) = self.take(&key)
        {
            if serves(&idle.made) && idle.server.is_quiet().await {
                let (link, made) = (Link::H1(idle.server), idle.made);
                return Ok(Ok(Lent { link, reused: true, key, made, shared: None }));
            }
        }
        let turn = http2.then(|| self.making.borrow_mut().entry(key.clone()).or_default().clone());
        let _turn = match &turn {
            Some(turn) => {
                let turn = turn.lock().await;
                if !fresh && let Some(lent) = self.stream(&key, &serves) {
                    return Ok(Ok(lent));
                }
                Some(turn)
            }
            None => None,
        };
        let permit = breaker.enter(Bound::Connections)?;
        let opened = {
            let _waiting = breaker.enter(Bound::Pending)?;
            open_with(worker, pod, client, target).await
        };
        let (server, tls, credentials) = match opened {
            Ok(opened) => opened,
            Err(failure) => return Ok(Err(failure)),
        };
        let made = Rc::new(Made { credentials, tls, _permit: permit });
        if !http2 {
            let link = Link::H1(Box::new(server));
            return Ok(Ok(Lent { link, reused: false, key, made, shared: None }));
        }
        let requests = match http2::connect(server, pod.http2()).await {
            Ok(requests) => requests,
            Err(error) => return Ok(Err(http2::failed(error))),
        };
        let shared = Rc::new(Shared {
            requests: RefCell::new(Some(requests.clone())),
            made: made.clone(),
            streams: Cell::new(1),
            since: Cell::new(Instant::now()),
        });
        self.shared.borrow_mut().entry(key.clone()).or_default().push(shared.clone());
        let shared = Some(Streaming(shared));
        Ok(Ok(Lent { link: Link::H2(requests), reused: false, key, made, shared }))
    }

    /// Takes a connection back after an exchange.
    pub(super) fn give_back(&self, lent: Lent, stays: bool) {
        match (lent.link, lent.shared) {
            (Link::H1(server), _) if stays => {
                if self.count.get() >= IDLE_ALL {
                    return;
                }
                let mut idle = self.idle.borrow_mut();
                let of_key = idle.entry(lent.key).or_default();
                if of_key.len() < IDLE_EACH {
                    of_key.push(Idle { server, made: lent.made, since: Instant::now() });
                    self.count.set(self.count.get() + 1);
                }
            }
            (Link::H2(_), Some(streaming)) if !stays => drop(streaming.0.requests.take()),
            _ => {}
        }
    }

    /// Lets go of what nobody has used for a while, and of what is broken.
    pub(in crate::proxy) fn rest(&self) {
        let mut going = Vec::new();
        self.idle.borrow_mut().retain(|_, idle| {
            let old = idle.iter().take_while(|idle| idle.since.elapsed() > IDLE_TIME).count();
            going.extend(idle.drain(..old));
            !idle.is_empty()
        });
        self.count.set(self.count.get() - going.len());
        for idle in going {
            turns::spawn(idle.server.close());
        }
        self.making.borrow_mut().retain(|_, turn| Rc::strong_count(turn) > 1);
        self.shared.borrow_mut().retain(|_, shared| {
            shared.retain(|shared| {
                let unused = shared.streams.get() == 0 && shared.since.get().elapsed() > IDLE_TIME;
                shared.requests.borrow().is_some() && !unused
            });
            !shared.is_empty()
        });
    }

    /// Ends those of a pod that is gone.
    pub(in crate::proxy) fn forget(&self, source_pod: &str) {
        let mut gone = 0;
        self.idle.borrow_mut().retain(|key, idle| {
            let stays = *key.source_pod != *source_pod;
            gone += if stays { 0 } else { idle.len() };
            stays
        });
        self.count.set(self.count.get() - gone);
        self.shared.borrow_mut().retain(|key, _| *key.source_pod != *source_pod);
    }

    /// Ends all that are between requests.
    pub(in crate::proxy) fn drain(&self) {
        self.idle.take();
        self.count.set(0);
        self.shared.take();
    }

    fn take(&self, key: &Key) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let of_key = idle.get_mut(key)?;
        // The one that was used last: the others come of age.
        let taken = of_key.pop();
        if of_key.is_empty() {
            idle.remove(key);
        }
        self.count.set(self.count.get() - usize::from(taken.is_some()));
        taken
    }

    fn stream(&self, key: &Key, serves: &dyn Fn(&Made) -> bool) -> Option<Lent> {
        let mut all = self.shared.borrow_mut();
        let of_key = all.get_mut(key)?;
        of_key.retain(|shared| shared.requests.borrow().is_some() && serves(&shared.made));
        let least = of_key.iter().min_by_key(|shared| shared.streams.get())?;
        if least.streams.get() >= STREAMS && of_key.len() < CONNECTIONS {
            return None;
        }
        let requests = least.requests.borrow().clone()?;
        least.streams.set(least.streams.get() + 1);
        let (made, shared) = (least.made.clone(), Some(Streaming(least.clone())));
        Some(Lent { link: Link::H2(requests), reused: true, key: key.clone(), made, shared })
    }
}

/// Makes a connection of `pod` to `target`, and says over which TLS session.
///
/// # Errors
/// Why not; nothing has been sent then that a server could have read.
pub(super) async fn open(
    worker: &Rc<Worker>,
    pod: &Arc<LocalPod>,
    client: ClientAddr,
    target: &Target,
) -> Result<(Server, Option<TlsInfo>), Failure> {
    open_with(worker, pod, client, target).await.map(|(server, tls, _)| (server, tls))
}

async fn open_with(
    worker: &Rc<Worker>,
    pod: &Arc<LocalPod>,
    client: ClientAddr,
    target: &Target,
) -> Result<(Server, Option<TlsInfo>, Option<Arc<Credentials>>), Failure> {
    let context = &worker.context;
    let sockets = || context.sockets.clone();
    let Some(workload) = target.tunnelled() else {
        let (limit, to) = (context.options.dial_timeout, target.endpoint.socket());
        let socket = dial::connect_within(limit, sockets(), pod.clone(), to).await;
        let socket = socket.map_err(|error| Failure::Unconnected(Unconnected::Dial(error)))?;
        return Ok((over(socket), None, None));
    };
    let credentials = worker.credentials(pod).await;
    let credentials =
        credentials.map_err(|error| Failure::Unconnected(Unconnected::Certificate(error.to_string())))?;
    let key = PoolKey {
        source: pod.identity.clone(),
        source_pod: pod.uid.clone(),
        destination: SocketAddr::new(target.endpoint.ip(), TUNNEL_PORT),
        expected: workload.identity.clone(),
    };
    let request = outbound::request(context, pod, target.endpoint, client).of_requests();
    let connect = || dial::connect_tunnel(sockets(), pod.clone(), key.destination);
    let opened = worker.pool.open(&key, &credentials, connect, &request).await;
    let (stream, tls) = opened.map_err(|error| Failure::Unconnected(Unconnected::Tunnel(error)))?;
    let tls = TlsInfo {
        version: tls.version.trim_start_matches("TLSv").into(),
        group: tls.group.into(),
        peer: Some(workload.identity.to_string().into()),
    };
    Ok((through(stream), Some(tls), Some(credentials)))
}

/// The tunnel's own words in an error of a connection through it.
pub(super) fn of_tunnel(error: &io::Error) -> Option<&TunnelError> {
    error.get_ref()?.downcast_ref()
}
