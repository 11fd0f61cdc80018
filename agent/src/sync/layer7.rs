//! For which Services the kernel sends every connection to the agent, because requests are looked at.
//!
//! Entry point: [`Clients`]. Pure. The kernel has one entry for all pods of the node: what clients of one
//! namespace need brings the connections of the others through the agent too, which carries them as bytes.

use std::{collections::BTreeSet, sync::Arc};

use weir_common::endpoint;

use crate::state::{
    Layer7, Snapshot,
    model::{NamespacedName, Service, ServicePort},
};

/// The namespaces of which pods of this node are in the mesh.
#[derive(Debug, Default)]
pub(super) struct Clients(BTreeSet<Arc<str>>);

impl Clients {
    /// Takes them from `snapshot`; gives the Services whose flags hang on a namespace that came or went.
    ///
    /// Pods count that are to be captured, not only those that are: a pod's first connection may come the
    /// moment it is captured.
    pub(super) fn update(&mut self, snapshot: &Snapshot, node: &str) -> BTreeSet<NamespacedName> {
        let own = snapshot.workloads_on_node(node);
        let meshed = own.filter(|workload| workload.enrolled && !workload.host_network);
        let now = meshed.map(|workload| workload.key.namespace.clone()).collect();
        let before = std::mem::replace(&mut self.0, now);
        let moved = before.symmetric_difference(&self.0);
        moved.flat_map(|namespace| snapshot.consumed_by(namespace)).cloned().collect()
    }

    /// What the entry of a Service's port in `SERVICES` says: [`endpoint::LAYER7`] when some client needs it.
    ///
    /// Only consumer routes tell clients apart. What holds for all of them is said whether or not there is a
    /// client yet: without one, nobody reads the entry.
    pub(super) fn flags(&self, snapshot: &Snapshot, service: &Service, port: &ServicePort) -> u32 {
        let needs = |namespace: &str| snapshot.layer7(namespace, service, port) != Layer7::Off;
        let apart =
            snapshot.service_routes(&service.key).is_some_and(|routes| routes.consumers().count() > 0);
        // No namespace has the empty name: it stands for clients without routes of their own.
        let needed = needs("") || apart && self.0.iter().any(|namespace| needs(namespace));
        if needed { endpoint::LAYER7 } else { 0 }
    }

    /// Whether a route or a TrafficPolicy says what becomes of some client's requests to a Service's port, so that it
    /// is the agent's to serve even where none of its endpoints is in the mesh.
    pub(super) fn govern(&self, snapshot: &Snapshot, service: &Service, port: &ServicePort) -> bool {
        let routed = |namespace: &str| snapshot.routes(namespace, &service.key, port.port).is_some();
        let told = snapshot.traffic(&service.key).is_some()
            || routed("")
            || self.0.iter().any(|namespace| routed(namespace));
        told && self.flags(snapshot, service, port) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        source::yaml::Catalogue,
        state::{Settings, State},
        sync::services::touched,
    };

    /// A cluster that is told of files, and a node of it.
    struct Node {
        catalogue: Catalogue,
        state: State,
        clients: Clients,
    }

    const PAY: &str = "
        {apiVersion: v1, kind: Service, metadata: {name: pay, namespace: shop},
         spec: {clusterIP: 10.96.0.1, ports: [{name: main, port: 80}, {name: tcp-db, port: 81}]}}";

    fn pod(name: &str, node: &str, mesh: &str) -> String {
        let (namespace, name) = name.split_once('/').expect("namespace/name");
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace},
               annotations: {{weir.dev/mesh: {mesh}}}}}, spec: {{nodeName: {node}}}}}"
        )
    }

    fn route(namespace: &str) -> String {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute,
               metadata: {{name: pay, namespace: {namespace}}},
               spec: {{parentRefs: [{{group: '', kind: Service, name: pay, namespace: shop}}]}}}}"
        )
    }

    impl Node {
        fn new() -> Self {
            Self {
                catalogue: Catalogue::default(),
                state: State::new(Settings::default()),
                clients: Clients::default(),
            }
        }

        /// Replaces all objects; says whether `shop/pay` is written again.
        fn told(&mut self, objects: &[&str]) -> bool {
            let scan = self.catalogue.update([("all.yaml".into(), Ok(objects.join("\n---\n")))]);
            assert_eq!(scan.problems, []);
            let changes = self.state.apply_all(scan.events);
            let snapshot = self.state.snapshot();
            let mut written = self.clients.update(&snapshot, "node-a");
            written.extend(touched(&snapshot, &changes));
            written.contains(&NamespacedName::new("shop", "pay"))
        }

        /// The flags of `shop/pay`, port by port.
        fn flags(&self) -> [u32; 2] {
            let snapshot = self.state.snapshot();
            let pay = snapshot.service(&NamespacedName::new("shop", "pay")).expect("it is there");
            [0, 1].map(|port| self.clients.flags(&snapshot, pay, &pay.ports[port]))
        }
    }

    #[test]
    fn a_consumer_route_flags_its_service_while_a_client_of_its_namespace_is_on_the_node() {
        let mut node = Node::new();
        let route = route("cafe");
        let client = pod("cafe/cart", "node-a", "enabled");
        node.told(&[PAY, &pod("shop/cart", "node-a", "enabled")]);
        assert_eq!(node.flags(), [0, 0]);
        assert!(node.told(&[PAY, &route]), "its routes are others");
        assert_eq!(node.flags(), [0, 0], "nobody here is a client of it");
        // Each of these would be one, were it not for what is said of it.
        for other in [
            pod("shop/cart", "node-a", "enabled"),
            pod("cafe/cart", "node-b", "enabled"),
            pod("cafe/cart", "node-a", "disabled"),
        ] {
            assert_eq!((node.told(&[PAY, &route, &other]), node.flags()), (false, [0, 0]), "{other}");
        }
        let second = pod("cafe/other", "node-a", "enabled");
        for (objects, written, flags) in [
            (&[PAY, &route, &client][..], true, [endpoint::LAYER7, 0]),
            (&[PAY, &route, &client, &second], false, [endpoint::LAYER7, 0]),
            (&[PAY, &route, &second], false, [endpoint::LAYER7, 0]),
            (&[PAY, &route], true, [0, 0]),
        ] {
            assert_eq!((node.told(objects), node.flags()), (written, flags), "{objects:?}");
        }
    }

    #[test]
    fn what_holds_for_all_clients_flags_a_service_as_long_as_it_holds() {
        let traffic = "
            {apiVersion: weir.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: pay, namespace: shop},
             spec: {targetRefs: [{kind: Service, name: pay}], retry: {attempts: 1}}}";
        let declared = PAY.replace("main", "http-main");
        let own = route("shop");
        for objects in [&[PAY, &own][..], &[PAY, traffic], &[&declared]] {
            let mut node = Node::new();
            node.told(&[PAY]);
            assert_eq!(node.flags(), [0, 0]);
            assert_eq!((node.told(objects), node.flags()), (true, [endpoint::LAYER7, 0]), "{objects:?}");
            assert_eq!((node.told(&[PAY]), node.flags()), (true, [0, 0]), "{objects:?} no more");
        }
    }
}
