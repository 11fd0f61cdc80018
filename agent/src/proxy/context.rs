//! What every connection's task needs: read-only, shared by all workers or owned by one.
//!
//! Entry points: [`Context`] for the node, [`Worker`] for one core.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, Hasher, RandomState},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    http::{
        Ends, Limits,
        outbound::{Balancers, Mirrors, Upstreams},
    },
    live::Live,
    pod::LocalPod,
};
use crate::{
    certs::{CertificateError, Certificates},
    datapath::{memory, sockets::SocketMaker},
    flows::Recorder,
    identity::Credentials,
    running::Tasks,
    state::Snapshot,
    traffic::{Counts, Moment, Random, Registry},
    tunnel::{self, Pool, PoolOptions, PoolStats, ServerOptions, TlsConfigs},
    turns,
    users::Authenticator,
};

/// Connections whose end leaves too little to give back.
const FEW: usize = 64;

/// How the proxy behaves.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// How long a connection waits for its identity's first certificate.
    pub certificate_wait: Duration,
    /// How long dialling an application, or a destination outside the mesh, may take.
    pub dial_timeout: Duration,
    /// Sessions to other nodes.
    pub pool: PoolOptions,
    /// Sessions from other nodes.
    pub server: ServerOptions,
    /// Most sessions that one pod's tunnel port has at a time.
    pub sessions_per_pod: u32,
    /// Most requests from and to one pod at a time.
    pub requests_per_pod: u32,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            certificate_wait: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            pool: PoolOptions::default(),
            server: ServerOptions::default(),
            sessions_per_pod: 4096,
            requests_per_pod: 4096,
        }
    }
}

/// What the proxy counted, for metrics.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    /// Connections that somebody made to the agent's listeners without having been redirected there.
    pub not_redirected: AtomicU64,
    /// Connections and sessions that a bound turned away.
    pub limited: AtomicU64,
    /// Requests that were refused because their pod had too many.
    pub limited_requests: AtomicU64,
    /// Bodies that were not kept to be sent again because their pod had too many.
    pub bodies_unkept: AtomicU64,
    /// Sessions to this node that were refused or ended abnormally, in the order of `SessionError::WORDS`.
    pub sessions_refused: [AtomicU64; crate::tunnel::SessionError::WORDS.len()],
    /// Sessions to other nodes that exist now.
    pub sessions: AtomicU64,
    /// Sessions to other nodes made so far.
    pub sessions_established: AtomicU64,
    /// Sessions to other nodes that could not be made.
    pub sessions_failed: AtomicU64,
    /// Connections judged again and ended.
    pub ended: AtomicU64,
    /// Endpoints of Services that got no requests for a while, because they failed.
    pub ejections: AtomicU64,
    /// Endpoints that should have been ejected, but too many were.
    pub ejections_held_back: AtomicU64,
    /// Retries that the budget refused.
    pub retries_denied: AtomicU64,
    /// Copies of requests that were left out or given up.
    pub mirrors_lost: AtomicU64,
    /// How often a task waited so that other pods got their turn.
    pub turns_held: AtomicU64,
}

/// The node's part.
pub struct Context {
    /// The name of this node.
    pub node: Arc<str>,
    /// The cluster's name, told to peers.
    pub cluster: Arc<str>,
    /// The cluster's state in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The certificates of this node's workloads.
    pub certificates: Certificates,
    /// Takes flow records.
    pub recorder: Recorder,
    /// Verifies the tokens of requests.
    pub authenticator: Authenticator,
    /// The rate limits of this node's workloads.
    pub limits: Limits,
    /// When the agent's time begins.
    pub origin: Instant,
    /// What workers have in common about Services.
    pub traffic: Registry,
    /// Makes sockets inside pods' namespaces.
    pub sockets: SocketMaker,
    /// How the proxy behaves.
    pub options: ProxyOptions,
    /// What it counted.
    pub counters: ProxyCounters,
}

/// What one worker's parts have counted.
#[derive(Clone, Copy, Default)]
struct Accounts {
    pool: PoolStats,
    balancers: Counts,
    mirrors_lost: u64,
    turns_held: u64,
}

/// One core's part.
pub struct Worker {
    /// The node's part.
    pub context: Arc<Context>,
    /// Sessions to other nodes.
    pub pool: Pool,
    /// Connections carried now.
    pub live: Rc<Live>,
    /// Accepted sockets, from the moment they are.
    pub(super) accepted: Rc<Tasks>,
    /// TLS configurations of sessions from other nodes.
    pub tls: TlsConfigs,
    /// Its own chance.
    pub random: RefCell<Random>,
    /// Which endpoint of a Service a request goes to.
    pub(super) balancers: Balancers,
    /// Connections that stand between requests.
    pub(super) upstreams: Upstreams,
    /// Copies of requests.
    pub(super) mirrors: Mirrors,
    stopping: watch::Sender<bool>,
    /// Most connections at once since memory was last given back.
    most: Cell<usize>,
    /// What of its accounts has been added to the node's.
    published: Cell<Accounts>,
}

impl Worker {
    pub(super) fn new(context: Arc<Context>) -> Rc<Self> {
        let pool = Pool::new(context.options.pool.clone());
        Rc::new(Self {
            context,
            pool,
            live: Rc::default(),
            accepted: Rc::default(),
            tls: TlsConfigs::default(),
            random: RefCell::new(Random::seeded(seed())),
            balancers: Balancers::default(),
            upstreams: Upstreams::default(),
            mirrors: Mirrors::default(),
            stopping: watch::Sender::new(false),
            most: Cell::default(),
            published: Cell::default(),
        })
    }

    /// The time, as the algorithms of `traffic` see it.
    pub(super) fn now(&self) -> Moment {
        Moment::of(self.context.origin, Instant::now())
    }

    /// Says that no new connections are taken.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until no new connections are taken.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the worker is gone, which is as good.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Waits for `carried`; when no new connections are taken any more, `ends` tells it to end when it can.
    pub(super) async fn until_stopping<T>(&self, ends: &Ends, carried: impl Future<Output = T>) -> T {
        let mut carried = std::pin::pin!(carried);
        tokio::select! {
            carried = &mut carried => carried,
            () = self.stopping() => {
                ends.set();
                carried.await
            }
        }
    }

    /// Adds what it did since the last time to the node's account.
    pub(super) fn publish(&self) {
        let accounts = Accounts {
            pool: self.pool.stats(),
            balancers: self.balancers.counts(),
            mirrors_lost: self.mirrors.lost(),
            turns_held: turns::held(),
        };
        let published = self.published.replace(accounts);
        let counters = &self.context.counters;
        let add = |counter: &AtomicU64, now: u64, before: u64| {
            counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        };
        let (now, before) = (accounts.pool, published.pool);
        add(&counters.sessions, now.sessions as u64, before.sessions as u64);
        add(&counters.sessions_established, now.established, before.established);
        add(&counters.sessions_failed, now.failed, before.failed);
        let (now, before) = (accounts.balancers, published.balancers);
        add(&counters.ejections, now.ejections, before.ejections);
        add(&counters.ejections_held_back, now.ejections_held_back, before.ejections_held_back);
        add(&counters.retries_denied, now.retries_denied, before.retries_denied);
        add(&counters.mirrors_lost, accounts.mirrors_lost, published.mirrors_lost);
        add(&counters.turns_held, accounts.turns_held, published.turns_held);
    }

    /// Gives memory back once a burst is over: spare buffers that nobody took for a while, and what connections
    /// had that have ended.
    pub(super) fn rest(&self) {
        let (now, most) = (self.live.len(), self.most.get());
        let fewer = most >= FEW && now < most / 2;
        self.most.set(if fewer { now } else { now.max(most) });
        self.upstreams.rest();
        if tunnel::rest() || fewer {
            memory::give_back();
        }
    }

    /// The credentials of a pod, waited for if they are its first.
    pub async fn credentials(&self, pod: &LocalPod) -> Result<Arc<Credentials>, CertificateError> {
        match self.context.certificates.current(&pod.identity) {
            Some(credentials) => Ok(credentials),
            None => {
                let limit = self.context.options.certificate_wait;
                self.context.certificates.wait(&pod.identity, limit).await
            }
        }
    }
}

/// A number of which nobody knows what it is: what hash tables are protected with.
pub fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
