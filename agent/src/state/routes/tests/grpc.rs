//! Which rule a gRPC request gets.

use super::fixtures::{Mesh, PAY, Request, get};

fn mesh(rules: &str) -> Mesh {
    let mut mesh = Mesh::new();
    mesh.grpc("shop/r", &format!("parentRefs: [{PAY}]\nrules:\n{rules}"));
    mesh
}

fn call(path: &str) -> Request {
    get(path).method("POST").header("content-type", "application/grpc")
}

#[test]
fn services_and_methods_match_as_the_specification_says() {
    let table = [
        ("{method: {service: foo.bar, method: Login}}", call("/foo.bar/Login"), true),
        ("{method: {service: foo.bar, method: Login}}", call("/foo.bar/Logout"), false),
        ("{method: {service: foo.bar, method: Login}}", call("/foo.bars/Login"), false),
        ("{method: {service: foo.bar, method: login}}", call("/foo.bar/Login"), false),
        ("{method: {service: foo.bar}}", call("/foo.bar/Any"), true),
        ("{method: {service: .foo.bar}}", call("/foo.bar/Any"), true),
        ("{method: {method: Login}}", call("/any.Service/Login"), true),
        ("{method: {service: '', method: Login}}", call("/any.Service/Login"), true),
        ("{method: {type: RegularExpression, service: 'foo[.].*'}}", call("/foo.bar/Login"), true),
        ("{method: {type: RegularExpression, service: 'foo'}}", call("/foo.bar/Login"), false),
        (
            "{method: {type: RegularExpression, service: 'foo.*', method: 'Log(in|out)'}}",
            call("/foo.b/Logout"),
            true,
        ),
        ("{headers: [{name: Version, value: '2'}]}", call("/foo.bar/Login").header("version", "2"), true),
        ("{headers: [{name: version, value: '2'}]}", call("/foo.bar/Login"), false),
        (
            "{method: {service: foo.bar}, headers: [{name: version, value: '2'}]}",
            call("/foo.bar/Login"),
            false,
        ),
        ("{}", call("/foo.bar/Login"), true),
        // What names no method matches only what asks for none.
        ("{}", call("/healthz"), true),
        ("{method: {type: RegularExpression, service: '.*'}}", call("/healthz"), false),
        ("{method: {type: RegularExpression, method: '.*'}}", call("/a/b/c"), false),
    ];
    for (fits, request, expected) in table {
        let mesh = mesh(&format!("- {{matches: [{fits}], backendRefs: [{{name: v1, port: 80}}]}}"));
        let answer = if expected { "shop/v1:80 by shop/r/0" } else { "404" };
        assert_eq!(mesh.ask(&request), answer, "{fits} {request:?}");
    }
}

#[test]
fn the_longest_service_wins_then_the_longest_method_then_the_most_headers() {
    let mesh = mesh(
        "- {backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {method: Login}}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {service: foo.bar}}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {service: foo.bar, method: Login}}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {service: foo.bar, method: Login}, headers: [{name: a, value: b}]}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{headers: [{name: a, value: b}]}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {type: RegularExpression, service: 'foo.*'}}], backendRefs: [{name: v1, port: 80}]}
- {matches: [{method: {type: RegularExpression, service: 'fo.*', method: '.*'}}], backendRefs: [{name: v1, port: 80}]}",
    );
    let table = [
        (call("/x/Y"), 0),
        (call("/x/Login"), 1),
        (call("/x/Login").header("a", "b"), 1),
        (call("/foo.bar/Y"), 2),
        (call("/foo.bar/Y").header("a", "b"), 2),
        (call("/foo.bar/Login"), 3),
        (call("/foo.bar/Login").header("a", "b"), 4),
        (call("/x/Y").header("a", "b"), 5),
        (call("/foo.other/Login"), 6),
        (call("/fox/Login"), 7),
    ];
    for (request, rule) in table {
        assert_eq!(mesh.ask(&request), format!("shop/v1:80 by shop/r/{rule}"), "{request:?}");
    }
}

#[test]
fn a_grpc_route_without_rules_attaches_and_matches_nothing() {
    let mut mesh = Mesh::new();
    mesh.grpc("shop/r", &format!("parentRefs: [{PAY}]"));
    assert_eq!(mesh.ask(&call("/foo.bar/Login")), "404");
    assert_eq!(mesh.said(super::fixtures::GRPC, "shop/r"), "good");
}
