//! A large cluster: what is said here is that it works and stays exact, not how fast it is.

use std::net::{IpAddr, Ipv4Addr};

use super::cluster::{Cluster, named, namespace, pod, service, service_changed, workload_changed};
use crate::state::{Event, input::Pod};

const PODS: u32 = 100_000;
const SERVICES: u32 = 10_000;
const NAMESPACES: u32 = 100;

fn nth_pod(n: u32) -> Pod {
    let app = n % SERVICES;
    let key = format!("ns-{}/pod-{n}", app % NAMESPACES);
    pod(&key, &[]).labelled(&[("app", &format!("app-{app}")), ("part-of", "all")]).with(|pod| {
        pod.addresses = [IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))].into();
        pod.node = format!("node-{}", n % 1000).into();
    })
}

#[test]
fn a_hundred_thousand_pods_and_ten_thousand_services_are_kept_exactly() {
    let mut cluster = Cluster::new();
    let namespaces = (0..NAMESPACES)
        .map(|n| Event::Apply(namespace(&format!("ns-{n}"), &[("weir.dev/mesh", "enabled")]).into()));
    let services = (0..SERVICES).map(|n| {
        let key = format!("ns-{}/svc-{n}", n % NAMESPACES);
        let address = Ipv4Addr::from_bits(0x0b00_0000 + n).to_string();
        Event::Apply(
            service(&key, &address).selecting(&[("app", &format!("app-{n}")), ("part-of", "all")]).into(),
        )
    });
    let pods = (0..PODS).map(|n| Event::Apply(nth_pod(n).into()));
    cluster.0.apply_all(namespaces.chain(services).chain(pods));

    let before = cluster.snapshot();
    assert_eq!(before.workloads().count(), PODS as usize);
    assert_eq!(before.workloads_on_node("node-7").count(), 100);
    assert_eq!(cluster.endpoints("ns-42/svc-42").len(), 10);

    let changed = nth_pod(42).with(|pod| pod.ready = false);
    assert_eq!(cluster.put(changed), [service_changed("ns-42/svc-42")]);
    let moved = nth_pod(43).with(|pod| pod.addresses = ["10.200.0.1".parse().expect("an address")].into());
    let changes = cluster.put(moved);
    assert_eq!(changes, [service_changed("ns-43/svc-43"), workload_changed("ns-43/pod-43")]);
    assert_eq!(cluster.at("10.200.0.1").as_deref(), Some("ns-43/pod-43"));
    assert_eq!(before.workload(&named("ns-43/pod-43")).expect("as it was").addresses, nth_pod(43).addresses);
}
