//! To which Services, ports and clients routes attach, and what changes when objects do.

use super::fixtures::{GRPC, HTTP, Mesh, PAY, get, grant, named, read, service};
use crate::state::Change;

fn to(backend: &str) -> String {
    format!("rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]")
}

/// To a backend of `shop`, from whatever namespace the route is in.
fn to_shop(backend: &str) -> String {
    format!("rules: [{{backendRefs: [{{name: {backend}, namespace: shop, port: 80}}]}}]")
}

#[test]
fn without_a_route_requests_are_forwarded_as_they_are() {
    assert_eq!(Mesh::new().ask(&get("/")), "as is");
}

#[test]
fn a_parent_reference_can_mean_one_port_or_all() {
    // (fields of the parent reference, the ports on which it attaches)
    let table: [(&str, &[u16]); 8] = [
        ("", &[80, 8080]),
        (", port: 80", &[80]),
        (", port: 8080", &[8080]),
        (", sectionName: alt", &[8080]),
        (", sectionName: alt, port: 8080", &[8080]),
        (", sectionName: alt, port: 80", &[]),
        (", port: 81", &[]),
        (", sectionName: nobody", &[]),
    ];
    for (fields, expected) in table {
        let mut mesh = Mesh::new();
        let parent = format!("parentRefs: [{{group: '', kind: Service, name: pay{fields}}}]");
        mesh.http("shop/r", &format!("{parent}\n{}", to("v1")));
        let found: Vec<u16> =
            [80, 8080].into_iter().filter(|port| mesh.ask_from("x", *port, &get("/")) != "as is").collect();
        assert_eq!(found, expected, "{fields}");
        let said = if expected.is_empty() { "Accepted=NoMatchingParent" } else { "good" };
        assert_eq!(mesh.said(HTTP, "shop/r"), said, "{fields}");
    }
}

#[test]
fn what_is_no_core_service_is_no_parent() {
    for parent in ["{name: pay}", "{kind: Service, name: pay}", "{group: '', kind: Pod, name: pay}"] {
        let mut mesh = Mesh::new();
        mesh.http("shop/r", &format!("parentRefs: [{parent}]\n{}", to("v1")));
        assert_eq!(mesh.ask(&get("/")), "as is", "{parent}");
        assert!(mesh.statuses(HTTP, "shop/r").is_empty(), "{parent}");
    }
}

#[test]
fn a_producer_route_is_for_all_clients_and_a_consumer_route_for_its_namespace_only() {
    let mut mesh = Mesh::new();
    mesh.http("cafe/r", &format!("parentRefs: [{PAY}]\n{}", to_shop("v2")));
    assert_eq!(mesh.ask_from("cafe", 80, &get("/")), "shop/v2:80 by cafe/r/0");
    assert_eq!(mesh.ask_from("shop", 80, &get("/")), "as is");
    assert_eq!(mesh.ask_from("other", 80, &get("/")), "as is");
    mesh.http("shop/r", &format!("parentRefs: [{PAY}]\n{}", to("v1")));
    assert_eq!(mesh.ask_from("cafe", 80, &get("/")), "shop/v2:80 by cafe/r/0");
    assert_eq!(mesh.ask_from("shop", 80, &get("/")), "shop/v1:80 by shop/r/0");
    assert_eq!(mesh.ask_from("other", 80, &get("/")), "shop/v1:80 by shop/r/0");
}

#[test]
fn consumer_and_producer_routes_are_not_merged() {
    let mut mesh = Mesh::new();
    mesh.http("shop/r", &format!("parentRefs: [{PAY}]\n{}", to("v1")));
    let rules =
        "rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: v2, namespace: shop, port: 80}]}]";
    mesh.http(
        "cafe/r",
        &format!("parentRefs: [{{group: '', kind: Service, name: pay, namespace: shop, port: 80}}]\n{rules}"),
    );
    assert_eq!(mesh.ask_from("cafe", 80, &get("/a")), "shop/v2:80 by cafe/r/0");
    assert_eq!(mesh.ask_from("cafe", 80, &get("/b")), "404");
    // On a port on which no consumer route attaches, the Service's own count.
    assert_eq!(mesh.ask_from("cafe", 8080, &get("/b")), "shop/v1:80 by shop/r/0");
}

#[test]
fn routes_of_one_service_are_merged_and_what_matches_none_is_404() {
    let mut mesh = Mesh::new();
    let rule = |path: &str, to: &str| {
        format!("- {{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: {to}, port: 80}}]}}")
    };
    mesh.rules("shop/a", 1, &rule("/a", "v1"));
    mesh.rules("shop/b", 2, &rule("/b", "v2"));
    assert_eq!(mesh.ask(&get("/a")), "shop/v1:80 by shop/a/0");
    assert_eq!(mesh.ask(&get("/b")), "shop/v2:80 by shop/b/0");
    assert_eq!(mesh.ask(&get("/c")), "404");
}

#[test]
fn a_grpc_route_wins_a_port_over_http_routes() {
    let mut mesh = Mesh::new();
    mesh.put(read(HTTP, "shop/http", 1, &format!("parentRefs: [{PAY}]\n{}", to("v1"))).expect("a route"));
    assert_eq!(mesh.ask(&get("/a/b")), "shop/v1:80 by shop/http/0");
    let parent = "parentRefs: [{group: '', kind: Service, name: pay, port: 80}]";
    // Younger, and yet: at a Service the kind counts.
    mesh.put(read(GRPC, "shop/grpc", 9, &format!("{parent}\n{}", to("v2"))).expect("a route"));
    assert_eq!(mesh.ask(&get("/a/b")), "shop/v2:80 by shop/grpc/0");
    assert_eq!(mesh.ask_from("shop", 8080, &get("/a/b")), "shop/v1:80 by shop/http/0");
    // It still has the other port.
    assert_eq!(mesh.said(HTTP, "shop/http"), "good");
    mesh.grpc("shop/grpc", &format!("parentRefs: [{PAY}]\n{}", to("v2")));
    assert_eq!(mesh.said(HTTP, "shop/http"), "Accepted=Conflicted");
    assert_eq!(mesh.said(GRPC, "shop/grpc"), "good");
}

#[test]
fn another_namespaces_grpc_route_does_not_push_a_services_own_aside() {
    let mut mesh = Mesh::new();
    mesh.http("shop/http", &format!("parentRefs: [{PAY}]\n{}", to("v1")));
    mesh.grpc("cafe/grpc", &format!("parentRefs: [{PAY}]\n{}", to_shop("v2")));
    assert_eq!(mesh.ask(&get("/a/b")), "shop/v1:80 by shop/http/0");
    assert_eq!(mesh.ask_from("cafe", 80, &get("/a/b")), "shop/v2:80 by cafe/grpc/0");
    assert_eq!(mesh.said(HTTP, "shop/http"), "good");
}

#[test]
fn a_route_that_has_no_usable_rule_does_not_attach_unless_it_would_open_what_a_filter_keeps_shut() {
    let mut mesh = Mesh::new();
    let unknown = "rules: [{matches: [{method: BREW}], backendRefs: [{name: v1, port: 80}]}]";
    mesh.http("shop/r", &format!("parentRefs: [{PAY}]\n{unknown}"));
    assert_eq!(mesh.ask(&get("/")), "as is");
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=UnsupportedValue");
    let unknown =
        "rules: [{filters: [{type: ExternalAuth, externalAuth: {}}], backendRefs: [{name: v1, port: 80}]}]";
    mesh.http("shop/r", &format!("parentRefs: [{PAY}]\n{unknown}"));
    assert_eq!(mesh.ask(&get("/")), "500");
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=UnsupportedValue");
}

#[test]
fn a_producer_route_needs_a_grant_to_send_clients_to_another_namespace() {
    let ledger = "rules: [{backendRefs: [{name: ledger, namespace: bank, port: 80}]}]";
    let spec = format!("parentRefs: [{PAY}]\n{ledger}");
    let from = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]";
    let table = [
        (None, false),
        (Some(("bank/g", format!("{from}\nto: [{{group: '', kind: Service}}]"))), true),
        (Some(("bank/g", format!("{from}\nto: [{{group: '', kind: Service, name: ledger}}]"))), true),
        (Some(("bank/g", format!("{from}\nto: [{{group: '', kind: Service, name: other}}]"))), false),
        (Some(("bank/g", format!("{from}\nto: [{{group: '', kind: Secret}}]"))), false),
        (Some(("cafe/g", format!("{from}\nto: [{{group: '', kind: Service}}]"))), false),
        (
            Some(("bank/g", format!("{}\nto: [{{group: '', kind: Service}}]", from.replace("shop", "cafe")))),
            false,
        ),
        (
            Some(("bank/g", format!("{}\nto: [{{group: '', kind: Service}}]", from.replace("HTTP", "GRPC")))),
            false,
        ),
    ];
    for (given, allowed) in table {
        let mut mesh = Mesh::new();
        mesh.http("shop/r", &spec);
        if let Some((key, grant_spec)) = &given {
            mesh.put(grant(key, grant_spec));
        }
        let (answer, said) = match allowed {
            true => ("bank/ledger:80 by shop/r/0", "good"),
            false => ("500", "ResolvedRefs=RefNotPermitted"),
        };
        assert_eq!(mesh.ask(&get("/")), answer, "{given:?}");
        assert_eq!(mesh.said(HTTP, "shop/r"), said, "{given:?}");
    }
    // A grant that is taken back no longer grants.
    let mut mesh = Mesh::new();
    let granted = grant("bank/g", &format!("{from}\nto: [{{group: '', kind: Service}}]"));
    mesh.put(granted.clone());
    mesh.http("shop/r", &spec);
    assert_eq!(mesh.ask(&get("/")), "bank/ledger:80 by shop/r/0");
    mesh.delete(granted);
    assert_eq!(mesh.ask(&get("/")), "500");
}

#[test]
fn a_consumer_route_sends_its_own_clients_where_it_likes() {
    let mut mesh = Mesh::new();
    let ledger = "rules: [{backendRefs: [{name: ledger, namespace: bank, port: 80}]}]";
    mesh.http("cafe/r", &format!("parentRefs: [{PAY}]\n{ledger}"));
    assert_eq!(mesh.ask_from("cafe", 80, &get("/")), "bank/ledger:80 by cafe/r/0");
    assert_eq!(mesh.said(HTTP, "cafe/r"), "good");
}

#[test]
fn a_services_ports_are_followed_by_parents_and_by_backends() {
    let mut mesh = Mesh::new();
    let parent = "parentRefs: [{group: '', kind: Service, name: pay, sectionName: new}]";
    mesh.http("shop/r", &format!("{parent}\nrules: [{{backendRefs: [{{name: v1, port: 81}}]}}]"));
    assert_eq!(mesh.said(HTTP, "shop/r"), "Accepted=NoMatchingParent ResolvedRefs=BackendNotFound");
    let mut pay = service("shop/pay");
    pay.ports[0].name = "new".into();
    mesh.put(pay);
    assert_eq!(mesh.ask(&get("/")), "500");
    let mut v1 = service("shop/v1");
    v1.ports[0].port = 81;
    assert!(mesh.put(v1).contains(&Change::Routes(named("shop/pay"))));
    assert_eq!(mesh.ask(&get("/")), "shop/v1:81 by shop/r/0");
    assert_eq!(mesh.said(HTTP, "shop/r"), "good");
    mesh.put(service("shop/pay"));
    assert_eq!(mesh.ask(&get("/")), "as is");
}

#[test]
fn who_depends_on_a_routes_change_is_told_and_nobody_else() {
    let mut mesh = Mesh::new();
    let route = |backend: &str| {
        let spec = format!("parentRefs: [{PAY}, {{group: '', kind: Service, name: v2}}]\n{}", to(backend));
        read(HTTP, "shop/r", 1, &spec).expect("a route")
    };
    let both = vec![Change::Routes(named("shop/pay")), Change::Routes(named("shop/v2"))];
    assert_eq!(mesh.put(route("v1")), both);
    assert_eq!(mesh.put(route("v1")), []);
    assert_eq!(mesh.put(route("later")), both);
    // A backend that comes, and one that only has other endpoints.
    let mut expected = both.clone();
    expected.push(Change::Service(named("shop/later")));
    let mut changes = mesh.put(service("shop/later"));
    changes.retain(|change| expected.contains(change));
    assert_eq!(changes, expected);
    let mut headless = service("shop/later");
    headless.publish_not_ready = true;
    assert!(!mesh.put(headless).iter().any(|change| matches!(change, Change::Routes(_))));
    mesh.grpc("shop/other", &format!("parentRefs: [{{group: '', kind: Service, name: v1}}]\n{}", to("v2")));
    // A parent that goes.
    let changes = mesh.delete(service("shop/v1"));
    assert!(changes.contains(&Change::Routes(named("shop/v1"))), "{changes:?}");
    assert!(!changes.contains(&Change::Routes(named("shop/pay"))), "{changes:?}");
    assert_eq!(
        mesh.put(grant("bank/g", "{from: [{group: '', kind: X, namespace: y}], to: [{group: '', kind: Z}]}")),
        []
    );
    assert_eq!(mesh.delete(route("later")), both);
    assert_eq!(mesh.ask(&get("/")), "as is");
    assert_eq!(mesh.http("shop/gw", &format!("parentRefs: [{{name: gateway}}]\n{}", to("v1"))), []);
}
