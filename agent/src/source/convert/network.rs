//! Services and EndpointSlices.
//!
//! Entry points: [`service`], [`endpoint_slice`].

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec as Spec},
        discovery::v1 as discovery,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Faults, is_tcp};
use crate::{
    policy::FieldError,
    source::names,
    state::{
        input::{Endpoint, EndpointSlice, PortSpec, ServiceSpec, TargetPort},
        model::NamespacedName,
    },
};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Trims a Service.
///
/// # Errors
/// Every field that is not what it should be.
pub fn service(key: NamespacedName, object: &Service) -> Result<ServiceSpec, Vec<FieldError>> {
    let none = Spec::default();
    let spec = object.spec.as_ref().unwrap_or(&none);
    let mut faults = Faults::default();
    let mut ports: Vec<PortSpec> = Vec::new();
    for (index, given) in spec.ports.iter().flatten().enumerate() {
        if !is_tcp(given.protocol.as_deref()) {
            continue;
        }
        let field = format!("spec.ports[{index}]");
        let Some(port) = service_port(&field, given, &mut faults) else {
            continue;
        };
        if ports.iter().any(|other| other.port == port.port) {
            faults.add(&format!("{field}.port"), port.port, "another port has this number");
        }
        if ports.iter().any(|other| other.name == port.name) {
            faults.add(&format!("{field}.name"), &port.name, "another port has this name");
        }
        ports.push(port);
    }
    let service = ServiceSpec {
        key,
        addresses: cluster_addresses(spec, &mut faults),
        ports,
        selector: spec.selector.clone().unwrap_or_default(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
    };
    faults.or(service)
}

fn service_port(field: &str, given: &ServicePort, faults: &mut Faults) -> Option<PortSpec> {
    let port = faults.port(&format!("{field}.port"), given.port)?;
    let target = match &given.target_port {
        None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
        Some(IntOrString::Int(number)) => {
            TargetPort::Number(faults.port(&format!("{field}.targetPort"), *number)?)
        }
        Some(IntOrString::String(name)) => TargetPort::Name(name.as_str().into()),
    };
    Some(PortSpec {
        port,
        name: given.name.as_deref().unwrap_or_default().into(),
        app_protocol: given.app_protocol.as_deref().map(Arc::from),
        target,
    })
}

/// `spec.clusterIPs`, or `spec.clusterIP` where nobody filled in the former; `None` is headless.
fn cluster_addresses(spec: &Spec, faults: &mut Faults) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let mut given: Vec<(String, &str)> = (0..)
        .zip(listed)
        .map(|(index, ip): (usize, _)| (format!("spec.clusterIPs[{index}]"), ip.as_str()))
        .collect();
    if given.is_empty() {
        given.extend(spec.cluster_ip.as_deref().map(|ip| ("spec.clusterIP".into(), ip)));
    }
    given.retain(|(_, text)| !text.is_empty() && *text != "None");
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (field, text) in given {
        if let Some(address) = faults.address(&field, text)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// Trims an EndpointSlice.
///
/// # Errors
/// Every field that is not what it should be.
pub fn endpoint_slice(
    key: NamespacedName,
    object: &discovery::EndpointSlice,
) -> Result<EndpointSlice, Vec<FieldError>> {
    let mut faults = Faults::default();
    let labels = object.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME)).map_or("", String::as_str);
    let label = format!("metadata.labels[{SERVICE_NAME:?}]");
    if service.is_empty() {
        faults.add(&label, "", "is missing: it says whose endpoints these are");
    } else {
        faults.name(&label, service, names::label);
    }
    let mut ports = Vec::new();
    for (index, port) in object.ports.iter().flatten().enumerate() {
        if let Some(number) = port.port.filter(|_| is_tcp(port.protocol.as_deref()))
            && let Some(number) = faults.port(&format!("ports[{index}].port"), number)
        {
            ports.push((port.name.as_deref().unwrap_or_default().into(), number));
        }
    }
    let service = service.into();
    let endpoints = endpoints(&key, object, &mut faults);
    faults.or(EndpointSlice { key, service, ports, endpoints })
}

fn endpoints(key: &NamespacedName, object: &discovery::EndpointSlice, faults: &mut Faults) -> Vec<Endpoint> {
    let ipv4 = match object.address_type.as_str() {
        "IPv4" => true,
        "IPv6" => false,
        // Names are not resolved: the mesh knows no workload by one.
        "FQDN" => return Vec::new(),
        other => {
            faults.add("addressType", other, "must be IPv4, IPv6 or FQDN");
            return Vec::new();
        }
    };
    let mut endpoints = Vec::new();
    for (index, given) in object.endpoints.iter().flatten().enumerate() {
        let field = format!("endpoints[{index}].addresses[0]");
        let text = given.addresses.first().map_or("", String::as_str);
        let Some(address) = faults.address(&field, text) else {
            continue;
        };
        if address.is_ipv4() != ipv4 {
            faults.add(&field, text, format!("is not of addressType {}", object.address_type));
        }
        endpoints.push(Endpoint {
            address,
            ready: given.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
            pod: target_pod(key, given),
        });
    }
    endpoints
}

fn target_pod(key: &NamespacedName, given: &discovery::Endpoint) -> Option<NamespacedName> {
    let target = given.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    let other = target.namespace.as_deref().filter(|namespace| **namespace != *key.namespace);
    let namespace = other.map_or_else(|| key.namespace.clone(), Arc::from);
    Some(NamespacedName::new(namespace, target.name.as_deref()?))
}
