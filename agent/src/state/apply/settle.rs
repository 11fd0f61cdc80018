//! What events have marked, derived anew from the objects in force.
//!
//! Entry point: `State::settle`.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{Change, Marks, State};
use crate::{
    identity::{Identity, PartsOf},
    state::{
        few::Few,
        model::{NamespacedName, Service, Workload},
        services, snapshot, workloads,
    },
};

impl State {
    pub(super) fn settle(&mut self, marks: &mut Marks) {
        for key in std::mem::take(&mut marks.services) {
            self.settle_service(&key, marks);
        }
        for key in std::mem::take(&mut marks.workloads) {
            self.settle_workload(&key, marks);
        }
        // Last: routes look at Services as they are now.
        for key in std::mem::take(&mut marks.routed) {
            self.settle_routes(&key, marks);
        }
    }

    fn settle_service(&mut self, key: &NamespacedName, marks: &mut Marks) {
        let services::Resolved { service, members } =
            services::resolve(key, &self.inputs, &self.view.workload_addresses);
        self.settle_members(key, members, marks);

        let old = self.view.services.get(key).cloned();
        if old.as_deref() == service.as_ref() {
            return;
        }
        let of = |service: Option<&Service>| -> BTreeSet<IpAddr> {
            service.map(|service| service.addresses.iter().copied().collect()).unwrap_or_default()
        };
        let (before, after) = (of(old.as_deref()), of(service.as_ref()));
        let addresses = &mut self.view.service_addresses;
        before.difference(&after).for_each(|address| addresses.release(*address, key));
        after.difference(&before).for_each(|address| addresses.claim(*address, key));
        for address in before.symmetric_difference(&after) {
            let others = addresses.claimants(*address).iter().cloned().map(Change::Service);
            marks.changes.extend(others);
        }
        if old.as_deref().map(route_face) != service.as_ref().map(route_face) {
            marks.routed.extend(self.routes.touched_by_service(key));
        }
        match service {
            Some(service) => self.view.services.insert(key.clone(), Arc::new(service)),
            None => self.view.services.remove(key),
        };
        marks.changes.insert(Change::Service(key.clone()));
    }

    fn settle_routes(&mut self, key: &NamespacedName, marks: &mut Marks) {
        let new = self.routes.derive(key, &self.view.services);
        if self.view.routes.get(key).map(|old| &**old) == new.as_ref() {
            return;
        }
        self.view.put_routes(key, new.map(Arc::new));
        marks.changes.insert(Change::Routes(key.clone()));
    }

    fn settle_members(&mut self, key: &NamespacedName, members: BTreeSet<Arc<str>>, marks: &mut Marks) {
        let before = self.members.remove(key).unwrap_or_default();
        for name in before.symmetric_difference(&members) {
            let pod = NamespacedName::new(key.namespace.clone(), name.clone());
            let services = self.services_of.entry(pod.clone()).or_default();
            if members.contains(name) {
                services.insert(key.name.clone());
            } else {
                services.remove(&key.name);
            }
            if services.is_empty() {
                self.services_of.remove(&pod);
            }
            marks.workloads.insert(pod);
        }
        if !members.is_empty() {
            self.members.insert(key.clone(), members);
        }
    }

    fn settle_workload(&mut self, key: &NamespacedName, marks: &mut Marks) {
        let new = self.inputs.pod(key).and_then(|pod| {
            let mut services = self.services_of.get(key).into_iter().flat_map(Few::iter).cloned().collect();
            self.memberships.share(&mut services);
            let namespace = self.inputs.namespace(&key.namespace).map(|namespace| &**namespace);
            let (trust_domain, account) = (&self.settings.trust_domain, &*pod.service_account);
            let parts = PartsOf { trust_domain, namespace: &key.namespace, service_account: account };
            // Names that make no identity make no workload: none may be made up.
            let identity =
                self.identities.get(&parts, || Identity::new(trust_domain, &key.namespace, account).ok())?;
            Some(workloads::build(pod, namespace, services, identity))
        });
        let old = self.view.workload(key).cloned();
        if old.as_deref() == new.as_ref() {
            return;
        }
        marks.decisions |= !workloads::judged_alike(old.as_deref(), new.as_ref());
        marks.changes.insert(Change::Workload(key.clone()));
        self.file_under_node(key, old.as_deref(), new.as_ref());
        match new {
            Some(new) => self.view.workloads.insert(key.clone(), Arc::new(snapshot::Known::new(new))),
            None => self.view.workloads.remove(key),
        };
    }

    fn file_under_node(&mut self, key: &NamespacedName, old: Option<&Workload>, new: Option<&Workload>) {
        let node = |workload: Option<&Workload>| {
            workload.map(|workload| workload.node.clone()).filter(|node| !node.is_empty())
        };
        let (before, after) = (node(old), node(new));
        if before == after {
            return;
        }
        let nodes = &mut self.view.workloads_of_node;
        if let Some(before) = before
            && let Some(keys) = nodes.get_mut(&before)
        {
            keys.remove(key);
            if keys.is_empty() {
                nodes.remove(&before);
            }
        }
        if let Some(after) = after {
            nodes.entry(after).or_default().insert(key.clone());
        }
    }
}

/// What routes see of a Service: whether it has an address, and its ports, but not who is behind them.
fn route_face(service: &Service) -> impl PartialEq + use<> {
    let ports: Vec<_> = service.ports.iter().map(|port| (port.port, port.name.clone())).collect();
    (service.addresses.is_empty(), ports)
}
