//! Which pod a namespace cookie was, also a while after the pod is gone: events come late.
//!
//! Entry point: [`Known`]. Cookies are never used again while the machine runs, so a late event is never
//! taken for another pod's.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{proxy::live::Ending, state::model::Workload};

/// How many pods that are gone are remembered.
const GONE: usize = 1024;

/// How many ended connections are remembered until their event comes.
const ENDINGS: usize = 8192;

/// One connection as one of its namespaces sees it.
pub type Sighting = (u64, SocketAddr, SocketAddr);

/// Shared between the reconciler, which fills it, and the reader of events.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<u64, Arc<Workload>>,
    gone: VecDeque<u64>,
    endings: HashMap<Sighting, Ending>,
}

impl Known {
    /// The pod with this cookie.
    pub fn pod(&self, cookie: u64) -> Option<Arc<Workload>> {
        self.inner().pods.get(&cookie).cloned()
    }

    /// Notes or refreshes a pod.
    pub fn note(&self, cookie: u64, workload: Arc<Workload>) {
        let mut inner = self.inner();
        inner.gone.retain(|gone| *gone != cookie);
        inner.pods.insert(cookie, workload);
    }

    /// Notes that a pod is gone; it is forgotten when many others are, too.
    pub fn gone(&self, cookie: u64) {
        let mut inner = self.inner();
        inner.gone.push_back(cookie);
        if inner.gone.len() > GONE
            && let Some(oldest) = inner.gone.pop_front()
        {
            inner.pods.remove(&oldest);
        }
    }

    /// Notes why a connection that no proxy carries was ended; its event asks for it.
    pub fn ended(&self, sighting: Sighting, ending: Ending) {
        let mut inner = self.inner();
        if inner.endings.len() < ENDINGS {
            inner.endings.insert(sighting, ending);
        }
    }

    /// Why a connection was ended, once.
    pub fn ending(&self, sighting: &Sighting) -> Option<Ending> {
        self.inner().endings.remove(sighting)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held; if it did, the maps would still be whole.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
