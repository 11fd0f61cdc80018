//! The cluster's objects as a test, or the demo, writes them: real Kubernetes objects, made short.
//!
//! Entry point: [`Manifest`]. [`State`](crate::State) puts them where agents read them.

use std::{fmt, net::IpAddr};

use serde_json::{Value, json};

use crate::pod::Pod;

/// One object. Methods change it and give it back.
#[derive(Clone, Debug)]
pub struct Manifest(Value);

impl Manifest {
    /// A Namespace outside the mesh.
    pub fn namespace(name: &str) -> Self {
        Self(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    }

    /// A Namespace whose pods are in the mesh.
    pub fn meshed(name: &str) -> Self {
        Self::namespace(name).annotation("weir.dev/mesh", "enabled")
    }

    /// A Node with these internal addresses.
    pub fn node(name: &str, addresses: &[IpAddr]) -> Self {
        let addresses: Vec<_> =
            addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        Self(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": addresses},
        }))
    }

    /// `pod`, running and ready, with its name as service account and as label `app`.
    pub fn pod(pod: &Pod) -> Self {
        let [first, second] = pod.addresses();
        let manifest = Self(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": pod.namespace(), "name": pod.name(),
                "uid": format!("{}-{}", pod.namespace(), pod.name()),
                "labels": {"app": pod.name()},
            },
            "spec": {"nodeName": pod.node_name(), "serviceAccountName": pod.name()},
            "status": {
                "phase": "Running", "podIP": first, "podIPs": [{"ip": first}, {"ip": second}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }));
        manifest.annotation("weir.dev/netns", &pod.netns().display().to_string())
    }

    /// A Service with these cluster IPs and no ports yet.
    pub fn service(namespace: &str, name: &str, addresses: &[IpAddr]) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "clusterIP": addresses.first(), "clusterIPs": addresses, "ports": [],
                "selector": {"app": name},
            },
        }))
    }

    /// Adds a TCP port to a Service; `name` is also the port's name in its EndpointSlices.
    pub fn port(mut self, name: &str, port: u16, target: u16) -> Self {
        let entry = json!({"name": name, "protocol": "TCP", "port": port, "targetPort": target});
        push(&mut self.0["spec"]["ports"], entry);
        self
    }

    /// The ready endpoints of one port of the Service `name`: one object for each address family.
    pub fn endpoint_slices(namespace: &str, name: &str, port: (&str, u16), pods: &[&Pod]) -> Vec<Self> {
        let slice = |family: &str, index: usize| {
            let endpoints: Vec<_> = pods
                .iter()
                .map(|pod| {
                    json!({
                        "addresses": [pod.addresses()[index]],
                        "conditions": {"ready": true, "serving": true, "terminating": false},
                        "nodeName": pod.node_name(),
                        "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name()},
                    })
                })
                .collect();
            Self(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "namespace": namespace, "name": format!("{name}-{}", family.to_lowercase()),
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": family,
                "ports": [{"name": port.0, "port": port.1, "protocol": "TCP"}],
                "endpoints": endpoints,
            }))
        };
        vec![slice("IPv4", 0), slice("IPv6", 1)]
    }

    /// An AccessPolicy with this `spec`.
    pub fn access_policy(namespace: &str, name: &str, spec: Value) -> Self {
        Self(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        }))
    }

    /// Any other object.
    pub fn object(object: Value) -> Self {
        Self(object)
    }

    /// Sets an annotation.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][name] = value.into();
        self
    }

    /// Sets a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][name] = value.into();
        self
    }

    /// Sets a Pod's service account.
    pub fn service_account(mut self, name: &str) -> Self {
        self.0["spec"]["serviceAccountName"] = name.into();
        self
    }

    /// Sets what `pointer` (RFC 6901) points to, making the way there.
    pub fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            place = &mut place[key];
        }
        *place = value;
        self
    }

    /// The object itself.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// A file name that no other object has.
    /// The file that the object is written to.
    pub fn file_name(&self) -> String {
        let field = |pointer: &str| self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let parts = [field("/kind"), field("/metadata/namespace"), field("/metadata/name")];
        let name: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).map(str::to_lowercase).collect();
        format!("{}.yaml", name.join("-"))
    }
}

impl fmt::Display for Manifest {
    /// As YAML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_norway::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

fn push(list: &mut Value, entry: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_yaml_in_a_file_of_its_own() {
        let service = Manifest::service("shop", "pay", &["10.96.0.9".parse().expect("an address")])
            .port("http", 80, 8080)
            .annotation("weir.dev/mesh", "enabled");
        assert_eq!(service.file_name(), "service-shop-pay.yaml");
        let read: Value = serde_norway::from_str(&service.to_string()).expect("it is YAML");
        assert_eq!(&read, service.value());
        assert_eq!(read["spec"]["ports"][0]["targetPort"], 8080);
        assert_eq!(read["metadata"]["annotations"]["weir.dev/mesh"], "enabled");
        assert_eq!(Manifest::meshed("shop").file_name(), "namespace-shop.yaml");
    }
}
