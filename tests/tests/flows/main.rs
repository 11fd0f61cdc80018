//! What is seen: flow records and how they are asked for, metrics that agree with them, status and check.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use weir_tests::{Agent, Flow, Listener, Manifest, Pod, Serve, Topology, eventually};

/// `shop/cart` on node-a talks to `shop/near` beside it, to `shop/pay` on node-b by the Service `payments`,
/// and to `outside/legacy`, which is in no mesh. Everybody echoes on port 8080.
///
/// The fields are in the order in which they have to go.
struct Shop {
    a: Agent,
    b: Agent,
    _echoes: Vec<Listener>,
    cart: Pod,
    near: Pod,
    pay: Pod,
    legacy: Pod,
    topology: Topology,
}

const PORT: u16 = 8080;
const SERVICE: &str = "10.96.0.9:80";

impl Shop {
    fn new() -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let (cart, near, pay) = (a.pod("shop/cart")?, a.pod("shop/near")?, b.pod("shop/pay")?);
        let legacy = b.pod("outside/legacy")?;
        let state = topology.state();
        state.put_all(&[Manifest::meshed("shop"), Manifest::namespace("outside"), legacy.manifest()])?;
        state.put_all(&[cart.manifest(), near.manifest(), pay.manifest().label("version", "v2")])?;
        state.put(&Manifest::service("shop", "payments", &["10.96.0.9".parse()?]).port("tcp", 80, PORT))?;
        state.put_all(&Manifest::endpoint_slices("shop", "payments", ("tcp", PORT), &[&pay]))?;
        let echoes = [&near, &pay, &legacy].map(|pod| pod.serve(Serve::Echo, PORT));
        let _echoes = echoes.into_iter().collect::<Result<_>>()?;
        let [a, b] = topology.agents()?.try_into().unwrap_or_else(|_| panic!("there are two nodes"));
        Ok(Self { a, b, _echoes, cart, near, pay, legacy, topology })
    }

    /// One connection of each path, five bytes each way; waits until all are recorded: three at the
    /// source, and at the destination the direct and the tunnelled one.
    fn talk(&mut self) -> Result<()> {
        for to in [self.near.v4(PORT), SERVICE.parse()?, self.legacy.v4(PORT)] {
            let answer = self.cart.ask(to, "hello")?;
            assert_eq!(answer.received, "hello", "{to}: {answer:?}");
        }
        for path in ["direct", "tunnel", "passthrough"] {
            self.outbound(path)?;
        }
        self.a.wait_flow("the direct one's end", |flow| flow.is(&[("direction", "inbound")]))?;
        self.b.wait_flow("the tunnel's end", |flow| flow.is(&[("direction", "inbound")]))?;
        Ok(())
    }

    fn outbound(&mut self, path: &str) -> Result<Flow> {
        self.a.wait_flow(path, |flow| flow.is(&[("direction", "outbound"), ("path", path)]))
    }
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    Ok(text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn every_path_is_recorded_with_its_ends_bytes_and_times() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    let ends = [
        ("direct", "near", shop.near.v4(PORT).to_string()),
        ("tunnel", "pay", shop.pay.v4(PORT).to_string()),
        ("passthrough", "legacy", shop.legacy.v4(PORT).to_string()),
    ];
    for (path, pod, address) in &ends {
        let flow = shop.outbound(path)?;
        let wanted = [
            ("node", "node-a"),
            ("source.namespace", "shop"),
            ("source.pod", "cart"),
            ("source.workload", "cart"),
            ("source.service_account", "cart"),
            ("source.identity", "spiffe://cluster.local/ns/shop/sa/cart"),
            ("destination.pod", *pod),
            ("destination.address", address),
            ("protocol", "tcp"),
            ("verdict", "forwarded"),
            ("reason", ""),
        ];
        assert!(flow.is(&wanted), "{path}: {flow:?}");
        assert_eq!((flow.number("bytes_sent"), flow.number("bytes_received")), (Some(5), Some(5)), "{path}");
        let source = flow.text("source.address");
        assert!(source.starts_with(&format!("{}:", shop.cart.v4(0).ip())), "{path}: {source}");
        let (connect, whole) = (flow.number("connect_us"), flow.number("duration_us"));
        assert!(connect.is_some_and(|us| us > 0) && connect <= whole, "{path}: {flow:?}");
        if *path != "tunnel" {
            assert!(flow.number("rtt_us").is_some_and(|us| us > 0), "{path}: {flow:?}");
            assert_eq!(flow.number("retransmits"), Some(0), "{path}: {flow:?}");
        }
        let known = if *path == "passthrough" { "" } else { pod };
        assert_eq!(flow.text("destination.service_account"), known, "{path}: an address proves nothing");
        let service = if *path == "tunnel" { "shop/payments" } else { "" };
        assert_eq!(flow.text("destination.service"), service, "{path}");
        assert_eq!(flow.text("tls.group"), if *path == "tunnel" { "X25519MLKEM768" } else { "" }, "{path}");
    }
    Ok(())
}

#[test]
fn a_record_has_the_fields_of_the_contract_and_no_others() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    let printed = shop.a.weir(["flows", "-o", "json"])?.success()?;
    let flows = json_lines(&printed)?;
    assert_eq!(flows.len(), 4, "{printed}");
    let all = "time node direction source destination protocol path verdict reason detail policy audit tls \
               bytes_sent bytes_received connect_us duration_us rtt_us retransmits trace_id";
    let all: BTreeSet<&str> = all.split_whitespace().collect();
    let always = ["time", "node", "direction", "source", "destination", "protocol", "path", "verdict"];
    let peer = "namespace pod workload service service_account identity address";
    let peer: BTreeSet<&str> = peer.split_whitespace().collect();
    for flow in &flows {
        assert!(keys(flow).is_subset(&all), "{flow}");
        assert!(always.iter().all(|key| keys(flow).contains(key)), "{flow}");
        assert!(
            keys(&flow["source"]).is_subset(&peer) && keys(&flow["destination"]).is_subset(&peer),
            "{flow}"
        );
        let time = flow["time"].as_str().unwrap_or_default();
        // 2026-01-02T03:04:05.678901Z
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000000Z");
        assert!(!printed.contains("null"), "absent fields are left out");
    }
    let times: Vec<&str> = flows.iter().filter_map(|flow| flow["time"].as_str()).collect();
    assert_eq!(times.len(), 4);
    // The API gives the same by itself.
    let socket = shop.a.node().socket().display().to_string();
    let url = "http://weir/v1/flows?direction=outbound";
    let plain = shop.topology.node("a").run(["curl", "-sS", "--unix-socket", &socket, url])?.success()?;
    assert_eq!(json_lines(&plain)?.len(), 3, "{plain}");
    Ok(())
}

#[test]
fn flows_are_chosen_by_every_filter_and_a_bad_one_is_a_bad_use() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    let refused = shop.cart.dial(shop.near.v4(9))?;
    assert!(!refused.connected);
    shop.a.wait_flow("the refusal", |flow| flow.is(&[("verdict", "failed")]))?;
    let count = |words: &[&str]| -> Result<usize> {
        let printed = shop.a.weir([&["flows", "-o", "json"], words].concat())?.success()?;
        Ok(json_lines(&printed)?.len())
    };
    for (words, wanted) in [
        (&["--direction", "inbound"][..], 1),
        (&["--direction", "outbound"], 4),
        (&["--verdict", "failed"], 1),
        (&["--reason", "upstream_refused"], 1),
        (&["--reason", "policy_denied"], 0),
        (&["--pod", "shop/pay"], 1),
        (&["--pod", "shop/cart"], 5),
        (&["--namespace", "outside"], 1),
        (&["--service", "shop/payments"], 1),
        (&["--service", "shop/payments", "--direction", "inbound"], 0),
        (&["--last", "2"], 2),
        (&["--last", "1", "--pod", "shop/pay"], 1),
        (&["--since", "5m"], 5),
        (&["--since", "2100-01-01T00:00:00Z"], 0),
    ] {
        assert_eq!(count(words)?, wanted, "{words:?}");
    }
    for words in [["--verdict", "refused"], ["--since", "yesterday"], ["--pod", "pay"], ["--direction", "up"]]
    {
        let said = shop.a.weir([&["flows"], &words[..]].concat())?;
        assert_eq!(said.status.code(), Some(2), "{words:?}: {said:?}");
        assert!(said.stderr.contains(words[1]), "{words:?}: {}", said.stderr);
    }
    Ok(())
}

#[test]
fn followers_see_what_comes_next_as_it_comes() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    // In the node only to have it end with the topology.
    let weir = format!("/proc/{}/exe", shop.a.id());
    let socket = shop.a.node().socket().display().to_string();
    let node = shop.topology.node("a");
    let mut follower =
        node.spawn([&*weir, "flows", "--follow", "-o", "json", "--pod", "shop/pay", "--socket", &socket])?;
    let ask = |text: &str| shop.cart.ask(shop.pay.v4(PORT), text).map(|answer| answer.received);
    // The first may come before the follower does.
    let mut said = String::new();
    eventually("a line", || {
        said.push('.');
        assert_eq!(ask(&said)?, said);
        Ok((!follower.stdout().is_empty()).then_some(()))
    })?;
    assert_eq!(ask("the last of all")?.len(), 15);
    follower.wait_line("the last one", |line| line.contains("\"bytes_sent\":15").then_some(()))?;
    let service = follower.stdout().contains("payments");
    assert!(!service, "what was before the follower came is not shown");
    Ok(())
}

#[test]
fn the_table_fits_120_columns_and_says_who_whom_how_and_what_became_of_it() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    let table = shop.a.weir(["flows"])?.success()?;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 4, "{table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{table}");
    assert!(!table.contains('\u{1b}'), "colours in a pipe");
    let line = |word: &str| lines.iter().find(|line| line.contains(word)).copied().unwrap_or_default();
    for (path, rest) in [
        ("tunnel mTLS", ["shop/cart", "shop/pay:8080", "forwarded", "5B/5B"]),
        ("passthrough", ["shop/cart", "outside/legacy:8080", "forwarded", "5B/5B"]),
        ("direct", ["shop/cart", "shop/near:8080", "forwarded", "5B/5B"]),
    ] {
        assert!(rest.iter().all(|word| line(path).contains(word)), "{path}:\n{table}");
    }
    Ok(())
}

#[test]
fn istio_s_metrics_agree_with_the_flows() -> Result<()> {
    let mut shop = Shop::new()?;
    shop.talk()?;
    shop.talk()?;
    let of = [
        ("source_workload", "cart"),
        ("source_workload_namespace", "shop"),
        ("source_principal", "spiffe://cluster.local/ns/shop/sa/cart"),
        ("destination_workload", "pay"),
        ("destination_principal", "spiffe://cluster.local/ns/shop/sa/pay"),
        ("destination_canonical_service", "pay"),
        ("destination_canonical_revision", "v2"),
        ("request_protocol", "tcp"),
        ("connection_security_policy", "mutual_tls"),
        ("response_flags", "-"),
    ];
    let source = [&of[..], &[("reporter", "source"), ("destination_service_name", "payments")]].concat();
    let destination = [&of[..], &[("reporter", "destination")]].concat();
    for (agent, labels) in [(&shop.a, source), (&shop.b, destination)] {
        for (metric, wanted) in [
            ("istio_tcp_connections_opened_total", 2.0),
            ("istio_tcp_connections_closed_total", 2.0),
            ("istio_tcp_sent_bytes_total", 10.0),
            ("istio_tcp_received_bytes_total", 10.0),
        ] {
            assert_eq!(agent.wait_metric(metric, &labels, wanted)?, wanted, "{metric} {labels:?}");
        }
        assert_eq!(agent.metric("istio_tcp_connections_failed_total", &labels)?, None);
    }
    // All that was recorded is counted, by the same words.
    let flows = shop.a.flows()?;
    for path in ["direct", "tunnel", "passthrough"] {
        for direction in ["outbound", "inbound"] {
            let labels = [("direction", direction), ("path", path), ("verdict", "forwarded"), ("reason", "")];
            let recorded = flows.iter().filter(|flow| flow.is(&labels)).count();
            let counted = shop.a.metric("weir_flows_total", &labels)?.unwrap_or(0.0);
            assert_eq!(counted as usize, recorded, "{labels:?}");
        }
    }
    shop.cart.dial(shop.pay.v4(9))?;
    let failed = [("destination_workload", "pay"), ("response_flags", "CONNECT"), ("reporter", "source")];
    shop.a.wait_metric("istio_tcp_connections_failed_total", &failed, 1.0)?;
    Ok(())
}

#[test]
fn status_shows_every_workload_of_the_node_and_check_says_what_is_missing() -> Result<()> {
    let shop = Shop::new()?;
    let status = shop.a.wait_status("certificates", |status| {
        status["workloads"]
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["certificate_expiry"].is_string()))
    })?;
    assert_eq!((&status["node"], &status["ready"]), (&"node-a".into(), &true.into()));
    for one in status["workloads"].as_array().into_iter().flatten() {
        let pod = one["pod"].as_str().unwrap_or_default();
        assert_eq!((&one["enrolled"], &one["captured"]), (&true.into(), &true.into()), "{one}");
        assert_eq!(one["identity"], format!("spiffe://cluster.local/ns/shop/sa/{pod}"));
    }
    assert!(
        status["programs"]
            .as_array()
            .is_some_and(|all| { all.len() >= 7 && all.iter().all(|program| program["attached"] == true) })
    );
    let table = shop.a.weir(["status"])?.success()?;
    assert!(
        table.contains("node node-a: ready") && table.contains("cart") && table.contains("near"),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");

    let cgroup = shop.a.node().cgroup().display().to_string();
    let items = shop.a.weir(["check", "--cgroup", &cgroup, "-o", "json"])?;
    let items: Value = serde_json::from_str(&items.stdout)?;
    let items = items["items"].as_array().or(items.as_array()).cloned().unwrap_or_default();
    assert!(items.len() > 5, "{items:?}");
    for item in &items {
        let bad = item["outcome"] == "fail" || item["outcome"] == "warn";
        assert!(!bad || item["remedy"].is_string(), "{item} has no remedy");
    }
    let missing = shop.a.weir(["check", "--cgroup", "/nowhere"])?;
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stdout.contains("/nowhere"), "{}", missing.stdout);
    Ok(())
}
