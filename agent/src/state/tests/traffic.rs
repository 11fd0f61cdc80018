//! TrafficPolicies in the cluster's state, and where endpoints are.

use super::cluster::{Cluster, ip, named, node, pod};
use crate::{
    policy::PolicyKey,
    state::{Change, Kind},
    traffic::{Proximity, TrafficPolicy},
};

fn policy(key: &str, created: i64, attempts: u32) -> TrafficPolicy {
    let key = named(key);
    let spec = serde_json::json!({"targetRefs": [{"kind": "Service", "name": "pay"}],
        "retry": {"attempts": attempts}});
    TrafficPolicy::parse(PolicyKey::new(key.namespace, key.name), Some(created), spec)
        .expect("a right policy")
}

#[test]
fn a_traffic_policy_changes_its_service_and_no_decision() {
    let mut cluster = Cluster::new();
    let changed = || [Change::Traffic(named("shop/pay"))];
    let attempts = |cluster: &Cluster| {
        let traffic = cluster.snapshot().traffic(&named("shop/pay"));
        traffic.map(|traffic| traffic.retry.as_ref().expect("retries").attempts)
    };
    assert_eq!(attempts(&cluster), None);
    assert_eq!(cluster.put(policy("shop/a", 2, 1)), changed());
    assert_eq!(cluster.put(policy("shop/a", 2, 1)), [], "nothing is new");
    assert_eq!(cluster.put(policy("shop/b", 3, 7)), [], "a younger one does not hold");
    assert_eq!(cluster.put(policy("other/a", 1, 9)), [Change::Traffic(named("other/pay"))]);
    assert_eq!(attempts(&cluster), Some(1));
    assert_eq!(cluster.snapshot().traffic_policies().conflicts().count(), 1);
    assert_eq!(cluster.delete(Kind::TrafficPolicy, "shop/a"), changed());
    assert_eq!(attempts(&cluster), Some(7));
    assert_eq!(cluster.delete(Kind::TrafficPolicy, "shop/a"), []);
    assert_eq!(cluster.delete(Kind::TrafficPolicy, "shop/b"), changed());
    cluster.delete(Kind::TrafficPolicy, "other/a");
    assert!(cluster.0.is_empty());
    assert_eq!(cluster.snapshot().policy_generation, 0);
}

#[test]
fn an_endpoint_is_as_near_as_its_node() {
    let mut cluster = Cluster::new();
    for (name, address, zone) in
        [("node-a", "192.168.0.1", "z1"), ("node-b", "192.168.0.2", "z1"), ("node-c", "192.168.0.3", "z2")]
    {
        let mut node = node(name, address);
        node.zone = Some(zone.into());
        cluster.put(node);
    }
    for (name, address, node) in [
        ("shop/a", "10.0.0.1", "node-a"),
        ("shop/b", "10.0.0.2", "node-b"),
        ("shop/c", "10.0.0.3", "node-c"),
        ("shop/d", "10.0.0.4", "node-d"),
        ("shop/e", "10.0.0.5", ""),
    ] {
        cluster.put(pod(name, &[address]).with(|pod| pod.node = node.into()));
    }
    let snapshot = cluster.snapshot();
    let own = snapshot.place(ip("10.0.0.1"));
    let near = |address: &str| own.proximity(&snapshot.place(ip(address)));
    let found = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.9.9.9"].map(near);
    use Proximity::{Elsewhere, Node, Zone};
    assert_eq!(found, [Node, Zone, Elsewhere, Elsewhere, Elsewhere, Elsewhere]);
}
