//! Pods: who they are, where they listen, who owns them.
//!
//! Entry point: [`pod`].

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, Pod as Object, PodSpec, PodStatus, Probe},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{Faults, annotations, is_tcp};
use crate::{
    policy::FieldError,
    source::names,
    state::{
        annotations::{Carrier, MeshSettings},
        input::Pod,
        model::NamespacedName,
    },
};

/// The words of `status.phase`.
const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

/// Trims a Pod.
///
/// # Errors
/// Every field that is not what it should be.
pub fn pod(key: NamespacedName, object: &Object) -> Result<Pod, Vec<FieldError>> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = object.spec.as_ref().unwrap_or(&no_spec);
    let status = object.status.as_ref().unwrap_or(&no_status);
    let metadata = &object.metadata;
    let mut faults = Faults::default();

    let settings = MeshSettings::parse(Carrier::Pod, annotations(metadata)).unwrap_or_else(|errors| {
        faults.0.extend(errors);
        MeshSettings::default()
    });
    let service_account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    let service_account = service_account.filter(|name| !name.is_empty()).unwrap_or("default");
    faults.name("spec.serviceAccountName", service_account, names::subdomain);
    let phase = status.phase.as_deref().unwrap_or_default();
    if !phase.is_empty() && !PHASES.contains(&phase) {
        faults.add("status.phase", phase, format!("must be one of {}", PHASES.join(", ")));
    }
    let (owner, owner_kind) = owner(metadata, &key.name);
    let uid: Arc<str> = metadata.uid.as_deref().map_or_else(|| key.to_string().into(), Arc::from);
    // Of a pod from a file the API has a mirror, with a UID of its own.
    let of_file = super::annotations(metadata).get("kubernetes.io/config.mirror");
    let pod = Pod {
        kubelet_uid: of_file.map_or_else(|| uid.clone(), |uid| uid.as_str().into()),
        uid,
        owner,
        owner_kind,
        node: spec.node_name.as_deref().unwrap_or_default().into(),
        service_account: service_account.into(),
        labels: Arc::new(metadata.labels.clone().unwrap_or_default()),
        addresses: addresses(status, &mut faults),
        host_network: spec.host_network.unwrap_or(false),
        finished: matches!(phase, "Succeeded" | "Failed"),
        ready: metadata.deletion_timestamp.is_none() && is_ready(status),
        named_ports: named_ports(spec, &mut faults),
        probe_ports: probe_ports(spec),
        settings: settings.shared(),
        sliced: false,
        key,
    };
    faults.or(pod)
}

/// The workload behind the pod: a Deployment is known by its ReplicaSet's name without the pod
/// template's hash.
fn owner(metadata: &ObjectMeta, pod: &Arc<str>) -> (Arc<str>, &'static str) {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first());
    let Some(owner) = owner else {
        return (pod.clone(), "pod");
    };
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match (owner.kind.as_str(), deployment) {
        ("ReplicaSet", Some(name)) => (name.into(), "deployment"),
        ("StatefulSet", _) => (owner.name.as_str().into(), "statefulset"),
        ("DaemonSet", _) => (owner.name.as_str().into(), "daemonset"),
        ("Job", _) => (owner.name.as_str().into(), "job"),
        ("CronJob", _) => (owner.name.as_str().into(), "cronjob"),
        _ => (owner.name.as_str().into(), "pod"),
    }
}

/// The first address of each family.
fn addresses(status: &PodStatus, faults: &mut Faults) -> Arc<[IpAddr]> {
    let listed = status.pod_ips.as_deref().unwrap_or_default();
    let mut given: Vec<(String, &str)> = (0..)
        .zip(listed)
        .map(|(index, entry): (usize, _)| (format!("status.podIPs[{index}].ip"), entry.ip.as_str()))
        .collect();
    if given.is_empty() {
        given.extend(status.pod_ip.as_deref().map(|ip| ("status.podIP".into(), ip)));
    }
    given.retain(|(_, text)| !text.is_empty());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (field, text) in given {
        if let Some(address) = faults.address(&field, text)
            && addresses.iter().all(|other| other.is_ipv4() != address.is_ipv4())
        {
            addresses.push(address);
        }
    }
    addresses.into()
}

/// A pod that nobody gives conditions, as on a machine with no kubelet, counts as ready.
fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_none_or(|condition| condition.status == "True")
}

fn named_ports(spec: &PodSpec, faults: &mut Faults) -> BTreeMap<Arc<str>, u16> {
    let mut named = BTreeMap::new();
    for (field, container) in containers(spec) {
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("{field}.ports[{index}].containerPort");
            let number = faults.port(&field, port.container_port);
            if let (Some(name), Some(number)) = (&port.name, number)
                && is_tcp(port.protocol.as_deref())
            {
                named.entry(name.as_str().into()).or_insert(number);
            }
        }
    }
    named
}

/// Ports on which the node probes the pod. A probe whose port names nothing lets nothing in: the
/// kubelet cannot make it either.
fn probe_ports(spec: &PodSpec) -> Vec<u16> {
    let mut ports = Vec::new();
    for (_, container) in containers(spec) {
        let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
        ports.extend(probes.into_iter().flatten().filter_map(|probe| probe_port(probe, container)));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn probe_port(probe: &Probe, container: &Container) -> Option<u16> {
    let to_pod = |host: &Option<String>| host.as_deref().is_none_or(str::is_empty);
    let port = match (&probe.http_get, &probe.tcp_socket, &probe.grpc) {
        (Some(http), _, _) if to_pod(&http.host) => &http.port,
        (_, Some(tcp), _) if to_pod(&tcp.host) => &tcp.port,
        (_, _, Some(grpc)) => &IntOrString::Int(grpc.port),
        _ => return None,
    };
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| Some(port.container_port))?
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// All containers that run beside each other, with the fields where they stand.
fn containers(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let main = spec.containers.iter().enumerate();
    let init = spec.init_containers.iter().flatten().enumerate();
    let stays = |container: &Container| container.restart_policy.as_deref() == Some("Always");
    let main = main.map(|(index, container)| (format!("spec.containers[{index}]"), container));
    let init = init.map(|(index, container)| (format!("spec.initContainers[{index}]"), container));
    main.chain(init.filter(move |(_, container)| stays(container)))
}
