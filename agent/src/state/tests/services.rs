//! Services, EndpointSlices and the pods behind them.

use super::cluster::{
    Cluster, endpoint, ip, node, pod, service, service_changed, slice, unready, workload_changed,
};
use crate::state::{
    Kind,
    input::{PortSpec, TargetPort},
};

fn services_of(cluster: &Cluster, pod: &str) -> Vec<String> {
    cluster.workload(pod).services.iter().map(ToString::to_string).collect()
}

#[test]
fn a_service_has_the_ready_endpoints_of_its_slices_in_order() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-2", "pay", vec![endpoint("10.0.0.2", ""), unready("10.0.0.3", "")]));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("10.0.0.9", ""), endpoint("10.0.0.1", "")]));
    cluster.put(slice("shop/other", "other", vec![endpoint("10.0.0.7", "")]));
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.9:8080"]);
    cluster.delete(Kind::EndpointSlice, "shop/pay-1");
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.2:8080"]);
}

#[test]
fn an_endpoint_is_matched_by_the_name_of_its_port() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1").with(|service| {
        let port = |port, name: &str| PortSpec {
            port,
            name: name.into(),
            app_protocol: Some("http".into()),
            target: TargetPort::Number(port),
        };
        service.ports = vec![port(80, "web"), port(9000, "admin"), port(9001, "none")];
    }));
    let mut both = slice("shop/pay-1", "pay", vec![endpoint("10.0.0.1", "")]);
    both.ports = vec![("admin".into(), 9900), ("web".into(), 8080)];
    cluster.put(both);
    let snapshot = cluster.snapshot();
    let at = |port| {
        let (service, port) = snapshot.service_by_address(ip("10.96.0.1"), port)?;
        assert_eq!(service.key.to_string(), "shop/pay");
        Some(port.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(at(80), Some(vec!["10.0.0.1:8080".to_string()]));
    assert_eq!(at(9000), Some(vec!["10.0.0.1:9900".to_string()]));
    assert_eq!(at(9001), Some(vec![]));
    assert_eq!(at(81), None);
}

#[test]
fn one_services_publish_not_ready_addresses_is_not_leaked_to_others() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/eager", "10.96.0.1").with(|service| service.publish_not_ready = true));
    cluster.put(service("shop/usual", "10.96.0.2"));
    cluster.put(slice("shop/eager-1", "eager", vec![unready("10.0.0.1", "shop/a")]));
    cluster.put(slice("shop/usual-1", "usual", vec![unready("10.0.0.1", "shop/a")]));
    assert_eq!(cluster.endpoints("shop/eager"), ["10.0.0.1:8080"]);
    assert!(cluster.endpoints("shop/usual").is_empty());
}

#[test]
fn a_pod_that_is_not_ready_is_no_endpoint_but_stays_a_member() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-1", "pay", vec![unready("10.0.0.1", "shop/a")]));
    assert!(cluster.endpoints("shop/pay").is_empty());
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"]);
}

#[test]
fn a_pod_is_a_member_of_the_services_of_its_namespace_only() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(pod("other/a", &["10.0.1.1"]));
    for (namespace, vip) in [("shop", "10.96.0.1"), ("other", "10.96.0.2")] {
        cluster.put(service(&format!("{namespace}/pay"), vip));
        let endpoints = vec![endpoint("10.0.0.1", "shop/a"), endpoint("10.0.0.1", "")];
        cluster.put(slice(&format!("{namespace}/pay-1"), "pay", endpoints));
    }
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"]);
    assert!(services_of(&cluster, "other/a").is_empty());
}

#[test]
fn an_endpoint_that_names_no_pod_is_the_pod_with_its_address() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("10.0.0.1", "")]));
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"]);
    cluster.put(pod("shop/a", &["10.0.0.2"]));
    assert!(services_of(&cluster, "shop/a").is_empty());
}

#[test]
fn an_endpoint_of_a_host_network_pod_keeps_its_nodes_address() {
    let mut cluster = Cluster::new();
    cluster.put(node("node-a", "192.168.0.1"));
    cluster.put(pod("shop/a", &["192.168.0.1"]).with(|pod| pod.host_network = true));
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("192.168.0.1", "shop/a")]));
    assert_eq!(cluster.endpoints("shop/pay"), ["192.168.0.1:8080"]);
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"]);
}

#[test]
fn a_slice_that_lags_behind_does_not_lead_to_the_next_pod_with_its_address() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("10.0.0.1", "shop/a")]));
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080"]);
    cluster.delete(Kind::Pod, "shop/a");
    let changes = cluster.put(pod("other/b", &["10.0.0.1"]));
    assert_eq!(changes, [service_changed("shop/pay"), workload_changed("other/b")]);
    assert!(cluster.endpoints("shop/pay").is_empty());
}

#[test]
fn an_address_that_two_pods_claim_is_no_endpoint() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/slices", "10.96.0.1"));
    cluster.put(slice("shop/slices-1", "slices", vec![endpoint("10.0.0.1", "shop/a")]));
    cluster.put(service("shop/derived", "10.96.0.2").selecting(&[("app", "a")]));
    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "a")]));
    assert_eq!(cluster.endpoints("shop/slices"), ["10.0.0.1:8080"]);
    assert_eq!(cluster.endpoints("shop/derived"), ["10.0.0.1:8080"]);
    cluster.put(pod("shop/b", &["10.0.0.1"]));
    assert!(cluster.endpoints("shop/slices").is_empty());
    assert!(cluster.endpoints("shop/derived").is_empty());
    cluster.delete(Kind::Pod, "shop/b");
    assert_eq!(cluster.endpoints("shop/slices"), ["10.0.0.1:8080"]);
    assert_eq!(cluster.endpoints("shop/derived"), ["10.0.0.1:8080"]);
}

#[test]
fn a_service_without_slices_has_the_pods_that_its_selector_selects() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1").selecting(&[("app", "pay")]));
    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "pay"), ("x", "y")]));
    cluster.put(pod("shop/b", &["10.0.0.2"]).labelled(&[("app", "cart")]));
    cluster.put(pod("other/a", &["10.0.0.3"]).labelled(&[("app", "pay")]));
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080"]);
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"]);
    assert!(services_of(&cluster, "other/a").is_empty());
    let changes = cluster.put(pod("shop/b", &["10.0.0.2"]).labelled(&[("app", "pay")]));
    assert_eq!(changes, [service_changed("shop/pay"), workload_changed("shop/b")]);
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "pay")]).with(|pod| pod.ready = false));
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.2:8080"]);
    cluster.delete(Kind::Pod, "shop/b");
    assert!(cluster.endpoints("shop/pay").is_empty());
}

#[test]
fn the_first_slice_of_a_service_takes_over_from_its_selector() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1").selecting(&[("app", "pay")]));
    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "pay")]));
    cluster.put(slice("shop/pay-1", "pay", vec![]));
    assert!(cluster.endpoints("shop/pay").is_empty());
    assert_eq!(services_of(&cluster, "shop/a"), ["pay"], "a slice that lags must not unselect a pod");
    cluster.delete(Kind::EndpointSlice, "shop/pay-1");
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080"]);
}

#[test]
fn a_named_target_port_is_each_pods_own() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/pay", "10.96.0.1").selecting(&[("app", "pay")]).with(|service| {
        service.ports[0].target = TargetPort::Name("web".into());
    }));
    let pay = |name, address, port: Option<u16>| {
        pod(name, &[address]).labelled(&[("app", "pay")]).with(|pod| {
            pod.named_ports = port.map(|port| ("web".into(), port)).into_iter().collect();
        })
    };
    cluster.put(pay("shop/a", "10.0.0.1", Some(8080)));
    cluster.put(pay("shop/b", "10.0.0.2", Some(9090)));
    cluster.put(pay("shop/c", "10.0.0.3", None));
    assert_eq!(cluster.endpoints("shop/pay"), ["10.0.0.1:8080", "10.0.0.2:9090"]);
}

#[test]
fn derived_endpoints_are_of_the_families_of_the_services_addresses() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1", "fd00::1"]).labelled(&[("app", "a")]));
    cluster.put(service("shop/four", "10.96.0.1").selecting(&[("app", "a")]));
    cluster.put(service("shop/six", "fd96::1").selecting(&[("app", "a")]));
    let headless = service("shop/none", "10.96.0.9").selecting(&[("app", "a")]);
    cluster.put(headless.with(|service| service.addresses.clear()));
    assert_eq!(cluster.endpoints("shop/four"), ["10.0.0.1:8080"]);
    assert_eq!(cluster.endpoints("shop/six"), ["[fd00::1]:8080"]);
    assert_eq!(cluster.endpoints("shop/none"), ["10.0.0.1:8080"]);
}

#[test]
fn a_headless_service_has_no_address_but_has_members() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(service("shop/db", "10.96.0.1").with(|service| service.addresses.clear()));
    cluster.put(slice("shop/db-1", "db", vec![endpoint("10.0.0.1", "shop/a")]));
    assert!(cluster.snapshot().service_by_address(ip("10.96.0.1"), 80).is_none());
    assert_eq!(services_of(&cluster, "shop/a"), ["db"]);
}

#[test]
fn a_deleted_service_leaves_neither_address_nor_members() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(service("shop/pay", "10.96.0.1"));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("10.0.0.1", "shop/a")]));
    let changes = cluster.delete(Kind::Service, "shop/pay");
    assert_eq!(changes, [service_changed("shop/pay"), workload_changed("shop/a")]);
    assert!(cluster.snapshot().service_by_address(ip("10.96.0.1"), 80).is_none());
    assert!(services_of(&cluster, "shop/a").is_empty());
}

#[test]
fn a_pod_whose_readiness_changes_behind_slices_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "pay")]));
    cluster.put(service("shop/pay", "10.96.0.1").selecting(&[("app", "pay")]));
    cluster.put(slice("shop/pay-1", "pay", vec![endpoint("10.0.0.1", "shop/a")]));
    let changed = pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "pay")]).with(|pod| pod.ready = false);
    assert_eq!(cluster.put(changed), []);
}
