//! What the policies of a workload decide together.

use super::fixtures::{from, plaintext, together};
use crate::policy::Applicable;

#[test]
fn a_workload_that_no_policy_selects_is_open() {
    assert_eq!(plaintext().verdict(&Applicable::default()), "allowed");
    assert!(Applicable::default().is_empty());
}

#[test]
fn an_allow_policy_lets_in_whom_it_names_and_nobody_else() {
    let policies = together([("shop/callers", "{rules: [{}, {from: [{namespaces: [shop]}]}]}")]);
    assert_eq!(from("shop/cart").verdict(&policies), "allowed by application shop/callers rule 0 (allow)");
    let policies = together([("shop/callers", "{rules: [{from: [{namespaces: [shop]}]}]}")]);
    assert_eq!(
        from("test/cart").verdict(&policies),
        "denied by application tier default (no allow policy matched)"
    );
}

#[test]
fn a_deny_policy_alone_refuses_whom_it_names_and_nobody_else() {
    let policies = together([(
        "shop/no-test",
        "{action: deny, tier: security, rules: [{from: [{namespaces: [test]}]}]}",
    )]);
    assert_eq!(from("test/cart").verdict(&policies), "denied by security shop/no-test rule 0 (deny)");
    assert_eq!(from("shop/cart").verdict(&policies), "allowed");
}

#[test]
fn a_deny_of_any_tier_beats_an_allow_of_any_other() {
    for deny in ["platform", "security", "application"] {
        for allow in ["platform", "security", "application"] {
            let policies = together([
                ("shop/allow", &format!("{{tier: {allow}, rules: [{{}}]}}")),
                ("shop/deny", &format!("{{tier: {deny}, action: deny, rules: [{{}}]}}")),
            ]);
            let wanted = format!("denied by {deny} shop/deny rule 0 (deny)");
            assert_eq!(from("shop/cart").verdict(&policies), wanted);
        }
    }
}

#[test]
fn every_tier_that_allows_must_allow() {
    let policies = together([
        ("shop/app", "{tier: application, rules: [{from: [{namespaces: [shop, test]}]}]}"),
        ("shop/sec", "{tier: security, rules: [{from: [{namespaces: [shop, bank]}]}]}"),
    ]);
    assert_eq!(from("shop/cart").verdict(&policies), "allowed by application shop/app rule 0 (allow)");
    let security = "denied by security tier default (no allow policy matched)";
    assert_eq!(from("test/cart").verdict(&policies), security);
    let application = "denied by application tier default (no allow policy matched)";
    assert_eq!(from("bank/teller").verdict(&policies), application);
}

#[test]
fn one_allow_policy_of_a_tier_is_enough() {
    let policies = together([
        ("shop/a", "{rules: [{from: [{namespaces: [bank]}]}]}"),
        ("shop/b", "{rules: [{from: [{namespaces: [test]}]}, {from: [{namespaces: [shop]}]}]}"),
    ]);
    assert_eq!(from("shop/cart").verdict(&policies), "allowed by application shop/b rule 1 (allow)");
}

#[test]
fn an_allow_policy_without_rules_shuts_the_workload() {
    for spec in ["{}", "{rules: []}"] {
        let policies = together([("shop/nobody", spec)]);
        let wanted = "denied by application tier default (no allow policy matched)";
        assert_eq!(from("shop/cart").verdict(&policies), wanted);
    }
}

#[test]
fn the_most_specific_tier_names_an_allowed_request() {
    let platform = ("shop/p", "{tier: platform, rules: [{}]}");
    let security = ("shop/s", "{tier: security, rules: [{}]}");
    let application = ("shop/z", "{tier: application, rules: [{}]}");
    let verdict = |policies| from("shop/cart").verdict(&policies);
    assert_eq!(
        verdict(together([platform, security, application])),
        "allowed by application shop/z rule 0 (allow)"
    );
    assert_eq!(verdict(together([security, platform])), "allowed by security shop/s rule 0 (allow)");
    assert_eq!(verdict(together([platform])), "allowed by platform shop/p rule 0 (allow)");
}

#[test]
fn the_first_policy_by_name_is_named_whatever_order_they_come_in() {
    let a = ("shop/a", "{action: deny, rules: [{}]}");
    let b = ("shop/b", "{action: deny, rules: [{}]}");
    let wanted = "denied by application shop/a rule 0 (deny)";
    assert_eq!(from("shop/cart").verdict(&together([a, b])), wanted);
    assert_eq!(from("shop/cart").verdict(&together([b, a])), wanted);
}

fn audit<const N: usize>(who: &str, policies: [(&str, &str); N]) -> (bool, Vec<String>) {
    let decision = from(who).of(&together(policies));
    (decision.allowed, decision.audit.iter().map(ToString::to_string).collect())
}

#[test]
fn an_audit_deny_changes_nothing_and_names_each_rule_that_would() {
    let spec =
        "{mode: audit, action: deny, rules: [{}, {from: [{namespaces: [bank]}]}, {to: [{ports: [8080]}]}]}";
    let (allowed, would) = audit("test/cart", [("shop/try", spec)]);
    assert!(allowed);
    assert_eq!(would, ["application shop/try rule 0 (deny)", "application shop/try rule 2 (deny)"]);
}

#[test]
fn an_audit_allow_that_does_not_match_names_the_default_of_its_tier() {
    let spec = "{mode: audit, tier: security, rules: [{from: [{namespaces: [shop]}]}]}";
    let (allowed, would) = audit("test/cart", [("shop/try", spec)]);
    assert!(allowed);
    assert_eq!(would, ["security tier default (no allow policy matched)"]);
    assert_eq!(audit("shop/cart", [("shop/try", spec)]), (true, vec![]));
}

#[test]
fn audit_allows_of_one_tier_are_alternatives() {
    let shop = ("shop/a", "{mode: audit, rules: [{from: [{namespaces: [shop]}]}]}");
    let test = ("shop/b", "{mode: audit, rules: [{from: [{namespaces: [test]}]}]}");
    assert_eq!(audit("test/cart", [shop, test]), (true, vec![]));
}

#[test]
fn an_audit_allow_beside_an_enforced_one_could_only_widen_and_denies_nothing() {
    let enforced = ("shop/a", "{rules: [{from: [{namespaces: [test]}]}]}");
    let tried = ("shop/b", "{mode: audit, rules: [{from: [{namespaces: [shop]}]}]}");
    assert_eq!(audit("test/cart", [enforced, tried]), (true, vec![]));
    // What the audit policy would let in stays out while it is only audited.
    assert_eq!(audit("shop/cart", [enforced, tried]), (false, vec![]));
}

#[test]
fn a_request_that_is_denied_is_audited_all_the_same() {
    let enforced = ("shop/a", "{action: deny, rules: [{}]}");
    let tried = ("shop/b", "{mode: audit, action: deny, tier: platform, rules: [{}]}");
    let (allowed, would) = audit("test/cart", [enforced, tried]);
    assert!(!allowed);
    assert_eq!(would, ["platform shop/b rule 0 (deny)"]);
}
