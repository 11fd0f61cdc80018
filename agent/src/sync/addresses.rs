//! Destinations that the mesh knows: pods by address, services by cluster address and port.
//!
//! Entry points: `Reconciler::refresh_destinations`, `Reconciler::refresh_everywhere`.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use weir_common::{Address, Backend, BackendKey, Endpoint, Service as KernelService, ServiceKey, endpoint};

use super::Reconciler;
use crate::{
    addr::{EndpointAddr, octets},
    state::{
        Change,
        model::{NamespacedName, Service},
    },
};

impl Reconciler {
    /// Writes what `changes` are about.
    pub(super) fn refresh_destinations(&mut self, changes: &[Change]) {
        let mut services: BTreeSet<NamespacedName> = BTreeSet::new();
        for change in changes {
            match change {
                Change::Workload(key) => {
                    self.refresh_workload(key);
                    if let Some(workload) = self.snapshot.workload(key) {
                        let of = |name: &std::sync::Arc<str>| {
                            NamespacedName::new(key.namespace.clone(), name.clone())
                        };
                        services.extend(workload.services.iter().map(of));
                    }
                }
                Change::Service(key) => {
                    services.insert(key.clone());
                }
                Change::Node(_) => self.refresh_node_addresses(),
                Change::Policies | Change::Routes(_) | Change::Traffic(_) => {}
            }
        }
        for key in services {
            self.refresh_service(&key);
        }
    }

    /// Writes pods that were captured or released, and their services.
    pub(super) fn refresh_pods(&mut self, pods: &BTreeSet<NamespacedName>) {
        let changes: Vec<Change> = pods.iter().cloned().map(Change::Workload).collect();
        self.refresh_destinations(&changes);
    }

    /// Writes every workload and service.
    pub(super) fn refresh_everywhere(&mut self) {
        let mut workloads: BTreeSet<NamespacedName> = self.addresses.keys().cloned().collect();
        workloads.extend(self.snapshot.workloads().map(|workload| workload.key.clone()));
        for key in workloads {
            self.refresh_workload(&key);
        }
        let mut services: BTreeSet<NamespacedName> = self.services.keys().cloned().collect();
        services.extend(self.snapshot.services().map(|service| service.key.clone()));
        for key in services {
            self.refresh_service(&key);
        }
    }

    fn refresh_workload(&mut self, key: &NamespacedName) {
        let mut addresses: HashSet<IpAddr> =
            self.addresses.remove(key).unwrap_or_default().into_iter().collect();
        let workload = self.snapshot.workload(key).cloned();
        let own = workload.map(|workload| workload.addresses.clone()).unwrap_or_default();
        addresses.extend(own.iter().copied());
        for address in addresses {
            self.refresh_address(address);
        }
        if !own.is_empty() {
            self.addresses.insert(key.clone(), own);
        }
    }

    fn refresh_address(&mut self, address: IpAddr) {
        let key = Address::from_octets(octets(address));
        match self.endpoint(address) {
            Some(endpoint) => {
                self.datapath.tables.endpoints.set(key, endpoint);
            }
            None => self.datapath.tables.endpoints.unset(&key),
        }
    }

    /// What the kernel is told of an address; `None` when the mesh has nothing to say about it.
    fn endpoint(&self, address: IpAddr) -> Option<Endpoint> {
        let Some(workload) = self.snapshot.workload_by_address(address) else {
            // Two pods claim it. It goes to the proxy, which refuses: sent as asked, bytes meant for one
            // of them in the mesh would leave in plaintext.
            return self.is_contested(address).then_some(Endpoint {
                netns: 0,
                flags: endpoint::MESHED,
                pad: 0,
            });
        };
        if !workload.enrolled {
            return None;
        }
        let captured = self.pods.get(&workload.key);
        let netns = captured.map_or(0, |captured| captured.pod.netns.cookie());
        Some(Endpoint { netns, flags: endpoint::MESHED, pad: 0 })
    }

    fn is_contested(&self, address: IpAddr) -> bool {
        self.snapshot.conflicts().iter().any(|conflict| conflict.address == address)
    }

    fn refresh_service(&mut self, key: &NamespacedName) {
        let before = self.services.remove(key).unwrap_or_default();
        let service = self.snapshot.service(key).cloned();
        let mut now = Vec::new();
        for service in service.iter() {
            for address in service.addresses.iter().copied() {
                now.extend(self.write_service(service, address));
            }
        }
        for gone in before.iter().filter(|key| !now.contains(key)) {
            self.drop_service(gone);
        }
        if !now.is_empty() {
            self.services.insert(key.clone(), now);
        }
    }

    /// Writes one address of a service; gives the keys that are in force.
    fn write_service(&mut self, service: &Service, address: IpAddr) -> Vec<ServiceKey> {
        let owned = self.snapshot.service_by_address(address, 0).is_some()
            || service.ports.iter().any(|port| {
                self.snapshot
                    .service_by_address(address, port.port)
                    .is_some_and(|(owner, _)| owner.key == service.key)
            });
        if !owned {
            return Vec::new();
        }
        let mut keys = Vec::new();
        for port in &service.ports {
            let endpoints: Vec<EndpointAddr> = port
                .endpoints
                .iter()
                .copied()
                .filter(|endpoint| endpoint.ip().is_ipv4() == address.is_ipv4())
                .collect();
            // A service of which no endpoint is in the mesh is left to whoever serves it now.
            if !endpoints.is_empty() && !endpoints.iter().any(|endpoint| self.is_meshed(*endpoint)) {
                continue;
            }
            let key = ServiceKey { address: Address::from_octets(octets(address)), port: port.port, pad: 0 };
            if self.write_backends(key, &endpoints) {
                keys.push(key);
            }
        }
        keys
    }

    fn is_meshed(&self, endpoint: EndpointAddr) -> bool {
        self.snapshot.workload_by_address(endpoint.ip()).is_some_and(|workload| workload.enrolled)
    }

    /// Writes a new set of backends, points the service at it, and only then removes the old set, so
    /// that no connection meets half a set.
    fn write_backends(&mut self, key: ServiceKey, endpoints: &[EndpointAddr]) -> bool {
        let backends: Vec<Backend> = endpoints
            .iter()
            .map(|endpoint| Backend {
                address: Address::from_octets(octets(endpoint.ip())),
                port: endpoint.port(),
                pad: 0,
            })
            .collect();
        let tables = &mut self.datapath.tables;
        let old = tables.services.desired(&key).copied();
        let slot = |set, index: usize| BackendKey { set, index: index as u32, pad: 0 };
        let same = old.is_some_and(|old| {
            old.count as usize == backends.len()
                && backends
                    .iter()
                    .enumerate()
                    .all(|(index, backend)| tables.backends.desired(&slot(old.set, index)) == Some(backend))
        });
        if same {
            return true;
        }
        self.backend_sets += 1;
        let set = self.backend_sets;
        let written = backends
            .iter()
            .enumerate()
            .all(|(index, backend)| tables.backends.set(slot(set, index), *backend));
        let value = KernelService { set, count: backends.len() as u32, flags: 0 };
        if !written || !tables.services.set(key, value) {
            tracing::warn!(backends = backends.len(), "no room in the kernel for a service");
            for index in 0..backends.len() {
                tables.backends.unset(&slot(set, index));
            }
            return old.is_some();
        }
        if let Some(old) = old {
            for index in 0..old.count as usize {
                tables.backends.unset(&slot(old.set, index));
            }
        }
        true
    }

    fn drop_service(&mut self, key: &ServiceKey) {
        let tables = &mut self.datapath.tables;
        let Some(old) = tables.services.desired(key).copied() else { return };
        tables.services.unset(key);
        for index in 0..old.count {
            tables.backends.unset(&BackendKey { set: old.set, index, pad: 0 });
        }
    }
}
