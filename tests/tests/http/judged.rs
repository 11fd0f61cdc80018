//! Each request is judged at its destination, however its path is spelt and whatever else is on its connection.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, python};

use super::{PORT, Web, curl, raw};

#[test]
fn a_denied_path_is_denied_in_every_spelling_on_every_way_and_the_rest_goes_through() -> Result<()> {
    let mut web = Web::new()?;
    let (client, plain) = (&web.stage.client, &web.stage.plain);
    let (near, far) = (&web.stage.near, &web.stage.far);
    for (from, to) in [
        (client, far.v4(PORT)),
        (client, far.v6(PORT)),
        (client, near.v4(PORT)),
        (client, near.v6(PORT)),
        (plain, far.v4(PORT)),
    ] {
        let (status, answer) = curl(from, to, "/open?q=/admin/", &[])?;
        assert_eq!(status, 200, "{to} {answer}");
        assert!(answer.contains("GET /open?q=/admin/ HTTP/1.1"), "{answer}");
        // An application that decodes less than policy does must not find another path in it.
        let (status, answer) = curl(from, to, "/admin/%2e%2e/op%65n/./x?a=%2e", &[])?;
        assert!(status == 200 && answer.contains("GET /open/x?a=%2e HTTP/1.1"), "{answer}");
        for path in [
            "/admin/x",
            "/%61dmin/x",
            "//admin/x",
            "/./admin/x",
            "/a/../admin/x",
            "/admin//x",
            "/ADMIN/../admin/x?y",
            "/admin/%2fx",
        ] {
            let (status, answer) = curl(from, to, path, &[])?;
            assert_eq!(status, 403, "{to}{path} {answer}");
            assert!(answer.contains("weir-denied-by: application shop/rules rule 0 (deny)"), "{answer}");
        }
    }

    let denied = web.there.wait_flow("of a denied request", |flow| {
        flow.is(&[("http.path", "/admin/x"), ("direction", "inbound"), ("source.pod", "client")])
    })?;
    assert!(denied.is(&[
        ("verdict", "denied"),
        ("reason", "policy_denied"),
        ("policy.name", "rules"),
        ("http.method", "GET"),
        ("protocol", "http/1.1"),
        ("source.identity", "spiffe://cluster.local/ns/shop/sa/client"),
    ]));
    assert_eq!(denied.number("http.status"), Some(403));
    let open = web.here.wait_flow("of a request on one node", |flow| {
        flow.is(&[("http.path", "/open"), ("destination.pod", "near"), ("verdict", "forwarded")])
    })?;
    assert_eq!((open.text("path"), open.number("http.status")), ("tunnel", Some(200)), "no way skips it");
    Ok(())
}

#[test]
fn a_server_that_speaks_first_hides_no_request() -> Result<()> {
    const EARLY: u16 = 8081;
    let mut web = Web::new()?;
    let (client, far) = (&web.stage.client, &web.stage.far);
    let service = Manifest::service("shop", "far", &["10.96.0.9".parse()?]).port("grpc", EARLY, EARLY);
    let slices = Manifest::endpoint_slices("shop", "far", ("grpc", EARLY), &[far]);
    web.stage.topology.state().put_all(&[vec![service], slices].concat())?;
    let mut server = far.spawn(python(include_str!("early.py"), [EARLY.to_string()]))?;
    server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
    let mut asked = 0;
    // To its own address: only its node knows that there are requests.
    let mut ask = || -> Result<String> {
        let at = far.v4(EARLY);
        let words = [at.ip().to_string(), at.port().to_string(), "/early".to_owned()];
        let mut late = client.spawn(python(include_str!("late.py"), words))?;
        asked += 1;
        let mut spoke = 0;
        server.wait_line("it to speak", |line| {
            spoke += u32::from(line.starts_with("spoke"));
            (spoke >= asked).then_some(())
        })?;
        late.send_line("")?;
        late.wait_line("the answer", |line| line.strip_prefix("answer ").map(|of| of.trim().to_owned()))
    };
    let recorded =
        [("http.path", "/early"), ("direction", "inbound"), ("protocol", "http/2"), ("http.method", "GET")];
    let mut records =
        || -> Result<usize> { Ok(web.there.flows()?.iter().filter(|flow| flow.is(&recorded)).count()) };
    // The Service is a moment on its way.
    let before = weir_tests::eventually("a record of a request", || {
        assert_eq!(ask()?, "200");
        Ok(Some(records()?).filter(|count| *count > 0))
    })?;
    for _ in 0..10 {
        assert_eq!(ask()?, "200");
    }
    weir_tests::eventually("a record of each", || Ok((records()? >= before + 10).then_some(())))
}

#[test]
fn requests_of_one_connection_are_judged_one_by_one() -> Result<()> {
    let web = Web::new()?;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: far\r\n\r\n");
    let texts = [get("/a") + &get("/admin/b") + &get("/c")];
    for to in [web.stage.far.v4(PORT), web.stage.near.v4(PORT)] {
        let answers = raw(&web.stage.client, to, &texts)?;
        let statuses: Vec<&str> =
            answers[0].matches("HTTP/1.1 200").chain(answers[0].matches("HTTP/1.1 403")).collect();
        assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 403"], "{}", answers[0]);
        let order = ["GET /a ", "weir-denied-by", "GET /c "].map(|part| answers[0].find(part));
        assert!(order.is_sorted() && order[0].is_some(), "{}", answers[0]);
    }
    Ok(())
}

#[test]
fn a_policy_that_comes_later_is_obeyed_by_the_next_request_of_a_live_connection() -> Result<()> {
    let web =
        Web::with(json!({"action": "deny", "rules": [{"to": [{"ports": [PORT], "paths": ["/admin/*"]}]}]}))?;
    let (status, _) = curl(&web.stage.client, web.stage.far.v4(PORT), "/next", &[])?;
    assert_eq!(status, 200);
    let spec = json!({"action": "deny", "rules": [{"to": [{"ports": [PORT], "methods": ["DELETE"]}]}]});
    web.stage.topology.state().put(&weir_tests::Manifest::access_policy("shop", "more", spec))?;
    weir_tests::eventually("it to be obeyed", || {
        let (status, _) = curl(&web.stage.client, web.stage.far.v4(PORT), "/next", &["-X", "DELETE"])?;
        Ok((status == 403).then_some(()))
    })?;
    assert_eq!(curl(&web.stage.client, web.stage.far.v4(PORT), "/next", &[])?.0, 200);
    Ok(())
}

#[test]
fn what_an_app_asserts_of_itself_is_replaced_by_what_is_proved() -> Result<()> {
    let web = Web::new()?;
    let lies = [
        "-H",
        "x-forwarded-for: 1.1.1.1",
        "-H",
        "forwarded: for=1.1.1.1",
        "-H",
        "x-forwarded-client-cert: URI=root",
    ];
    for to in [web.stage.far.v4(PORT), web.stage.near.v4(PORT)] {
        let (_, answer) = curl(&web.stage.client, to, "/", &lies)?;
        assert!(!answer.contains("1.1.1.1") && !answer.contains("root"), "{answer}");
        assert!(
            answer.contains("x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/client"),
            "{answer}"
        );
        let own = web.stage.client.v4(0).ip();
        assert!(answer.contains(&format!("x-forwarded-for: {own}")), "{answer}");
    }
    Ok(())
}

#[test]
fn what_is_not_http_is_denied_where_only_requests_are_allowed_and_other_ports_are_as_before() -> Result<()> {
    let web = Web::with(json!({"action": "allow", "rules": [
        {"to": [{"ports": [PORT], "methods": ["GET"]}]}, {"to": [{"ports": [7]}]}
    ]}))?;
    let far = &web.stage.far;
    assert_eq!(web.stage.client.ask(far.v4(7), "no HTTP here")?.received, "no HTTP here");
    assert_eq!(web.stage.client.ask(web.stage.near.v4(7), "nor here")?.received, "nor here");
    assert_eq!(curl(&web.stage.client, far.v4(PORT), "/", &[])?.0, 200);
    assert_eq!(curl(&web.stage.client, far.v4(PORT), "/", &["-X", "PUT"])?.0, 403);
    let answers = raw(&web.stage.client, far.v4(PORT), &["\u{16}\u{3}\u{1} a TLS hello, perhaps".into()])?;
    assert!(!answers[0].contains("HTTP"), "{answers:?}");
    Ok(())
}

#[test]
fn bodies_go_through_whole_in_both_framings() -> Result<()> {
    let web = Web::new()?;
    let file = web.stage.topology.dir().join("body");
    std::fs::write(&file, vec![b'x'; 3_000_000])?;
    let data = format!("@{}", file.display());
    for to in [web.stage.far.v4(PORT), web.stage.near.v4(PORT)] {
        for more in
            [&["--data-binary", &*data][..], &["--data-binary", &data, "-H", "transfer-encoding: chunked"]]
        {
            let (status, answer) = curl(&web.stage.client, to, "/upload", more)?;
            assert_eq!(status, 200, "{answer}");
            assert!(answer.ends_with("body 3000000\n"), "{answer}");
        }
    }
    Ok(())
}

#[test]
fn requests_over_http_2_are_judged_stream_by_stream() -> Result<()> {
    let mut web = Web::new()?;
    let mut servers = Vec::new();
    // The policy is about the port that both speak on, so Python's servers make room.
    drop((web.near, web.far));
    for pod in [&web.stage.near, &web.stage.far] {
        servers.push(nginx(&web.stage.topology.dir(), pod)?);
    }
    let client = &web.stage.client;
    for to in [web.stage.far.v4(PORT), web.stage.far.v6(PORT), web.stage.near.v4(PORT)] {
        let (status, answer) = curl(client, to, "/open", &["--http2-prior-knowledge"])?;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("over HTTP/2.0 from"), "{answer}");
        assert!(answer.contains("spiffe://cluster.local/ns/shop/sa/client"), "{answer}");
        let (status, answer) = curl(client, to, "/admin/x", &["--http2-prior-knowledge"])?;
        assert_eq!(status, 403, "{answer}");
        assert!(answer.contains("weir-denied-by: application shop/rules rule 0 (deny)"), "{answer}");
    }
    web.there.wait_flow("of a denied stream", |flow| {
        flow.is(&[("protocol", "http/2"), ("verdict", "denied"), ("http.path", "/admin/x")])
    })?;
    Ok(())
}

/// Answers over HTTP/2 without TLS, with the protocol and who the mesh says it is.
fn nginx(dir: &std::path::Path, pod: &weir_tests::Pod) -> Result<weir_tests::Process> {
    let own = dir.join(pod.name());
    std::fs::create_dir(&own)?;
    let file = own.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log;
         events {{}}
         http {{
           access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;
           server {{
             listen {PORT} http2; listen [::]:{PORT} http2;
             return 200 \"over $server_protocol from $http_x_forwarded_client_cert\\n\";
           }}
         }}"
    );
    std::fs::write(&file, text)?;
    let words = ["nginx", "-p", &own.display().to_string(), "-c", &file.display().to_string()];
    let server = pod.spawn(words)?;
    weir_tests::eventually("nginx to listen", || {
        let own = pod.v4(PORT);
        Ok(pod.dial_with(own, &["--timeout", "50"])?.connected.then_some(()))
    })?;
    Ok(server)
}
