//! Which session a stream goes by: one pool per worker, sessions shared by all connections of the same two
//! pods, one handshake at a time for each.
//!
//! Entry point: [`Pool::open`]. Must not know how sockets are made (the caller makes them inside the pod's
//! network namespace) nor what the streams carry.

mod entry;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use tokio::{net::TcpStream, sync::watch, task::JoinSet, time::timeout};

use super::{
    error::{Bound, TunnelError},
    headers::ConnectRequest,
    pool_options::PoolOptions,
    session::{Place, Session, establish},
    stream::Stream,
    tls::{TlsConfigs, TlsInfo},
};
use crate::{
    identity::{Credentials, Identity},
    tunnel::Windows,
    turns,
};
use entry::Entry;

/// Whose connections share sessions: never those of two pods, two identities or two destinations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The source workload's identity.
    pub source: Identity,
    /// The source pod's UID.
    pub source_pod: Arc<str>,
    /// The destination's tunnel port, `<pod ip>:15008`.
    pub destination: SocketAddr,
    /// The identity that the destination must have.
    pub expected: Identity,
}

/// What a pool did and has, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Sessions that exist or are being made.
    pub sessions: usize,
    /// Sessions made so far.
    pub established: u64,
    /// Sessions that could not be made.
    pub failed: u64,
    /// Streams opened so far.
    pub streams: u64,
    /// Streams turned away by a bound.
    pub limited: u64,
}

/// One worker's sessions. Dropping it ends them all.
pub struct Pool {
    shared: Rc<Pooled>,
    tasks: RefCell<JoinSet<()>>,
    configs: TlsConfigs,
}

/// What the sessions' tasks reach too.
struct Pooled {
    options: PoolOptions,
    entries: RefCell<HashMap<PoolKey, Entry>>,
    stats: Cell<PoolStats>,
}

/// The next step for one who wants a stream.
enum Step {
    Use(Rc<Session>, Place),
    Wait(watch::Receiver<Option<Result<(), TunnelError>>>),
    Connect(watch::Sender<Option<Result<(), TunnelError>>>),
}

impl Pool {
    /// A pool without sessions.
    pub fn new(options: PoolOptions) -> Self {
        let shared = Pooled { options, entries: RefCell::default(), stats: Cell::default() };
        Self { shared: Rc::new(shared), tasks: RefCell::default(), configs: TlsConfigs::default() }
    }

    /// Opens a stream to `key`'s destination as `credentials`, over a session that exists or a new one, whose
    /// socket `connect` makes. The answer is awaited by [`Stream::answered`] or by reading.
    ///
    /// Sessions of other credentials take no more streams, so a renewed certificate is in force at once.
    ///
    /// # Errors
    /// When no session could be made, or a bound was reached. Nothing of the request has left then.
    pub async fn open<F>(
        &self,
        key: &PoolKey,
        credentials: &Arc<Credentials>,
        connect: impl Fn() -> F,
        request: &ConnectRequest,
    ) -> Result<(Stream, TlsInfo), TunnelError>
    where
        F: Future<Output = io::Result<TcpStream>> + 'static,
    {
        let mut again = true;
        loop {
            let mut waiting = match self.step(key, credentials)? {
                Step::Use(session, place) => match self.open_on(&session, place, request).await {
                    Ok(stream) => return Ok((stream, session.tls)),
                    Err(error) => {
                        session.retire();
                        if !std::mem::take(&mut again) {
                            return Err(error);
                        }
                        continue;
                    }
                },
                Step::Wait(waiting) => waiting,
                Step::Connect(done) => {
                    let waiting = done.subscribe();
                    self.connect(key.clone(), credentials.clone(), connect(), done)?;
                    waiting
                }
            };
            let outcome = waiting.wait_for(Option::is_some).await.map(|outcome| (*outcome).clone());
            match outcome {
                Ok(Some(Err(error))) => return Err(error),
                Ok(_) => {}
                // The task that made the session is gone without a word: the pool is being dropped.
                Err(_) => return Err(TunnelError::session("the pool is closing")),
            }
        }
    }

    /// Takes no more streams on any session of `source_pod`, and ends those at once: the pod is gone.
    pub fn forget(&self, source_pod: &str) {
        self.shared.entries.borrow_mut().retain(|key, entry| {
            let gone = &*key.source_pod == source_pod;
            if gone {
                entry.sessions().for_each(|session| session.kill());
            }
            !gone
        });
    }

    /// Takes no more streams on any session of `source_pod`; each ends with its streams.
    pub fn retire(&self, source_pod: &str) {
        self.shared.entries.borrow_mut().retain(|key, entry| {
            let own = &*key.source_pod == source_pod;
            if own {
                entry.sessions().for_each(|session| session.retire());
            }
            !own
        });
    }

    /// Takes no more streams anywhere; sessions end with their streams.
    pub fn drain(&self) {
        let mut entries = self.shared.entries.borrow_mut();
        entries.values().flat_map(Entry::sessions).for_each(|session| session.retire());
        entries.retain(|_, entry| entry.is_connecting());
    }

    /// What the pool did and has.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats.get()
    }

    async fn open_on(
        &self,
        session: &Session,
        place: Place,
        request: &ConnectRequest,
    ) -> Result<Stream, TunnelError> {
        session.check(&self.shared.options).await?;
        let stream = session.open(request, place).await?;
        self.shared.count(|stats| stats.streams += 1);
        Ok(stream)
    }

    fn step(&self, key: &PoolKey, credentials: &Arc<Credentials>) -> Result<Step, TunnelError> {
        let shared = &self.shared;
        let mut entries = shared.entries.borrow_mut();
        let limited = |bound| {
            shared.count(|stats| stats.limited += 1);
            Err(TunnelError::LimitReached(bound))
        };
        if let Some(entry) = entries.get_mut(key) {
            entry.retire_others(credentials);
            if let Some((session, place)) = entry.place() {
                return Ok(Step::Use(session, place));
            }
            if let Some(waiting) = entry.connecting() {
                return Ok(Step::Wait(waiting));
            }
            if entry.len() >= shared.options.sessions_per_destination {
                return limited(Bound::SessionsPerDestination);
            }
        }
        if shared.stats.get().sessions >= shared.options.sessions {
            // Room for this one comes from a session that nobody uses, if there is one.
            let idle = entries.values().flat_map(Entry::sessions).find(|session| session.active() == 0);
            match idle {
                Some(session) => session.kill(),
                None => return limited(Bound::SessionsPerWorker),
            }
        }
        Ok(Step::Connect(entries.entry(key.clone()).or_default().connect()))
    }

    /// Makes a session in a task of its own, so that it comes about even if the one who asked has left.
    fn connect<F>(
        &self,
        key: PoolKey,
        credentials: Arc<Credentials>,
        connect: F,
        done: watch::Sender<Option<Result<(), TunnelError>>>,
    ) -> Result<(), TunnelError>
    where
        F: Future<Output = io::Result<TcpStream>> + 'static,
    {
        let config = match self.configs.client(&credentials, &key.expected) {
            Ok(config) => config,
            Err(error) => {
                self.shared.connected(&key, Err(TunnelError::Tls(error.to_string().into())), &done);
                return Err(TunnelError::Tls(error.to_string().into()));
            }
        };
        self.shared.count(|stats| stats.sessions += 1);
        let shared = self.shared.clone();
        let options = PoolOptions { windows: shared.windows(&key), ..shared.options.clone() };
        let counted = Counted(shared.clone());
        let task = async move {
            let _counted = counted;
            let limit = options.connect_timeout;
            let socket = match timeout(limit, connect).await {
                Ok(Ok(socket)) => socket,
                Ok(Err(error)) => {
                    return shared.connected(&key, Err(TunnelError::Connect(Arc::new(error))), &done);
                }
                Err(_) => return shared.connected(&key, Err(TunnelError::ConnectTimeout(limit)), &done),
            };
            let mut made = None;
            establish(socket, config, credentials, &key.expected, &options, |outcome| {
                made = outcome.as_ref().ok().cloned();
                shared.connected(&key, outcome, &done);
            })
            .await;
            if let Some(session) = made {
                shared.ended(&key, &session);
            }
        };
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(turns::inherit(task));
        Ok(())
    }
}

impl Pooled {
    fn count(&self, change: impl FnOnce(&mut PoolStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Those of a pod's next session: the more it has here, the smaller.
    fn windows(&self, key: &PoolKey) -> Windows {
        let entries = self.entries.borrow();
        let own = entries.iter().filter(|(other, _)| other.source_pod == key.source_pod);
        let others: usize = own.map(|(_, entry)| entry.len()).sum();
        Windows::of_nth(u32::try_from(others).unwrap_or(u32::MAX)).at_most(self.options.windows)
    }

    /// A handshake is over: all who wait for it go on.
    fn connected(
        &self,
        key: &PoolKey,
        outcome: Result<Rc<Session>, TunnelError>,
        done: &watch::Sender<Option<Result<(), TunnelError>>>,
    ) {
        self.count(|stats| match outcome {
            Ok(_) => stats.established += 1,
            Err(_) => stats.failed += 1,
        });
        let mut entries = self.entries.borrow_mut();
        let outcome = outcome.map(|session| match entries.get_mut(key) {
            Some(entry) => entry.add(session),
            // The source pod was forgotten meanwhile.
            None => session.kill(),
        });
        if outcome.is_err()
            && let Some(entry) = entries.get_mut(key)
        {
            entry.give_up();
        }
        Self::tidy(&mut entries, key);
        drop(entries);
        done.send_replace(Some(outcome));
    }

    fn ended(&self, key: &PoolKey, session: &Rc<Session>) {
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(key) {
            entry.remove(session);
        }
        Self::tidy(&mut entries, key);
    }

    fn tidy(entries: &mut HashMap<PoolKey, Entry>, key: &PoolKey) {
        if entries.get(key).is_some_and(Entry::is_empty) {
            entries.remove(key);
        }
    }
}

/// A session counts from its first system call to its last.
struct Counted(Rc<Pooled>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count(|stats| stats.sessions -= 1);
    }
}
