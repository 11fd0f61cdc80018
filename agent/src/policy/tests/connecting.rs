//! What is decided about a connection before its first request.

use super::fixtures::{Asking, from, plaintext, together};
use crate::policy::{Applicable, ConnectionDecision};

/// `denied` or `allowed` and by what, or `per request`; and whether somebody looks at requests.
fn said(asking: &Asking, policies: &Applicable) -> (String, bool) {
    let by = |by: Option<_>| by.map_or("nobody".into(), |by: crate::policy::PolicyRef| by.to_string());
    let decision = match asking.connects(policies) {
        ConnectionDecision::Denied(decision) => format!("denied by {}", by(decision.by)),
        ConnectionDecision::Allowed(decision) => format!("allowed by {}", by(decision.by)),
        ConnectionDecision::PerRequest => "per request".into(),
    };
    (decision, policies.needs_http(asking.source(), 8080))
}

#[track_caller]
fn expect<const N: usize>(policies: [(&str, &str); N], asking: Asking, decision: &str, needs_http: bool) {
    assert_eq!(said(&asking, &together(policies)), (decision.to_string(), needs_http));
}

const GET: &str = "{rules: [{to: [{methods: [GET]}]}]}";
const NO_ADMIN: &str = "{action: deny, rules: [{to: [{ports: [8080], paths: ['/admin/*']}]}]}";

#[test]
fn what_only_layer_4_is_asked_about_is_decided_at_once() {
    expect([], plaintext(), "allowed by nobody", false);
    let shop = "{rules: [{from: [{namespaces: [shop]}]}]}";
    let cart = from("shop/cart");
    expect([("shop/a", shop)], cart, "allowed by application shop/a rule 0 (allow)", false);
    let default = "denied by application tier default (no allow policy matched)";
    expect([("shop/a", shop)], plaintext(), default, false);
}

#[test]
fn what_hangs_on_a_request_is_left_to_the_requests() {
    expect([("shop/get", GET)], plaintext(), "per request", true);
    expect([("shop/no-admin", NO_ADMIN)], plaintext(), "per request", true);
    expect([("shop/a", "{rules: [{}]}"), ("shop/no-admin", NO_ADMIN)], plaintext(), "per request", true);
    let user = "{rules: [{when: {user: {issuers: [me]}}}]}";
    expect([("shop/user", user)], plaintext(), "per request", true);
    // In another tier, what all are allowed does not help.
    let all = "{tier: security, rules: [{}]}";
    expect([("shop/a", all), ("shop/get", GET)], plaintext(), "per request", true);
}

#[test]
fn a_rule_for_other_sources_or_ports_leaves_a_connection_alone() {
    let policies = [("shop/no-admin", NO_ADMIN)];
    let (decision, _) = said(&plaintext().port(81), &together(policies));
    assert_eq!(decision, "allowed by nobody");
    assert!(!together(policies).needs_http(plaintext().source(), 81));
    let test = "{action: deny, rules: [{from: [{namespaces: [test]}], to: [{methods: [PUT]}]}]}";
    expect([("shop/test", test)], from("shop/cart"), "allowed by nobody", false);
    expect([("shop/test", test)], from("test/cart"), "per request", true);
}

#[test]
fn what_no_request_could_change_is_decided_though_rules_look_at_requests() {
    let shop = "{rules: [{from: [{namespaces: [shop]}]}]}";
    let cart = || from("shop/cart");
    // One allow of the tier is enough, whatever the other would say.
    let allowed = "allowed by application shop/b rule 0 (allow)";
    expect([("shop/a", GET), ("shop/b", shop)], cart(), allowed, true);
    // A deny that surely matches is enough.
    let deny =
        "{tier: security, action: deny, rules: [{to: [{methods: [PUT]}]}, {from: [{namespaces: [test]}]}]}";
    let denied = "denied by security shop/no rule 1 (deny)";
    expect([("shop/a", GET), ("shop/no", deny)], from("test/cart"), denied, true);
    // So is a tier none of whose allows could match.
    let closed = "{tier: platform, rules: [{from: [{namespaces: [bank]}], to: [{methods: [GET]}]}]}";
    let denied = "denied by platform tier default (no allow policy matched)";
    expect([("shop/a", GET), ("shop/b", closed)], cart(), denied, true);
}

#[test]
fn an_audit_policy_gets_to_see_the_requests_that_it_asks_about() {
    let audit = |spec: &str| spec.replacen('{', "{mode: audit, ", 1);
    expect([("shop/try", &audit(GET))], plaintext(), "per request", true);
    expect([("shop/try", &audit(NO_ADMIN))], plaintext(), "per request", true);
    // Beside an enforced allow of its tier it denies nothing, whatever it would say.
    let all = ("shop/all", "{rules: [{}]}");
    let allowed = "allowed by application shop/all rule 0 (allow)";
    expect([all, ("shop/try", &audit(GET))], plaintext(), allowed, true);
    // Nothing goes through that it could see.
    let closed = ("shop/closed", "{tier: security}");
    let denied = "denied by security tier default (no allow policy matched)";
    expect([closed, ("shop/try", &audit(NO_ADMIN))], plaintext(), denied, true);
}

#[test]
fn a_connection_that_is_decided_is_audited_at_once() {
    let policies = together([("shop/try", "{mode: audit, rules: [{from: [{namespaces: [shop]}]}]}")]);
    let ConnectionDecision::Allowed(decision) = from("test/cart").connects(&policies) else {
        panic!("nothing is enforced");
    };
    assert_eq!(decision.audit.len(), 1);
}
