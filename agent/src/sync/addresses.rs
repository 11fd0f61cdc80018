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
    addr::{from_octets, octets},
    state::{Change, Snapshot, model::NamespacedName},
};

impl Reconciler {
    /// Writes what `changes` since `before` are about.
    pub(super) fn refresh_destinations(&mut self, before: &Snapshot, changes: &[Change]) {
        let mut services = self.clients.update(&self.snapshot, &self.options.node);
        services.extend(services::touched(&self.snapshot, changes));
        for change in changes {
            match change {
                Change::Workload(key) => self.refresh_workload(before, key),
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
        self.refresh_destinations(&self.snapshot.clone(), &changes);
    }

    /// Writes every workload and service.
    pub(super) fn refresh_everywhere(&mut self) {
        self.clients.update(&self.snapshot, &self.options.node);
        let written = self.datapath.tables.endpoints.iter();
        let mut addresses: HashSet<IpAddr> = written.map(|(key, _)| from_octets(key.octets())).collect();
        addresses.extend(self.snapshot.workloads().flat_map(|workload| workload.addresses.iter().copied()));
        for address in addresses {
            self.refresh_address(address);
        }
        let mut services: BTreeSet<NamespacedName> = self.services.keys().cloned().collect();
        services.extend(self.snapshot.services().map(|service| service.key.clone()));
        for key in services {
            self.refresh_service(&key);
        }
    }

    fn refresh_workload(&mut self, before: &Snapshot, key: &NamespacedName) {
        let of = |snapshot: &Snapshot| snapshot.workload(key).map(|workload| workload.addresses.clone());
        let addresses = [of(before), of(&self.snapshot)].into_iter().flatten();
        let addresses: HashSet<IpAddr> = addresses.flat_map(|of| of.to_vec()).collect();
        for address in addresses {
            self.refresh_address(address);
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
