//! The cluster as it was at one moment, for any number of readers.
//!
//! Entry point: [`Snapshot`]. Immutable and made of persistent maps, so that taking one costs the same
//! however large the cluster is. Knows nothing of the objects it came from.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;

use super::{
    claims::Claims,
    input::Kind,
    model::{NamespacedName, Node, ObjectKey, Service, ServicePort, Workload},
    routes::{ParentStatus, Routes, ServiceRoutes},
};
use crate::{
    policy::{Applicable, PolicyIndex, Target},
    traffic::{Place, RateLimits, ServiceKey, Traffic, TrafficIndex},
    users::{Authentication, AuthenticationIndex, Source},
};

/// An immutable view of the cluster's state.
#[derive(Clone)]
pub struct Snapshot {
    /// Grows with everything that changes.
    pub generation: u64,
    /// Grows when a decision about a connection could differ from before: with policies, and with the
    /// identity, labels, services, addresses, enrolment or `mtls` of a workload.
    pub policy_generation: u64,
    pub(super) workloads: imbl::OrdMap<NamespacedName, Arc<Known>>,
    pub(super) workload_addresses: Claims,
    pub(super) workloads_of_node: imbl::HashMap<Arc<str>, imbl::OrdSet<NamespacedName>>,
    pub(super) services: imbl::OrdMap<NamespacedName, Arc<Service>>,
    pub(super) service_addresses: Claims,
    /// Of the Services that some route names as a parent.
    pub(super) routes: imbl::OrdMap<NamespacedName, Arc<ServiceRoutes>>,
    /// The Services that have consumer routes, by the namespace of the clients; none is empty.
    pub(super) consumed_by: imbl::OrdMap<Arc<str>, imbl::OrdSet<NamespacedName>>,
    pub(super) nodes: imbl::OrdMap<Arc<str>, Arc<Node>>,
    pub(super) policies: PolicyIndex,
    pub(super) policies_version: u64,
    pub(super) authentications: AuthenticationIndex,
    pub(super) authentications_version: u64,
    pub(super) traffic: TrafficIndex,
}

/// A workload, with the policies that select it once somebody has asked for them.
pub(super) struct Known {
    pub(super) workload: Arc<Workload>,
    /// Shared by all snapshots that have this very workload; the version says by which policies.
    applicable: ArcSwapOption<(u64, Arc<Applicable>)>,
    /// The same for the request authentications.
    authentication: ArcSwapOption<(u64, Arc<Authentication>)>,
}

/// An address that several objects of one kind claim. None of them has it until one lets go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// The pods, or Services, that claim it.
    pub claimants: Vec<ObjectKey>,
}

impl Snapshot {
    pub(super) fn new(policies: PolicyIndex, authentications: AuthenticationIndex) -> Self {
        Self {
            generation: 0,
            policy_generation: 0,
            workloads: Default::default(),
            workload_addresses: Default::default(),
            workloads_of_node: Default::default(),
            services: Default::default(),
            service_addresses: Default::default(),
            routes: Default::default(),
            consumed_by: Default::default(),
            nodes: Default::default(),
            policies,
            policies_version: 0,
            authentications,
            authentications_version: 0,
            traffic: TrafficIndex::default(),
        }
    }

    /// Every pod that is not finished, in the order of their names.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values().map(|known| &known.workload)
    }

    /// The pod with this name.
    pub fn workload(&self, key: &NamespacedName) -> Option<&Arc<Workload>> {
        self.workloads.get(key).map(|known| &known.workload)
    }

    /// The pod whose own address `address` is: none for a node's address, whatever host-network pods
    /// are there, and none while two pods claim it.
    pub fn workload_by_address(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workload(self.workload_addresses.owner(address.to_canonical())?)
    }

    /// Whether some pod claims `address`; while several do, it is nobody's.
    pub fn is_claimed(&self, address: IpAddr) -> bool {
        !self.workload_addresses.claimants(address.to_canonical()).is_empty()
    }

    /// The pods on a node, in the order of their names.
    pub fn workloads_on_node(&self, node: &str) -> impl Iterator<Item = &Arc<Workload>> {
        let keys = self.workloads_of_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.workload(key))
    }

    /// Every Service, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The Service with this name.
    pub fn service(&self, key: &NamespacedName) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The Service with this cluster address, and its TCP port with this number. Its endpoints can be of
    /// both families when the Service's addresses are.
    pub fn service_by_address(&self, address: IpAddr, port: u16) -> Option<(&Arc<Service>, &ServicePort)> {
        let service = self.service(self.service_addresses.owner(address.to_canonical())?)?;
        service.ports.iter().find(|of| of.port == port).map(|port| (service, port))
    }

    /// Whether `address` is some Service's, whatever its ports.
    pub fn is_service_address(&self, address: IpAddr) -> bool {
        !self.service_addresses.claimants(address.to_canonical()).is_empty()
    }

    /// The routes for clients of a namespace that ask a Service on one of its ports. None: no route
    /// attaches, and requests are forwarded to the Service as it is.
    pub fn routes(
        &self,
        client_namespace: &str,
        service: &NamespacedName,
        port: u16,
    ) -> Option<&Arc<Routes>> {
        self.service_routes(service)?.on_port(client_namespace, port)
    }

    /// What the routes that name a Service as a parent amount to; none when no route does.
    pub fn service_routes(&self, service: &NamespacedName) -> Option<&Arc<ServiceRoutes>> {
        self.routes.get(service)
    }

    /// What is to be said of each route at each of its parents that is a Service, in the order of the
    /// parents' names: for whoever writes it to the routes.
    pub fn route_statuses(&self) -> impl Iterator<Item = &ParentStatus> {
        self.routes.values().flat_map(|routes| routes.statuses())
    }

    /// Every node, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The node with this name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// The addresses of a node, empty when the node is not known.
    pub fn node_addresses(&self, node: &str) -> Vec<IpAddr> {
        self.node(node).map(|node| node.addresses.clone()).unwrap_or_default()
    }

    /// Every policy in force.
    pub fn policies(&self) -> &PolicyIndex {
        &self.policies
    }

    /// The policies that select `workload`, remembered until it or any policy changes.
    pub fn applicable(&self, workload: &Workload) -> Arc<Applicable> {
        let known = self.workloads.get(&workload.key);
        let Some(known) = known.filter(|known| std::ptr::eq(&*known.workload, workload)) else {
            return self.select(workload);
        };
        if let Some((version, applicable)) = known.applicable.load().as_deref()
            && *version == self.policies_version
        {
            return applicable.clone();
        }
        let applicable = self.select(workload);
        known.applicable.store(Some(Arc::new((self.policies_version, applicable.clone()))));
        applicable
    }

    /// Every request authentication in force.
    pub fn authentications(&self) -> &AuthenticationIndex {
        &self.authentications
    }

    /// Whose tokens `workload` takes, by all objects that select it, remembered until it or any object changes.
    pub fn authentication(&self, workload: &Workload) -> Arc<Authentication> {
        let select = || self.authentications.select(&target(workload));
        let known = self.workloads.get(&workload.key);
        let Some(known) = known.filter(|known| std::ptr::eq(&*known.workload, workload)) else {
            return select();
        };
        if let Some((version, authentication)) = known.authentication.load().as_deref()
            && *version == self.authentications_version
        {
            return authentication.clone();
        }
        let authentication = select();
        known.authentication.store(Some(Arc::new((self.authentications_version, authentication.clone()))));
        authentication
    }

    /// Where the keys are that the workloads of a node need, each source once.
    pub fn key_sources_on_node(&self, node: &str) -> Vec<Arc<Source>> {
        let mut sources: BTreeMap<_, Arc<Source>> = BTreeMap::new();
        if !self.authentications.is_empty() {
            for workload in self.workloads_on_node(node) {
                let authentication = self.authentication(workload);
                sources.extend(authentication.sources().map(|source| (source.id(), source.clone())));
            }
        }
        sources.into_values().collect()
    }

    /// How requests to a Service are to be treated; none when no TrafficPolicy says so.
    pub fn traffic(&self, service: &NamespacedName) -> Option<Arc<Traffic>> {
        let key = ServiceKey::new(service.namespace.clone(), service.name.clone());
        self.traffic.traffic(&key).cloned()
    }

    /// The Services of `workload` whose TrafficPolicy limits the rate of its requests, with the limits.
    pub fn rate_limits(&self, workload: &Workload) -> impl Iterator<Item = (NamespacedName, RateLimits)> {
        let names = if self.traffic.is_empty() { &[] } else { &workload.services[..] };
        names.iter().filter_map(|name| {
            let service = NamespacedName::new(workload.key.namespace.clone(), name.clone());
            let limits = self.traffic(&service)?.rate_limits;
            (limits != RateLimits::default()).then_some((service, limits))
        })
    }

    /// Every TrafficPolicy, in force or not.
    pub fn traffic_policies(&self) -> &TrafficIndex {
        &self.traffic
    }

    /// Where a pod runs, by its own address; nowhere that is known, for any other address.
    pub fn place(&self, address: IpAddr) -> Place {
        let node = self.workload_by_address(address).map(|workload| workload.node.clone());
        let node = node.filter(|node| !node.is_empty());
        let zone = node.as_deref().and_then(|node| self.node(node)).and_then(|node| node.zone.clone());
        Place { node, zone }
    }

    /// Addresses that several pods, or several Services, claim.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let pods = self.workload_addresses.contested().map(|conflict| (Kind::Pod, conflict));
        let services = self.service_addresses.contested().map(|conflict| (Kind::Service, conflict));
        let conflict = |(kind, (address, claimants)): (Kind, (IpAddr, &[NamespacedName]))| Conflict {
            address,
            claimants: claimants.iter().map(|key| key.object_key(kind)).collect(),
        };
        pods.chain(services).map(conflict).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.workloads.is_empty()
            && self.workload_addresses.is_empty()
            && self.workloads_of_node.is_empty()
            && self.services.is_empty()
            && self.service_addresses.is_empty()
            && self.routes.is_empty()
            && self.consumed_by.is_empty()
            && self.nodes.is_empty()
            && self.policies.is_empty()
            && self.authentications.is_empty()
            && self.traffic.is_empty()
    }

    fn select(&self, workload: &Workload) -> Arc<Applicable> {
        self.policies.select(&target(workload))
    }
}

fn target(workload: &Workload) -> Target<'_> {
    Target { namespace: &workload.key.namespace, labels: &workload.labels, services: &workload.services }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("policy_generation", &self.policy_generation)
            .field("workloads", &self.workloads.len())
            .field("services", &self.services.len())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Known {
    pub(super) fn new(workload: Workload) -> Self {
        Self {
            workload: Arc::new(workload),
            applicable: ArcSwapOption::empty(),
            authentication: ArcSwapOption::empty(),
        }
    }
}

impl NamespacedName {
    pub(super) fn object_key(&self, kind: Kind) -> ObjectKey {
        ObjectKey { kind: kind.word().into(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}
