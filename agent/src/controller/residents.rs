//! Which service accounts have a pod on which node.
//!
//! Entry point: [`Residents::has`]. All pods are watched, of which only that much is kept; before a no, the API server
//! itself is asked, because an agent may have heard of a new pod first.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::ca::CaError;

/// Questions to the API server at one time.
const AT_ONCE: usize = 16;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Where a service account has a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    namespace: Arc<str>,
    service_account: Arc<str>,
    node: Arc<str>,
}

/// All pods, by what is asked of them.
#[derive(Debug, Default)]
struct Index {
    /// By UID.
    pods: HashMap<Arc<str>, Place>,
    places: HashMap<Place, usize>,
    /// While all are told anew: those that were told so far.
    telling: Option<HashMap<Arc<str>, Place>>,
}

/// Knows where service accounts are.
pub(super) struct Residents {
    client: Client,
    index: Arc<RwLock<Index>>,
    asking: Semaphore,
}

impl Residents {
    /// Watches until what is returned beside it is dropped; the receiver says when all pods are known.
    pub(super) fn start(client: Client) -> (Self, watch::Receiver<bool>, JoinSet<()>) {
        let index = Arc::new(RwLock::default());
        let (says, known) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(watch_pods(client.clone(), Arc::clone(&index), says));
        (Self { client, index, asking: Semaphore::new(AT_ONCE) }, known, task)
    }

    /// Whether a pod of this service account is on `node` and has not ended.
    ///
    /// # Errors
    /// [`CaError::Unreachable`] when nobody can say.
    pub(super) async fn has(
        &self,
        namespace: &str,
        service_account: &str,
        node: &str,
    ) -> Result<bool, CaError> {
        let place =
            Place { namespace: namespace.into(), service_account: service_account.into(), node: node.into() };
        if self.index.read().unwrap_or_else(PoisonError::into_inner).places.contains_key(&place) {
            return Ok(true);
        }
        let Ok(_turn) = self.asking.acquire().await else {
            return Err(CaError::Unreachable("the authority is stopping".into()));
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("spec.nodeName={node},spec.serviceAccountName={service_account}");
        let list = ListParams::default().fields(&fields);
        let pods = timeout(LIMIT, api.list(&list)).await;
        let unknown = |error: &dyn std::fmt::Display| {
            CaError::Unreachable(format!("nobody can say whether {place:?} has a pod: {error}"))
        };
        let pods = pods.map_err(|error| unknown(&error))?.map_err(|error| unknown(&error))?;
        Ok(pods.items.iter().any(|pod| read(pod).is_some()))
    }

    /// How many pods are known.
    pub(super) fn count(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).pods.len()
    }
}

async fn watch_pods(client: Client, index: Arc<RwLock<Index>>, says: watch::Sender<bool>) {
    let api: Api<Pod> = Api::all(client);
    let mut stream = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "cannot watch pods; those that were told stay");
                continue;
            }
        };
        let whole = matches!(event, Event::InitDone);
        index.write().unwrap_or_else(PoisonError::into_inner).take(event);
        if whole {
            says.send_replace(true);
        }
    }
}

impl Index {
    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.telling = Some(HashMap::new()),
            Event::InitApply(pod) => {
                if let (Some(telling), Some(place)) = (&mut self.telling, read(&pod)) {
                    telling.insert(uid(&pod), place);
                }
            }
            Event::InitDone => {
                self.pods = self.telling.take().unwrap_or_default();
                self.places.clear();
                for place in self.pods.values() {
                    *self.places.entry(place.clone()).or_default() += 1;
                }
            }
            Event::Apply(pod) => self.set(uid(&pod), read(&pod)),
            Event::Delete(pod) => self.set(uid(&pod), None),
        }
    }

    fn set(&mut self, uid: Arc<str>, place: Option<Place>) {
        let old = match place.clone() {
            Some(place) => self.pods.insert(uid, place),
            None => self.pods.remove(&uid),
        };
        if old == place {
            return;
        }
        if let Some(old) = old
            && let Some(count) = self.places.get_mut(&old)
        {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&old);
            }
        }
        if let Some(place) = place {
            *self.places.entry(place).or_default() += 1;
        }
    }
}

fn uid(pod: &Pod) -> Arc<str> {
    pod.metadata.uid.as_deref().unwrap_or_default().into()
}

/// Where a pod is, if it is on a node and has not ended.
fn read(pod: &Pod) -> Option<Place> {
    let spec = pod.spec.as_ref()?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    Some(Place {
        namespace: pod.namespace()?.into(),
        service_account: spec.service_account_name.as_deref().unwrap_or("default").into(),
        node: spec.node_name.as_deref()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, node: Option<&str>, phase: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": "x", "uid": uid},
            "spec": {"serviceAccountName": "cart", "nodeName": node, "containers": []},
            "status": {"phase": phase},
        }))
        .expect("a pod")
    }

    fn on(index: &Index, node: &str) -> usize {
        let place = Place { namespace: "shop".into(), service_account: "cart".into(), node: node.into() };
        index.places.get(&place).copied().unwrap_or_default()
    }

    #[test]
    fn a_service_account_is_where_it_has_a_pod_that_has_not_ended() {
        let mut index = Index::default();
        for event in [
            Event::Apply(pod("1", None, "Pending")),
            Event::Apply(pod("2", Some("a"), "Pending")),
            Event::Apply(pod("3", Some("a"), "Running")),
            Event::Apply(pod("3", Some("a"), "Running")),
            Event::Apply(pod("4", Some("b"), "Succeeded")),
        ] {
            index.take(event);
        }
        assert_eq!((on(&index, "a"), on(&index, "b")), (2, 0));
        index.take(Event::Apply(pod("2", Some("a"), "Failed")));
        assert_eq!(on(&index, "a"), 1);
        index.take(Event::Delete(pod("3", Some("a"), "Running")));
        assert!(index.places.is_empty() && index.pods.is_empty());
    }

    #[test]
    fn what_is_told_anew_takes_the_place_of_what_was_known_when_it_is_whole() {
        let mut index = Index::default();
        index.take(Event::Apply(pod("1", Some("a"), "Running")));
        index.take(Event::Init);
        index.take(Event::InitApply(pod("2", Some("b"), "Running")));
        assert_eq!((on(&index, "a"), on(&index, "b")), (1, 0));
        index.take(Event::InitDone);
        assert_eq!((on(&index, "a"), on(&index, "b")), (0, 1));
    }
}
