//! Pods and their namespaces: enrolment, identity, addresses, generations, policies.

use std::sync::Arc;

use super::cluster::{Cluster, ip, key, named, namespace, node, pod, policy, service, workload_changed};
use crate::state::{Change, Conflict, Kind, model::Mtls};

const ENABLED: &[(&str, &str)] = &[("weir.dev/mesh", "enabled")];
const DISABLED: &[(&str, &str)] = &[("weir.dev/mesh", "disabled")];

#[test]
fn a_pod_is_enrolled_by_its_namespace_unless_it_says_otherwise() {
    let mut cluster = Cluster::new();
    cluster.put(namespace("shop", ENABLED));
    cluster.put(pod("shop/in", &[]));
    cluster.put(pod("shop/out", &[]).annotated(DISABLED));
    cluster.put(pod("other/out", &[]));
    cluster.put(pod("other/in", &[]).annotated(ENABLED));
    let enrolled = |name| cluster.workload(name).enrolled;
    assert!(enrolled("shop/in") && enrolled("other/in"));
    assert!(!enrolled("shop/out") && !enrolled("other/out"));
}

#[test]
fn a_host_network_pod_is_never_enrolled() {
    let mut cluster = Cluster::new();
    cluster.put(namespace("shop", ENABLED));
    cluster.put(pod("shop/a", &["192.168.0.1"]).annotated(ENABLED).with(|pod| pod.host_network = true));
    assert!(!cluster.workload("shop/a").enrolled);
}

#[test]
fn the_pods_of_the_system_namespaces_are_enrolled_only_when_annotated() {
    for system in ["kube-system", "weir-system"] {
        let mut cluster = Cluster::new();
        let name = format!("{system}/a");
        cluster.put(pod(&name, &[]));
        assert!(!cluster.workload(&name).enrolled);
        cluster.put(namespace(system, ENABLED));
        assert!(cluster.workload(&name).enrolled);
    }
}

#[test]
fn a_namespace_that_changes_changes_its_pods_and_no_others() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]));
    cluster.put(pod("other/a", &[]));
    assert_eq!(cluster.put(namespace("shop", ENABLED)), [workload_changed("shop/a")]);
    assert_eq!(cluster.put(namespace("shop", ENABLED)), []);
    assert_eq!(cluster.delete(Kind::Namespace, "shop"), [workload_changed("shop/a")]);
    assert!(!cluster.workload("shop/a").enrolled);
}

#[test]
fn a_pods_settings_replace_those_of_its_namespace_one_by_one() {
    let mut cluster = Cluster::new();
    cluster.put(namespace(
        "shop",
        &[("weir.dev/mtls", "strict"), ("weir.dev/skip-outbound-ports", "3306,5432")],
    ));
    cluster.put(pod("shop/a", &[]).annotated(&[("weir.dev/skip-outbound-ports", "6379")]));
    let workload = cluster.workload("shop/a");
    assert_eq!(workload.mtls, Mtls::Strict);
    assert_eq!(workload.skip.outbound_ports, [6379]);
}

#[test]
fn an_identity_is_made_of_trust_domain_namespace_and_service_account() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]).with(|pod| pod.service_account = "cart".into()));
    assert_eq!(cluster.workload("shop/a").identity.to_string(), "spiffe://cluster.local/ns/shop/sa/cart");
}

#[test]
fn a_pod_whose_names_make_no_identity_is_no_workload() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]).with(|pod| pod.service_account = "Not/A Name".into()));
    assert_eq!(cluster.snapshot().workloads().count(), 0);
    assert_eq!(cluster.at("10.0.0.1"), None);
}

#[test]
fn a_finished_pod_is_nowhere_and_frees_its_address() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/job", &["10.0.0.1"]).annotated(ENABLED));
    assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/job"));
    cluster.put(pod("shop/job", &["10.0.0.1"]).annotated(ENABLED).with(|pod| pod.finished = true));
    assert_eq!(cluster.at("10.0.0.1"), None);
    assert_eq!(cluster.snapshot().workloads().count(), 0);
    cluster.put(pod("shop/next", &["10.0.0.1"]));
    assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/next"));
    assert!(cluster.0.conflicts().is_empty());
}

#[test]
fn a_deleted_pod_is_nowhere() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1", "fd00::1"]));
    assert_eq!(cluster.delete(Kind::Pod, "shop/a"), [workload_changed("shop/a")]);
    let snapshot = cluster.snapshot();
    assert!(snapshot.workload(&named("shop/a")).is_none());
    assert!(cluster.at("10.0.0.1").is_none() && cluster.at("fd00::1").is_none());
    assert_eq!(snapshot.workloads_on_node("node-a").count(), 0);
}

#[test]
fn an_address_that_two_pods_claim_is_neithers_and_is_reported_until_one_lets_go() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/old", &["10.0.0.1"]));
    let changes = cluster.put(pod("shop/new", &["10.0.0.1"]));
    assert_eq!(changes, [workload_changed("shop/new"), workload_changed("shop/old")]);
    assert_eq!(cluster.at("10.0.0.1"), None);
    let conflict = Conflict {
        address: ip("10.0.0.1"),
        claimants: vec![key(Kind::Pod, "shop/new"), key(Kind::Pod, "shop/old")],
    };
    assert_eq!(cluster.0.conflicts(), [conflict]);
    let changes = cluster.delete(Kind::Pod, "shop/old");
    assert_eq!(changes, [workload_changed("shop/new"), workload_changed("shop/old")]);
    assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/new"));
    assert!(cluster.0.conflicts().is_empty());
}

#[test]
fn an_address_that_two_services_claim_is_neithers_and_is_reported() {
    let mut cluster = Cluster::new();
    cluster.put(service("shop/a", "10.96.0.1"));
    cluster.put(service("shop/b", "10.96.0.1"));
    let snapshot = cluster.snapshot();
    assert!(snapshot.service_by_address(ip("10.96.0.1"), 80).is_none());
    assert!(snapshot.is_service_address(ip("10.96.0.1")));
    assert_eq!(snapshot.conflicts().len(), 1);
}

#[test]
fn host_network_pods_do_not_own_their_nodes_address() {
    let mut cluster = Cluster::new();
    cluster.put(node("node-a", "192.168.0.1"));
    cluster.put(pod("shop/a", &["192.168.0.1"]).with(|pod| pod.host_network = true));
    assert_eq!(cluster.at("192.168.0.1"), None);
    assert!(cluster.workload("shop/a").addresses.is_empty());
    cluster.put(pod("shop/b", &["192.168.0.1"]).with(|pod| pod.host_network = true));
    assert_eq!(cluster.at("192.168.0.1"), None);
    assert!(cluster.0.conflicts().is_empty());
}

#[test]
fn a_mapped_address_finds_the_pod_of_its_ipv4_address() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    assert_eq!(cluster.at("::ffff:10.0.0.1").as_deref(), Some("shop/a"));
}

#[test]
fn the_pods_of_a_node_are_found_and_follow_a_move() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/b", &[]));
    cluster.put(pod("shop/a", &[]));
    cluster.put(pod("shop/unscheduled", &[]).with(|pod| pod.node = "".into()));
    let on = |cluster: &Cluster, node| -> Vec<String> {
        cluster.snapshot().workloads_on_node(node).map(|w| w.key.to_string()).collect()
    };
    assert_eq!(on(&cluster, "node-a"), ["shop/a", "shop/b"]);
    assert!(on(&cluster, "").is_empty());
    cluster.put(pod("shop/a", &[]).with(|pod| pod.node = "node-b".into()));
    assert_eq!(on(&cluster, "node-a"), ["shop/b"]);
    assert_eq!(on(&cluster, "node-b"), ["shop/a"]);
}

#[test]
fn a_nodes_addresses_are_known_until_it_goes() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.put(node("node-a", "192.168.0.1")), [Change::Node("node-a".into())]);
    assert_eq!(cluster.put(node("node-a", "192.168.0.1")), []);
    assert_eq!(cluster.snapshot().node_addresses("node-a"), [ip("192.168.0.1")]);
    assert_eq!(cluster.delete(Kind::Node, "node-a"), [Change::Node("node-a".into())]);
    assert!(cluster.snapshot().node_addresses("node-a").is_empty());
}

#[test]
fn what_changes_nothing_moves_no_generation() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.put(policy("shop/p"));
    let before = cluster.snapshot();
    assert_eq!(cluster.put(pod("shop/a", &["10.0.0.1"])), []);
    assert_eq!(cluster.put(policy("shop/p")), []);
    assert_eq!(cluster.delete(Kind::AccessPolicy, "shop/none"), []);
    assert_eq!(cluster.delete(Kind::Pod, "shop/none"), []);
    assert_eq!(
        cluster.0.apply(crate::state::Event::Delete(crate::state::model::ObjectKey {
            kind: "Secret".into(),
            namespace: "a".into(),
            name: "b".into()
        })),
        []
    );
    assert!(Arc::ptr_eq(&before, &cluster.snapshot()));
}

#[test]
fn only_what_can_change_a_decision_moves_the_policy_generation() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    let mut last = cluster.snapshot().policy_generation;
    let mut moved = |cluster: &Cluster| {
        let now = cluster.snapshot().policy_generation;
        std::mem::replace(&mut last, now) != now
    };
    cluster.put(pod("shop/b", &["10.0.0.2"]));
    assert!(!moved(&cluster), "a new pod has not been judged yet");
    cluster.put(pod("shop/a", &["10.0.0.1"]).with(|pod| pod.probe_ports = vec![8080]));
    assert!(!moved(&cluster), "a probe is no matter of policy");
    cluster.put(service("shop/s", "10.96.0.1"));
    assert!(!moved(&cluster), "a Service without members selects nothing");

    cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "a")]));
    assert!(moved(&cluster), "labels select");
    cluster.put(service("shop/s", "10.96.0.1").selecting(&[("app", "a")]));
    assert!(moved(&cluster), "membership selects");
    cluster.put(pod("shop/b", &["10.0.0.2"]).with(|pod| pod.service_account = "b".into()));
    assert!(moved(&cluster), "identities are judged");
    cluster.put(namespace("shop", ENABLED));
    assert!(moved(&cluster), "enrolment decides what is judged");
    cluster.put(policy("shop/p"));
    assert!(moved(&cluster));
    cluster.delete(Kind::AccessPolicy, "shop/p");
    assert!(moved(&cluster));
    cluster.delete(Kind::Pod, "shop/b");
    assert!(moved(&cluster), "another pod may come back under its name");
}

#[test]
fn the_policies_of_a_workload_are_looked_up_once_until_it_or_a_policy_changes() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]));
    cluster.put(policy("shop/p"));
    let applicable = |cluster: &Cluster| cluster.snapshot().applicable(&cluster.workload("shop/a"));

    let first = applicable(&cluster);
    assert!(!first.is_empty());
    assert!(Arc::ptr_eq(&first, &applicable(&cluster)));
    cluster.put(pod("other/b", &[]));
    assert!(Arc::ptr_eq(&first, &applicable(&cluster)), "another pod is no reason to look again");
    cluster.put(pod("shop/a", &[]).labelled(&[("app", "a")]));
    assert!(!Arc::ptr_eq(&first, &applicable(&cluster)));
    cluster.delete(Kind::AccessPolicy, "shop/p");
    assert!(applicable(&cluster).is_empty());
}

#[test]
fn a_snapshot_answers_for_its_own_time_whatever_came_after() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    let before = cluster.snapshot();
    cluster.put(policy("shop/p"));
    let after = cluster.snapshot();
    let workload = before.workload(&named("shop/a")).expect("it is there");
    assert!(!after.applicable(workload).is_empty());
    assert!(before.applicable(workload).is_empty());
    assert!(!after.applicable(workload).is_empty());
    cluster.delete(Kind::Pod, "shop/a");
    assert!(after.workload_by_address(ip("10.0.0.1")).is_some());
}

#[test]
fn an_address_that_a_pod_was_given_stands_in_until_the_api_tells_one() {
    let mut cluster = Cluster::new();
    let uid = "shop/a";
    cluster.put(pod("shop/a", &[]));
    let changes = cluster.0.stand_in(&named("shop/a"), uid, vec![ip("10.0.0.1")]);
    assert_eq!(changes, [workload_changed("shop/a")]);
    assert_eq!(cluster.at("10.0.0.1").as_deref(), Some("shop/a"));
    // Something else of it changes first.
    cluster.put(pod("shop/a", &[]).labelled(&[("app", "a")]));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.1")]);
    // The API tells the same: nothing is different.
    assert_eq!(cluster.put(pod("shop/a", &["10.0.0.1"]).labelled(&[("app", "a")])), []);
    // From now on its word counts.
    cluster.put(pod("shop/a", &["10.0.0.2"]));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.2")]);
    cluster.put(pod("shop/a", &[]));
    assert!(cluster.workload("shop/a").addresses.is_empty());
}

#[test]
fn a_sandbox_that_is_made_anew_has_the_new_address_while_the_api_tells_the_old_one() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    cluster.0.stand_in(&named("shop/a"), "shop/a", vec![ip("10.0.0.2")]);
    cluster.put(pod("shop/a", &["10.0.0.1"]).with(|pod| pod.ready = false));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.2")]);
    assert_eq!(cluster.at("10.0.0.1"), None);
    cluster.0.withdraw(&named("shop/a"));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.1")]);
    assert_eq!(cluster.0.withdraw(&named("shop/a")), []);
    cluster.0.stand_in(&named("shop/a"), "shop/a", vec![ip("10.0.0.2")]);
    // And once more before the API knows.
    cluster.0.stand_in(&named("shop/a"), "shop/a", vec![ip("10.0.0.3")]);
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.3")]);
    cluster.put(pod("shop/a", &["10.0.0.3"]));
    cluster.put(pod("shop/a", &["10.0.0.1"]));
    assert_eq!(*cluster.workload("shop/a").addresses, [ip("10.0.0.1")]);
}

#[test]
fn what_a_pod_was_given_is_no_other_pods_and_goes_with_it() {
    let mut cluster = Cluster::new();
    cluster.put(pod("shop/a", &[]));
    assert_eq!(cluster.0.stand_in(&named("shop/a"), "another", vec![ip("10.0.0.1")]), []);
    assert_eq!(cluster.0.stand_in(&named("shop/b"), "shop/b", vec![ip("10.0.0.1")]), []);
    cluster.0.stand_in(&named("shop/a"), "shop/a", vec![ip("10.0.0.1")]);
    cluster.put(pod("shop/a", &[]).with(|pod| pod.uid = "of the next".into()));
    assert!(cluster.workload("shop/a").addresses.is_empty());

    cluster.put(pod("shop/b", &[]));
    cluster.0.stand_in(&named("shop/b"), "shop/b", vec![ip("10.0.0.1")]);
    cluster.put(pod("shop/c", &["10.0.0.1"]));
    assert_eq!(cluster.at("10.0.0.1"), None, "two claim it");
    for name in ["shop/a", "shop/b", "shop/c"] {
        cluster.delete(Kind::Pod, name);
    }
    assert!(cluster.0.is_empty());
}
