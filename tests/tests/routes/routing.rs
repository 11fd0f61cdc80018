//! Where requests go, and what becomes of them on the way.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, eventually};

use super::{Shop, address, ask, route, route_in, route_of, to};

#[test]
fn requests_are_balanced_one_by_one_over_the_endpoints_of_a_service_without_a_route() -> Result<()> {
    let mut shop = Shop::new(&[])?;
    let mut names = std::collections::BTreeSet::new();
    // One connection of the client's, requests to both endpoints.
    let url = |n: usize| format!("http://{}/{n}", address("pay"));
    let urls: Vec<String> = (0..40).map(url).collect();
    let words = ["curl", "-s", "-w", "\n"].map(str::to_owned);
    let printed = shop.stage.client.run(words.iter().chain(&urls))?.success()?;
    for name in ["near", "far"] {
        if printed.contains(&format!("\"name\": \"{name}\"")) {
            names.insert(name);
        }
    }
    assert_eq!(names.len(), 2, "{printed}");
    for pod in ["near", "far"] {
        let flow = shop.here.wait_flow("of a request", |flow| {
            flow.is(&[("direction", "outbound"), ("destination.pod", pod), ("protocol", "http/1.1")])
                && flow.text("http.path").starts_with('/')
        })?;
        assert!(flow.is(&[
            ("verdict", "forwarded"),
            ("path", "tunnel"),
            ("destination.service", "shop/pay"),
            ("destination.identity", &format!("spiffe://cluster.local/ns/shop/sa/{pod}")),
            ("tls.version", "1.3"),
        ]));
        assert_eq!(flow.number("http.status"), Some(200));
        assert_eq!(flow.text("trace_id").len(), 32);
    }
    // The same request on the server's side, with the same trace.
    let theirs = shop.there.wait_flow("at the server's node", |flow| {
        flow.is(&[("direction", "inbound"), ("destination.pod", "far"), ("http.method", "GET")])
    })?;
    let id = theirs.text("trace_id").to_owned();
    shop.here.wait_flow("of the same trace", |flow| {
        flow.is(&[("direction", "outbound"), ("trace_id", &id), ("http.path", theirs.text("http.path"))])
    })?;
    Ok(())
}

#[test]
fn a_request_for_which_the_pod_itself_is_drawn_is_answered_by_it() -> Result<()> {
    let mut shop = Shop::new(&[])?;
    let answer = ask(&shop.stage.near, address("pay-v1"), "/own", &[])?;
    assert_eq!((answer.status, answer.name()), (200, "near"), "{}", answer.text);
    let flow = shop.here.wait_flow("of the request", |flow| flow.is(&[("http.path", "/own")]))?;
    let fields = [("path", "proxy"), ("source.pod", "near"), ("destination.pod", "near")];
    assert!(flow.is(&fields), "{flow:?}");
    Ok(())
}

#[test]
fn rules_send_requests_by_path_header_method_and_query_and_the_rest_is_not_found() -> Result<()> {
    let mut shop = Shop::new(&[route(
        "by",
        json!([
            {"matches": [{"path": {"type": "Exact", "value": "/exact"}}], "backendRefs": [to("pay-v2")]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "backendRefs": [to("pay-v1")]},
            {"matches": [{"headers": [{"name": "x-beta", "value": "yes"}]}], "backendRefs": [to("pay-v2")]},
            {"matches": [{"method": "DELETE"}], "backendRefs": [to("pay-v1")]},
            {"matches": [{"queryParams": [{"name": "v", "value": "2"}]}], "backendRefs": [to("pay-v2")]},
        ]),
    )])?;
    for (path, words, status, name) in [
        ("/exact", &[][..], 200, "far"),
        ("/exact/more", &[], 404, ""),
        ("/v1/a", &[], 200, "near"),
        ("/%761/a", &[], 200, "near"),
        ("/v11", &[], 404, ""),
        ("/a", &["-H", "X-Beta: yes"], 200, "far"),
        ("/a", &["-X", "DELETE"], 200, "near"),
        ("/a?x=1&v=2", &[], 200, "far"),
        ("/", &[], 404, ""),
    ] {
        let answer = shop.ask(path, words)?;
        assert_eq!((answer.status, answer.name()), (status, name), "{path} {words:?} {}", answer.text);
    }
    let flow = shop
        .here
        .wait_flow("with its route", |flow| flow.is(&[("http.path", "/v1/a"), ("direction", "outbound")]))?;
    assert!(flow.is(&[("http.route", "shop/by/1"), ("destination.service", "shop/pay-v1")]));
    let lost = shop.here.wait_flow("of what no rule matches", |flow| flow.is(&[("http.path", "/v11")]))?;
    assert!(lost.is(&[("reason", "no_route"), ("verdict", "failed")]));
    Ok(())
}

#[test]
fn a_share_goes_where_its_weight_says_and_what_leads_nowhere_fails_its_own_share() -> Result<()> {
    let weighted = |name: &str, backend: serde_json::Value, weight: u32| {
        let mut backend = backend;
        backend["weight"] = weight.into();
        let path = json!([{"path": {"type": "PathPrefix", "value": format!("/{name}")}}]);
        let mut other = to("pay-v1");
        other["weight"] = (100 - weight).into();
        json!({"matches": path, "backendRefs": [other, backend]})
    };
    let shop = Shop::new(&[route(
        "shares",
        json!([
            weighted("canary", to("pay-v2"), 10),
            weighted("none", to("pay-v2"), 0),
            weighted("nowhere", to("no-such"), 50),
        ]),
    )])?;
    let count = |path: &str, of: usize| -> Result<(usize, usize)> {
        let urls: Vec<String> = (0..of).map(|n| format!("http://{}{path}/{n}", address("pay"))).collect();
        let words = ["curl", "-s", "-w", "\n%{http_code}\n"].map(str::to_owned);
        let printed = shop.stage.client.run(words.iter().chain(&urls))?.success()?;
        let far = printed.matches("\"name\": \"far\"").count();
        Ok((far, printed.lines().filter(|line| *line == "500").count()))
    };
    let (canary, failed) = count("/canary", 400)?;
    // Ten standard deviations on either side of forty.
    assert!((1..100).contains(&canary) && failed == 0, "{canary} {failed}");
    assert_eq!(count("/none", 50)?, (0, 0));
    let (far, failed) = count("/nowhere", 100)?;
    assert!(far == 0 && (1..100).contains(&failed), "{far} {failed}");
    Ok(())
}

#[test]
fn filters_change_requests_and_answers_as_they_say() -> Result<()> {
    let at = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
    let shop = Shop::new(&[route(
        "filters",
        json!([
            {
                "matches": at("/headers"),
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                        "set": [{"name": "x-set", "value": "s"}], "add": [{"name": "x-add", "value": "b"}],
                        "remove": ["x-gone"],
                    }},
                    {"type": "ResponseHeaderModifier", "responseHeaderModifier": {
                        "set": [{"name": "x-from", "value": "someone"}], "add": [{"name": "x-new", "value": "n"}],
                    }},
                ],
                "backendRefs": [{
                    "name": "pay-v1", "port": 80,
                    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
                        "add": [{"name": "x-add", "value": "c"}],
                    }}],
                }],
            },
            {
                "matches": at("/old"),
                "filters": [{"type": "URLRewrite", "urlRewrite": {
                    "hostname": "new.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
                }}],
                "backendRefs": [to("pay-v1")],
            },
            {
                "matches": at("/away"),
                "filters": [{"type": "RequestRedirect", "requestRedirect": {
                    "scheme": "https", "hostname": "away.example", "statusCode": 307,
                    "path": {"type": "ReplaceFullPath", "replaceFullPath": "/there"},
                }}],
            },
            {
                "matches": at("/cors"),
                "filters": [{"type": "CORS", "cors": {
                    "allowOrigins": ["https://shop.example"], "allowMethods": ["PUT"], "allowCredentials": true,
                }}],
                "backendRefs": [to("pay-v1")],
            },
        ]),
    )])?;
    let answer = shop.ask("/headers", &["-H", "x-set: a", "-H", "x-add: a", "-H", "x-gone: a"])?;
    let headers = &answer.said["headers"];
    assert_eq!((&headers["x-set"], &headers["x-add"]), (&json!("s"), &json!("a,b,c")), "{}", answer.text);
    assert!(headers.get("x-gone").is_none());
    assert!(
        answer.text.contains("x-from: someone\r\n") && answer.text.contains("x-new: n\r\n"),
        "{}",
        answer.text
    );

    let answer = shop.ask("/old/a?b=c", &[])?;
    assert_eq!(answer.said["line"], "GET /new/a?b=c HTTP/1.1");
    assert_eq!(answer.said["headers"]["host"], "new.example");

    let answer = shop.ask("/away/x?q=1", &[])?;
    assert_eq!(answer.status, 307);
    assert!(answer.text.contains("location: https://away.example/there?q=1\r\n"), "{}", answer.text);

    let origin = ["-H", "origin: https://shop.example"];
    let asking = ["-X", "OPTIONS", "-H", "access-control-request-method: PUT"];
    let answer = shop.ask("/cors", &[&origin[..], &asking].concat())?;
    assert_eq!((answer.status, answer.name()), (204, ""), "{}", answer.text);
    assert!(answer.text.contains("access-control-allow-methods: PUT\r\n"), "{}", answer.text);
    let answer = shop.ask("/cors", &origin)?;
    assert_eq!(answer.name(), "near");
    assert!(answer.text.contains("access-control-allow-origin: https://shop.example\r\n"), "{}", answer.text);
    assert!(!shop.ask("/cors", &["-H", "origin: https://evil.example"])?.text.contains("access-control"));
    Ok(())
}

#[test]
fn a_mirror_gets_a_copy_with_its_body_and_the_client_gets_one_answer() -> Result<()> {
    let mirror = json!([{
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": to("pay-v2")}}],
        "backendRefs": [to("pay-v1")],
    }]);
    let mut shop = Shop::new(&[route("mirrored", mirror)])?;
    let answer = shop.ask("/m", &["-d", "hello", "-H", "x-copy: me"])?;
    assert_eq!((answer.status, answer.name(), &answer.said["body"]), (200, "near", &json!(5)));
    shop.far.wait_line("the copy", |line| line.starts_with("heard POST /m HTTP/1.1 me 5").then_some(()))?;
    Ok(())
}

#[test]
fn a_route_or_its_change_is_obeyed_by_the_next_request_of_a_live_connection() -> Result<()> {
    // The port does not say what it speaks, so a route turns layer 7 on and its absence turns it off.
    let shop = Shop::named("web", &[route("all", json!([{"backendRefs": [to("pay-v1")]}]))])?;
    assert_eq!(shop.ask("/", &[])?.name(), "near");
    shop.put(&route("all", json!([{"backendRefs": [to("pay-v2")]}])))?;
    eventually("the change to be obeyed", || Ok((shop.ask("/", &[])?.name() == "far").then_some(())))?;
    shop.put(&route(
        "all",
        json!([{"matches": [{"path": {"value": "/a"}}], "backendRefs": [to("pay-v1")]}]),
    ))?;
    eventually("the match to be obeyed", || Ok((shop.ask("/", &[])?.status == 404).then_some(())))?;
    assert_eq!(shop.ask("/a", &[])?.name(), "near");
    Ok(())
}

#[test]
fn a_connection_that_was_bytes_ends_between_two_requests_when_a_route_comes() -> Result<()> {
    let mut shop = Shop::named("web", &[])?;
    let program = include_str!("keeps.py");
    let words = [address("pay-v2").ip().to_string(), address("pay-v2").port().to_string()];
    let mut client = shop.stage.client.spawn(weir_tests::python(program, words))?;
    client.wait_line("an answer", |line| line.starts_with("answered").then_some(()))?;
    let parent = json!([{"group": "", "kind": "Service", "name": "pay-v2", "namespace": "shop"}]);
    let rules = json!([{"backendRefs": [to("pay-v1")]}]);
    shop.put(&route("late", rules).set("/spec/parentRefs", parent))?;
    client.wait_line("the end of the connection, and no reset", |line| {
        line.starts_with("ended").then_some(())
    })?;
    let flow = shop.here.wait_flow("of the connection", |flow| flow.is(&[("reason", "requests_asked")]))?;
    assert!(flow.is(&[("verdict", "forwarded"), ("protocol", "tcp"), ("direction", "outbound")]));
    assert_eq!(ask(&shop.stage.client, address("pay-v2"), "/", &[])?.name(), "near", "routed now");
    Ok(())
}

#[test]
fn a_consumer_route_is_for_the_clients_of_its_own_namespace() -> Result<()> {
    let shop = Shop::new(&[
        Manifest::meshed("cafe"),
        route_in("cafe", "theirs", json!([{"backendRefs": [to("pay-v2")]}])),
        route("ours", json!([{"backendRefs": [to("pay-v1")]}])),
    ])?;
    let guest = shop.stage.node("a").pod("cafe/guest")?;
    shop.put(&guest.manifest())?;
    eventually("the guest to be in the mesh", || {
        let answer = ask(&guest, address("pay"), "/", &[])?;
        Ok((answer.name() == "far").then_some(()))
    })?;
    assert_eq!(shop.ask("/", &[])?.name(), "near");
    Ok(())
}

#[test]
fn a_server_of_http_1_0_that_listens_on_one_family_answers_as_any_other() -> Result<()> {
    let shop = Shop::new(&[])?;
    let words = ["python3", "-u", "-m", "http.server", "8081", "--bind", "0.0.0.0", "--directory", "/etc"];
    let mut server = shop.stage.far.spawn(words)?;
    server.wait_line("it to listen", |line| line.starts_with("Serving").then_some(()))?;
    let state = shop.stage.topology.state();
    state.put(&Manifest::service("shop", "old", &["10.96.0.40".parse()?]).port("http", 80, 8081))?;
    // With endpoints of both families, one of which does not answer.
    state.put_all(&Manifest::endpoint_slices("shop", "old", ("http", 8081), &[&shop.stage.far]))?;
    let to = "10.96.0.40:80".parse()?;
    let status = || ask(&shop.stage.client, to, "/hostname", &["-m", "2"]).map(|answer| answer.status);
    eventually("the Service to be known", || Ok((status()? == 200).then_some(())))?;
    for _ in 0..10 {
        assert_eq!(status()?, 200);
    }
    Ok(())
}

#[test]
fn a_service_with_no_endpoint_in_the_mesh_is_routed_too() -> Result<()> {
    let shop = Shop::new(&[])?;
    // `front` has nobody behind it, `outside` somebody whom the mesh does not know; neither says what it speaks.
    let fronts = [("front", "10.96.0.30", &[][..]), ("outside", "10.96.0.31", &[&shop.stage.plain])];
    for (name, address, pods) in fronts {
        let service = Manifest::service("shop", name, &[address.parse()?]);
        shop.put(&service.port("web", super::PORT, super::TARGET))?;
        for slice in Manifest::endpoint_slices("shop", name, ("web", super::TARGET), pods) {
            shop.put(&slice)?;
        }
        shop.put(&route_of(name, "shop", name, json!([{"backendRefs": [to("pay-v2")]}])))?;
        let to = std::net::SocketAddr::new(address.parse()?, super::PORT);
        eventually(name, || Ok((ask(&shop.stage.client, to, "/", &[])?.name() == "far").then_some(())))?;
    }
    Ok(())
}
