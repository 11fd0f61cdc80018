//! Request authentications in the snapshot.

use std::sync::Arc;

use super::cluster::{Cluster, authentication, named, pod};
use crate::state::{Change, Kind};

/// Where the keys are of what selects the pod `name`.
fn sources(cluster: &Cluster, name: &str) -> Vec<String> {
    let snapshot = cluster.snapshot();
    let selected = snapshot.authentication(snapshot.workload(&named(name)).expect("a workload of this name"));
    selected.sources().map(ToString::to_string).collect()
}

#[test]
fn an_object_counts_for_its_workloads_as_long_as_it_is_there() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]));
    cluster.put(pod("other/a", &[]));
    assert_eq!(cluster.put(authentication("shop/u", "one")), [Change::Policies]);
    assert_eq!(sources(&cluster, "shop/a"), ["https://one/keys"]);
    assert_eq!(sources(&cluster, "other/a"), [""; 0]);
    assert_eq!(cluster.put(authentication("shop/u", "one")), [], "the same again is no change");
    assert_eq!(cluster.put(authentication("shop/u", "two")), [Change::Policies]);
    assert_eq!(sources(&cluster, "shop/a"), ["https://two/keys"]);
    assert_eq!(cluster.put(authentication("weir-system/u", "one")), [Change::Policies]);
    assert_eq!(sources(&cluster, "shop/a"), ["https://one/keys", "https://two/keys"]);
    assert_eq!(sources(&cluster, "other/a"), ["https://one/keys"]);
    assert_eq!(cluster.delete(Kind::RequestAuthentication, "shop/u"), [Change::Policies]);
    assert_eq!(cluster.delete(Kind::RequestAuthentication, "shop/u"), []);
    assert_eq!(sources(&cluster, "shop/a"), ["https://one/keys"]);
}

#[test]
fn who_is_a_user_is_a_part_of_every_decision() {
    let mut cluster = Cluster::new();
    let before = cluster.snapshot().policy_generation;
    cluster.put(authentication("shop/u", "one"));
    assert!(cluster.snapshot().policy_generation > before);
}

#[test]
fn what_selects_a_workload_is_looked_up_once_until_it_or_an_object_changes() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]));
    cluster.put(authentication("shop/u", "one"));
    let selected = |cluster: &Cluster| cluster.snapshot().authentication(&cluster.workload("shop/a"));
    let first = selected(&cluster);
    assert!(Arc::ptr_eq(&first, &selected(&cluster)));
    cluster.put(pod("other/b", &[]));
    assert!(Arc::ptr_eq(&first, &selected(&cluster)), "another pod is no reason to look again");
    cluster.put(pod("shop/a", &[]).labelled(&[("app", "a")]));
    assert!(!Arc::ptr_eq(&first, &selected(&cluster)));
    cluster.delete(Kind::RequestAuthentication, "shop/u");
    assert!(selected(&cluster).is_empty());
}

#[test]
fn a_node_needs_the_keys_of_its_own_workloads_each_once() {
    let mut cluster = Cluster::new();
    let on = |node: &'static str| move |pod: &mut crate::state::input::Pod| pod.node = node.into();
    cluster.put(pod("shop/a", &[]).with(on("node-a")));
    cluster.put(pod("shop/b", &[]).with(on("node-a")));
    cluster.put(pod("pay/c", &[]).with(on("node-b")));
    cluster.put(authentication("shop/u", "one"));
    cluster.put(authentication("pay/u", "two"));
    let needed = |node: &str| -> Vec<String> {
        cluster.snapshot().key_sources_on_node(node).iter().map(ToString::to_string).collect()
    };
    assert_eq!(needed("node-a"), ["https://one/keys"]);
    assert_eq!(needed("node-b"), ["https://two/keys"]);
    assert_eq!(needed("node-c"), [""; 0]);
}
