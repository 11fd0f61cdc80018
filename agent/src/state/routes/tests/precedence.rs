//! Which of several matches wins: a table from the specification's words, and what holds for all routes.

use std::cmp::Reverse;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::fixtures::{Mesh, PAY, Request, get, named, yaml};
use crate::state::routes::{Route, RouteMeta};

#[test]
fn the_more_specific_match_wins_criterion_by_criterion() {
    // (the match that wins, the one that loses), both of which fit the request.
    let request = get("/a/b?q=1&r=2").header("x", "1").header("y", "2");
    let table = [
        // Exact before everything.
        ("{path: {type: Exact, value: /a/b}}", "{path: {value: /a/b}}"),
        (
            "{path: {type: Exact, value: /a/b}}",
            "{path: {value: /a/b}, method: GET, headers: [{name: x, value: '1'}], queryParams: [{name: q, value: '1'}]}",
        ),
        ("{path: {type: Exact, value: /a/b}}", "{path: {type: RegularExpression, value: '/a/b'}}"),
        // Ours: an expression before a prefix, the longer one first.
        ("{path: {type: RegularExpression, value: '/a/.*'}}", "{path: {value: /a/b}}"),
        (
            "{path: {type: RegularExpression, value: '/a/.*'}}",
            "{path: {type: RegularExpression, value: '/.*'}}",
        ),
        // The longest prefix.
        ("{path: {value: /a/b}}", "{path: {value: /a}}"),
        ("{path: {value: /a}}", "{}"),
        ("{path: {value: /a/b}}", "{path: {value: /a/}, method: GET}"),
        // The method.
        ("{method: GET}", "{}"),
        ("{method: GET}", "{headers: [{name: x, value: '1'}, {name: y, value: '2'}]}"),
        // The most headers.
        ("{headers: [{name: x, value: '1'}, {name: y, value: '2'}]}", "{headers: [{name: x, value: '1'}]}"),
        (
            "{headers: [{name: x, value: '1'}]}",
            "{queryParams: [{name: q, value: '1'}, {name: r, value: '2'}]}",
        ),
        // The most query parameters.
        (
            "{queryParams: [{name: q, value: '1'}, {name: r, value: '2'}]}",
            "{queryParams: [{name: q, value: '1'}]}",
        ),
        ("{queryParams: [{name: q, value: '1'}]}", "{}"),
    ];
    for (wins, loses) in table {
        let rule = |fits: &str| format!("- {{matches: [{fits}], backendRefs: [{{name: v1, port: 80}}]}}");
        // It wins whatever is against it: age, name and the order of rules.
        let mut mesh = Mesh::new();
        mesh.rules("shop/b", 2, &rule(wins));
        mesh.rules("shop/a", 1, &rule(loses));
        assert_eq!(mesh.ask(&request), "shop/v1:80 by shop/b/0", "{wins} before {loses}");
        let mut mesh = Mesh::new();
        mesh.rules("shop/r", 1, &format!("{}\n{}", rule(loses), rule(wins)));
        assert_eq!(mesh.ask(&request), "shop/v1:80 by shop/r/1", "{wins} before {loses}");
    }
}

#[test]
fn of_equal_matches_the_oldest_route_wins_then_the_first_name_then_the_first_rule() {
    let rule = "- {backendRefs: [{name: v1, namespace: shop, port: 80}]}\n- {backendRefs: [{name: v2, namespace: shop, port: 80}]}";
    let mut mesh = Mesh::new();
    mesh.rules("shop/b", 2, rule);
    assert_eq!(mesh.ask(&get("/")), "shop/v1:80 by shop/b/0");
    mesh.rules("shop/a", 2, rule);
    assert_eq!(mesh.ask(&get("/")), "shop/v1:80 by shop/a/0");
    mesh.rules("shop/z", 1, rule);
    assert_eq!(mesh.ask(&get("/")), "shop/v1:80 by shop/z/0");
    // A route without a time is younger than any with one.
    let spec = yaml(&format!("parentRefs: [{PAY}]\nrules:\n{rule}"));
    mesh.put(Route::http(named("shop/0"), RouteMeta::default(), spec).expect("a route"));
    assert_eq!(mesh.ask(&get("/")), "shop/v1:80 by shop/z/0");
}

/// A match as it is generated: what the specification's order looks at, and no more.
#[derive(Clone, Debug)]
struct Match {
    path: Option<(&'static str, &'static str)>,
    method: Option<&'static str>,
    headers: Vec<&'static str>,
    query: Vec<&'static str>,
}

/// A route: its name, its age, and the matches of each of its rules.
#[derive(Clone, Debug)]
struct Given {
    name: String,
    created: Option<i64>,
    rules: Vec<Vec<Match>>,
}

const PATHS: [(&str, &str); 11] = [
    ("Exact", "/"),
    ("Exact", "/a"),
    ("Exact", "/a/b"),
    ("Exact", "/a/"),
    ("PathPrefix", "/"),
    ("PathPrefix", "/a"),
    ("PathPrefix", "/a/"),
    ("PathPrefix", "/a/b"),
    ("PathPrefix", "/ab"),
    ("RegularExpression", "/a.*"),
    ("RegularExpression", "/[a-z]/?b?"),
];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(of, 0..=of.len())
}

fn a_match() -> impl Strategy<Value = Match> {
    let path = option::weighted(0.8, select(&PATHS[..]));
    let method = option::weighted(0.3, select(&["GET", "POST"][..]));
    (path, method, some(&["x", "y"]), some(&["q", "r"])).prop_map(|(path, method, headers, query)| Match {
        path,
        method,
        headers,
        query,
    })
}

fn routes() -> impl Strategy<Value = Vec<Given>> {
    let rules = vec(vec(a_match(), 0..3), 1..4);
    vec((option::weighted(0.8, 0..3i64), rules), 1..6).prop_map(|given| {
        let named = given.into_iter().enumerate();
        named.map(|(n, (created, rules))| Given { name: format!("r{n}"), created, rules }).collect()
    })
}

fn a_request()
-> impl Strategy<Value = (Request, Vec<&'static str>, Vec<&'static str>, &'static str, &'static str)> {
    let path = select(&["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/c", "/b/b"][..]);
    let method = select(&["GET", "POST", "PUT"][..]);
    (path, method, some(&["x", "y"]), some(&["q", "r"])).prop_map(|(path, method, headers, query)| {
        let pairs: Vec<_> = query.iter().map(|name| format!("{name}=1")).collect();
        let mut request = get(&format!("{path}?{}", pairs.join("&"))).method(method);
        for name in &headers {
            request = request.header(name, "1");
        }
        (request, headers, query, path, method)
    })
}

fn route(given: &Given) -> Route {
    let values =
        |names: &[&str]| names.iter().map(|name| json!({"name": name, "value": "1"})).collect::<Value>();
    let spec_of = |of: &Match| {
        let mut spec = json!({"headers": values(&of.headers), "queryParams": values(&of.query)});
        if let Some((kind, value)) = of.path {
            spec["path"] = json!({"type": kind, "value": value});
        }
        if let Some(method) = of.method {
            spec["method"] = method.into();
        }
        spec
    };
    let rules: Vec<_> = given
        .rules
        .iter()
        .map(|matches| {
            let matches: Vec<_> = matches.iter().map(spec_of).collect();
            json!({"matches": matches, "backendRefs": [{"name": "v1", "port": 80}]})
        })
        .collect();
    let spec = json!({"parentRefs": [yaml(PAY)], "rules": rules});
    let meta = RouteMeta { created: given.created, generation: None };
    Route::http(named(&format!("shop/{}", given.name)), meta, spec).expect("a right route")
}

fn mesh(given: &[Given]) -> Mesh {
    let mut mesh = Mesh::new();
    for given in given {
        mesh.put(route(given));
    }
    mesh
}

/// The specification's order, said once more and by looking at everything.
fn expected(
    given: &[Given],
    (_, headers, query, path, method): &(Request, Vec<&str>, Vec<&str>, &str, &str),
) -> String {
    let elements =
        |path: &str| path.split('/').filter(|part| !part.is_empty()).map(String::from).collect::<Vec<_>>();
    let fits = |of: &Match| {
        of.method.is_none_or(|of| of == *method)
            && of.headers.iter().all(|name| headers.contains(name))
            && of.query.iter().all(|name| query.contains(name))
            && match of.path.unwrap_or(("PathPrefix", "/")) {
                ("Exact", exact) => exact == *path,
                ("PathPrefix", prefix) => elements(path).starts_with(&elements(prefix)),
                (_, "/a.*") => path.starts_with("/a"),
                (_, _) => ["/a", "/c", "/a/", "/a/b", "/b/b"].contains(path) || *path == "/ab",
            }
    };
    let everything = [Match { path: None, method: None, headers: vec![], query: vec![] }];
    let mut candidates = Vec::new();
    for route in given {
        for (index, matches) in route.rules.iter().enumerate() {
            let matches = if matches.is_empty() { &everything[..] } else { matches };
            for of in matches.iter().filter(|of| fits(of)) {
                let (kind, text) = of.path.unwrap_or(("PathPrefix", "/"));
                let order = ["Exact", "RegularExpression", "PathPrefix"].iter().position(|of| *of == kind);
                let length = if kind == "PathPrefix" { text.trim_end_matches('/').len() } else { text.len() };
                let age = route.created.unwrap_or(i64::MAX);
                candidates.push((
                    (
                        order,
                        Reverse(length),
                        of.method.is_none(),
                        Reverse(of.headers.len()),
                        Reverse(of.query.len()),
                    ),
                    (age, &route.name, index),
                ));
            }
        }
    }
    match candidates.iter().min() {
        Some((_, (_, name, index))) => format!("shop/v1:80 by shop/{name}/{index}"),
        None => "404".into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_match_is_the_one_that_the_specification_orders_first(given in routes(), request in a_request()) {
        prop_assert_eq!(mesh(&given).ask(&request.0), expected(&given, &request));
    }

    #[test]
    fn the_order_of_objects_never_changes_the_match(
        (one, other) in routes().prop_flat_map(|one| (Just(one.clone()), Just(one).prop_shuffle())),
        request in a_request(),
    ) {
        prop_assert_eq!(mesh(&one).ask(&request.0), mesh(&other).ask(&request.0));
    }

    #[test]
    fn routes_that_fit_no_better_never_take_a_request_away(given in routes(), request in a_request()) {
        let before = mesh(&given).ask(&request.0);
        let mut more = given;
        // The youngest catch-all of all.
        more.push(Given { name: "zz".into(), created: None, rules: vec![vec![]] });
        let after = mesh(&more).ask(&request.0);
        prop_assert_eq!(&after, if before == "404" { "shop/v1:80 by shop/zz/0" } else { &before });
    }
}

#[test]
fn a_name_is_compared_as_one_text() {
    // `a-b/x` is before `a/x`, since `-` is before `/`. Such routes meet only where both are consumers
    // of one namespace, so they are compared as they are ranked.
    let names = ["a-b/x", "a/x"];
    let ranked = names.map(|name| {
        let spec = yaml("rules: [{backendRefs: [{name: v1, port: 80}]}]");
        let route = Route::http(named(name), RouteMeta::default(), spec).expect("a route");
        let super::super::route::Matches::Http(matches) = &route.rules[0].matches else {
            panic!("an HTTPRoute");
        };
        super::super::rank::Rank::of_http(&matches[0], &route, 0)
    });
    assert!(ranked[0] < ranked[1]);
}
