//! Which connections are looked at as HTTP: what ports of Services declare, and who else asks for it.
//!
//! Entry points: [`Snapshot::layer7`] at the client's node, [`Snapshot::declared_at`] at the server's. Pure.
//! What policy at the destination needs is its own question (`policy`), and not known here.

use std::{net::SocketAddr, sync::Arc};

use super::{
    model::{NamespacedName, Service, ServicePort, Workload},
    routes::ServiceRoutes,
    snapshot::Snapshot,
};
use crate::addr::EndpointAddr;

/// Which HTTP a Service's port declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// Any version of it: `http`, `grpc-web`, `kubernetes.io/ws`.
    Http,
    /// HTTP/2 in plaintext with prior knowledge: `http2`, `kubernetes.io/h2c`.
    Http2,
    /// `grpc`.
    Grpc,
}

/// Whether the connections that a client makes to a port of a Service are looked at as HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer7 {
    /// They are bytes.
    Off,
    /// The port says what it speaks.
    Declared(AppProtocol),
    /// A route or a TrafficPolicy asks for it; the port does not say what it speaks.
    Asked,
}

/// What a port says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declaration {
    Silent,
    Http(AppProtocol),
    /// Something in which there is no HTTP for anybody between the ends to see.
    Other,
}

impl Snapshot {
    /// Whether, and why, connections of clients in a namespace to `port` of `service` are looked at as HTTP.
    ///
    /// The port's own word counts most: where it says that it speaks something else, neither a route nor a
    /// TrafficPolicy turns layer 7 on. (Gateway API, GEP-1294 and GEP-1911, leave that case open.)
    pub fn layer7(&self, client_namespace: &str, service: &Service, port: &ServicePort) -> Layer7 {
        match declaration(port) {
            Declaration::Http(protocol) => Layer7::Declared(protocol),
            Declaration::Other => Layer7::Off,
            Declaration::Silent => {
                let routed = self.routes(client_namespace, &service.key, port.port).is_some();
                if routed || self.traffic(&service.key).is_some() { Layer7::Asked } else { Layer7::Off }
            }
        }
    }

    /// The HTTP that the Services in front of `workload` declare for its port `port`: any version where they
    /// declare several. None where none does, and where one declares something else, since who connects to the
    /// pod does not say by which of them.
    ///
    /// Only endpoints that take traffic count: which port of a pod a Service means is not known of others.
    pub fn declared_at(&self, workload: &Workload, port: u16) -> Option<AppProtocol> {
        let at = |ip| EndpointAddr::new(SocketAddr::new(ip, port));
        let here: Vec<EndpointAddr> = workload.addresses.iter().copied().map(at).collect();
        let mut declared = None;
        for name in workload.services.iter() {
            let service = self.service(&NamespacedName::new(workload.key.namespace.clone(), name.clone()));
            for of in service.iter().flat_map(|service| &service.ports) {
                let declaration = declaration(of);
                if declaration == Declaration::Silent
                    || !here.iter().any(|endpoint| of.endpoints.binary_search(endpoint).is_ok())
                {
                    continue;
                }
                let Declaration::Http(protocol) = declaration else { return None };
                declared = match declared {
                    Some(other) if other != protocol => Some(AppProtocol::Http),
                    _ => Some(protocol),
                };
            }
        }
        declared
    }

    /// The Services to which consumer routes attach for clients of this namespace, in the order of their names.
    pub fn consumed_by(&self, client_namespace: &str) -> impl Iterator<Item = &NamespacedName> {
        self.consumed_by.get(client_namespace).into_iter().flatten()
    }

    /// Replaces the routes of a Service, or takes them away.
    pub(super) fn put_routes(&mut self, service: &NamespacedName, new: Option<Arc<ServiceRoutes>>) {
        let old = match &new {
            Some(new) => self.routes.insert(service.clone(), new.clone()),
            None => self.routes.remove(service),
        };
        for gone in old.iter().flat_map(|routes| routes.consumers()) {
            if let Some(services) = self.consumed_by.get_mut(gone) {
                services.remove(service);
                if services.is_empty() {
                    self.consumed_by.remove(gone);
                }
            }
        }
        for namespace in new.iter().flat_map(|routes| routes.consumers()) {
            self.consumed_by.entry(namespace.clone()).or_default().insert(service.clone());
        }
    }
}

/// `appProtocol` where there is one, else the port's name.
fn declaration(port: &ServicePort) -> Declaration {
    match port.app_protocol.as_deref() {
        None | Some("") => by_name(&port.name),
        Some(word) => by_app_protocol(word),
    }
}

/// The words of Kubernetes (KEP-3726), and IANA's service names, which are not case-sensitive (RFC 6335 §5.1).
fn by_app_protocol(word: &str) -> Declaration {
    let protocol = match word.to_ascii_lowercase().as_str() {
        "http" | "grpc-web" | "kubernetes.io/ws" => AppProtocol::Http,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        _ => return Declaration::Other,
    };
    Declaration::Http(protocol)
}

/// A name is a word of these, or begins with one and `-`, as Istio has it; any other name is just a name.
fn by_name(name: &str) -> Declaration {
    let says =
        |word: &str| name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let other = ["tcp", "tls", "https", "mongo", "mysql", "redis", "udp"];
    if says("http") || says("grpc-web") {
        Declaration::Http(AppProtocol::Http)
    } else if says("http2") {
        Declaration::Http(AppProtocol::Http2)
    } else if says("grpc") {
        Declaration::Http(AppProtocol::Grpc)
    } else if other.into_iter().any(says) {
        Declaration::Other
    } else {
        Declaration::Silent
    }
}
