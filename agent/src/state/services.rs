//! What a Service's objects add up to: its ports with their endpoints, and the pods behind it.
//!
//! Entry point: [`resolve`], a pure function of the objects in force, so that the order in which they
//! came cannot matter.

use std::{collections::BTreeSet, net::IpAddr, net::SocketAddr, sync::Arc};

use super::{
    claims::Claims,
    input::{Endpoint, Pod, PortSpec, ServiceSpec, TargetPort},
    inputs::Inputs,
    model::{NamespacedName, Service, ServicePort},
};
use crate::addr::EndpointAddr;

/// A Service and the names of the pods of its namespace that are behind it.
///
/// Membership is wider than the endpoints: a pod that is not ready, or that no EndpointSlice lists yet,
/// is already a member, because a policy for the Service must never be late for one of its pods.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) service: Option<Service>,
    pub(super) members: BTreeSet<Arc<str>>,
}

/// Resolves the Service `key`; `addresses` says which pods claim which address.
pub(super) fn resolve(key: &NamespacedName, inputs: &Inputs, addresses: &Claims) -> Resolved {
    let Some(spec) = inputs.service(key) else {
        return Resolved::default();
    };
    let slices: Vec<_> = inputs.slices_of(key).collect();
    let mut members: BTreeSet<Arc<str>> = inputs.selected_by(spec).map(|pod| pod.key.name.clone()).collect();
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    members.extend(endpoints.flat_map(|endpoint| members_at(endpoint, key, addresses)));

    let mut ports = Vec::with_capacity(spec.ports.len());
    for port in &spec.ports {
        let mut endpoints: Vec<EndpointAddr> = if slices.is_empty() {
            derived(spec, port, inputs, addresses).collect()
        } else {
            let of_port = slices.iter().flat_map(|slice| {
                let number =
                    slice.ports.iter().find(|(name, _)| *name == port.name).map(|(_, number)| *number);
                number.into_iter().flat_map(|number| slice.endpoints.iter().map(move |at| (at, number)))
            });
            of_port
                .filter(|(at, _)| at.ready || spec.publish_not_ready)
                .filter(|(at, _)| !may_be_a_stranger(at.address, at.pod.as_ref(), addresses))
                .map(|(at, number)| EndpointAddr::new(SocketAddr::new(at.address, number)))
                .collect()
        };
        endpoints.sort_unstable();
        endpoints.dedup();
        ports.push(ServicePort {
            port: port.port,
            name: port.name.clone(),
            app_protocol: port.app_protocol.clone(),
            endpoints: endpoints.into(),
        });
    }
    let service = Service { key: key.clone(), addresses: spec.addresses.clone(), ports };
    Resolved { service: Some(service), members }
}

/// The pods of the Service's namespace that an endpoint stands for: the one it names, or, where it
/// names none, those that claim its address.
fn members_at<'a>(
    endpoint: &'a Endpoint,
    service: &'a NamespacedName,
    addresses: &'a Claims,
) -> impl Iterator<Item = Arc<str>> + 'a {
    let named = endpoint.pod.as_ref();
    let claimants = if named.is_some() { &[] } else { addresses.claimants(endpoint.address) };
    let pods = named.into_iter().chain(claimants);
    pods.filter(|pod| pod.namespace == service.namespace).map(|pod| pod.name.clone())
}

/// Whether the endpoint's address can be somebody else's than the pod's it names: a slice that has not
/// been brought up to date, or two pods that claim one address, must not lead to a stranger.
fn may_be_a_stranger(address: IpAddr, pod: Option<&NamespacedName>, addresses: &Claims) -> bool {
    match addresses.claimants(address) {
        [] => false,
        [owner] => pod.is_some_and(|pod| pod != owner),
        _ => true,
    }
}

/// The endpoints of a port straight from the pods that the selector selects. This is what the cluster's
/// own controller would write; it counts only while no EndpointSlice of the Service exists, as on a
/// machine with no controller.
fn derived<'a>(
    spec: &'a ServiceSpec,
    port: &'a PortSpec,
    inputs: &'a Inputs,
    claims: &'a Claims,
) -> impl Iterator<Item = EndpointAddr> + 'a {
    let pods = inputs.selected_by(spec).filter(|pod| pod.ready || spec.publish_not_ready);
    pods.filter_map(|pod| Some((pod, target(port, pod)?))).flat_map(move |(pod, number)| {
        let addresses = pod.addresses.iter().filter(move |address| {
            serves(spec, pod, **address) && !may_be_a_stranger(**address, Some(&pod.key), claims)
        });
        addresses.map(move |address| EndpointAddr::new(SocketAddr::new(*address, number)))
    })
}

fn target(port: &PortSpec, pod: &Pod) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.named_ports.get(name).copied(),
    }
}

/// Endpoints are of the families of the Service's own addresses; those of a headless Service, of the
/// family of each pod's first.
fn serves(spec: &ServiceSpec, pod: &Pod, address: IpAddr) -> bool {
    let own = if spec.addresses.is_empty() {
        pod.addresses.get(..1).unwrap_or_default()
    } else {
        &spec.addresses[..]
    };
    own.iter().any(|own| own.is_ipv4() == address.is_ipv4())
}
