//! Which rule an HTTP request gets, and what becomes of it.

use super::fixtures::{Mesh, get, named};

/// Names the rule by the path that stands in the table, the backend by `v1` or `v2`.
const TO_V1: &str = "backendRefs: [{name: v1, port: 80}]";
const TO_V2: &str = "backendRefs: [{name: v2, port: 80}]";

fn mesh(rules: &str) -> Mesh {
    let mut mesh = Mesh::new();
    mesh.rules("shop/r", 1, &rules.replace("TO_V1", TO_V1).replace("TO_V2", TO_V2));
    mesh
}

#[test]
fn paths_and_headers_match_as_the_conformance_tests_of_meshes_ask() {
    let mesh = mesh(
        "
         - matches:
           - path: {type: PathPrefix, value: /}
           - headers: [{name: version, value: one}]
           TO_V1
         - matches:
           - path: {type: PathPrefix, value: /v2}
           - headers: [{name: Version, value: two}]
           TO_V2",
    );
    let table = [
        (get("/"), "shop/v1:80 by shop/r/0"),
        (get("/example"), "shop/v1:80 by shop/r/0"),
        (get("/").header("version", "one"), "shop/v1:80 by shop/r/0"),
        (get("/v2"), "shop/v2:80 by shop/r/1"),
        (get("/v2/example"), "shop/v2:80 by shop/r/1"),
        (get("/").header("version", "two"), "shop/v2:80 by shop/r/1"),
        (get("/v2/"), "shop/v2:80 by shop/r/1"),
        (get("/v2example"), "shop/v1:80 by shop/r/0"),
        (get("/foo/v2/example"), "shop/v1:80 by shop/r/0"),
    ];
    for (request, expected) in table {
        assert_eq!(mesh.ask(&request), expected, "{request:?}");
    }
}

#[test]
fn query_parameters_match_as_the_conformance_tests_of_meshes_ask() {
    let mesh = mesh(
        "
         - matches: [{queryParams: [{name: animal, value: whale}]}]
           TO_V1
         - matches: [{queryParams: [{name: animal, value: dolphin}]}]
           TO_V2
         - matches: [{path: {type: PathPrefix, value: /path1}, queryParams: [{name: animal, value: whale}]}]
           TO_V1
         - matches: [{headers: [{name: version, value: one}], queryParams: [{name: animal, value: whale}]}]
           TO_V2
         - matches:
           - {path: {value: /path3}, queryParams: [{name: animal, value: shark}]}
           - path: {value: /path4}
             headers: [{name: version, value: three}]
             queryParams: [{name: animal, value: kraken}]
           TO_V1
         - matches: [{path: {value: /path5}}]
           TO_V1
         - matches: [{queryParams: [{name: animal, value: hydra}]}]
           TO_V2",
    );
    let table = [
        (get("/?animal=whale"), "shop/v1:80 by shop/r/0"),
        (get("/?animal=dolphin"), "shop/v2:80 by shop/r/1"),
        (get("/?animal=whale&otherparam=irrelevant"), "shop/v1:80 by shop/r/0"),
        (get("/?color=blue&animal=dolphin"), "shop/v2:80 by shop/r/1"),
        (get("/?color=blue"), "404"),
        (get("/?animal=dog"), "404"),
        (get("/?animal=whaledolphin"), "404"),
        (get("/?Animal=whale"), "404"),
        (get("/"), "404"),
        (get("/path1?animal=whale"), "shop/v1:80 by shop/r/2"),
        (get("/?animal=whale").header("version", "one"), "shop/v2:80 by shop/r/3"),
        (get("/path3?animal=shark"), "shop/v1:80 by shop/r/4"),
        (get("/path4?animal=kraken").header("version", "three"), "shop/v1:80 by shop/r/4"),
        (get("/?animal=shark"), "404"),
        (get("/path4?animal=kraken"), "404"),
        (get("/path5?animal=hydra"), "shop/v1:80 by shop/r/5"),
        // The first value of a parameter counts, decoded.
        (get("/?animal=whale&animal=dolphin"), "shop/v1:80 by shop/r/0"),
        (get("/?%61nimal=wh%61le"), "shop/v1:80 by shop/r/0"),
        (get("/?animal=wh%6"), "404"),
    ];
    for (request, expected) in table {
        assert_eq!(mesh.ask(&request), expected, "{request:?}");
    }
}

#[test]
fn each_type_of_match_means_what_the_specification_says() {
    // (match, request, whether it fits)
    let table = [
        ("{path: {type: Exact, value: /abc}}", get("/abc"), true),
        ("{path: {type: Exact, value: /abc}}", get("/abc/"), false),
        ("{path: {type: Exact, value: /abc}}", get("/Abc"), false),
        ("{path: {type: Exact, value: /abc}}", get("/abcd"), false),
        ("{path: {type: Exact, value: /%61bc}}", get("/abc"), true),
        ("{path: {type: PathPrefix, value: /abc}}", get("/abc"), true),
        ("{path: {type: PathPrefix, value: /abc}}", get("/abc/"), true),
        ("{path: {type: PathPrefix, value: /abc}}", get("/abc/def"), true),
        ("{path: {type: PathPrefix, value: /abc}}", get("/abcd"), false),
        ("{path: {type: PathPrefix, value: /abc/}}", get("/abc"), true),
        ("{path: {type: PathPrefix, value: /abc/}}", get("/abc/def"), true),
        ("{path: {type: PathPrefix, value: /abc/}}", get("/abcd"), false),
        ("{path: {}}", get("/anything"), true),
        ("{}", get("*").method("OPTIONS"), true),
        ("{path: {type: RegularExpression, value: '/v[0-9]+/.*'}}", get("/v1/pay"), true),
        ("{path: {type: RegularExpression, value: '/v[0-9]+'}}", get("/v1/pay"), false),
        ("{path: {type: RegularExpression, value: 'v1'}}", get("/v1"), false),
        ("{method: GET}", get("/"), true),
        ("{method: GET}", get("/").method("HEAD"), false),
        ("{method: GET}", get("/").method("get"), false),
        ("{headers: [{name: X-Env, value: prod}]}", get("/").header("x-env", "prod"), true),
        ("{headers: [{name: X-Env, value: prod}]}", get("/").header("x-env", "Prod"), false),
        ("{headers: [{name: X-Env, value: prod}]}", get("/"), false),
        (
            "{headers: [{name: a, value: '1'}, {name: b, value: '2'}]}",
            get("/").header("a", "1").header("b", "2"),
            true,
        ),
        ("{headers: [{name: a, value: '1'}, {name: b, value: '2'}]}", get("/").header("a", "1"), false),
        // Of entries with one name the first counts.
        ("{headers: [{name: a, value: '1'}, {name: A, value: '2'}]}", get("/").header("a", "1"), true),
        ("{headers: [{name: a, value: '2'}, {name: A, value: '1'}]}", get("/").header("a", "1"), false),
        // Repeated headers are one with commas.
        ("{headers: [{name: a, value: '1,2'}]}", get("/").header("a", "1").header("a", "2"), true),
        ("{headers: [{name: a, value: '1'}]}", get("/").header("a", "1").header("a", "2"), false),
        (
            "{headers: [{type: RegularExpression, name: cookie, value: '.*\\bid=7\\b.*'}]}",
            get("/").header("cookie", "a=1").header("cookie", "id=7"),
            true,
        ),
        // The host, which GEP-1294 recommends in place of hostnames.
        ("{headers: [{name: Host, value: Pay.Shop}]}", get("/").host("pay.shop"), true),
        ("{headers: [{name: Host, value: pay.shop}]}", get("/").host("other.shop"), false),
        (
            "{headers: [{name: host, value: pay.shop}]}",
            get("/").host("other.shop").header("host", "pay.shop"),
            false,
        ),
        ("{queryParams: [{type: RegularExpression, name: id, value: '[0-9]+'}]}", get("/?id=42"), true),
        ("{queryParams: [{type: RegularExpression, name: id, value: '[0-9]+'}]}", get("/?id=4x"), false),
        ("{queryParams: [{name: q, value: a b}]}", get("/?q=a+b"), true),
        ("{queryParams: [{name: q, value: a b}]}", get("/?q=a%20b"), true),
    ];
    for (fits, request, expected) in table {
        let mesh = mesh(&format!("- matches: [{fits}]\n  TO_V1"));
        let answer = if expected { "shop/v1:80 by shop/r/0" } else { "404" };
        assert_eq!(mesh.ask(&request), answer, "{fits} {request:?}");
    }
}

#[test]
fn what_a_rule_does_becomes_of_the_request() {
    let table = [
        // Redirects, as the conformance tests ask.
        ("filters: [{type: RequestRedirect, requestRedirect: {port: 8083}}]", "302 http://pay.shop:8083/a/b"),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 301}}]",
            "301 http://example.org/a/b",
        ),
        ("filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]", "302 https://pay.shop/a/b"),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}]",
            "302 http://pay.shop/x",
        ),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}}}]",
            "308 http://pay.shop/z/b",
        ),
        // Backends.
        ("TO_V1", "shop/v1:80 by shop/r/0"),
        ("name: canary\n  TO_V1", "shop/v1:80 by shop/r/canary"),
        ("backendRefs: [{name: v1, port: 8080}]", "shop/v1:8080 by shop/r/0"),
        ("backendRefs: [{name: v1, port: 80, weight: 0}, {name: v2, port: 80}]", "shop/v2:80 by shop/r/0"),
        ("backendRefs: [{name: v1, port: 80, weight: 0}]", "500"),
        ("backendRefs: []", "500"),
        ("filters: []", "500"),
        ("backendRefs: [{name: nobody, port: 80}]", "500"),
        ("backendRefs: [{name: v1, port: 81}]", "500"),
        ("backendRefs: [{name: v1, port: 80, kind: Bucket, group: x.y}]", "500"),
        // A filter on a backend is that backend's alone.
        (
            "backendRefs: [{name: v1, port: 80, filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]}]",
            "302 http://pay.shop:1/a/b",
        ),
        // Filters that are not known are never skipped.
        ("TO_V1\n  filters: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}]", "500"),
        ("TO_V1\n  filters: [{type: Compress}]", "500"),
        ("backendRefs: [{name: v1, port: 80, filters: [{type: Compress}]}]", "500"),
    ];
    for (rule, expected) in table {
        let mesh = mesh(&format!("- matches: [{{path: {{value: /a}}}}]\n  {rule}"));
        assert_eq!(mesh.ask(&get("/a/b")), expected, "{rule}");
    }
}

#[test]
fn filters_timeouts_and_retries_come_along_with_the_rule() {
    let mesh = mesh(
        "
         - filters:
           - type: RequestHeaderModifier
             requestHeaderModifier: {set: [{name: X-Set, value: a}], remove: [X-Gone]}
           - type: ResponseHeaderModifier
             responseHeaderModifier: {add: [{name: x-add, value: b}]}
           - type: URLRewrite
             urlRewrite: {hostname: v1.shop, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
           - type: RequestMirror
             requestMirror: {backendRef: {name: v2, port: 80}, percent: 10}
           - type: RequestMirror
             requestMirror: {backendRef: {name: nobody, port: 80}}
           - type: CORS
             cors: {allowOrigins: ['https://*.shop.example'], allowMethods: [GET, PUT]}
           timeouts: {request: 10s, backendRequest: 1s500ms}
           retry: {codes: [503, 500, 503], attempts: 3, backoff: 100ms}
           TO_V1",
    );
    let snapshot = mesh.snapshot();
    let routes = snapshot.routes("shop", &named("shop/pay"), 80).expect("routes");
    let rule = routes.find(&get("/old").view()).expect("a rule");
    let filters = &rule.filters;

    let mut headers = vec![("x-set".into(), "old".into()), ("x-gone".into(), "1".into())];
    filters.request_headers.as_ref().expect("headers").apply(&mut headers);
    assert_eq!(headers, [("x-set".into(), "a".into())]);
    let mut headers = vec![("x-add".into(), "a".into())];
    filters.response_headers.as_ref().expect("headers").apply(&mut headers);
    assert_eq!(headers, [("x-add".into(), "a,b".into())]);

    let rewrite = filters.rewrite.as_ref().expect("a rewrite");
    assert_eq!(rewrite.path("/old"), "/new/old");
    assert_eq!(rewrite.hostname.as_deref(), Some("v1.shop"));
    let cors = filters.cors.as_ref().expect("CORS");
    assert!(!cors.answer("https://a.shop.example").is_empty());

    // The mirror that leads nowhere is dropped.
    assert_eq!(rule.mirrors.len(), 1);
    assert_eq!(rule.mirrors[0].destination.service, named("shop/v2"));
    let mirrored = (0..1000u32).filter(|n| rule.mirrors[0].share.takes(n * 4_294_967)).count();
    assert!((99..=101).contains(&mirrored), "{mirrored}");

    let milliseconds = |of: Option<std::time::Duration>| of.map(|of| of.as_millis());
    assert_eq!(milliseconds(rule.timeouts.request), Some(10_000));
    assert_eq!(milliseconds(rule.timeouts.backend_request), Some(1500));
    let retry = rule.retry.as_ref().expect("a retry");
    assert_eq!(
        (&retry.codes[..], retry.attempts, milliseconds(retry.backoff)),
        (&[500, 503][..], Some(3), Some(100))
    );
}

#[test]
fn an_invalid_backend_keeps_its_share_and_answers_500_for_it() {
    let mesh = mesh("- backendRefs: [{name: v1, port: 80, weight: 3}, {name: nobody, port: 80, weight: 1}]");
    let snapshot = mesh.snapshot();
    let routes = snapshot.routes("shop", &named("shop/pay"), 80).expect("routes");
    let rule = routes.find(&get("/").view()).expect("a rule");
    let draws = 1000u32;
    let failed = (0..draws)
        .filter(|n| matches!(rule.outcome(n * (u32::MAX / draws)), crate::state::routes::Outcome::Fail(_)));
    let failed = failed.count();
    assert!((249..=251).contains(&failed), "{failed}");
}
