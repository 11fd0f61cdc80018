//! The cluster's objects as the mesh sees them: trimmed, typed, immutable once made.
//!
//! Entry points: [`Workload`], [`Service`], [`Node`], [`ObjectKey`]. Knows no YAML, no Kubernetes client, no kernel.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;

use crate::{addr::EndpointAddr, identity::Identity};

/// A namespaced name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// The object `name` in `namespace`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What may own a pod: the words of the HBONE baggage, and of DaemonSets.
pub const OWNER_KINDS: [&str; 6] = ["deployment", "statefulset", "daemonset", "job", "cronjob", "pod"];

/// What plaintext a workload takes: annotation `weir.dev/mtls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mtls {
    /// Plaintext is judged by policy, without an identity.
    #[default]
    Permissive,
    /// Plaintext is refused, but for kubelet probes from the node to declared probe ports.
    Strict,
}

/// Ports and networks that capture leaves alone: annotations `weir.dev/skip-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// `weir.dev/skip-outbound-ports`.
    pub outbound_ports: Vec<u16>,
    /// `weir.dev/skip-inbound-ports`.
    pub inbound_ports: Vec<u16>,
    /// `weir.dev/skip-outbound-cidrs`.
    pub outbound_cidrs: Vec<IpNet>,
}

/// One pod, with what its Namespace says of it already folded in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Namespace and name of the Pod.
    pub key: NamespacedName,
    /// `metadata.uid`; a YAML pod without one has its key's text instead.
    pub uid: Arc<str>,
    /// The UID that its kubelet knows it by; another one than `uid` for a pod that the kubelet has from a file.
    pub kubelet_uid: Arc<str>,
    /// Name of the workload that owns the pod (Deployment, StatefulSet, Job, …), or the pod's own name.
    pub owner: Arc<str>,
    /// `deployment`, `statefulset`, `daemonset`, `job`, `cronjob`, or `pod`: the word of the HBONE baggage.
    pub owner_kind: &'static str,
    /// `spec.nodeName`.
    pub node: Arc<str>,
    /// From the trust domain, the namespace and `spec.serviceAccountName` (`default` when absent).
    pub identity: Identity,
    /// `metadata.labels`.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `status.podIPs`, at most one of each family is used. Empty for a host-network pod, whose
    /// addresses are its node's and not its own. While two pods claim one address both have it here,
    /// and `Snapshot::workload_by_address` answers with neither.
    pub addresses: Arc<[IpAddr]>,
    /// Whether the pod is to be in the mesh (design: annotation `weir.dev/mesh`, exclusions applied).
    pub enrolled: bool,
    /// What plaintext it takes.
    pub mtls: Mtls,
    /// What capture leaves alone.
    pub skip: Arc<Skip>,
    /// `spec.hostNetwork`: such a pod is never captured.
    pub host_network: bool,
    /// Ports of declared TCP, HTTP and gRPC probes, resolved to numbers.
    pub probe_ports: Vec<u16>,
    /// Annotation `weir.dev/netns`, for a pod that no kubelet runs.
    pub netns: Option<PathBuf>,
    /// Names, in the pod's namespace, of the Services whose endpoints it is.
    pub services: Arc<[Arc<str>]>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `spec.ports[].port`.
    pub port: u16,
    /// `spec.ports[].name`, empty when absent.
    pub name: Arc<str>,
    /// `spec.ports[].appProtocol`.
    pub app_protocol: Option<Arc<str>>,
    /// Ready endpoints for this port, sorted, from the EndpointSlices (or from
    /// `publishNotReadyAddresses`: all of them).
    pub endpoints: Arc<[EndpointAddr]>,
}

/// A Service with its resolved endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: NamespacedName,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
}

/// A machine of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `status.addresses` of the types InternalIP and ExternalIP.
    pub addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/region`.
    pub region: Option<Arc<str>>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
}

/// The kind and name of an object, as problems name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ObjectKey {
    /// `Pod`, `Service`, `AccessPolicy`, …
    pub kind: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
