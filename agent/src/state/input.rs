//! Kubernetes objects trimmed to what the mesh uses, already parsed: what a source hands to [`State`].
//!
//! Entry points: [`Event`], [`Object`]. Knows neither YAML nor the Kubernetes API's own types; a source
//! turns those into these and reports what cannot be turned.
//!
//! [`State`]: super::State

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr, sync::Arc};

use super::{
    annotations::MeshSettings,
    model::{NamespacedName, Node, ObjectKey},
    routes::{ReferenceGrant, Route, RouteKind},
};
use crate::{
    policy::{Policy, PolicyKey},
    traffic::TrafficPolicy,
    users::RequestAuthentication,
};

/// One change of the cluster's objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The object was created, or is now like this.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectKey),
}

impl Event {
    /// Whether it is about a Namespace.
    pub fn is_of_namespace(&self) -> bool {
        match self {
            Self::Apply(object) => matches!(object, Object::Namespace(_)),
            Self::Delete(key) => *key.kind == *"Namespace",
        }
    }
}

/// An object of a kind that the mesh looks at. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// v1 Namespace.
    Namespace(Arc<Namespace>),
    /// v1 Node.
    Node(Arc<Node>),
    /// v1 Pod.
    Pod(Arc<Pod>),
    /// weir.dev/v1alpha1 WorkloadSlice.
    WorkloadSlice(Arc<WorkloadSlice>),
    /// v1 Service.
    Service(Arc<ServiceSpec>),
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// gateway.networking.k8s.io/v1 HTTPRoute or GRPCRoute.
    Route(Arc<Route>),
    /// gateway.networking.k8s.io ReferenceGrant, v1 or v1beta1.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// weir.dev/v1alpha1 AccessPolicy.
    AccessPolicy(Arc<Policy>),
    /// weir.dev/v1alpha1 RequestAuthentication.
    RequestAuthentication(Arc<RequestAuthentication>),
    /// weir.dev/v1alpha1 TrafficPolicy.
    TrafficPolicy(Arc<TrafficPolicy>),
}

/// The kinds of [`Object`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// v1 Namespace.
    Namespace,
    /// v1 Node.
    Node,
    /// v1 Pod.
    Pod,
    /// weir.dev/v1alpha1 WorkloadSlice: pods of all nodes.
    WorkloadSlice,
    /// v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// gateway.networking.k8s.io/v1 HTTPRoute.
    HttpRoute,
    /// gateway.networking.k8s.io/v1 GRPCRoute.
    GrpcRoute,
    /// gateway.networking.k8s.io ReferenceGrant, v1 or v1beta1.
    ReferenceGrant,
    /// weir.dev/v1alpha1 AccessPolicy.
    AccessPolicy,
    /// weir.dev/v1alpha1 RequestAuthentication.
    RequestAuthentication,
    /// weir.dev/v1alpha1 TrafficPolicy.
    TrafficPolicy,
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// What its annotations ask for its pods.
    pub settings: MeshSettings,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: NamespacedName,
    /// `metadata.uid`, or the key's text.
    pub uid: Arc<str>,
    /// See [`Workload::kubelet_uid`](super::model::Workload::kubelet_uid).
    pub kubelet_uid: Arc<str>,
    /// See [`Workload::owner`](super::model::Workload::owner).
    pub owner: Arc<str>,
    /// See [`Workload::owner_kind`](super::model::Workload::owner_kind).
    pub owner_kind: &'static str,
    /// `spec.nodeName`, empty while unscheduled.
    pub node: Arc<str>,
    /// `spec.serviceAccountName`, or `default`.
    pub service_account: Arc<str>,
    /// `metadata.labels`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The first address of each family of `status.podIPs`.
    pub addresses: Arc<[IpAddr]>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase` is Succeeded or Failed: it runs no more, and its address may be another's.
    pub finished: bool,
    /// Whether it takes traffic: not being deleted, and its condition `Ready`, if it has one, is true.
    pub ready: bool,
    /// Named TCP ports of its containers; of two with one name the first counts.
    pub named_ports: BTreeMap<Arc<str>, u16>,
    /// See [`Workload::probe_ports`](super::model::Workload::probe_ports).
    pub probe_ports: Vec<u16>,
    /// What its annotations ask.
    pub settings: Arc<MeshSettings>,
    /// Whether it is known from a WorkloadSlice: with what all nodes know of it, and no more.
    pub sliced: bool,
}

/// Some of the pods of all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSlice {
    /// Its own namespace and name.
    pub key: NamespacedName,
    /// Whether all pods are in some slice.
    pub complete: bool,
    /// Its pods, each of them [`Pod::sliced`].
    pub pods: Vec<Arc<Pod>>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Namespace and name.
    pub key: NamespacedName,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// `spec.ports`, those of TCP.
    pub ports: Vec<PortSpec>,
    /// `spec.selector`; empty when somebody else writes its EndpointSlices.
    pub selector: BTreeMap<String, String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

/// One TCP port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// `port`.
    pub port: u16,
    /// `name`, empty when absent.
    pub name: Arc<str>,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// `targetPort`, which matters only where endpoints are derived from pods.
    pub target: TargetPort,
}

/// `spec.ports[].targetPort` of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This number on every pod; the Service's own port when absent.
    Number(u16),
    /// The container port of this name, whatever its number on each pod.
    Name(Arc<str>),
}

/// An EndpointSlice of a Service, with addresses of IPv4 or IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: NamespacedName,
    /// Label `kubernetes.io/service-name`.
    pub service: Arc<str>,
    /// `ports`, those of TCP: names (empty when absent) and numbers on the endpoints.
    pub ports: Vec<(Arc<str>, u16)>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// One of an EndpointSlice's `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of `addresses`, the only one with a meaning.
    pub address: IpAddr,
    /// `conditions.ready` is not false.
    pub ready: bool,
    /// `targetRef`, when it is a Pod.
    pub pod: Option<NamespacedName>,
}

impl Object {
    /// The kind and name.
    pub fn key(&self) -> ObjectKey {
        let (namespace, name) = match self {
            Object::Namespace(namespace) => ("".into(), namespace.name.clone()),
            Object::Node(node) => ("".into(), node.name.clone()),
            Object::Pod(pod) => (pod.key.namespace.clone(), pod.key.name.clone()),
            Object::WorkloadSlice(slice) => (slice.key.namespace.clone(), slice.key.name.clone()),
            Object::Service(service) => (service.key.namespace.clone(), service.key.name.clone()),
            Object::EndpointSlice(slice) => (slice.key.namespace.clone(), slice.key.name.clone()),
            Object::Route(route) => (route.key().name.namespace.clone(), route.key().name.name.clone()),
            Object::ReferenceGrant(grant) => (grant.key().namespace.clone(), grant.key().name.clone()),
            Object::AccessPolicy(policy) => {
                let PolicyKey { namespace, name } = policy.key();
                (namespace.clone(), name.clone())
            }
            Object::RequestAuthentication(authentication) => {
                let PolicyKey { namespace, name } = authentication.key();
                (namespace.clone(), name.clone())
            }
            Object::TrafficPolicy(policy) => (policy.key().namespace.clone(), policy.key().name.clone()),
        };
        ObjectKey { kind: self.kind().word().into(), namespace, name }
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
            Object::Pod(_) => Kind::Pod,
            Object::WorkloadSlice(_) => Kind::WorkloadSlice,
            Object::Service(_) => Kind::Service,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::Route(route) => match route.key().kind {
                RouteKind::Http => Kind::HttpRoute,
                RouteKind::Grpc => Kind::GrpcRoute,
            },
            Object::ReferenceGrant(_) => Kind::ReferenceGrant,
            Object::AccessPolicy(_) => Kind::AccessPolicy,
            Object::RequestAuthentication(_) => Kind::RequestAuthentication,
            Object::TrafficPolicy(_) => Kind::TrafficPolicy,
        }
    }
}

macro_rules! object_of {
    ($($kind:ident: $type:ty),*) => {$(
        impl From<$type> for Object {
            fn from(object: $type) -> Self {
                Object::$kind(Arc::new(object))
            }
        }
    )*};
}

object_of!(Namespace: Namespace, Node: Node, Pod: Pod, WorkloadSlice: WorkloadSlice, Service: ServiceSpec, EndpointSlice: EndpointSlice,
    Route: Route, ReferenceGrant: ReferenceGrant, AccessPolicy: Policy,
    RequestAuthentication: RequestAuthentication, TrafficPolicy: TrafficPolicy);

impl Kind {
    /// Every kind, in the order in which people think of them.
    pub const ALL: [Kind; 12] = [
        Kind::Namespace,
        Kind::Node,
        Kind::Pod,
        Kind::WorkloadSlice,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::HttpRoute,
        Kind::GrpcRoute,
        Kind::ReferenceGrant,
        Kind::AccessPolicy,
        Kind::RequestAuthentication,
        Kind::TrafficPolicy,
    ];

    /// The word of the field `kind`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::WorkloadSlice => "WorkloadSlice",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::HttpRoute => "HTTPRoute",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::AccessPolicy => "AccessPolicy",
            Kind::RequestAuthentication => "RequestAuthentication",
            Kind::TrafficPolicy => "TrafficPolicy",
        }
    }

    /// Whether its objects are in namespaces.
    pub fn namespaced(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::Node)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or(UnknownKind)
    }
}

/// The word is not a kind that the mesh looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown kind; known: Namespace, Node, Pod, Service, EndpointSlice, HTTPRoute, GRPCRoute, ReferenceGrant, \
     AccessPolicy, RequestAuthentication, TrafficPolicy"
)]
pub struct UnknownKind;
