//! What is refused, and how its author learns of it.

use super::fixtures::{mistakes, parsed, policy};
use crate::policy::{Action, Mode, Scope, Tier};

/// Asserts that `yaml` has one mistake: at `field`, with `value`.
#[track_caller]
fn refused(yaml: &str, field: &str, value: &str) {
    let errors = parsed("shop/wrong", yaml).expect_err("a wrong policy");
    let places: Vec<_> = errors.iter().map(|e| (e.field.as_str(), e.value.as_str())).collect();
    assert_eq!(places, [(field, value)], "{errors:?}");
    assert!(!errors[0].message.is_empty());
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let policy = policy("shop/plain", "{}");
    assert_eq!(policy.tier(), Tier::Application);
    assert_eq!(policy.mode(), Mode::Enforce);
    assert_eq!(policy.action(), Action::Allow);
    assert_eq!(policy.scope(), &Scope::Everyone);
}

#[test]
fn the_whole_spec_is_read() {
    let policy = policy(
        "shop/whole",
        r#"
        tier: security
        mode: audit
        selector: {matchLabels: {app: payments}}
        action: deny
        rules:
        - from: [{serviceAccounts: [shop/orders], namespaces: [shop],
                  identities: ["spiffe://cluster.local/ns/shop/sa/cart"], cidrs: [10.0.0.0/8]}]
          to: [{ports: [8080, "9000-9010"], methods: [GET], paths: ["/v1/pay/*"], hosts: [pay.local],
                headers: [{name: x-env, values: [prod]}]}]
          when: {user: {issuers: [me], audiences: [you], claims: {groups: [admins]}}}
        "#,
    );
    assert_eq!((policy.tier(), policy.mode(), policy.action()), (Tier::Security, Mode::Audit, Action::Deny));
    assert_eq!(policy.parts().count(), 12);
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands() {
    refused("{teir: security}", "spec.teir", "\"security\"");
    refused("{selector: {labels: {a: b}}}", "spec.selector.labels", r#"{"a":"b"}"#);
    refused(
        "{targetRefs: [{kind: Service, name: a, namespace: b}]}",
        "spec.targetRefs[0].namespace",
        "\"b\"",
    );
    refused("{rules: [{form: []}]}", "spec.rules[0].form", "[]");
    refused("{rules: [{from: [{namespace: [a]}]}]}", "spec.rules[0].from[0].namespace", r#"["a"]"#);
    refused("{rules: [{to: [{port: 80}]}]}", "spec.rules[0].to[0].port", "80");
    refused("{rules: [{when: {users: {}}}]}", "spec.rules[0].when.users", "{}");
    refused("{rules: [{when: {user: {subject: a}}}]}", "spec.rules[0].when.user.subject", "\"a\"");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_place() {
    refused("[]", "spec", "[]");
    refused("null", "spec", "null");
    refused("{tier: top}", "spec.tier", "\"top\"");
    refused("{tier: 1}", "spec.tier", "1");
    refused("{mode: dry-run}", "spec.mode", "\"dry-run\"");
    refused("{action: drop}", "spec.action", "\"drop\"");
    refused("{rules: {}}", "spec.rules", "{}");
    refused("{rules: [{from: [{namespaces: shop}]}]}", "spec.rules[0].from[0].namespaces", "\"shop\"");
    refused("{rules: [{from: [{namespaces: [a, 5]}]}]}", "spec.rules[0].from[0].namespaces[1]", "5");
    refused("{rules: [{to: [{ports: [80, 8.5]}]}]}", "spec.rules[0].to[0].ports[1]", "8.5");
    refused("{rules: [{to: [{ports: [{}]}]}]}", "spec.rules[0].to[0].ports[0]", "{}");
    refused("{selector: {matchLabels: {app: true}}}", "spec.selector.matchLabels.app", "true");
}

#[test]
fn a_list_where_an_object_belongs_is_not_an_empty_object() {
    refused("{rules: [[]]}", "spec.rules[0]", "[]");
    refused("{rules: [{from: [[]]}]}", "spec.rules[0].from[0]", "[]");
    refused("{rules: [{to: [[[80]]]}]}", "spec.rules[0].to[0]", "[[80]]");
    refused("{rules: [{to: [{headers: [[a, [b]]]}]}]}", "spec.rules[0].to[0].headers[0]", r#"["a",["b"]]"#);
    refused("{rules: [{when: []}]}", "spec.rules[0].when", "[]");
    refused("{selector: []}", "spec.selector", "[]");
    refused("{targetRefs: [['', Service, a]]}", "spec.targetRefs[0]", r#"["","Service","a"]"#);
}

#[test]
fn a_field_that_is_present_but_null_is_refused() {
    refused("{selector: }", "spec.selector", "null");
    refused("{targetRefs: null}", "spec.targetRefs", "null");
    refused("{tier: }", "spec.tier", "null");
    refused("{rules: }", "spec.rules", "null");
    refused("{rules: [{from: }]}", "spec.rules[0].from", "null");
    refused("{rules: [{from: [{namespaces: }]}]}", "spec.rules[0].from[0].namespaces", "null");
    refused("{rules: [{to: }]}", "spec.rules[0].to", "null");
    refused("{rules: [{when: }]}", "spec.rules[0].when", "null");
}

#[test]
fn an_empty_list_is_refused_wherever_it_would_match_nothing_or_everything() {
    refused("{rules: [{from: []}]}", "spec.rules[0].from", "[]");
    refused("{rules: [{to: []}]}", "spec.rules[0].to", "[]");
    refused("{rules: [{from: [{}]}]}", "spec.rules[0].from[0]", "{}");
    refused("{rules: [{to: [{}]}]}", "spec.rules[0].to[0]", "{}");
    refused("{rules: [{when: {}}]}", "spec.rules[0].when", "{}");
    refused("{rules: [{when: {user: {}}}]}", "spec.rules[0].when.user", "{}");
    for list in ["serviceAccounts", "namespaces", "identities", "cidrs"] {
        let field = format!("spec.rules[0].from[0].{list}");
        refused(&format!("{{rules: [{{from: [{{{list}: []}}]}}]}}"), &field, "[]");
    }
    for list in ["ports", "methods", "paths", "hosts", "headers"] {
        let field = format!("spec.rules[0].to[0].{list}");
        refused(&format!("{{rules: [{{to: [{{{list}: []}}]}}]}}"), &field, "[]");
    }
    for (list, empty) in [("issuers", "[]"), ("audiences", "[]"), ("claims", "{}")] {
        let field = format!("spec.rules[0].when.user.{list}");
        refused(&format!("{{rules: [{{when: {{user: {{{list}: {empty}}}}}}}]}}"), &field, empty);
    }
    let claim = "{rules: [{when: {user: {claims: {groups: []}}}}]}";
    refused(claim, "spec.rules[0].when.user.claims.groups", "[]");
    refused("{targetRefs: []}", "spec.targetRefs", "[]");
    refused("{selector: {}}", "spec.selector", "{}");
    refused("{selector: {matchLabels: {}}}", "spec.selector.matchLabels", "{}");
}

#[test]
fn a_deny_policy_without_rules_is_refused() {
    refused("{action: deny}", "spec.rules", "[]");
    refused("{action: deny, rules: []}", "spec.rules", "[]");
}

#[test]
fn a_policy_selects_by_labels_or_by_service_not_by_both() {
    let both = "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}";
    refused(both, "spec.targetRefs", "present beside selector");
}

#[test]
fn only_a_service_of_the_core_group_is_a_target() {
    refused("{targetRefs: [{kind: Pod, name: a}]}", "spec.targetRefs[0].kind", "Pod");
    refused("{targetRefs: [{name: a}]}", "spec.targetRefs[0].kind", "");
    refused("{targetRefs: [{group: apps, kind: Service, name: a}]}", "spec.targetRefs[0].group", "apps");
    refused("{targetRefs: [{kind: Service}]}", "spec.targetRefs[0].name", "");
    refused("{targetRefs: [{kind: Service, name: a/b}]}", "spec.targetRefs[0].name", "a/b");
}

#[test]
fn a_label_that_no_workload_can_have_is_refused() {
    refused("{selector: {matchLabels: {app: pay pal}}}", "spec.selector.matchLabels.app", "app=pay pal");
    refused("{selector: {matchLabels: {app: '*'}}}", "spec.selector.matchLabels.app", "app=*");
    refused("{selector: {matchLabels: {'': pay}}}", "spec.selector.matchLabels.", "=pay");
    policy("shop/right", "{selector: {matchLabels: {app.kubernetes.io/name: Pay_1, empty: ''}}}");
}

#[test]
fn a_text_that_is_not_what_its_field_holds_is_refused() {
    for (list, values) in [
        ("serviceAccounts", &["", "a/b/c", "a/", "/b", "Shop/cart", "shop/*", "*"][..]),
        ("namespaces", &["", "Shop", "a/b", "*", "shop-*"]),
        ("cidrs", &["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0", "any", "fd00::1/8", "::/129"]),
        (
            "identities",
            &[
                "",
                "cart",
                "cluster.local/ns/shop/sa/cart",
                "spiffe://cluster.local/ns/shop/sa/",
                "spiffe://cluster.local/ns/shop*",
                "spiffe://cluster.local/ns/shop/sa/ca*",
                "spiffe://cluster.local/ns/*/sa/cart",
                "spiffe://cluster.local/ns/*",
                "spiffe://*/ns/shop/sa/cart",
                "spiffe:///*",
                "*",
            ],
        ),
    ] {
        for value in values {
            let yaml = format!("{{rules: [{{from: [{{{list}: [\"{value}\"]}}]}}]}}");
            refused(&yaml, &format!("spec.rules[0].from[0].{list}[0]"), value);
        }
    }
    for (list, value) in [
        ("ports", "0"),
        ("ports", "65536"),
        ("ports", "-1"),
        ("ports", "90-80"),
        ("ports", "http"),
        ("methods", "get"),
        ("paths", "v1"),
        ("hosts", "pay:80"),
    ] {
        let yaml = format!("{{rules: [{{to: [{{{list}: [\"{value}\"]}}]}}]}}");
        refused(&yaml, &format!("spec.rules[0].to[0].{list}[0]"), value);
    }
    for value in ["0", "-1", "65536", "99999999999"] {
        let yaml = format!("{{rules: [{{to: [{{ports: [80, {value}]}}]}}]}}");
        refused(&yaml, "spec.rules[0].to[0].ports[1]", value);
    }
    let header = "{rules: [{to: [{headers: [{values: [a]}]}]}]}";
    refused(header, "spec.rules[0].to[0].headers[0].name", "");
    let header = "{rules: [{to: [{headers: [{name: a}]}]}]}";
    refused(header, "spec.rules[0].to[0].headers[0].values", "[]");
}

#[test]
fn a_network_with_stray_bits_is_refused_with_what_may_be_meant() {
    let errors = mistakes("{rules: [{from: [{cidrs: [10.0.0.1/8]}]}]}");
    assert!(errors[0].contains("10.0.0.0/8") && errors[0].contains("10.0.0.1"), "{errors:?}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_in_its_right_place() {
    let errors = parsed(
        "shop/wrong",
        "
        tier: top
        color: red
        rules:
        - from: [5, {namespaces: [1, shop, 2, SHOP, 3, '*']}, {cidrs: [7]}]
        - nonsense
        - to: [{ports: [0, {}, 70000]}, {}]
        ",
    );
    let mut fields: Vec<String> = errors.expect_err("wrong").into_iter().map(|error| error.field).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "spec.color",
            "spec.rules[0].from[0]",
            "spec.rules[0].from[1].namespaces[0]",
            "spec.rules[0].from[1].namespaces[2]",
            "spec.rules[0].from[1].namespaces[3]",
            "spec.rules[0].from[1].namespaces[4]",
            "spec.rules[0].from[1].namespaces[5]",
            "spec.rules[0].from[2].cidrs[0]",
            "spec.rules[1]",
            "spec.rules[2].to[0].ports[0]",
            "spec.rules[2].to[0].ports[1]",
            "spec.rules[2].to[0].ports[2]",
            "spec.rules[2].to[1]",
            "spec.tier",
        ]
    );
}

#[test]
fn an_error_reads_like_a_sentence_and_stays_short() {
    let error = &mistakes("{rules: [{to: [{ports: [70000]}]}]}")[0];
    assert!(error.starts_with("spec.rules[0].to[0].ports[0]: 70000: a port is"), "{error}");
    let long = "x".repeat(10_000);
    assert!(mistakes(&format!("{{tier: {long}}}"))[0].chars().count() < 700);
    assert!(mistakes(&format!("{{{}: red}}", &long[..1_000]))[0].chars().count() < 1_000);
    let errors = parsed("shop/wrong", &format!("{{color: {long}}}")).expect_err("wrong");
    assert!(errors[0].value.chars().count() <= 201);
}

#[test]
fn a_hostile_object_costs_a_bounded_number_of_readings() {
    let wrong = "1,".repeat(5_000);
    let errors = mistakes(&format!("{{rules: [{wrong}]}}"));
    assert_eq!(errors.len(), 50);
}
