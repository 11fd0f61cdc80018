//! What a Pod and its Namespace add up to: a workload of the mesh.
//!
//! Entry point: [`build`], a pure function of the objects in force.

use std::sync::Arc;

use super::{
    annotations::MeshSettings,
    input::{Namespace, Pod},
    model::Workload,
};
use crate::identity::Identity;

/// The workload of `pod`.
pub(super) fn build(
    pod: &Pod,
    namespace: Option<&Namespace>,
    services: Arc<[Arc<str>]>,
    identity: Identity,
) -> Workload {
    let silent = MeshSettings::default();
    let outer = namespace.map_or(&silent, |namespace| &namespace.settings);
    Workload {
        key: pod.key.clone(),
        uid: pod.uid.clone(),
        kubelet_uid: pod.kubelet_uid.clone(),
        owner: pod.owner.clone(),
        owner_kind: pod.owner_kind,
        node: pod.node.clone(),
        identity,
        labels: pod.labels.clone(),
        addresses: if pod.host_network { Arc::default() } else { pod.addresses.clone() },
        enrolled: enrolled(pod, outer),
        mtls: pod.settings.mtls.or(outer.mtls).unwrap_or_default(),
        skip: pod.settings.skip(outer),
        host_network: pod.host_network,
        probe_ports: pod.probe_ports.clone(),
        netns: pod.settings.netns.clone(),
        services,
    }
}

/// Nothing is enrolled that is not annotated, itself or by its Namespace: so it is with `kube-system`
/// and `weir-system` too. The pod's own word counts more than its Namespace's, and a host-network pod
/// is never enrolled, since its network namespace is the node's.
fn enrolled(pod: &Pod, namespace: &MeshSettings) -> bool {
    !pod.host_network && pod.settings.mesh.or(namespace.mesh).unwrap_or(false)
}

/// Whether a decision about or for a workload could differ between `old` and `new`.
///
/// A workload that is new cannot have been judged before. One that goes can come back under its name.
pub(super) fn judged_alike(old: Option<&Workload>, new: Option<&Workload>) -> bool {
    match (old, new) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => {
            old.uid == new.uid
                && old.identity == new.identity
                && old.labels == new.labels
                && old.services == new.services
                && old.addresses == new.addresses
                && old.enrolled == new.enrolled
                && old.mtls == new.mtls
        }
    }
}
