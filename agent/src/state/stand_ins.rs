//! Addresses that a pod's network gave it, while the API does not tell them yet.
//!
//! Entry points: [`StandIns::note`], [`StandIns::resolve`], [`StandIns::withdraw`]. A pod gets its addresses before its first container starts, and
//! its object has them seconds later; one whose sandbox is made anew has those of the old one until then. What was given
//! counts as long as the API says what it said before, and the API's word from then on.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{input::Pod, model::NamespacedName};

/// By pod; at most one for each that is in force.
#[derive(Debug, Default)]
pub(super) struct StandIns(HashMap<NamespacedName, StandIn>);

#[derive(Debug)]
struct StandIn {
    uid: Arc<str>,
    given: Arc<[IpAddr]>,
    /// What the API told when they were given.
    told: Arc<[IpAddr]>,
}

impl StandIns {
    /// Notes what `pod`, as it is in force, was given; answers with the pod as it is from now on.
    pub(super) fn note(&mut self, pod: &Pod, given: Arc<[IpAddr]>) -> Pod {
        let before = self.0.remove(&pod.key);
        let told = before.map_or_else(|| pod.addresses.clone(), |before| before.told);
        self.0.insert(pod.key.clone(), StandIn { uid: pod.uid.clone(), given: given.clone(), told });
        Pod { addresses: given, ..pod.clone() }
    }

    /// The pod as the API tells it now, with what was given in place of what the API does not know yet.
    pub(super) fn resolve(&mut self, key: &NamespacedName, new: Option<Arc<Pod>>) -> Option<Arc<Pod>> {
        let Some(stand_in) = self.0.get(key) else { return new };
        let stale = |pod: &Arc<Pod>| {
            pod.uid == stand_in.uid && (pod.addresses.is_empty() || pod.addresses == stand_in.told)
        };
        match new {
            Some(pod) if stale(&pod) => {
                Some(Arc::new(Pod { addresses: stand_in.given.clone(), ..(*pod).clone() }))
            }
            new => {
                self.0.remove(key);
                new
            }
        }
    }

    /// Takes back what `pod`, as it is in force, was given; answers with the pod as the API told it, if it was given
    /// anything.
    pub(super) fn withdraw(&mut self, pod: &Pod) -> Option<Pod> {
        let stand_in = self.0.remove(&pod.key)?;
        Some(Pod { addresses: stand_in.told, ..pod.clone() })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
