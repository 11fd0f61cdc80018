//! Services by cluster address and port, and the backends of which the kernel draws one.
//!
//! Entry point: `Reconciler::refresh_service`.

use std::net::IpAddr;

use weir_common::{Address, Backend, BackendKey, Service as KernelService, ServiceKey};

use super::Reconciler;
use crate::{
    addr::{EndpointAddr, octets},
    state::model::{NamespacedName, Service},
};

impl Reconciler {
    /// Writes one service, or takes it away.
    pub(super) fn refresh_service(&mut self, key: &NamespacedName) {
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
