//! Routes and grants in files.

use super::{Files, applied, places, told};
use crate::{
    source::lint,
    state::{Object, routes::RouteKind},
};

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: pay, namespace: shop, creationTimestamp: '2026-01-02T03:04:05Z', generation: 3}
spec:
  parentRefs: [{group: '', kind: Service, name: pay, port: 80}]
  rules:
  - backendRefs: [{name: pay, port: 80}]
status: {parents: []}
---";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---";

fn with(from: &str, to: &str) -> String {
    assert!(ROUTE.contains(from), "{from}");
    ROUTE.replace(from, to)
}

#[test]
fn routes_and_grants_are_read() {
    let grpc = with("kind: HTTPRoute", "kind: GRPCRoute");
    let grant = "
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: cafe}]
  to: [{group: '', kind: Service}]
---";
    let newer = grant.replace("v1beta1", "v1").replace("name: g", "name: h");
    let (_, scan) = Files::with("a.yaml", &[ROUTE, &grpc, grant, &newer].concat());
    assert_eq!(scan.problems, []);
    let names = [
        "+ GRPCRoute shop/pay",
        "+ HTTPRoute shop/pay",
        "+ ReferenceGrant shop/g",
        "+ ReferenceGrant shop/h",
    ];
    assert_eq!(told(&scan), names);
    let kinds: Vec<_> = applied(&scan)
        .iter()
        .filter_map(|object| match object {
            Object::Route(route) => Some(route.key().kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [RouteKind::Grpc, RouteKind::Http]);
}

#[test]
fn a_wrong_route_leaves_the_last_good_one_in_force_and_is_named() {
    let (mut files, _) = Files::with("a.yaml", ROUTE);
    let table = [
        (with("port: 80}]\nstatus", "prot: 80}]\nstatus"), "spec.rules[0].backendRefs[0].prot", "80"),
        (
            with("gateway.networking.k8s.io/v1\n", "gateway.networking.k8s.io/v1beta1\n"),
            "apiVersion",
            "gateway.networking.k8s.io/v1beta1",
        ),
        (with("status: ", "stauts: "), "stauts", "{\"parents\":[]}"),
        (with("generation: 3", "generation: x"), "metadata.generation", "x"),
        (
            with(
                "- backendRefs",
                "- matches: [{path: {type: RegularExpression, value: '('}}]\n    backendRefs",
            ),
            "spec.rules[0].matches[0].path.value",
            "\"(\"",
        ),
    ];
    for (text, field, value) in table {
        let scan = files.write("a.yaml", &text);
        assert_eq!(told(&scan), [] as [&str; 0], "{text}");
        assert!(
            places(&scan).contains(&("a.yaml", "HTTPRoute shop/pay".into(), field, value)),
            "{text}: {:?}",
            scan.problems
        );
        assert_eq!(files.in_force(), ["HTTPRoute shop/pay"]);
    }
}

#[test]
fn a_rule_that_is_not_supported_is_named_while_the_others_are_in_force() {
    let more = "rules:\n  - matches: [{method: BREW}]";
    let (files, scan) = Files::with("a.yaml", &with("rules:", more));
    assert_eq!(files.in_force(), ["HTTPRoute shop/pay"]);
    let place = ("a.yaml", "HTTPRoute shop/pay".into(), "spec.rules[0].matches[0].method", "BREW");
    assert_eq!(places(&scan), [place]);
}

#[test]
fn lint_warns_of_references_that_lead_nowhere_where_the_files_can_tell() {
    // (what is beside the route, the route, the fields of the warnings)
    let foreign = "{name: ledger, namespace: bank, port: 80}";
    let to = |backend: &str| with("{name: pay, port: 80}]\nstatus", &format!("{backend}]\nstatus"));
    let ledger = SERVICE.replace("shop", "bank").replace("name: pay", "name: ledger");
    let beside = |more: &str| format!("{SERVICE}{more}");
    let backend = "spec.rules[0].backendRefs[0]";
    let table: [(String, String, &[&str]); 9] = [
        (beside(""), ROUTE.into(), &[]),
        // Nothing is known of the Service.
        (String::new(), ROUTE.into(), &[]),
        (String::new(), to("{name: nobody, port: 80}"), &[]),
        (beside(""), to("{name: nobody, port: 80}"), &[]),
        (beside(""), to("{name: pay, port: 81}"), &[backend]),
        (String::new(), to("{kind: Bucket, name: pay}"), &[backend]),
        (
            beside(""),
            with("name: pay, port: 80}]\n  rules", "name: pay, port: 81}]\n  rules"),
            &["spec.parentRefs[0]"],
        ),
        (beside(""), to(foreign), &[]),
        (beside(&ledger), to(foreign), &[backend]),
    ];
    for (others, route, expected) in table {
        let found = lint::text("a.yaml", &(others + &route));
        assert_eq!(found.problems, [], "{route}");
        let fields: Vec<_> =
            found.warnings.iter().map(|warning| warning.field.as_deref().unwrap_or_default()).collect();
        assert_eq!(fields, expected, "{route}: {:?}", found.warnings);
    }
}

#[test]
fn every_example_of_the_documentation_is_read_without_a_word() {
    let page = include_str!("../../../../../docs/gateway-api.md");
    let examples: Vec<_> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 3, "{}", examples.len());
    for example in examples {
        let found = lint::text("gateway-api.md", example);
        assert_eq!((found.problems, found.warnings), (vec![], vec![]), "{example}");
        assert!(found.objects > 0, "{example}");
    }
}
