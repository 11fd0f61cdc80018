//! What is refused when a route or a grant is read, and how it is named.

use serde_json::json;

use super::fixtures::{GRPC, HTTP, PAY, named, read, yaml};
use crate::state::routes::{ReferenceGrant, RouteKind};

fn refused(kind: RouteKind, spec: &str) -> Vec<String> {
    let errors = read(kind, "shop/r", 1, spec).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_wrong_field_of_a_rule_is_named_with_its_value() {
    let long = format!("{{matches: [{{path: {{value: /{}}}}}]}}", "a".repeat(1024));
    // (a rule, the field and the value that are named)
    let table: [(&str, &str, &str); 61] = [
        ("{macthes: []}", "macthes", "[]"),
        ("{matches: null}", "matches", "null"),
        ("{name: Upper}", "name", "\"Upper\""),
        ("{sessionPersistence: {}}", "sessionPersistence", ""),
        ("{matches: [{path: {value: a}}]}", "matches[0].path.value", "\"a\""),
        ("{matches: [{path: {value: /a//b}}]}", "matches[0].path.value", "\"/a//b\""),
        ("{matches: [{path: {type: Exact, value: /a/../b}}]}", "matches[0].path.value", "\"/a/../b\""),
        ("{matches: [{path: {type: Exact, value: /a%2Fb}}]}", "matches[0].path.value", "\"/a%2Fb\""),
        ("{matches: [{path: {type: Exact, value: '/a?b'}}]}", "matches[0].path.value", "\"/a?b\""),
        (&long, "matches[0].path.value", "\"/aaa"),
        ("{matches: [{path: {type: RegularExpression, value: '('}}]}", "matches[0].path.value", "\"(\""),
        (
            "{matches: [{path: {type: RegularExpression, value: '((a{100}){100}){100}'}}]}",
            "matches[0].path.value",
            "\"((a{100}){100}){100}\"",
        ),
        ("{matches: [{headers: [{name: 'a b', value: c}]}]}", "matches[0].headers[0].name", "\"a b\""),
        ("{matches: [{headers: [{name: ':path', value: c}]}]}", "matches[0].headers[0].name", "\":path\""),
        ("{matches: [{headers: [{name: a}]}]}", "matches[0].headers[0].value", "\"\""),
        (
            "{matches: [{headers: [{name: a, value: \"b\\r\\nc\"}]}]}",
            "matches[0].headers[0].value",
            "\"b\\r\\nc\"",
        ),
        (
            "{matches: [{headers: [{type: RegularExpression, name: a, value: '['}]}]}",
            "matches[0].headers[0].value",
            "\"[\"",
        ),
        ("{matches: [{queryParams: [{name: '', value: c}]}]}", "matches[0].queryParams[0].name", "\"\""),
        ("{matches: [{queryParams: [{name: a, value: ''}]}]}", "matches[0].queryParams[0].value", "\"\""),
        ("{backendRefs: [{name: v1}]}", "backendRefs[0].port", ""),
        ("{backendRefs: [{name: v1, port: 0}]}", "backendRefs[0].port", "0"),
        ("{backendRefs: [{name: v1, port: 70000}]}", "backendRefs[0].port", "70000"),
        ("{backendRefs: [{name: v1, port: http}]}", "backendRefs[0].port", "\"http\""),
        ("{backendRefs: [{name: V1, port: 80}]}", "backendRefs[0].name", "\"V1\""),
        ("{backendRefs: [{name: v1, namespace: N, port: 80}]}", "backendRefs[0].namespace", "\"N\""),
        ("{backendRefs: [{name: v1, port: 80, weight: -1}]}", "backendRefs[0].weight", "-1"),
        ("{backendRefs: [{name: v1, port: 80, weight: 1000001}]}", "backendRefs[0].weight", "1000001"),
        ("{timeouts: {request: 5}}", "timeouts.request", "5"),
        ("{timeouts: {request: '5'}}", "timeouts.request", "\"5\""),
        ("{timeouts: {request: 1s, backendRequest: 2s}}", "timeouts.backendRequest", "2s"),
        ("{retry: {codes: [399]}}", "retry.codes[0]", "399"),
        ("{retry: {codes: [500, 600]}}", "retry.codes[1]", "600"),
        ("{retry: {attempts: 0}}", "retry.attempts", "0"),
        ("{retry: {backoff: 1us}}", "retry.backoff", "\"1us\""),
        ("{filters: [{type: RequestRedirect}]}", "filters[0].requestRedirect", ""),
        ("{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}", "filters[0].urlRewrite", ""),
        ("{filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]}", "filters[1].type", "CORS"),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]}",
            "filters",
            "RequestRedirect, URLRewrite",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: v1, port: 80}]}",
            "backendRefs",
            "1 entries",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {hostname: '*.a'}}]}",
            "filters[0].requestRedirect.hostname",
            "\"*.a\"",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {port: 0}}]}",
            "filters[0].requestRedirect.port",
            "0",
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]}",
            "filters[0].urlRewrite.path.replaceFullPath",
            "",
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: '/a?b'}}}]}",
            "filters[0].urlRewrite.path.replaceFullPath",
            "\"/a?b\"",
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b}}}]}",
            "filters[0].urlRewrite.path.replacePrefixMatch",
            "/b",
        ),
        (
            "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
            "filters[0].urlRewrite.path.type",
            "ReplacePrefixMatch",
        ),
        (
            "{matches: [{path: {value: /a}}, {path: {value: /b}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
            "filters[0].urlRewrite.path.type",
            "ReplacePrefixMatch",
        ),
        (
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [A]}}]}",
            "filters[0].requestHeaderModifier.remove[0]",
            "A",
        ),
        (
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: \"b\\nc: d\"}]}}]}",
            "filters[0].requestHeaderModifier.set[0].value",
            "\"b\\nc: d\"",
        ),
        (
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: Transfer-Encoding, value: b}]}}]}",
            "filters[0].requestHeaderModifier.add[0].name",
            "Transfer-Encoding",
        ),
        (
            "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [content-length]}}]}",
            "filters[0].responseHeaderModifier.remove[0]",
            "content-length",
        ),
        ("{filters: [{type: RequestMirror, requestMirror: {}}]}", "filters[0].requestMirror.backendRef", ""),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, percent: 101}}]}",
            "filters[0].requestMirror.percent",
            "101",
        ),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, percent: 1, fraction: {numerator: 1}}}]}",
            "filters[0].requestMirror.percent",
            "1",
        ),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, fraction: {numerator: 101}}}]}",
            "filters[0].requestMirror.fraction.numerator",
            "101",
        ),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, fraction: {numerator: 1, denominator: 0}}}]}",
            "filters[0].requestMirror.fraction.denominator",
            "0",
        ),
        (
            "{filters: [{type: CORS, cors: {allowOrigins: ['shop.example']}}]}",
            "filters[0].cors.allowOrigins[0]",
            "\"shop.example\"",
        ),
        (
            "{filters: [{type: CORS, cors: {allowOrigins: ['*', 'https://a']}}]}",
            "filters[0].cors.allowOrigins",
            "*",
        ),
        (
            "{filters: [{type: CORS, cors: {allowMethods: [get]}}]}",
            "filters[0].cors.allowMethods[0]",
            "\"get\"",
        ),
        (
            "{filters: [{type: CORS, cors: {allowHeaders: ['a b']}}]}",
            "filters[0].cors.allowHeaders[0]",
            "\"a b\"",
        ),
        ("{filters: [{type: CORS, cors: {maxAge: 0}}]}", "filters[0].cors.maxAge", "0"),
        (
            "{filters: [{type: CORS, cors: {allowCredentials: 'yes'}}]}",
            "filters[0].cors.allowCredentials",
            "\"yes\"",
        ),
    ];
    for (rule, field, value) in table {
        let errors = refused(HTTP, &format!("parentRefs: [{PAY}]\nrules: [{rule}]"));
        let expected = format!("spec.rules[0].{field}: {value}");
        assert_eq!(errors.len(), 1, "{rule}: {errors:?}");
        assert!(errors[0].starts_with(&expected), "{rule}: {errors:?}, not {expected}");
    }
}

#[test]
fn parents_and_numbers_of_things_are_checked() {
    let many = |of: &str, count: usize| format!("[{}]", vec![of; count].join(", "));
    let table = [
        (format!("rules: {}", many("{}", 17)), "spec.rules: 17 entries"),
        ("rules: []".into(), "spec.rules: []"),
        (format!("rules: [{{matches: {}}}]", many("{}", 65)), "spec.rules[0].matches: 65 entries"),
        (
            format!("rules: {}", many(&format!("{{matches: {}}}", many("{}", 33)), 4)),
            "spec.rules: 132 matches",
        ),
        ("rules: [{name: a}, {name: a}]".into(), "spec.rules[1].name: a"),
        ("parentRefs: [{group: '', kind: Service}]".into(), "spec.parentRefs[0].name: \"\""),
        ("parentRefs: [{group: '', kind: Service, name: pay, port: 0}]".into(), "spec.parentRefs[0].port: 0"),
        (format!("parentRefs: [{PAY}, {PAY}]"), "spec.parentRefs[1]: shop/pay"),
        (format!("parentRefs: [{PAY}, {}]", PAY.replace('}', ", port: 80}")), "spec.parentRefs[1]: shop/pay"),
        (format!("hostnames: {}", many("a", 17)), "spec.hostnames: 17 entries"),
        ("rule: []".into(), "spec.rule: []"),
    ];
    for (spec, expected) in table {
        let errors = refused(HTTP, &spec);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{spec}: {errors:?}");
    }
    for (spec, expected) in [
        ("rules: [{matches: [{method: {}}]}]", "spec.rules[0].matches[0].method: {}"),
        (
            "rules: [{matches: [{method: {service: a/b}}]}]",
            "spec.rules[0].matches[0].method.service: \"a/b\"",
        ),
        ("rules: [{matches: [{method: {method: 1a}}]}]", "spec.rules[0].matches[0].method.method: \"1a\""),
        (
            "rules: [{matches: [{method: {type: RegularExpression, method: '('}}]}]",
            "spec.rules[0].matches[0].method.method: \"(\"",
        ),
        ("rules: [{timeouts: {}}]", "spec.rules[0].timeouts: {}"),
        ("rules: [{matches: [{path: {value: /}}]}]", "spec.rules[0].matches[0].path: {\"value\":\"/\"}"),
    ] {
        let errors = refused(GRPC, spec);
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{spec}: {errors:?}");
    }
}

#[test]
fn all_errors_of_a_route_are_reported_at_once() {
    let errors =
        refused(HTTP, "rules: [{retry: {attempts: 0}}, {nmae: a}, {backendRefs: [{name: v1, port: 0}]}]");
    let fields: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        fields,
        ["spec.rules[1].nmae", "spec.rules[0].retry.attempts", "spec.rules[2].backendRefs[0].port"]
    );
}

#[test]
fn what_does_nothing_or_nothing_good_is_warned_of() {
    let warned = |spec: &str| {
        let route = read(HTTP, "shop/r", 1, spec).expect("a right route");
        route.warnings().iter().map(|warning| warning.field.clone()).collect::<Vec<_>>()
    };
    let to = "backendRefs: [{name: v1, port: 80}]";
    let table = [
        (format!("parentRefs: [{PAY}]\nrules: [{{{to}}}]"), vec![]),
        (format!("rules: [{{{to}}}]"), vec!["spec.parentRefs"]),
        (
            format!("parentRefs: [{{kind: Service, name: pay}}]\nrules: [{{{to}}}]"),
            vec!["spec.parentRefs[0].group", "spec.parentRefs"],
        ),
        (format!("parentRefs: [{PAY}]\nhostnames: [a.b]\nrules: [{{{to}}}]"), vec!["spec.hostnames"]),
        (format!("parentRefs: [{PAY}]"), vec!["spec.rules[0].backendRefs"]),
        (
            format!("parentRefs: [{PAY}]\nrules: [{{backendRefs: [{{name: v1, port: 80, weight: 0}}]}}]"),
            vec!["spec.rules[0].backendRefs"],
        ),
        (
            format!(
                "parentRefs: [{PAY}]\nrules: [{{matches: [{{headers: [{{name: host, value: 'a:80'}}]}}], {to}}}]"
            ),
            vec!["spec.rules[0].matches[0].headers[0].value"],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(warned(&spec), expected, "{spec}");
    }
}

#[test]
fn a_grant_says_who_and_what() {
    let parse = |spec: &str| ReferenceGrant::parse(named("bank/g"), yaml(spec));
    let from = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]";
    parse(&format!("{from}\nto: [{{group: '', kind: Service}}]")).expect("a right grant");
    let table = [
        ("{}".to_string(), "spec.from: 0"),
        (from.into(), "spec.to: 0"),
        (format!("{from}\nto: [{{kind: Service}}]"), "spec.to[0].group: "),
        (format!("{from}\nto: [{{group: ''}}]"), "spec.to[0].kind: "),
        (format!("{from}\nto: [{{group: '', kind: Service, names: [a]}}]"), "spec.to[0].names: "),
        (
            "from: [{kind: HTTPRoute, namespace: a}]\nto: [{group: '', kind: Service}]".into(),
            "spec.from[0].group: ",
        ),
        (
            "from: [{group: a, kind: HTTPRoute}]\nto: [{group: '', kind: Service}]".into(),
            "spec.from[0].namespace: ",
        ),
    ];
    for (spec, expected) in table {
        let errors = parse(&spec).expect_err(&spec);
        assert!(errors.iter().any(|error| error.to_string().starts_with(expected)), "{spec}: {errors:?}");
    }
    assert!(ReferenceGrant::parse(named("bank/g"), json!([[], []])).is_err());
}
