//! The Kubernetes API's own types, trimmed to what the mesh uses.
//!
//! Entry points: one function for each kind. The caller has the key already, since it needs it even
//! where the rest is bad. Knows nothing of files or of the API server.

mod network;
mod pod;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::ObjectMeta};

pub use network::{endpoint_slice, service};
pub use pod::pod;

use crate::{
    policy::FieldError,
    slices::WorkloadSliceSpec,
    source::fields::typed_as_served,
    state::{
        annotations::{Carrier, MeshSettings},
        input::{Namespace, WorkloadSlice},
        model::{NamespacedName, Node},
    },
};

/// Trims a Namespace.
///
/// # Errors
/// Every field that is not what it should be.
pub fn namespace(name: &str, object: &core::Namespace) -> Result<Namespace, Vec<FieldError>> {
    let settings = MeshSettings::parse(Carrier::Namespace, annotations(&object.metadata))?;
    Ok(Namespace { name: name.into(), settings })
}

/// Trims a Node.
///
/// # Errors
/// Every field that is not what it should be.
pub fn node(name: &str, object: &core::Node) -> Result<Node, Vec<FieldError>> {
    let mut faults = Faults::default();
    let given = object.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut addresses = Vec::new();
    for (index, address) in given.enumerate() {
        if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
            let field = format!("status.addresses[{index}].address");
            addresses.extend(faults.address(&field, &address.address));
        }
    }
    let label = |name: &str| {
        let labels = object.metadata.labels.as_ref()?;
        labels.get(name).map(|value| Arc::from(value.as_str()))
    };
    let region = label("topology.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone");
    faults.or(Node { name: name.into(), addresses, region, zone })
}

/// Trims a WorkloadSlice.
///
/// # Errors
/// Every field that is not what it should be.
pub fn workload_slice(
    key: NamespacedName,
    spec: &serde_json::Value,
) -> Result<WorkloadSlice, Vec<FieldError>> {
    let spec: WorkloadSliceSpec = typed_as_served("spec", spec)?;
    Ok(WorkloadSlice { key, complete: spec.complete == Some(true), pods: spec.pods()? })
}

fn annotations(metadata: &ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    metadata.annotations.as_ref().unwrap_or(&NONE)
}

/// Everything that is wrong with an object, so that its author sees it all at once.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, field: &str, value: impl ToString, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), value: value.to_string(), message: message.into() });
    }

    /// The good object, unless something was wrong.
    fn or<T>(self, object: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(object) } else { Err(self.0) }
    }

    /// Notes that `value` is no good name.
    fn name(&mut self, field: &str, value: &str, check: fn(&str) -> Result<(), String>) {
        if let Err(message) = check(value) {
            self.add(field, value, message);
        }
    }

    /// An address that can be one machine's or pod's; an IPv4-mapped one becomes IPv4.
    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_unspecified() || address.is_loopback() || address.is_multicast() => {
                self.add(field, text, "is nobody's own: unspecified, loopback or multicast");
                None
            }
            Ok(address) => Some(address),
            Err(_) => {
                self.add(field, text, "is not an IP address");
                None
            }
        }
    }

    /// A port number.
    fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.add(field, number, "is not a port: numbers from 1 to 65535");
        }
        port
    }
}

/// Whether a port with this `protocol` is one of TCP, the default.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}
