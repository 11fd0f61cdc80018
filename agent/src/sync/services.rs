//! Services by cluster address and port, and the backends of which the kernel draws one.
//!
//! Entry points: [`touched`], `Reconciler::refresh_service`.

use std::{collections::BTreeSet, net::IpAddr};

use weir_common::{Address, Backend, BackendKey, Service as KernelService, ServiceKey};

use super::Reconciler;
use crate::{
    addr::{EndpointAddr, octets},
    datapath::table::Table,
    state::{
        Change, Snapshot,
        model::{NamespacedName, Service},
    },
};

/// The services that `changes` are about.
pub(super) fn touched(snapshot: &Snapshot, changes: &[Change]) -> BTreeSet<NamespacedName> {
    let mut services = BTreeSet::new();
    for change in changes {
        match change {
            Change::Service(key) | Change::Routes(key) | Change::Traffic(key) => {
                services.insert(key.clone());
            }
            Change::Workload(key) => {
                let names = snapshot.workload(key).into_iter().flat_map(|workload| workload.services.iter());
                services.extend(names.map(|name| NamespacedName::new(key.namespace.clone(), name.clone())));
            }
            Change::Node(_) | Change::Policies => {}
        }
    }
    services
}

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
            self.maps().remove(gone);
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
            // A service of which no endpoint is in the mesh is left to whoever serves it now, unless somebody says
            // what is to become of its requests.
            let meshed = endpoints.is_empty() || endpoints.iter().any(|endpoint| self.is_meshed(*endpoint));
            if !meshed && !self.clients.govern(&self.snapshot, service, port) {
                continue;
            }
            let key = ServiceKey { address: Address::from_octets(octets(address)), port: port.port, pad: 0 };
            let backends: Vec<Backend> = endpoints.into_iter().map(backend).collect();
            let flags = self.clients.flags(&self.snapshot, service, port);
            if self.maps().write(key, &backends, flags) {
                keys.push(key);
            }
        }
        keys
    }

    fn is_meshed(&self, endpoint: EndpointAddr) -> bool {
        self.snapshot.workload_by_address(endpoint.ip()).is_some_and(|workload| workload.enrolled)
    }

    fn maps(&mut self) -> Maps<'_> {
        let tables = &mut self.datapath.tables;
        Maps { services: &mut tables.services, backends: &mut tables.backends, sets: &mut self.backend_sets }
    }
}

/// Where services are written.
struct Maps<'a> {
    services: &'a mut Table<ServiceKey, KernelService>,
    backends: &'a mut Table<BackendKey, Backend>,
    /// The last set that was begun.
    sets: &'a mut u64,
}

impl Maps<'_> {
    /// Writes a new set of backends, points the service at it, and only then removes the old set, so
    /// that no connection meets half a set. Says whether the service is in force, be it as it was.
    fn write(&mut self, key: ServiceKey, backends: &[Backend], flags: u32) -> bool {
        let old = self.services.desired(&key).copied();
        if let Some(old) = old.filter(|old| self.holds(*old, backends)) {
            // There already: at most the flags differ. Rewriting an entry needs no room.
            return self.services.set(key, KernelService { flags, ..old });
        }
        *self.sets += 1;
        let new = KernelService { set: *self.sets, count: backends.len() as u32, flags };
        let mut slots = backends.iter().enumerate();
        let written = slots.all(|(index, backend)| self.backends.set(slot(new, index), *backend));
        if !written || !self.services.set(key, new) {
            tracing::warn!(backends = backends.len(), "no room in the kernel for a service");
            self.remove_backends(new);
            return old.is_some();
        }
        old.into_iter().for_each(|old| self.remove_backends(old));
        true
    }

    fn remove(&mut self, key: &ServiceKey) {
        if let Some(old) = self.services.desired(key).copied() {
            self.services.unset(key);
            self.remove_backends(old);
        }
    }

    fn holds(&self, service: KernelService, backends: &[Backend]) -> bool {
        let mut slots = backends.iter().enumerate();
        service.count as usize == backends.len()
            && slots.all(|(index, backend)| self.backends.desired(&slot(service, index)) == Some(backend))
    }

    fn remove_backends(&mut self, of: KernelService) {
        for index in 0..of.count as usize {
            self.backends.unset(&slot(of, index));
        }
    }
}

fn slot(service: KernelService, index: usize) -> BackendKey {
    BackendKey { set: service.set, index: index as u32, pad: 0 }
}

fn backend(endpoint: EndpointAddr) -> Backend {
    Backend { address: Address::from_octets(octets(endpoint.ip())), port: endpoint.port(), pad: 0 }
}

#[cfg(test)]
mod tests {
    use weir_common::endpoint::LAYER7;

    use super::*;
    use crate::datapath::table::testing::Memory;

    /// The two maps, in memory.
    struct Kernel {
        services: Memory<ServiceKey, KernelService>,
        backends: Memory<BackendKey, Backend>,
        tables: (Table<ServiceKey, KernelService>, Table<BackendKey, Backend>),
        sets: u64,
    }

    impl Kernel {
        fn new(room: u32) -> Self {
            let (services, backends) = (Memory::of(8), Memory::of(room));
            Self { tables: (services.table(), backends.table()), services, backends, sets: 100 }
        }

        fn maps(&mut self) -> Maps<'_> {
            let (services, backends) = (&mut self.tables.0, &mut self.tables.1);
            Maps { services, backends, sets: &mut self.sets }
        }

        /// Ports of the backends that a connection to `key` may get, and the flags; none: no such service.
        fn service(&self, key: ServiceKey) -> Option<(Vec<u16>, u32)> {
            let service = self.services.inner().get(&key).copied()?;
            let backends = self.backends.inner();
            let ports = (0..service.count as usize).map(|index| backends[&slot(service, index)].port);
            Some((ports.collect(), service.flags))
        }
    }

    fn key(port: u16) -> ServiceKey {
        ServiceKey { port, ..ServiceKey::default() }
    }

    fn backends(ports: &[u16]) -> Vec<Backend> {
        ports.iter().map(|port| Backend { port: *port, ..Backend::default() }).collect()
    }

    #[test]
    fn a_flag_that_comes_or_goes_leaves_the_backends_as_they_are() {
        let mut kernel = Kernel::new(8);
        assert!(kernel.maps().write(key(80), &backends(&[1, 2]), 0));
        let before = kernel.backends.inner().clone();
        for flags in [LAYER7, LAYER7, 0] {
            assert!(kernel.maps().write(key(80), &backends(&[1, 2]), flags));
            assert_eq!(kernel.service(key(80)), Some((vec![1, 2], flags)));
            assert_eq!((&*kernel.backends.inner(), kernel.sets), (&before, 101));
        }
    }

    #[test]
    fn other_backends_are_another_set_and_nothing_of_the_old_one_is_left() {
        let mut kernel = Kernel::new(8);
        for (ports, flags) in [(&[1, 2][..], LAYER7), (&[3], LAYER7), (&[], 0), (&[4, 5, 6], LAYER7)] {
            assert!(kernel.maps().write(key(80), &backends(ports), flags));
            assert_eq!(kernel.service(key(80)), Some((ports.to_vec(), flags)));
            assert_eq!(kernel.backends.inner().len(), ports.len());
        }
        kernel.maps().remove(&key(80));
        assert_eq!((kernel.service(key(80)), kernel.backends.inner().len()), (None, 0));
    }

    #[test]
    fn a_service_for_which_there_is_no_room_stays_as_it_was() {
        let mut kernel = Kernel::new(3);
        assert!(kernel.maps().write(key(80), &backends(&[1, 2]), LAYER7));
        assert!(kernel.maps().write(key(80), &backends(&[3, 4, 5]), 0), "the old set is in force");
        assert_eq!(kernel.service(key(80)), Some((vec![1, 2], LAYER7)));
        assert!(!kernel.maps().write(key(81), &backends(&[6, 7]), 0));
        assert_eq!((kernel.service(key(81)), kernel.backends.inner().len()), (None, 2));
    }
}
