//! Which policies select which workload.

use std::sync::Arc;

use super::fixtures::{index, key, pod, policy};
use crate::policy::PolicyIndex;

#[test]
fn a_policy_without_selector_selects_its_namespace_and_no_other() {
    let index = index([("shop/all", "{}")]);
    assert_eq!(pod("shop").selected_by(&index), ["shop/all"]);
    assert_eq!(pod("bank").selected_by(&index), [""; 0]);
}

#[test]
fn a_selector_needs_all_of_its_labels() {
    let index = index([("shop/pay", "{selector: {matchLabels: {app: pay, env: prod}}}")]);
    assert_eq!(pod("shop").label("app", "pay").label("env", "prod").selected_by(&index), ["shop/pay"]);
    for (app, env) in [("pay", "test"), ("cart", "prod")] {
        assert_eq!(pod("shop").label("app", app).label("env", env).selected_by(&index), [""; 0]);
    }
    assert_eq!(pod("shop").label("app", "pay").selected_by(&index), [""; 0]);
}

#[test]
fn a_selector_never_reaches_into_another_namespace() {
    let index = index([("shop/pay", "{selector: {matchLabels: {app: pay}}}")]);
    assert_eq!(pod("bank").label("app", "pay").selected_by(&index), [""; 0]);
}

#[test]
fn a_policy_of_the_root_namespace_selects_the_whole_mesh() {
    let index = index([
        ("weir-system/all", "{tier: platform}"),
        ("weir-system/pay", "{selector: {matchLabels: {app: pay}}}"),
    ]);
    let both = ["weir-system/all", "weir-system/pay"];
    assert_eq!(pod("shop").label("app", "pay").selected_by(&index), both);
    assert_eq!(pod("bank").label("app", "cart").selected_by(&index), ["weir-system/all"]);
    assert_eq!(pod("weir-system").label("app", "pay").selected_by(&index), both);
}

#[test]
fn the_root_namespace_is_a_setting() {
    let everyone = policy("mesh/all", "{}");
    let index = PolicyIndex::new("mesh").with_policy(everyone).with_policy(policy("weir-system/all", "{}"));
    assert_eq!(pod("shop").selected_by(&index), ["mesh/all"]);
}

#[test]
fn a_target_selects_the_endpoints_of_a_service_of_its_own_namespace() {
    let spec = "{targetRefs: [{kind: Service, name: pay}, {group: '', kind: Service, name: pay-v2}]}";
    let index = index([("shop/pay", spec)]);
    assert_eq!(pod("shop").service("pay").selected_by(&index), ["shop/pay"]);
    assert_eq!(pod("shop").service("pay").service("pay-v2").selected_by(&index), ["shop/pay"]);
    assert_eq!(pod("shop").service("cart").selected_by(&index), [""; 0]);
    assert_eq!(pod("bank").service("pay").selected_by(&index), [""; 0]);
}

#[test]
fn a_target_in_the_root_namespace_is_a_service_of_that_namespace() {
    let index = index([("weir-system/pay", "{targetRefs: [{kind: Service, name: pay}]}")]);
    assert_eq!(pod("weir-system").service("pay").selected_by(&index), ["weir-system/pay"]);
    assert_eq!(pod("shop").service("pay").selected_by(&index), [""; 0]);
}

#[test]
fn a_policy_that_selects_anew_leaves_its_old_place() {
    let mut index = index([("shop/pay", "{selector: {matchLabels: {app: pay}}}")]);
    for (spec, by_label, by_service) in [
        ("{targetRefs: [{kind: Service, name: pay}]}", 0, 1),
        ("{}", 1, 1),
        ("{selector: {matchLabels: {app: pay}}}", 1, 0),
    ] {
        index.insert(policy("shop/pay", spec));
        assert_eq!(pod("shop").label("app", "pay").selected_by(&index).len(), by_label, "{spec}");
        assert_eq!(pod("shop").service("pay").selected_by(&index).len(), by_service, "{spec}");
        assert_eq!(index.len(), 1);
    }
}

#[test]
fn a_removed_policy_is_gone_and_leaves_nothing_behind() {
    let specs = ["{}", "{selector: {matchLabels: {app: pay}}}", "{targetRefs: [{kind: Service, name: pay}]}"];
    for spec in specs {
        let mut index = index([("shop/pay", spec)]);
        assert_eq!(index.remove(&key("shop/pay")).expect("it was there").key(), &key("shop/pay"));
        assert!(index.remove(&key("shop/pay")).is_none());
        assert!(pod("shop").label("app", "pay").service("pay").select(&index).is_empty());
        assert!(index.holds_nothing(), "{spec}");
    }
}

#[test]
fn an_index_is_not_changed_by_what_becomes_of_its_clone() {
    let before = index([("shop/a", "{}")]);
    let after = before.with_policy(policy("shop/b", "{}")).without(&key("shop/a"));
    assert_eq!(pod("shop").selected_by(&before), ["shop/a"]);
    assert_eq!(pod("shop").selected_by(&after), ["shop/b"]);
}

#[test]
fn policies_that_share_a_label_and_differ_in_another_lie_apart() {
    // `env` comes first by name, and all share it: lying under it would make a selection look at all.
    let mut index = PolicyIndex::default();
    for n in 0..100 {
        let spec = format!("{{selector: {{matchLabels: {{env: prod, name: x-{n}}}}}}}");
        index.insert(policy(&format!("shop/p-{n}"), &spec));
    }
    assert!(index.fullest_bucket() <= 2, "{}", index.fullest_bucket());
    let selected = pod("shop").label("env", "prod").label("name", "x-7").selected_by(&index);
    assert_eq!(selected, ["shop/p-7"]);
}

#[test]
fn all_policies_can_be_walked_in_order() {
    let index = index([("shop/b", "{}"), ("bank/z", "{}"), ("shop/a", "{}")]);
    let keys: Vec<String> = index.iter().map(|policy| policy.key().to_string()).collect();
    assert_eq!(keys, ["bank/z", "shop/a", "shop/b"]);
    assert!(Arc::ptr_eq(index.policy(&key("bank/z")).expect("there"), index.iter().next().expect("one")));
}

#[test]
fn what_the_rules_of_a_workload_tell_apart_can_be_listed() {
    let index = index([
        ("shop/a", "{rules: [{from: [{cidrs: [10.0.0.0/8, 10.1.0.0/16]}], to: [{ports: [80]}]}]}"),
        (
            "shop/b",
            r#"{mode: audit, rules: [{from: [{cidrs: [10.1.0.0/16, "fd00::/8"]}], to: [{ports: ["90-99"]}]}]}"#,
        ),
        ("bank/c", "{rules: [{from: [{cidrs: [172.16.0.0/12]}], to: [{ports: [443]}]}]}"),
    ]);
    let applicable = pod("shop").select(&index);
    let networks: Vec<String> = applicable.networks().iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]);
    assert_eq!(applicable.ports().borders(), [80, 81, 90, 100]);
    assert!(applicable.uses_addresses());
    assert!(!pod("other").select(&index).uses_addresses());
}
