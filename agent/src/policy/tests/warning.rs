//! What is in force, but may not do what its author expects.

use super::fixtures::policy;

fn warnings(yaml: &str) -> Vec<String> {
    policy("shop/odd", yaml).warnings().iter().map(ToString::to_string).collect()
}

/// Asserts that `yaml` gets one warning, at `field`, with the words `words`.
#[track_caller]
fn warned(yaml: &str, field: &str, words: &str) {
    let warnings = warnings(yaml);
    let found =
        warnings.iter().filter(|text| text.starts_with(&format!("{field}: ")) && text.contains(words));
    assert_eq!(found.count(), 1, "{warnings:?}");
}

#[test]
fn a_plain_policy_gets_no_warning() {
    for yaml in [
        "{rules: [{}]}",
        r#"{rules: [{from: [{namespaces: [shop]}], to: [{ports: [80, "81-90"]}]}]}"#,
        "{action: deny, rules: [{from: [{cidrs: [10.0.0.0/8]}]}]}",
    ] {
        assert_eq!(warnings(yaml), [""; 0], "{yaml}");
    }
}

#[test]
fn an_allow_policy_without_rules_says_that_it_lets_nothing_through() {
    warned("{}", "spec.rules", "lets nothing through");
}

#[test]
fn a_deny_rule_without_parts_says_that_it_denies_everything() {
    warned("{action: deny, rules: [{}]}", "spec.rules[0]", "denies everything");
}

#[test]
fn a_deny_by_what_layer_7_has_says_that_it_denies_what_is_not_http() {
    for rule in [
        "{to: [{methods: [GET]}]}",
        "{to: [{ports: [80]}, {methods: [GET]}]}",
        "{from: [{cidrs: [10.0.0.0/8]}], to: [{hosts: [a.b]}]}",
    ] {
        warned(&format!("{{action: deny, rules: [{rule}]}}"), "spec.rules[0]", "whatever is not HTTP");
    }
    for plain in [
        "{action: deny, rules: [{to: [{ports: [80], methods: [GET]}]}]}",
        "{rules: [{to: [{methods: [GET], paths: ['/a/*']}], when: {user: {issuers: [me]}}}]}",
    ] {
        assert_eq!(warnings(plain), [""; 0], "{plain}");
    }
}

#[test]
fn a_deny_by_user_says_that_it_denies_whoever_has_no_token() {
    let deny = "{action: deny, rules: [{to: [{ports: [80]}], when: {user: {claims: {groups: [dev]}}}}]}";
    warned(deny, "spec.rules[0].when.user.claims", "without a verified user");
    assert_eq!(warnings(deny).len(), 1);
}

#[test]
fn a_deny_of_all_below_a_path_says_that_the_path_itself_is_not_denied() {
    let deny = |paths: &str| format!("{{action: deny, rules: [{{to: [{{ports: [80], paths: {paths}}}]}}]}}");
    warned(&deny("[/a, '/admin/*']"), "spec.rules[0].to[0].paths[1]", "add /admin");
    assert_eq!(warnings(&deny("[/admin, '/admin/*', '/*']")), [""; 0]);
}

#[test]
fn ranges_that_overlap_are_pointed_out() {
    let ports = r#"{rules: [{to: [{ports: ["8000-9000", 80, 8080, 443]}]}]}"#;
    warned(ports, "spec.rules[0].to[0].ports[2]", "8080 overlaps 8000-9000");
    let ports = r#"{rules: [{to: [{ports: ["1-100", "10-20", "50-60"]}]}]}"#;
    assert_eq!(warnings(ports).len(), 2);
}

#[test]
fn a_deny_by_identity_says_that_plaintext_has_none() {
    warned("{action: deny, rules: [{from: [{namespaces: [test]}]}]}", "spec.rules[0].from", "plaintext");
}
