//! Good objects: each kind, trimmed to what the mesh uses.

use std::sync::Arc;

use super::{Files, applied, pod, told};
use crate::{
    source::lint,
    state::{
        Object,
        input::{Pod, ServiceSpec, TargetPort},
    },
};

fn object(text: &str) -> Object {
    let (_, scan) = Files::with("a.yaml", text);
    assert_eq!(scan.problems, [], "{text}");
    applied(&scan)[0].clone()
}

fn read_pod(rest: &str) -> Arc<Pod> {
    match object(&pod("a", rest)) {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn read_service(spec: &str) -> Arc<ServiceSpec> {
    let text =
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: pay, namespace: shop}}\nspec: {spec}\n");
    match object(&text) {
        Object::Service(service) => service,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_is_read_with_all_that_the_mesh_uses() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: cart-7d9f-x
  namespace: shop
  uid: 1234
  labels: {app: cart, pod-template-hash: 7d9f}
  annotations: {weir.dev/mesh: enabled, weir.dev/netns: /run/netns/cart}
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: cart-7d9f, uid: u, controller: true}
spec:
  nodeName: node-a
  serviceAccountName: cart
  initContainers:
  - {name: sidecar, restartPolicy: Always, ports: [{name: metrics, containerPort: 9100}]}
  - {name: setup, ports: [{name: web, containerPort: 1}]}
  containers:
  - name: main
    resources: {limits: {cpu: 2, memory: 1Gi}}
    ports:
    - {name: web, containerPort: 8080}
    - {name: dns, containerPort: 53, protocol: UDP}
    readinessProbe: {httpGet: {port: web, path: /ready}}
    livenessProbe: {tcpSocket: {port: 8081}}
    startupProbe: {grpc: {port: 9090}}
  - name: other
    livenessProbe: {httpGet: {port: 1, host: example.com}}
    readinessProbe: {exec: {command: [x]}}
    startupProbe: {httpGet: {port: nothing-of-this-name}}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}, {ip: 10.0.0.9}]
";
    let Object::Pod(pod) = object(&text.replace("1234", "'1234'")) else { panic!("a pod") };
    assert_eq!(pod.key.to_string(), "shop/cart-7d9f-x");
    assert_eq!((&*pod.uid, &*pod.owner, pod.owner_kind), ("1234", "cart", "deployment"));
    assert_eq!((&*pod.node, &*pod.service_account), ("node-a", "cart"));
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1", "fd00::1"]);
    assert_eq!(pod.named_ports, [("metrics".into(), 9100), ("web".into(), 8080)].into());
    assert_eq!(pod.probe_ports, [8080, 8081, 9090]);
    assert_eq!(pod.settings.mesh, Some(true));
    assert_eq!(pod.settings.netns.as_deref(), Some("/run/netns/cart".as_ref()));
    assert!(pod.ready && !pod.finished && !pod.host_network);
}

#[test]
fn a_pod_that_says_little_gets_the_defaults() {
    let pod = read_pod("");
    assert_eq!((&*pod.uid, &*pod.owner, pod.owner_kind), ("shop/a", "a", "pod"));
    assert_eq!((&*pod.service_account, &*pod.node), ("default", ""));
    assert!(pod.ready && pod.addresses.is_empty());
}

#[test]
fn an_object_without_a_namespace_is_in_default() {
    let key = object("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n").key();
    assert_eq!(key.to_string(), "Pod default/a");
}

#[test]
fn a_pod_is_ready_unless_its_condition_or_its_deletion_says_no() {
    let with =
        |status: &str| read_pod(&format!("status: {{conditions: [{{type: Ready, status: {status}}}]}}"));
    assert!(with("'True'").ready);
    assert!(!with("'False'").ready && !with("Unknown").ready);
    let text =
        pod("a", "").replace("namespace: shop", "namespace: shop, deletionTimestamp: 2026-01-01T00:00:00Z");
    let Object::Pod(deleted) = object(&text) else { panic!("a pod") };
    assert!(!deleted.ready);
}

#[test]
fn finished_pods_are_known_by_their_phase() {
    for (phase, finished) in [("Pending", false), ("Running", false), ("Succeeded", true), ("Failed", true)] {
        assert_eq!(read_pod(&format!("status: {{phase: {phase}}}")).finished, finished, "{phase}");
    }
}

#[test]
fn an_owner_is_named_with_its_kind() {
    for (kind, name, owner, owner_kind) in [
        ("ReplicaSet", "cart-abc", "cart", "deployment"),
        ("ReplicaSet", "bare", "bare", "pod"),
        ("StatefulSet", "db", "db", "statefulset"),
        ("DaemonSet", "logs", "logs", "daemonset"),
        ("Job", "once", "once", "job"),
        ("Rollout", "cart", "cart", "pod"),
    ] {
        let owners = format!("[{{apiVersion: v1, kind: {kind}, name: {name}, uid: u}}]");
        let text = pod("a", "").replace(
            "namespace: shop",
            &format!("namespace: shop, labels: {{pod-template-hash: abc}}, ownerReferences: {owners}"),
        );
        let Object::Pod(pod) = object(&text) else { panic!("a pod") };
        assert_eq!((&*pod.owner, pod.owner_kind), (owner, owner_kind), "{kind}");
    }
}

#[test]
fn a_service_has_its_tcp_ports_and_cluster_addresses() {
    let service = read_service(
        "{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd96::1'], selector: {app: pay}, ports: [
          {name: web, port: 80, targetPort: http, appProtocol: http},
          {name: admin, port: 81, targetPort: 9000}, {name: plain, port: 82},
          {name: dns, port: 53, protocol: UDP}]}",
    );
    let addresses: Vec<_> = service.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.96.0.1", "fd96::1"]);
    let ports: Vec<_> = service.ports.iter().map(|port| (&*port.name, port.port, &port.target)).collect();
    assert_eq!(
        ports,
        [
            ("web", 80, &TargetPort::Name("http".into())),
            ("admin", 81, &TargetPort::Number(9000)),
            ("plain", 82, &TargetPort::Number(82)),
        ]
    );
    assert_eq!(service.ports[0].app_protocol.as_deref(), Some("http"));
    assert!(!service.publish_not_ready);
}

#[test]
fn a_headless_service_has_no_addresses() {
    let service = read_service("{clusterIP: None, clusterIPs: [None], publishNotReadyAddresses: true}");
    assert!(service.addresses.is_empty() && service.publish_not_ready);
}

#[test]
fn a_slice_has_its_service_ports_and_endpoints() {
    let text = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pay-1, namespace: shop, labels: {kubernetes.io/service-name: pay}}
addressType: IPv4
ports: [{name: web, port: 8080}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}, nodeName: n}
- {addresses: [10.0.0.2], conditions: {ready: false}, targetRef: {kind: Pod, name: b, namespace: other}}
- {addresses: [10.0.0.3], conditions: {ready: true}}
";
    let Object::EndpointSlice(slice) = object(text) else { panic!("a slice") };
    assert_eq!((&*slice.service, &slice.ports[..]), ("pay", &[("web".into(), 8080)][..]));
    let endpoints: Vec<_> = slice
        .endpoints
        .iter()
        .map(|of| (of.address.to_string(), of.ready, of.pod.as_ref().map(ToString::to_string)))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("10.0.0.1".into(), true, Some("shop/a".into())),
            ("10.0.0.2".into(), false, Some("other/b".into())),
            ("10.0.0.3".into(), true, None),
        ]
    );
    for (from, to, field) in [
        ("IPv4", "IPv7", "addressType"),
        ("IPv4", "IPv6", "endpoints[0].addresses[0]"),
        ("[10.0.0.1]", "[pay.local]", "endpoints[0].addresses[0]"),
        ("[10.0.0.1]", "[]", "endpoints[0].addresses[0]"),
        ("service-name: pay", "service-nam: pay", "metadata.labels[\"kubernetes.io/service-name\"]"),
    ] {
        let (_, scan) = Files::with("a.yaml", &text.replace(from, to));
        assert_eq!(scan.problems[0].field.as_deref(), Some(field), "{to}");
    }
}

#[test]
fn a_node_has_its_own_addresses_and_its_place() {
    let text = "
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z, topology.kubernetes.io/region: r}}
status:
  capacity: {cpu: 8}
  addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: node-a}]
";
    let Object::Node(node) = object(text) else { panic!("a node") };
    assert_eq!((node.zone.as_deref(), node.region.as_deref()), (Some("z"), Some("r")));
    assert_eq!(node.addresses, ["192.168.0.1".parse::<std::net::IpAddr>().expect("an address")]);
}

#[test]
fn lists_and_several_documents_are_taken_apart_and_empty_ones_left_out() {
    let text = "---\n# nothing\n---\napiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n\
                - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n\
                - {apiVersion: v1, kind: Node, metadata: {name: n}}\n"
        .to_string()
        + &pod("a", "")
        + "---\n";
    let (_, scan) = Files::with("a.yaml", &text);
    assert_eq!(told(&scan), ["+ Namespace shop", "+ Node n", "+ Pod shop/a"]);
    assert_eq!(scan.problems, []);
}

#[test]
fn anchors_and_merge_keys_are_understood() {
    let text = "apiVersion: v1\nkind: List\nitems:\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: a, labels: &l {app: x}}}\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: b, labels: {<<: *l, more: y}}}\n";
    let (_, scan) = Files::with("a.yaml", text);
    assert_eq!(scan.problems, []);
    let Object::Pod(pod) = applied(&scan)[1] else { panic!("a pod") };
    assert_eq!(pod.labels.get("app").map(String::as_str), Some("x"));
}

#[test]
fn what_kubectl_prints_is_taken() {
    let (_, scan) = Files::with("a.yaml", include_str!("kubectl.yaml"));
    assert_eq!(scan.problems, []);
    assert_eq!(scan.events.len(), 3);
}

#[test]
fn lint_says_what_the_agent_would_refuse_and_what_may_surprise() {
    let policy = "---\napiVersion: weir.dev/v1alpha1\nkind: AccessPolicy\n\
                  metadata: {name: p, namespace: shop}\nspec: {}\n";
    let found = lint::text("a.yaml", &(pod("a", "") + &pod("b", "spec: {x: 1}") + policy));
    assert_eq!(found.objects, 2);
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].to_string(), r#"a.yaml: Pod shop/b: spec.x: "1": unknown field"#);
    assert_eq!(found.warnings.len(), 1);
    let warning = found.warnings[0].to_string();
    assert!(warning.starts_with("a.yaml: AccessPolicy shop/p: spec.rules: "), "{warning}");
}

#[test]
fn lint_looks_at_all_files_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = ["a.yaml", "b.txt"].map(|name| directory.path().join(name));
    for path in &paths {
        std::fs::write(path, pod("one", "")).expect("written");
    }
    let missing = directory.path().join("missing.yaml");
    let found = lint::files(paths.iter().chain([&missing]));
    assert_eq!((found.objects, found.problems.len()), (0, 3));
    assert!(found.problems.iter().any(|problem| problem.message.starts_with("cannot be read")));
}

fn traffic_policy(name: &str, created: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{name: {name}, namespace: shop, creationTimestamp: {created}}}\n\
         spec: {{targetRefs: [{{kind: Service, name: pay}}], {spec}}}\nstatus: {{anything: true}}\n"
    )
}

#[test]
fn of_two_traffic_policies_of_one_service_lint_names_the_one_that_does_not_hold() {
    let young = traffic_policy("a-young", "'2024-02-01T00:00:00Z'", "retry: {attempts: 1}");
    let old = traffic_policy("old", "'2024-01-01T00:00:00Z'", "retry: {attempts: 2}");
    let found = lint::text("a.yaml", &(young + &old));
    assert_eq!((found.objects, found.problems.as_slice()), (2, &[][..]));
    let last = found.warnings.last().expect("a warning").to_string();
    let wanted = "a.yaml: TrafficPolicy shop/a-young: spec.targetRefs: \"pay\": TrafficPolicy shop/old holds";
    assert!(last.starts_with(wanted), "{last}");
    assert_eq!(found.warnings.len(), 1);
}

#[test]
fn a_traffic_policy_that_is_wrong_leaves_its_last_good_version_in_force() {
    let (mut files, scan) = Files::with("a.yaml", &traffic_policy("p", "null", "retry: {attempts: 1}"));
    assert_eq!(told(&scan), ["+ TrafficPolicy shop/p"]);
    let scan = files.write("a.yaml", &traffic_policy("p", "null", "retry: {attempts: 99, retryOn: [1]}"));
    let problems: Vec<String> = scan.problems.iter().map(ToString::to_string).collect();
    assert_eq!(scan.events, []);
    assert_eq!(
        problems[0],
        "a.yaml: TrafficPolicy shop/p: spec.retry.retryOn[0]: \"1\": is a status from 400 to 599, \
                             5xx, connect, refused, reset or timeout"
    );
    assert_eq!(
        problems[1],
        "a.yaml: TrafficPolicy shop/p: spec.retry.attempts: \"99\": must be from 1 to 10"
    );
    assert_eq!(files.in_force(), ["TrafficPolicy shop/p"]);
}
