//! What a rule matches.

use super::fixtures::{from, plaintext, together};

#[test]
fn a_rule_matches_any_of_its_sources_and_any_of_its_operations() {
    let rule = "{from: [{namespaces: [shop]}, {namespaces: [bank]}], to: [{ports: [80]}, {ports: [81]}]}";
    for (account, port, matches) in [
        ("shop/cart", 80, true),
        ("bank/teller", 81, true),
        ("test/cart", 80, false),
        ("shop/cart", 82, false),
    ] {
        assert_eq!(from(account).port(port).matches(rule), matches, "{account} to {port}");
    }
}

#[test]
fn an_empty_rule_matches_everyone() {
    assert!(plaintext().matches("{}"));
}

#[test]
fn inside_one_source_every_list_must_match() {
    let rule = "{from: [{namespaces: [shop], cidrs: [10.1.0.0/16]}]}";
    assert!(from("shop/cart").at("10.1.2.3").matches(rule));
    assert!(!from("shop/cart").at("10.2.2.3").matches(rule));
    assert!(!from("test/cart").at("10.1.2.3").matches(rule));
}

#[test]
fn ports_of_one_list_are_alternatives() {
    let rule = r#"{to: [{ports: [80, 443, "9000-9010"]}]}"#;
    for port in [80, 443, 9000, 9005, 9010] {
        assert!(plaintext().port(port).matches(rule), "{port}");
    }
    for port in [79, 81, 442, 8999, 9011] {
        assert!(!plaintext().port(port).matches(rule), "{port}");
    }
}

#[test]
fn a_service_account_without_namespace_is_one_of_the_policys_own() {
    let rule = "{from: [{serviceAccounts: [cart, bank/teller]}]}";
    assert!(from("shop/cart").matches(rule));
    assert!(from("bank/teller").matches(rule));
    assert!(!from("bank/cart").matches(rule));
    assert!(!from("shop/teller").matches(rule));
}

#[test]
fn a_list_too_long_to_compare_one_by_one_matches_the_same() {
    let list = |form: &dyn Fn(usize) -> String| (0..100).map(form).collect::<Vec<_>>().join(",");
    let accounts = list(&|n| format!("bank/teller-{n}"));
    let namespaces = list(&|n| format!("space-{n}"));
    let identities = list(&|n| format!("\"spiffe://cluster.local/ns/bank/sa/teller-{n}\""));
    for rule in [
        format!("{{from: [{{serviceAccounts: [{accounts}]}}]}}"),
        format!("{{from: [{{identities: [{identities}]}}]}}"),
    ] {
        assert!(from("bank/teller-0").matches(&rule));
        assert!(from("bank/teller-99").matches(&rule));
        assert!(!from("bank/teller-100").matches(&rule));
        assert!(!from("shop/teller-1").matches(&rule));
    }
    let rule = format!("{{from: [{{namespaces: [{namespaces}]}}]}}");
    assert!(from("space-99/any").matches(&rule));
    assert!(!from("space-100/any").matches(&rule));
}

#[test]
fn identities_are_compared_whole() {
    let rule = r#"{from: [{identities: ["spiffe://cluster.local/ns/shop/sa/cart"]}]}"#;
    assert!(from("shop/cart").matches(rule));
    assert!(!from("shop/cart-2").matches(rule));
    assert!(!from("shop/cart").identity("spiffe://other.example/ns/shop/sa/cart").matches(rule));
}

#[test]
fn a_star_stands_for_whole_parts_of_an_identity() {
    for (pattern, cart, shopping, other_domain) in [
        ("spiffe://cluster.local/ns/shop/sa/*", true, false, false),
        ("spiffe://cluster.local/ns/shop/*", true, false, false),
        ("spiffe://cluster.local/*", true, true, false),
        ("spiffe://*", true, true, true),
    ] {
        let rule = format!("{{from: [{{identities: [\"{pattern}\"]}}]}}");
        assert_eq!(from("shop/cart").matches(&rule), cart, "{pattern}");
        assert_eq!(from("shop-test/cart").matches(&rule), shopping, "{pattern}");
        let other = from("shop/cart").identity("spiffe://other.example/ns/shop/sa/cart");
        assert_eq!(other.matches(&rule), other_domain, "{pattern}");
        assert!(!plaintext().matches(&rule), "{pattern}");
    }
}

#[test]
fn who_has_no_identity_matches_no_rule_that_names_one() {
    for list in ["serviceAccounts: [cart]", "namespaces: [shop]"] {
        assert!(!plaintext().matches(&format!("{{from: [{{{list}}}]}}")), "{list}");
    }
}

#[test]
fn addresses_match_the_networks_that_hold_them() {
    let rule = r#"{from: [{cidrs: [10.1.0.0/16, 10.0.0.0/8, 192.168.7.9, "fd00:1::/32"]}]}"#;
    for address in ["10.1.2.3", "10.255.0.1", "10.0.0.0", "192.168.7.9", "::ffff:10.9.9.9", "fd00:1::5"] {
        assert!(plaintext().at(address).matches(rule), "{address}");
    }
    for address in ["9.255.255.255", "11.0.0.0", "192.168.7.8", "fd00:2::5", "::1"] {
        assert!(!plaintext().at(address).matches(rule), "{address}");
    }
}

#[test]
fn a_network_written_as_mapped_ipv6_is_its_ipv4_network() {
    let rule = r#"{from: [{cidrs: ["::ffff:10.1.0.0/112"]}]}"#;
    assert!(plaintext().at("10.1.9.9").matches(rule));
    assert!(!plaintext().at("10.2.9.9").matches(rule));
}

#[test]
fn a_network_matches_where_all_of_it_does() {
    let rule = "{from: [{cidrs: [10.1.0.0/16]}]}";
    assert!(plaintext().within("10.1.0.0/16").matches(rule));
    assert!(plaintext().within("10.1.2.0/24").matches(rule));
    assert!(!plaintext().within("10.0.0.0/8").matches(rule));
    assert!(!plaintext().within("0.0.0.0/0").matches(rule));
    assert!(!plaintext().within("::/0").matches(rule));
    // The first address of the wider network is in the narrower one, the rest is not.
    let rule = "{from: [{cidrs: [10.0.0.0/16]}]}";
    assert!(!plaintext().within("10.0.0.0/8").matches(rule));
}

/// One rule for each field of layer 7.
const LAYER7: [&str; 7] = [
    "to: [{methods: [GET]}]",
    "to: [{paths: [/v1/*]}]",
    "to: [{hosts: [pay.local]}]",
    "to: [{headers: [{name: x-env, values: [prod]}]}]",
    "when: {user: {issuers: [me]}}",
    "when: {user: {audiences: [me]}}",
    "when: {user: {claims: {groups: [admins]}}}",
];

#[test]
fn what_needs_layer_7_allows_nothing_and_denies_everything_that_is_not_http() {
    for part in LAYER7 {
        let allow = together([("shop/allow", &format!("{{rules: [{{{part}}}]}}"))]);
        assert!(!from("shop/cart").of(&allow).allowed, "{part}");
        assert!(allow.looks_at_http(), "{part}");
        let deny = together([("shop/deny", &format!("{{action: deny, rules: [{{{part}}}]}}"))]);
        assert!(!from("shop/cart").of(&deny).allowed, "{part}");
        assert!(deny.looks_at_http(), "{part}");
    }
    assert!(!together([("shop/allow", "{rules: [{to: [{ports: [80]}]}]}")]).looks_at_http());
}

#[test]
fn a_deny_that_layer_4_rules_out_does_not_match_for_its_layer_7_part() {
    for part in LAYER7 {
        let (to, when) = part.split_once(": [{").map_or(("", part), |(_, to)| (to, ""));
        let to = if to.is_empty() { "ports: [80]}]" } else { &format!("ports: [80], {to}") };
        let rule = format!("{{from: [{{namespaces: [test]}}], to: [{{{to}, {when}}}");
        let deny = together([("shop/deny", &format!("{{action: deny, rules: [{rule}]}}"))]);
        assert!(!from("test/cart").port(80).of(&deny).allowed, "{rule}");
        assert!(from("test/cart").port(81).of(&deny).allowed, "{rule}");
        assert!(from("shop/cart").port(80).of(&deny).allowed, "{rule}");
    }
}

#[test]
fn an_allow_with_a_layer_4_alternative_matches_by_that() {
    let rule = "{to: [{methods: [GET]}, {ports: [8080]}]}";
    assert!(plaintext().port(8080).matches(rule));
    assert!(!plaintext().port(8081).matches(rule));
}
