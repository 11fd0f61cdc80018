//! The objects as they were last given, filed so that each event reaches only what it touches.
//!
//! Entry point: [`Inputs`]; the `put_*` functions replace one object (or take it away) and answer with
//! the former one. Nothing is derived here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{
    few::Few,
    input::{EndpointSlice, Namespace, Pod, ServiceSpec},
    labels::{LabelIndex, selects},
    model::NamespacedName,
};

type Names = Few<NamespacedName>;

/// Pods of a namespace that have the same labels, as those of a Deployment have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Alike {
    namespace: Arc<str>,
    labels: Arc<BTreeMap<String, String>>,
}

/// Every object in force, but for those that need no index (nodes, policies).
#[derive(Debug, Default)]
pub(super) struct Inputs {
    namespaces: HashMap<Arc<str>, Arc<Namespace>>,
    pods: HashMap<NamespacedName, Arc<Pod>>,
    pods_of_namespace: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    pods_alike: HashMap<Alike, Few<Arc<str>>>,
    alike_by_label: LabelIndex<Alike>,
    services: HashMap<NamespacedName, (Arc<ServiceSpec>, Option<u64>)>,
    services_by_selector: LabelIndex<NamespacedName>,
    slices: HashMap<NamespacedName, Arc<EndpointSlice>>,
    slices_of_service: HashMap<NamespacedName, Names>,
    slices_by_address: HashMap<IpAddr, Names>,
}

impl Inputs {
    pub(super) fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    pub(super) fn pod(&self, key: &NamespacedName) -> Option<&Arc<Pod>> {
        self.pods.get(key)
    }

    pub(super) fn service(&self, key: &NamespacedName) -> Option<&Arc<ServiceSpec>> {
        self.services.get(key).map(|(service, _)| service)
    }

    pub(super) fn pods_of_namespace(&self, namespace: &Arc<str>) -> impl Iterator<Item = NamespacedName> {
        let names = self.pods_of_namespace.get(namespace).into_iter().flatten();
        names.map(|name| NamespacedName::new(namespace.clone(), name.clone()))
    }

    /// The EndpointSlices of a Service, in the order of their names.
    pub(super) fn slices_of<'a>(
        &'a self,
        service: &NamespacedName,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        let names = self.slices_of_service.get(service).into_iter().flat_map(Few::iter);
        names.filter_map(|name| self.slices.get(name))
    }

    /// The Services of which some EndpointSlice has `address`.
    pub(super) fn services_at(&self, address: IpAddr) -> impl Iterator<Item = NamespacedName> {
        let slices = self.slices_by_address.get(&address).into_iter().flat_map(Few::iter);
        slices.filter_map(|name| self.slices.get(name)).map(|slice| service_of(slice))
    }

    /// The Services whose selector selects `pod`.
    pub(super) fn services_selecting<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a NamespacedName> {
        let candidates = self.services_by_selector.filed_under_any(&pod.key.namespace, &pod.labels);
        candidates.filter(|key| {
            let service = self.services.get(*key);
            service.is_some_and(|(service, _)| {
                service.key.namespace == pod.key.namespace && selects(&service.selector, &pod.labels)
            })
        })
    }

    /// The pods that the selector of `service` selects.
    pub(super) fn selected_by<'a>(&'a self, service: &'a ServiceSpec) -> impl Iterator<Item = &'a Arc<Pod>> {
        let candidates = self.alike_by_label.filed_under_rarest(&service.key.namespace, &service.selector);
        let selected = candidates.filter(|alike| {
            alike.namespace == service.key.namespace && selects(&service.selector, &alike.labels)
        });
        let names = selected.filter_map(|alike| Some((alike, self.pods_alike.get(alike)?)));
        names.flat_map(move |(alike, names)| {
            let key = |name: &Arc<str>| NamespacedName::new(alike.namespace.clone(), name.clone());
            names.iter().filter_map(move |name| self.pods.get(&key(name)))
        })
    }

    pub(super) fn put_namespace(
        &mut self,
        name: &Arc<str>,
        new: Option<Arc<Namespace>>,
    ) -> Option<Arc<Namespace>> {
        match new {
            Some(new) => self.namespaces.insert(name.clone(), new),
            None => self.namespaces.remove(name),
        }
    }

    pub(super) fn put_pod(&mut self, key: &NamespacedName, new: Option<Arc<Pod>>) -> Option<Arc<Pod>> {
        let old = self.pods.remove(key);
        if let Some(old) = &old {
            self.remove_alike(old);
            if let Some(names) = self.pods_of_namespace.get_mut(&key.namespace) {
                names.remove(&key.name);
                if names.is_empty() {
                    self.pods_of_namespace.remove(&key.namespace);
                }
            }
        }
        if let Some(new) = new {
            self.insert_alike(&new);
            self.pods_of_namespace.entry(key.namespace.clone()).or_default().insert(key.name.clone());
            self.pods.insert(key.clone(), new);
        }
        old
    }

    fn insert_alike(&mut self, pod: &Pod) {
        let alike = Alike { namespace: pod.key.namespace.clone(), labels: pod.labels.clone() };
        let names = self.pods_alike.entry(alike.clone()).or_default();
        if names.is_empty() {
            self.alike_by_label.insert(&alike, &alike.namespace, &alike.labels);
        }
        names.insert(pod.key.name.clone());
    }

    fn remove_alike(&mut self, pod: &Pod) {
        let alike = Alike { namespace: pod.key.namespace.clone(), labels: pod.labels.clone() };
        let Some(names) = self.pods_alike.get_mut(&alike) else { return };
        names.remove(&pod.key.name);
        if names.is_empty() {
            self.pods_alike.remove(&alike);
            self.alike_by_label.remove(&alike, &alike.namespace, &alike.labels);
        }
    }

    pub(super) fn put_service(
        &mut self,
        key: &NamespacedName,
        new: Option<Arc<ServiceSpec>>,
    ) -> Option<Arc<ServiceSpec>> {
        let old = self.services.remove(key);
        if let Some((_, Some(slot))) = &old {
            self.services_by_selector.remove_from(*slot, key);
        }
        if let Some(new) = new {
            let slot = self.services_by_selector.insert_rarest(key, &key.namespace, &new.selector);
            self.services.insert(key.clone(), (new, slot));
        }
        old.map(|(service, _)| service)
    }

    pub(super) fn put_slice(
        &mut self,
        key: &NamespacedName,
        new: Option<Arc<EndpointSlice>>,
    ) -> Option<Arc<EndpointSlice>> {
        let old = self.slices.remove(key);
        if let Some(old) = &old {
            unfile(&mut self.slices_of_service, &service_of(old), key);
            for endpoint in &old.endpoints {
                unfile(&mut self.slices_by_address, &endpoint.address, key);
            }
        }
        if let Some(new) = new {
            self.slices_of_service.entry(service_of(&new)).or_default().insert(key.clone());
            for endpoint in &new.endpoints {
                self.slices_by_address.entry(endpoint.address).or_default().insert(key.clone());
            }
            self.slices.insert(key.clone(), new);
        }
        old
    }

    /// Whether no object and no trace of one is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.pods.is_empty()
            && self.pods_of_namespace.is_empty()
            && self.pods_alike.is_empty()
            && self.alike_by_label.is_empty()
            && self.services.is_empty()
            && self.services_by_selector.is_empty()
            && self.slices.is_empty()
            && self.slices_of_service.is_empty()
            && self.slices_by_address.is_empty()
    }
}

/// The Service to which a slice belongs.
pub(super) fn service_of(slice: &EndpointSlice) -> NamespacedName {
    NamespacedName::new(slice.key.namespace.clone(), slice.service.clone())
}

fn unfile<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Names>, key: &K, name: &NamespacedName) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
