//! Which connections are looked at as HTTP, at the client's node and at the server's.

use super::cluster::{Cluster, endpoint, grpc_route, http_route, ip, named, pod, service, slice};
use crate::{
    policy::PolicyKey,
    state::{
        Kind,
        input::{PortSpec, ServiceSpec, TargetPort},
        layer7::{
            AppProtocol::{Grpc, Http, Http2},
            Layer7::{self, Asked, Declared, Off},
        },
    },
    traffic::TrafficPolicy,
};

fn port(port: u16, name: &str, app_protocol: Option<&str>, target: u16) -> PortSpec {
    PortSpec {
        port,
        name: name.into(),
        app_protocol: app_protocol.map(Into::into),
        target: TargetPort::Number(target),
    }
}

/// The Service `a/pay` with one port 80 that says this of itself.
fn pay(name: &str, app_protocol: Option<&str>) -> ServiceSpec {
    service("a/pay", "10.96.0.1").with(|pay| pay.ports = vec![port(80, name, app_protocol, 8080)])
}

fn traffic(key: &str) -> TrafficPolicy {
    let key = named(key);
    let spec = serde_json::json!({"targetRefs": [{"kind": "Service", "name": "pay"}], "retry": {}});
    TrafficPolicy::parse(PolicyKey::new(key.namespace, key.name), None, spec).expect("a right policy")
}

/// What clients of a namespace have at the first port of `a/pay`.
fn seen(cluster: &Cluster, client: &str) -> Layer7 {
    let snapshot = cluster.snapshot();
    let pay = snapshot.service(&named("a/pay")).expect("the Service is there");
    snapshot.layer7(client, pay, &pay.ports[0])
}

/// Name, `appProtocol`, and what it makes of a port, alone and when a route asks.
const PORTS: [(&str, Option<&str>, Layer7, Layer7); 41] = [
    ("", None, Off, Asked),
    ("", Some(""), Off, Asked),
    ("web", None, Off, Asked),
    ("httpd", None, Off, Asked),
    ("grpcs", None, Off, Asked),
    ("http3", None, Off, Asked),
    ("web-http", None, Off, Asked),
    ("tcpdump", None, Off, Asked),
    ("http", None, Declared(Http), Declared(Http)),
    ("http-web", None, Declared(Http), Declared(Http)),
    ("http2", None, Declared(Http2), Declared(Http2)),
    ("http2-web", None, Declared(Http2), Declared(Http2)),
    ("grpc", None, Declared(Grpc), Declared(Grpc)),
    ("grpc-api", None, Declared(Grpc), Declared(Grpc)),
    ("grpc-website", None, Declared(Grpc), Declared(Grpc)),
    ("grpc-web", None, Declared(Http), Declared(Http)),
    ("grpc-web-api", None, Declared(Http), Declared(Http)),
    ("tcp", None, Off, Off),
    ("tcp-db", None, Off, Off),
    ("tls", None, Off, Off),
    ("tls-web", None, Off, Off),
    ("https", None, Off, Off),
    ("https-web", None, Off, Off),
    ("mysql-main", None, Off, Off),
    ("redis", None, Off, Off),
    ("mongo-1", None, Off, Off),
    ("", Some("http"), Declared(Http), Declared(Http)),
    ("", Some("HTTP"), Declared(Http), Declared(Http)),
    ("", Some("grpc-web"), Declared(Http), Declared(Http)),
    ("", Some("kubernetes.io/ws"), Declared(Http), Declared(Http)),
    ("", Some("http2"), Declared(Http2), Declared(Http2)),
    ("", Some("kubernetes.io/h2c"), Declared(Http2), Declared(Http2)),
    ("", Some("grpc"), Declared(Grpc), Declared(Grpc)),
    ("", Some("kubernetes.io/wss"), Off, Off),
    ("", Some("tcp"), Off, Off),
    ("", Some("https"), Off, Off),
    ("", Some("example.com/own"), Off, Off),
    ("", Some("http-web"), Off, Off),
    // The name is not asked where there is an appProtocol.
    ("http", Some("tcp"), Off, Off),
    ("tcp", Some("http"), Declared(Http), Declared(Http)),
    ("grpc", Some("http2"), Declared(Http2), Declared(Http2)),
];

#[test]
fn a_port_says_what_it_speaks_and_is_asked_only_where_it_is_silent() {
    for (name, app_protocol, alone, asked) in PORTS {
        let case = format!("{name:?} {app_protocol:?}");
        let mut cluster = Cluster::new();
        cluster.put(pay(name, app_protocol));
        assert_eq!(seen(&cluster, "a"), alone, "{case}");
        cluster.put(http_route("a/route", "a/pay"));
        assert_eq!(seen(&cluster, "b"), asked, "{case}, with an HTTPRoute");
        cluster.delete(Kind::HttpRoute, "a/route");
        cluster.put(grpc_route("a/route", "a/pay"));
        assert_eq!(seen(&cluster, "b"), asked, "{case}, with a GRPCRoute");
        cluster.delete(Kind::GrpcRoute, "a/route");
        cluster.put(traffic("a/pay"));
        assert_eq!(seen(&cluster, "b"), asked, "{case}, with a TrafficPolicy");
        cluster.delete(Kind::TrafficPolicy, "a/pay");
        assert_eq!(seen(&cluster, "b"), alone, "{case}, when all are gone");
    }
}

#[test]
fn a_consumer_route_asks_for_clients_of_its_own_namespace_only() {
    let mut cluster = Cluster::new();
    cluster.put(pay("", None));
    cluster.put(http_route("b/route", "a/pay"));
    assert_eq!([seen(&cluster, "a"), seen(&cluster, "b"), seen(&cluster, "c")], [Off, Asked, Off]);
    let consumed = |cluster: &Cluster, by: &str| -> Vec<String> {
        cluster.snapshot().consumed_by(by).map(ToString::to_string).collect()
    };
    assert_eq!(consumed(&cluster, "b"), ["a/pay"]);
    assert!(consumed(&cluster, "a").is_empty());

    cluster.put(http_route("a/route", "a/pay"));
    assert!(consumed(&cluster, "a").is_empty(), "the Service's own is no consumer route");
    cluster.delete(Kind::HttpRoute, "b/route");
    assert!(consumed(&cluster, "b").is_empty());
    cluster.delete(Kind::HttpRoute, "a/route");
    cluster.delete(Kind::Service, "a/pay");
    assert!(cluster.0.is_empty());
}

#[test]
fn another_port_of_the_service_is_asked_by_its_own_routes() {
    let mut cluster = Cluster::new();
    cluster.put(pay("", None).with(|pay| {
        pay.ports = vec![port(81, "admin", None, 8081), port(80, "main", None, 8080)];
    }));
    let route = serde_json::json!({"parentRefs": [
        {"group": "", "kind": "Service", "name": "pay", "port": 80}]});
    let route = crate::state::routes::Route::http(named("a/route"), Default::default(), route);
    cluster.put(route.expect("a good route"));
    let snapshot = cluster.snapshot();
    let pay = snapshot.service(&named("a/pay")).expect("the Service is there");
    assert_eq!(snapshot.layer7("a", pay, &pay.ports[0]), Off);
    assert_eq!(snapshot.layer7("a", pay, &pay.ports[1]), Asked);
}

#[test]
fn a_pods_port_is_what_all_services_in_front_of_it_say() {
    for (first, second, declared) in [
        (("http", None), ("", None), Some(Http)),
        (("", None), ("web", Some("grpc")), Some(Grpc)),
        (("grpc", None), ("", Some("grpc")), Some(Grpc)),
        // Several: HTTP, but which cannot be told before it is seen.
        (("http2", None), ("grpc", None), Some(Http)),
        (("grpc", None), ("http", None), Some(Http)),
        // Whoever connects through the second must not be taken for HTTP.
        (("http", None), ("tcp", None), None),
        (("https", None), ("http", None), None),
        (("", None), ("web", None), None),
    ] {
        let mut cluster = Cluster::new();
        let app = [("app", "pay")];
        for (name, says) in [("a/one", first), ("a/two", second)] {
            cluster.put(service(name, "10.96.0.1").with(|of| {
                of.addresses.clear();
                of.ports = vec![port(80, says.0, says.1, 8080)];
                of.selector = super::cluster::labels(&app);
            }));
        }
        cluster.put(pod("a/pay-0", &["10.0.0.1"]).labelled(&app));
        let found = cluster.snapshot().declared_at(&cluster.workload("a/pay-0"), 8080);
        assert_eq!(found, declared, "{first:?} {second:?}");
    }
}

#[test]
fn only_the_port_that_a_service_sends_to_is_declared() {
    let mut cluster = Cluster::new();
    cluster.put(pay("http", None).with(|pay| pay.ports.push(port(6379, "redis", None, 6379))));
    cluster.put(pod("a/pay-0", &["10.0.0.1", "fd00::1"]));
    cluster.put(pod("a/pay-1", &["10.0.0.2"]));
    let mut of_pay = slice("a/pay-x", "pay", vec![endpoint("10.0.0.1", "a/pay-0")]);
    of_pay.ports = vec![("http".into(), 8080), ("redis".into(), 6379)];
    cluster.put(of_pay);
    let snapshot = cluster.snapshot();
    let at = |pod: &str, port| snapshot.declared_at(&cluster.workload(pod), port);
    assert_eq!(at("a/pay-0", 8080), Some(Http));
    assert_eq!(at("a/pay-0", 80), None, "the Service's number, which is not the pod's");
    assert_eq!(at("a/pay-0", 6379), None);
    assert_eq!(at("a/pay-1", 8080), None, "no endpoint");
    assert_eq!(snapshot.workload_by_address(ip("10.0.0.2")).map(|pod| pod.services.len()), Some(0));
}
