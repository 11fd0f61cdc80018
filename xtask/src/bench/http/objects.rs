//! The cluster's objects of this part of the bench: what is measured, and what is only there.
//!
//! Entry points: [`own`], [`of_others`].

use std::fmt::Write;

use serde_json::{Value, json};
use weir_tests::Manifest;

use super::stage::{HTTP1, HTTP2, Service, services};

/// Who signs users' tokens, and for whom.
pub(super) const ISSUER: &str = "https://id.bench.example";
pub(super) const AUDIENCE: &str = "bench";
/// Requests a second to the Service that has a bound on them.
pub(super) const LIMIT: u32 = 1000;

/// Services of others, with one route each, and policies of each.
pub(super) const OTHERS: usize = 1_000;
pub(super) const POLICIES_OF_EACH: usize = 10;
/// Pods behind them, on a third node.
const OTHER_PODS: usize = 100;
/// Documents in one file.
const DOCUMENTS: usize = 2_000;

const GATEWAY: &str = "gateway.networking.k8s.io/v1";

/// What the measured requests meet: for each Service port one route, for each server one policy.
pub(super) fn own(keys: &Value) -> Vec<Manifest> {
    let mut objects = Vec::new();
    for Service { name, address, ports } in services() {
        let service = Manifest::service("bench", name, &[address.into()]);
        objects.push(
            ports.iter().fold(service, |service, (name, port, target)| service.port(name, *port, *target)),
        );
        objects
            .extend(ports.iter().map(|(kind, port, _)| Manifest::object(route("bench", name, kind, *port))));
    }
    let client = json!([{"serviceAccounts": ["client"]}]);
    let rules = json!([{"from": client, "to": [
        {"ports": [HTTP1], "methods": ["GET"], "paths": ["/v1/*"]},
        {"ports": [HTTP2], "methods": ["GET"], "paths": ["/v1/*", "/bytes/*"]},
        {"ports": [HTTP2], "methods": ["POST"], "paths": ["/bench.Echo/*"]},
        {"methods": ["GET", "PUT"], "paths": ["/bytes/*", "/upload"]},
    ]}]);
    objects.push(policy("far", &rules));
    let staff = json!({"user": {"issuers": [ISSUER], "claims": {"groups": ["staff"]}}});
    let to = json!([{"ports": [HTTP1], "methods": ["GET"], "paths": ["/v1/*"]}]);
    objects.push(policy("checked", &json!([{"from": client, "to": to, "when": staff}])));
    for name in ["busy", "limited"] {
        objects.push(policy(name, &json!([{"from": [{"serviceAccounts": ["noisy"]}], "to": to}])));
    }
    objects.push(Manifest::object(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "RequestAuthentication",
        "metadata": {"namespace": "bench", "name": "users"},
        "spec": {
            "selector": {"matchLabels": {"app": "checked"}},
            "issuers": [{"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"inline": keys}}],
        },
    })));
    objects.push(Manifest::object(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"namespace": "bench", "name": "limited"},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "limited"}],
            "rateLimits": [{"by": "workload", "perSecond": LIMIT}],
        },
    })));
    objects
}

fn policy(name: &str, rules: &Value) -> Manifest {
    let spec = json!({"selector": {"matchLabels": {"app": name}}, "rules": rules});
    Manifest::access_policy("bench", name, spec)
}

/// A route of the port of this name to the very Service, by path or by gRPC's service.
fn route(namespace: &str, service: &str, port_name: &str, port: u16) -> Value {
    let (kind, matches) = match port_name {
        "grpc" => ("GRPCRoute", json!({"method": {"service": "bench.Echo"}})),
        "http" => ("HTTPRoute", json!({"path": {"type": "PathPrefix", "value": "/v1"}})),
        _ => ("HTTPRoute", json!({"path": {"type": "PathPrefix", "value": "/"}})),
    };
    json!({
        "apiVersion": GATEWAY, "kind": kind,
        "metadata": {"namespace": namespace, "name": format!("{service}-{port}")},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": service, "port": port}],
            "rules": [{"matches": [matches], "backendRefs": [{"name": service, "port": port}]}],
        },
    })
}

/// Files of the state, by name, with Services, routes and policies that no measured request meets.
pub(super) fn of_others() -> Vec<(String, String)> {
    let pods = (0..OTHER_PODS).map(other_pod);
    let rest = (0..OTHERS).flat_map(|number| {
        let policies = (0..POLICIES_OF_EACH).map(move |index| other_policy(number, index));
        [other_service(number), route("others", &other(number), "http", 80)].into_iter().chain(policies)
    });
    let namespace = Manifest::meshed("others").value().clone();
    let all: Vec<Value> = std::iter::once(namespace).chain(pods).chain(rest).collect();
    // JSON is YAML, and written in no time.
    let text = |documents: &[Value]| {
        documents.iter().fold(String::new(), |mut text, document| {
            let _ = writeln!(text, "---\n{document}");
            text
        })
    };
    let files = all.chunks(DOCUMENTS).enumerate();
    files.map(|(number, documents)| (format!("others-{number}.yaml"), text(documents))).collect()
}

fn other(number: usize) -> String {
    format!("other-{number}")
}

/// The labels of one pod of others, whose Services select it.
fn label_of(pod: usize) -> Value {
    json!({"app": format!("other-pod-{pod}")})
}

fn other_pod(number: usize) -> Value {
    let address = format!("10.244.9.{}", number + 1);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "others", "name": format!("other-pod-{number}"), "uid": format!("other-pod-{number}"),
            "labels": label_of(number),
        },
        "spec": {"nodeName": "node-far-away", "serviceAccountName": format!("other-pod-{number}")},
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn other_service(number: usize) -> Value {
    let address = format!("10.97.{}.{}", number / 250, number % 250 + 1);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "others", "name": other(number)},
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "selector": label_of(number % OTHER_PODS),
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
    })
}

fn other_policy(number: usize, index: usize) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "others", "name": format!("{}-{index}", other(number))},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": other(number)}],
            "rules": [{
                "from": [{"serviceAccounts": [format!("other-pod-{index}")]}],
                "to": [{"methods": ["GET"], "paths": [format!("/v{index}/*")]}],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_have_a_thousand_routes_and_ten_thousand_policies_in_files_that_an_agent_takes() {
        let files = of_others();
        let count = |kind: &str| -> usize {
            files
                .iter()
                .map(|(_, text)| text.matches(&format!("\"kind\":\"{kind}\",\"metadata\"")).count())
                .sum()
        };
        assert_eq!(count("HTTPRoute"), 1_000);
        assert_eq!(count("AccessPolicy"), 10_000);
        assert_eq!(count("Service"), 1_000);
        assert!(files.iter().all(|(_, text)| text.len() < 16 << 20));
    }
}
