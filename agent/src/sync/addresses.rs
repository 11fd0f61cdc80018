//! Destinations that the mesh knows: pods by address. Those by a service's address are written in `services`.
//!
//! Entry points: `Reconciler::refresh_destinations`, `Reconciler::refresh_everywhere`.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use weir_common::{Address, Endpoint, endpoint};

use super::{Reconciler, services};
use crate::{
    addr::octets,
    state::{Change, model::NamespacedName},
};

impl Reconciler {
    /// Writes what `changes` are about.
    pub(super) fn refresh_destinations(&mut self, changes: &[Change]) {
        let mut services = self.clients.update(&self.snapshot, &self.options.node);
        services.extend(services::touched(&self.snapshot, changes));
        for change in changes {
            match change {
                Change::Workload(key) => self.refresh_workload(key),
                Change::Node(_) => self.refresh_node_addresses(),
                Change::Service(_) | Change::Policies | Change::Routes(_) | Change::Traffic(_) => {}
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
        self.clients.update(&self.snapshot, &self.options.node);
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
            self.addresses.remove(key).iter().flat_map(|own| own.iter()).copied().collect();
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
}
