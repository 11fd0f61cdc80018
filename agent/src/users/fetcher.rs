//! The task that fetches key sets, and what the rest of the agent sees of it.
//!
//! Entry points: [`spawn`], [`KeyFetcher`]. When to fetch is `store`'s decision, how is `fetch`'s; here they meet the clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use super::{
    fetch::fetch,
    keys::{KeyRing, KeySet, Source, SourceId},
    store::{FetchCounts, SourceStatus, Store, Wish},
};

/// A request waits so long for a key that may come.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The running task; ends it when dropped.
#[must_use = "the fetcher ends when this is dropped"]
pub struct KeyFetcherTask(JoinHandle<()>);

impl KeyFetcherTask {
    /// Ends the task and waits until it has.
    pub async fn stop(mut self) {
        self.0.abort();
        let _aborted = (&mut self.0).await;
    }
}

impl Drop for KeyFetcherTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The fetched keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyFetcher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    ring: ArcSwap<KeyRing>,
    /// Something may be due.
    wake: Notify,
    /// A fetch has ended.
    ended: watch::Sender<()>,
}

/// Starts the task; `seed`, any number that differs from agent to agent, spreads their fetches.
pub fn spawn(seed: u64) -> (KeyFetcher, KeyFetcherTask) {
    let fetcher = KeyFetcher(Arc::new(Shared {
        store: Mutex::new(Store::new(seed)),
        ring: ArcSwap::default(),
        wake: Notify::new(),
        ended: watch::Sender::new(()),
    }));
    let mut task = Task { keys: fetcher.clone(), fetches: JoinSet::new(), of: HashMap::new() };
    (fetcher, KeyFetcherTask(tokio::spawn(async move { task.run().await })))
}

impl KeyFetcher {
    /// From now on, these sources and no others are fetched: those of the workloads on this node.
    pub fn use_only(&self, sources: &[Arc<Source>]) {
        let mut store = self.store();
        if store.use_only(sources, now()) {
            self.publish(&store);
        }
        drop(store);
        self.0.wake.notify_one();
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.0.ring.load_full()
    }

    /// How fetching went.
    pub fn counts(&self) -> FetchCounts {
        self.store().counts()
    }

    /// Every source in use, and how many more there are than can be fetched.
    pub fn status(&self) -> (Vec<SourceStatus>, usize) {
        let store = self.store();
        (store.status(now()), store.turned_away())
    }

    /// Waits, for a short time, until the source has been fetched anew. Answers whether it has, well or not.
    pub(super) async fn refreshed(&self, source: &Arc<Source>) -> bool {
        let mut ended = self.0.ended.subscribe();
        let Wish::Round(round) = self.store().want(source, now()) else {
            return false;
        };
        self.0.wake.notify_one();
        let wait = async {
            while !self.store().has_ended(source.id(), round) {
                if ended.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(LONGEST_WAIT, wait).await.unwrap_or(false)
    }

    /// Inside the lock, so that an older ring never replaces a newer one.
    fn publish(&self, store: &Store) {
        self.0.ring.store(Arc::new(store.ring()));
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    keys: KeyFetcher,
    fetches: JoinSet<Result<KeySet, String>>,
    /// For which source each running fetch is.
    of: HashMap<Id, Arc<Source>>,
}

impl Task {
    async fn run(&mut self) {
        let keys = self.keys.clone();
        loop {
            let next = self.start_due();
            let idle = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.fetches.join_next_with_id() => self.done(done),
                () = keys.0.wake.notified() => {}
                () = idle => {}
            }
        }
    }

    /// Starts what is due, and says when there will be more.
    fn start_due(&mut self) -> Option<Instant> {
        let keys = self.keys.clone();
        let mut store = keys.store();
        for source in store.start_due(now()) {
            let asked = source.clone();
            let fetch = self.fetches.spawn(async move { fetch(&asked).await });
            self.of.insert(fetch.id(), source);
        }
        store.next_due().map(Instant::from_std)
    }

    fn done(&mut self, done: Result<(Id, Result<KeySet, String>), JoinError>) {
        let (id, fetched) = match done {
            Ok((id, fetched)) => (id, fetched),
            Err(error) => (error.id(), Err("the fetch broke off".to_owned())),
        };
        let Some(source) = self.of.remove(&id) else { return };
        match &fetched {
            Ok(keys) => tracing::debug!(%source, keys = keys.len(), "key set fetched"),
            Err(error) => tracing::warn!(%source, error, "key set not fetched: the last good one is kept"),
        }
        self.finished(source.id(), fetched);
    }

    fn finished(&self, id: SourceId, fetched: Result<KeySet, String>) {
        let mut store = self.keys.store();
        if store.finished(id, fetched, now()) {
            self.keys.publish(&store);
        }
        drop(store);
        self.keys.0.ended.send_replace(());
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
