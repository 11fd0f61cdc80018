//! What is said of routes.

use super::fixtures::{HTTP, Mesh, PAY, service};
use crate::state::routes::ConditionType;

#[test]
fn each_route_gets_the_condition_that_the_specification_names() {
    let good = "{backendRefs: [{name: v1, port: 80}]}";
    let unknown_match = "{matches: [{path: {type: Glob, value: /a}}], backendRefs: [{name: v1, port: 80}]}";
    let unknown_filter = "{filters: [{type: ExternalAuth, externalAuth: {}}]}";
    let missing = "{backendRefs: [{name: nobody, port: 80}]}";
    let table = [
        (good.to_string(), "good"),
        (unknown_match.into(), "Accepted=UnsupportedValue"),
        (unknown_filter.into(), "Accepted=UnsupportedValue"),
        (format!("{good}, {unknown_match}"), "PartiallyInvalid=UnsupportedValue"),
        (format!("{good}, {unknown_filter}"), "PartiallyInvalid=UnsupportedValue"),
        (missing.into(), "ResolvedRefs=BackendNotFound"),
        ("{backendRefs: [{name: v1, port: 81}]}".into(), "ResolvedRefs=BackendNotFound"),
        ("{backendRefs: [{kind: Bucket, name: v1}]}".into(), "ResolvedRefs=InvalidKind"),
        ("{backendRefs: [{name: ledger, namespace: bank, port: 80}]}".into(), "ResolvedRefs=RefNotPermitted"),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 80}}}], \
              backendRefs: [{name: v1, port: 80}]}"
                .into(),
            "ResolvedRefs=BackendNotFound",
        ),
        (
            format!("{missing}, {unknown_match}"),
            "ResolvedRefs=BackendNotFound PartiallyInvalid=UnsupportedValue",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 300}}]}".into(),
            "Accepted=UnsupportedValue",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp}}]}".into(),
            "Accepted=UnsupportedValue",
        ),
        ("{matches: [{headers: [{type: Glob, name: a, value: b}]}]}".into(), "Accepted=UnsupportedValue"),
        ("{matches: [{queryParams: [{type: Glob, name: a, value: b}]}]}".into(), "Accepted=UnsupportedValue"),
        ("{matches: [{method: BREW}]}".into(), "Accepted=UnsupportedValue"),
    ];
    for (rules, expected) in table {
        let mut mesh = Mesh::new();
        mesh.http("shop/r", &format!("parentRefs: [{PAY}]\nrules: [{rules}]"));
        assert_eq!(mesh.said(HTTP, "shop/r"), expected, "{rules}");
    }
}

#[test]
fn a_parent_that_is_not_there_or_has_no_address_is_none() {
    let mut mesh = Mesh::new();
    let later = "{group: '', kind: Service, name: later}";
    mesh.http(
        "shop/r",
        &format!("parentRefs: [{later}]\nrules: [{{backendRefs: [{{name: v1, port: 80}}]}}]"),
    );
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=NoMatchingParent");
    let mut headless = service("shop/later");
    headless.addresses = vec![];
    mesh.put(headless);
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=NoMatchingParent");
    mesh.put(service("shop/later"));
    assert_eq!(mesh.said(HTTP, "shop/r"), "good");
    mesh.delete(service("shop/later"));
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=NoMatchingParent");
}

#[test]
fn each_parent_has_conditions_of_its_own() {
    let mut mesh = Mesh::new();
    let other = "{group: '', kind: Service, name: ledger, namespace: bank}";
    let spec = format!(
        "parentRefs: [{{name: gateway}}, {PAY}, {other}]
rules: [{{backendRefs: [{{name: ledger, namespace: bank, port: 80}}]}}]"
    );
    mesh.http("shop/r", &spec);
    let statuses = mesh.statuses(HTTP, "shop/r");
    // The Gateway is another controller's. At the Service of the route's own namespace it is a producer
    // route, at the other a consumer route, which needs no grant.
    let resolved: Vec<_> = statuses
        .iter()
        .map(|of| (of.parent.index, of.condition(ConditionType::ResolvedRefs).expect("a condition").status))
        .collect();
    assert_eq!(resolved, [(1, false), (2, true)]);
}

#[test]
fn messages_name_the_rule_the_field_and_the_value() {
    let mut mesh = Mesh::new();
    mesh.http(
        "shop/r",
        &format!(
            "parentRefs: [{PAY}]
rules:
- backendRefs: [{{name: nobody, port: 80}}]
- matches: [{{method: BREW}}]"
        ),
    );
    let status = &mesh.statuses(HTTP, "shop/r")[0];
    let message = |kind| status.condition(kind).expect("a condition").message.clone();
    let dropped = message(ConditionType::PartiallyInvalid);
    assert!(dropped.starts_with("Dropped Rule"), "{dropped}");
    assert!(dropped.contains("spec.rules[1].matches[0].method: \"BREW\""), "{dropped}");
    let unresolved = message(ConditionType::ResolvedRefs);
    assert!(unresolved.contains("spec.rules[0].backendRefs[0]: Service shop/nobody:80"), "{unresolved}");
}
