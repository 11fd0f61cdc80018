//! Fixtures: objects that read like sentences, and a cluster to give them to.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    policy::{AccessPolicySpec, Policy, PolicyKey},
    state::{
        Change, Event, Kind, Object, Settings, Snapshot, State,
        annotations::{Carrier, MeshSettings},
        input::{Endpoint, EndpointSlice, Namespace, Pod, PortSpec, ServiceSpec, TargetPort},
        model::{NamespacedName, Node, ObjectKey, Workload},
        routes::{ReferenceGrant, Route, RouteMeta},
    },
    users::RequestAuthentication,
};

pub(super) fn named(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    NamespacedName::new(namespace, name)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect()
}

/// A running pod `namespace/name` on node `node-a` with these addresses.
pub(super) fn pod(key: &str, addresses: &[&str]) -> Pod {
    let key = named(key);
    Pod {
        uid: key.to_string().into(),
        kubelet_uid: key.to_string().into(),
        owner: key.name.clone(),
        owner_kind: "pod",
        node: "node-a".into(),
        service_account: "default".into(),
        labels: Arc::default(),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        host_network: false,
        finished: false,
        ready: true,
        named_ports: BTreeMap::new(),
        probe_ports: vec![],
        settings: Arc::default(),
        sliced: false,
        key,
    }
}

impl Pod {
    pub(super) fn labelled(mut self, pairs: &[(&str, &str)]) -> Self {
        self.labels = Arc::new(labels(pairs));
        self
    }

    pub(super) fn annotated(mut self, pairs: &[(&str, &str)]) -> Self {
        self.settings = MeshSettings::parse(Carrier::Pod, &labels(pairs)).expect("good annotations").shared();
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self);
        self
    }
}

pub(super) fn namespace(name: &str, annotations: &[(&str, &str)]) -> Namespace {
    let settings = MeshSettings::parse(Carrier::Namespace, &labels(annotations)).expect("good annotations");
    Namespace { name: name.into(), settings }
}

pub(super) fn node(name: &str, address: &str) -> Node {
    Node { name: name.into(), addresses: vec![ip(address)], region: None, zone: None }
}

/// A Service with one unnamed port 80 to 8080.
pub(super) fn service(key: &str, address: &str) -> ServiceSpec {
    ServiceSpec {
        key: named(key),
        addresses: vec![ip(address)],
        ports: vec![PortSpec {
            port: 80,
            name: "".into(),
            app_protocol: None,
            target: TargetPort::Number(8080),
        }],
        selector: BTreeMap::new(),
        publish_not_ready: false,
    }
}

impl ServiceSpec {
    pub(super) fn selecting(mut self, pairs: &[(&str, &str)]) -> Self {
        self.selector = labels(pairs);
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(&mut self);
        self
    }
}

/// A slice of a Service, with the unnamed port 8080.
pub(super) fn slice(key: &str, service: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice { key: named(key), service: service.into(), ports: vec![("".into(), 8080)], endpoints }
}

/// A ready endpoint; `pod` is empty or `namespace/name`.
pub(super) fn endpoint(address: &str, pod: &str) -> Endpoint {
    Endpoint { address: ip(address), ready: true, pod: Some(pod).filter(|pod| !pod.is_empty()).map(named) }
}

pub(super) fn unready(address: &str, pod: &str) -> Endpoint {
    Endpoint { ready: false, ..endpoint(address, pod) }
}

/// A request authentication that takes tokens of the issuer `issuer`.
pub(super) fn authentication(key: &str, issuer: &str) -> RequestAuthentication {
    let NamespacedName { namespace, name } = named(key);
    let spec = serde_json::json!({"issuers": [{"issuer": issuer, "audiences": ["shop"],
        "jwks": {"uri": format!("https://{issuer}/keys")}}]});
    RequestAuthentication::parse(PolicyKey::new(namespace, name), spec).expect("a good object")
}

/// A policy that allows nothing to its whole namespace.
pub(super) fn policy(key: &str) -> Policy {
    let NamespacedName { namespace, name } = named(key);
    let spec: AccessPolicySpec = serde_json::from_str("{}").expect("an empty spec");
    Policy::compile(PolicyKey::new(namespace, name), spec).expect("a good policy")
}

/// An HTTPRoute at the Service `a/pay`, to this backend.
pub(super) fn http_route(key: &str, backend: &str) -> Route {
    Route::http(named(key), RouteMeta::default(), route_spec(backend)).expect("a good route")
}

/// A GRPCRoute at the Service `a/pay`, to this backend.
pub(super) fn grpc_route(key: &str, backend: &str) -> Route {
    Route::grpc(named(key), RouteMeta::default(), route_spec(backend)).expect("a good route")
}

fn route_spec(backend: &str) -> serde_json::Value {
    let NamespacedName { namespace, name } = named(backend);
    serde_json::json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "pay", "namespace": "a"}],
        "rules": [{"backendRefs": [{"name": *name, "namespace": *namespace, "port": 80}]}],
    })
}

/// Lets the HTTPRoutes of `a` refer to all Services of its own namespace.
pub(super) fn grant(key: &str) -> ReferenceGrant {
    let spec = serde_json::json!({
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "a"}],
        "to": [{"group": "", "kind": "Service"}],
    });
    ReferenceGrant::parse(named(key), spec).expect("a good grant")
}

pub(super) fn key(kind: Kind, name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    ObjectKey { kind: kind.word().into(), namespace: namespace.into(), name: name.into() }
}

/// A state to which objects are given.
pub(super) struct Cluster(pub(super) State);

impl Cluster {
    pub(super) fn new() -> Self {
        Self(State::new(Settings::default()))
    }

    pub(super) fn put(&mut self, object: impl Into<Object>) -> Vec<Change> {
        self.0.apply(Event::Apply(object.into()))
    }

    pub(super) fn delete(&mut self, kind: Kind, name: &str) -> Vec<Change> {
        self.0.apply(Event::Delete(key(kind, name)))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    pub(super) fn workload(&self, name: &str) -> Arc<Workload> {
        self.snapshot().workload(&named(name)).expect("a workload of this name").clone()
    }

    pub(super) fn endpoints(&self, service: &str) -> Vec<String> {
        let snapshot = self.snapshot();
        let service = snapshot.service(&named(service)).expect("a service of this name");
        service.ports[0].endpoints.iter().map(ToString::to_string).collect()
    }

    pub(super) fn at(&self, address: &str) -> Option<String> {
        self.snapshot().workload_by_address(ip(address)).map(|workload| workload.key.to_string())
    }
}

pub(super) fn workload_changed(name: &str) -> Change {
    Change::Workload(named(name))
}

pub(super) fn service_changed(name: &str) -> Change {
    Change::Service(named(name))
}
