//! Why a request is decided as it is.

use super::fixtures::{Asking, from, plaintext, together, user};
use crate::policy::{Applicable, Mismatch};

#[test]
fn an_explanation_names_for_each_rule_what_did_not_match() {
    let policies = together([(
        "shop/callers",
        "{rules: [{from: [{namespaces: [shop], cidrs: [10.9.0.0/16]}], to: [{ports: [80]}]}, \
                          {from: [{namespaces: [test]}], to: [{ports: [\"90-99\", 443]}]}]}",
    )]);
    let why = from("test/cart").why(&policies);
    assert!(!why.allowed);
    let rules = &why.policies[0].rules;
    let source = Mismatch {
        field: "spec.rules[0].from[0].namespaces".into(),
        had: "test".into(),
        wanted: "shop".into(),
    };
    assert_eq!(rules[0].mismatches, [source]);
    let port = Mismatch {
        field: "spec.rules[1].to[0].ports".into(),
        had: "8080".into(),
        wanted: "90-99, 443".into(),
    };
    assert_eq!(rules[1].mismatches, [port]);
}

#[test]
fn each_alternative_source_is_explained() {
    let policies = together([(
        "shop/callers",
        r#"{rules: [{from: [{serviceAccounts: [cart]}, {identities: ["spiffe://a/*"]}, {cidrs: [10.9.0.0/16]}]}]}"#,
    )]);
    let why = from("test/cart").why(&policies);
    let found: Vec<_> = why.policies[0].rules[0].mismatches.iter().map(|m| (&*m.had, &*m.wanted)).collect();
    assert_eq!(
        found,
        [
            ("test/cart", "shop/cart"),
            ("spiffe://cluster.local/ns/test/sa/cart", "spiffe://a/*"),
            ("10.1.2.3", "10.9.0.0/16"),
        ]
    );
    let why = plaintext().why(&policies);
    assert_eq!(why.policies[0].rules[0].mismatches[0].had, "no verified identity");
}

#[test]
fn an_explanation_reads_from_top_to_verdict() {
    let policies = together([
        ("shop/callers", "{rules: [{from: [{namespaces: [shop]}]}, {from: [{namespaces: [test]}]}]}"),
        (
            "shop/no-test",
            "{tier: security, action: deny, mode: audit, rules: [{from: [{namespaces: [test]}]}]}",
        ),
        ("weir-system/base", "{tier: platform}"),
    ]);
    let text = from("test/cart").why(&policies).to_string();
    let wanted = "\
platform weir-system/base (enforce, allow): has no rules, so nothing matches
security shop/no-test (audit, deny): rule 0 matched
  rule 0 matched
application shop/callers (enforce, allow): rule 1 matched
  rule 0 did not match
    spec.rules[0].from[0].namespaces: has test, wants shop
  rule 1 matched
denied by platform tier default (no allow policy matched)
audit: would be denied by security shop/no-test rule 0 (deny)
";
    assert_eq!(text, wanted);
}

#[test]
fn a_rule_that_fails_safe_says_so() {
    let spec = "{action: deny, rules: [{from: [{namespaces: [test]}], to: [{methods: [DELETE, PUT]}]}]}";
    let text = from("test/cart").why(&together([("shop/no-delete", spec)])).to_string();
    let wanted = "\
application shop/no-delete (enforce, deny): rule 0 matched
  rule 0 matched, failing safe, for it cannot be judged
    spec.rules[0].to[0].methods: has nothing that layer 4 can see, wants DELETE, PUT
denied by application shop/no-delete rule 0 (deny)
";
    assert_eq!(text, wanted);
}

#[test]
fn what_a_request_has_is_told_field_by_field() {
    let spec = "{rules: [{to: [{methods: [PUT]}, {paths: ['/v1/*', '*.php']}, {hosts: ['*.local']},
        {headers: [{name: x-env, values: [prod, test]}, {name: x-a, values: [b]}]}]}]}";
    let headers = [("x-env", "dev"), ("x-env", "x")];
    let why = from("test/cart").sends("GET", "/v2", &headers, None).why(&together([("shop/all", spec)]));
    let found: Vec<_> = why.policies[0].rules[0].mismatches.iter().map(|m| (&*m.had, &*m.wanted)).collect();
    assert_eq!(
        found,
        [
            ("GET", "PUT"),
            ("/v2", "/v1/*, *.php"),
            ("pay.shop", "*.local"),
            ("x-env: dev, x; no x-a", "x-env: prod or test, x-a: b"),
        ]
    );
}

#[test]
fn what_a_user_has_is_told_field_by_field() {
    let ann = user("https://me", &["ann"], &["groups=dev", "groups=ops"]);
    for (field, spec, had, anonymous) in [
        ("issuers", "[you]", "https://me", "no verified user"),
        ("audiences", "[you]", "ann", "no verified user"),
        ("claims", "{groups: [admins], a: [b]}", "no a; groups: dev, ops", "no verified user"),
    ] {
        let rules = together([("shop/u", &format!("{{rules: [{{when: {{user: {{{field}: {spec}}}}}}}]}}"))]);
        let said = |asking: &Asking| asking.why(&rules).policies[0].rules[0].clone();
        let named = said(&from("test/cart").sends("GET", "/", &[], Some(&ann)));
        assert_eq!((&*named.mismatches[0].had, named.failed_safe), (had, false));
        assert_eq!(named.mismatches[0].field, format!("spec.rules[0].when.user.{field}"));
        let unnamed = said(&from("test/cart").sends("GET", "/", &[], None));
        assert_eq!((&*unnamed.mismatches[0].had, unnamed.failed_safe), (anonymous, true));
    }
}

#[test]
fn a_path_that_is_refused_is_told_with_its_reason() {
    let rules = together([("shop/v1", "{action: deny, rules: [{to: [{paths: ['/v1/*']}]}]}")]);
    let why = from("test/cart").sends("GET", "/a%2Fb", &[], None).why(&rules);
    assert!(!why.allowed);
    let had = &why.policies[0].rules[0].mismatches[0].had;
    assert_eq!(had, "a path that is refused: it has an encoded slash (%2F)");
}

#[test]
fn an_open_workload_says_that_no_policy_selects_it() {
    let text = plaintext().why(&Applicable::default()).to_string();
    assert_eq!(text, "allowed: no policy selects this workload\n");
    let deny = together([("shop/d", "{action: deny, rules: [{to: [{ports: [1]}]}]}")]);
    let text = plaintext().why(&deny).to_string();
    assert!(text.ends_with("allowed: no tier has an allow policy for this workload, nothing denied\n"));
}

#[test]
fn long_lists_are_counted_instead_of_written_out() {
    let ports: Vec<String> = (1..=100).map(|port| port.to_string()).collect();
    let spec = format!("{{rules: [{{to: [{{ports: [{}]}}]}}]}}", ports.join(","));
    let why = plaintext().why(&together([("shop/many", &spec)]));
    let wanted = &why.policies[0].rules[0].mismatches[0].wanted;
    assert_eq!(wanted, "1, 2, 3, 4, 5, 6, 7, 8 and 92 more");
}

#[test]
fn an_explanation_in_json_is_flat_and_named() {
    let policies = together([("shop/callers", "{rules: [{from: [{namespaces: [shop]}]}]}")]);
    let json = serde_json::to_value(from("test/cart").why(&policies)).expect("plain data");
    assert_eq!(
        json,
        serde_json::json!({
            "policies": [{
                "tier": "application", "namespace": "shop", "name": "callers",
                "mode": "enforce", "action": "allow",
                "rules": [{"matched": false, "failed_safe": false, "mismatches": [{
                    "field": "spec.rules[0].from[0].namespaces", "had": "test", "wanted": "shop"}]}],
            }],
            "allowed": false,
            "by": {"tier": "application", "action": "default-deny"},
            "audit": [],
        })
    );
}
