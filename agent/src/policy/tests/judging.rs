//! What a rule says of an HTTP request, and of the user on whose behalf it is made.

use super::fixtures::{Asking, from, plaintext, together, user};
use crate::policy::Applicable;

fn only(action: &str, rule: &str) -> Applicable {
    together([("shop/rule", &format!("{{action: {action}, rules: [{rule}]}}"))])
}

/// What an allow and a deny policy, each with this rule alone, make of a request.
#[derive(Debug, PartialEq)]
enum Said {
    Matches,
    Other,
    /// Neither does the one let it through, nor does the other.
    FailsSafe,
}

fn say(rule: &str, asking: &Asking) -> Said {
    let allowed = asking.of(&only("allow", rule)).allowed;
    let denied = !asking.of(&only("deny", rule)).allowed;
    match (allowed, denied) {
        (true, true) => Said::Matches,
        (false, false) => Said::Other,
        (false, true) => Said::FailsSafe,
        (true, false) => panic!("{rule} allows what it does not match"),
    }
}

#[test]
fn each_part_of_a_request_is_judged() {
    use Said::{FailsSafe, Matches, Other};
    let get = |path: &str| from("shop/cart").gets(path);
    let sends = |headers: &[(&str, &str)]| from("shop/cart").sends("GET", "/", headers, None);
    for (rule, asking, said) in [
        ("{to: [{methods: [GET, HEAD]}]}", get("/"), Matches),
        ("{to: [{methods: [POST]}]}", get("/"), Other),
        ("{to: [{methods: [GET]}]}", from("shop/cart").sends("get", "/", &[], None), Other),
        ("{to: [{methods: [GET]}]}", from("shop/cart").sends("HEAD", "/", &[], None), Other),
        ("{to: [{paths: [/v1/pay, '/v2/*']}]}", get("/v1/pay"), Matches),
        ("{to: [{paths: [/v1/pay, '/v2/*']}]}", get("/v2/a/b"), Matches),
        ("{to: [{paths: [/v1/pay, '/v2/*']}]}", get("/v1/pay/a"), Other),
        ("{to: [{paths: ['/v1/*']}]}", get("/a/%2e%2e//v1/b"), Matches),
        ("{to: [{paths: ['/v1/*']}]}", get("/v1/../a"), Other),
        ("{to: [{paths: ['/v1/*']}]}", get("/v2%2F..%2Fv1/b"), FailsSafe),
        ("{to: [{paths: ['*']}]}", get("/anything"), Matches),
        // Whatever a path that is refused may mean, it is some path.
        ("{to: [{paths: ['*']}]}", get("/any%2Fthing"), Matches),
        ("{to: [{methods: [GET]}]}", get("/any%2Fthing"), Matches),
        ("{to: [{hosts: [pay.shop]}]}", get("/"), Matches),
        ("{to: [{hosts: ['*.shop']}]}", get("/"), Matches),
        ("{to: [{hosts: [pay.bank]}]}", get("/"), Other),
        ("{to: [{hosts: [pay.bank]}]}", get("/").host(""), FailsSafe),
        ("{to: [{headers: [{name: X-Env, values: [prod]}]}]}", sends(&[("x-env", "prod")]), Matches),
        ("{to: [{headers: [{name: x-env, values: [prod]}]}]}", sends(&[("x-env", "test")]), Other),
        ("{to: [{headers: [{name: x-env, values: [prod]}]}]}", sends(&[]), Other),
        (
            "{to: [{headers: [{name: x-env, values: [prod]}]}]}",
            sends(&[("x-env", "prod"), ("x-env", "test")]),
            FailsSafe,
        ),
        (
            "{to: [{headers: [{name: a, values: [x]}, {name: b, values: [y, z]}]}]}",
            sends(&[("b", "z"), ("a", "x")]),
            Matches,
        ),
        ("{to: [{headers: [{name: a, values: [x]}, {name: b, values: [y]}]}]}", sends(&[("a", "x")]), Other),
        // Inside an entry all parts must match; one that surely does not outweighs one in doubt.
        ("{to: [{methods: [GET], paths: [/a]}]}", get("/a"), Matches),
        ("{to: [{methods: [GET], paths: [/a]}]}", get("/b"), Other),
        ("{to: [{methods: [POST], paths: [/a]}]}", get("/a%00"), Other),
        ("{to: [{methods: [GET], ports: [8080]}]}", get("/"), Matches),
        ("{to: [{methods: [GET], ports: [81]}]}", get("/"), Other),
        ("{to: [{methods: [POST]}, {paths: [/a]}]}", get("/a"), Matches),
        ("{to: [{methods: [GET]}]}", from("shop/cart"), FailsSafe),
    ] {
        assert_eq!(say(rule, &asking), said, "{rule}");
    }
}

#[test]
fn a_user_is_judged_by_what_the_token_says() {
    use Said::{Matches, Other};
    let ann = user("https://id.shop", &["pay", "cart"], &["groups=dev", "groups=ops", "scope=read write"]);
    let asking = from("shop/cart").sends("GET", "/", &[], Some(&ann));
    for (when, said) in [
        ("issuers: [\"https://id.shop\"]", Matches),
        ("issuers: [\"https://id.shop/\"]", Other),
        ("audiences: [cart, bank]", Matches),
        ("audiences: [bank]", Other),
        ("claims: {groups: [ops, admins]}", Matches),
        ("claims: {groups: [admins]}", Other),
        ("claims: {groups: [ops], scope: [write]}", Matches),
        ("claims: {groups: [ops], scope: [admin]}", Other),
        ("claims: {team: [ops]}", Other),
        ("claims: {sub: [ann]}", Matches),
        ("issuers: [\"https://id.shop\"], audiences: [pay], claims: {groups: [dev]}", Matches),
        ("issuers: [\"https://id.bank\"], audiences: [pay], claims: {groups: [dev]}", Other),
    ] {
        assert_eq!(say(&format!("{{when: {{user: {{{when}}}}}}}"), &asking), said, "{when}");
    }
}

#[test]
fn leaving_the_token_off_gets_around_no_rule() {
    for when in ["issuers: [me]", "audiences: [me]", "claims: {groups: [contractors]}"] {
        let rule = format!("{{when: {{user: {{{when}}}}}}}");
        assert_eq!(say(&rule, &plaintext().gets("/")), Said::FailsSafe, "{when}");
        // What the rest of the rule rules out is not denied for it.
        let elsewhere = format!("{{to: [{{paths: [/a]}}], when: {{user: {{{when}}}}}}}");
        assert_eq!(say(&elsewhere, &plaintext().gets("/")), Said::Other, "{when}");
    }
}

#[test]
fn a_verdict_names_the_rule_that_a_request_met() {
    let policies = together([
        ("shop/readers", "{rules: [{to: [{methods: [GET]}]}, {to: [{methods: [POST], paths: [/orders]}]}]}"),
        ("shop/no-admin", "{tier: security, action: deny, rules: [{to: [{paths: [/admin, '/admin/*']}]}]}"),
    ]);
    for (method, path, verdict) in [
        ("GET", "/", "allowed by application shop/readers rule 0 (allow)"),
        ("POST", "/orders", "allowed by application shop/readers rule 1 (allow)"),
        ("POST", "/", "denied by application tier default (no allow policy matched)"),
        ("GET", "/x/../admin/a", "denied by security shop/no-admin rule 0 (deny)"),
        ("GET", "/a;b", "denied by security shop/no-admin rule 0 (deny)"),
    ] {
        let asking = from("shop/cart").sends(method, path, &[], None);
        assert_eq!(asking.verdict(&policies), verdict, "{method} {path}");
    }
}

#[test]
fn an_audit_policy_sees_requests_and_changes_nothing() {
    let policies = together([("shop/try", "{mode: audit, rules: [{to: [{methods: [GET]}]}]}")]);
    let of = |method: &str| from("shop/cart").sends(method, "/", &[], None).of(&policies);
    assert!(of("GET").allowed && of("GET").audit.is_empty());
    assert!(of("PUT").allowed);
    let would: Vec<String> = of("PUT").audit.iter().map(ToString::to_string).collect();
    assert_eq!(would, ["application tier default (no allow policy matched)"]);
}
