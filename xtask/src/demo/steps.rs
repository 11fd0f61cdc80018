//! What the demo shows, a step after the other; each checks what it shows.
//!
//! Entry point: [`all`].

use std::fs;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use weir_tests::{Flow, Manifest, eventually};

use super::{
    requests,
    stage::{PAY, PORT, Stage, TICKER, key, url},
    wire::Wire,
};

/// What the client sends that nobody else should read.
const CARD: &str = "4111-1111-1111-1111";

/// node-a and node-b.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

/// Plays all steps.
pub(super) fn all(stage: &mut Stage<'_>) -> Result<()> {
    nodes_and_pods(stage)?;
    outside_the_mesh(stage)?;
    mutual_tls(stage)?;
    same_node(stage)?;
    denial(stage)?;
    audit(stage)?;
    strict(stage)?;
    live_connection(stage)?;
    requests::canary(stage)?;
    requests::retry(stage)?;
    requests::by_path(stage)?;
    requests::by_user(stage)?;
    flows(stage)
}

fn nodes_and_pods(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("Two nodes; the pods were there first, then came an agent on each node");
    for index in [A, B] {
        ensure!(stage.weir(index, "status")?.success(), "weir status did not succeed");
        let status = stage.agent(index).status()?;
        let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
        let enrolled = workloads.iter().filter(|workload| workload["namespace"] == "shop");
        ensure!(enrolled.clone().count() > 1, "a node has no pods");
        ensure!(enrolled.into_iter().all(|workload| workload["captured"] == true), "a pod is not captured");
    }
    stage.screen.proved("Every pod of namespace shop is in the mesh: no sidecar, no restart, no iptables.");
    Ok(())
}

fn outside_the_mesh(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("Without a mesh: what a client sends can be read on the way");
    let old = stage.pods.old.clone();
    let seen = pay_for_it(stage, &old, &url(stage.pods.pay.v4(PORT), "7.txt"))?;
    ensure!(seen.readable && !seen.is_tls, "plaintext was not to be read: {}", seen.words);
    stage
        .screen
        .proved(&format!("{} is in no mesh: its card number crossed the wire in the clear.", key(&old)));
    Ok(())
}

fn mutual_tls(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .screen
        .step("In the mesh: the same connect(), to a Service, carried over mutual TLS to the other node");
    let web = stage.pods.web.clone();
    let seen = pay_for_it(stage, &web, &url((PAY, 80).into(), "7.txt"))?;
    ensure!(seen.is_tls && !seen.readable, "it was to be read on the wire: {}", seen.words);
    stage.screen.proved("The same request on the same wire, and only TLS to be seen.");

    let sent =
        [("direction", "outbound"), ("source.pod", "web"), ("path", "tunnel"), ("verdict", "forwarded")];
    let sent = stage.wait_flow(A, "the connection of shop/web", &sent)?;
    stage.weir(A, "flows --pod shop/web --last 1")?;
    show_fields(stage, A, &sent, "tls.peer");
    let taken = [("direction", "inbound"), ("destination.pod", "pay-0"), ("path", "tunnel")];
    let taken = stage.wait_flow(B, "the same connection at its other end", &taken)?;
    show_fields(stage, B, &taken, "tls.peer");

    let identity = |name: &str| format!("spiffe://cluster.local/ns/shop/sa/{name}");
    ensure!(sent.text("tls.peer") == identity("pay"), "the client did not verify who the server is");
    ensure!(taken.text("tls.peer") == identity("web"), "the server did not verify who the client is");
    ensure!(sent.text("tls.version") == "1.3" && taken.text("tls.version") == "1.3", "not TLS 1.3");
    ensure!(sent.text("destination.service") == "shop/pay", "the Service is not in the flow");
    let group = sent.text("tls.group");
    let post_quantum = if group == "X25519MLKEM768" { " (post-quantum)" } else { "" };
    stage
        .screen
        .proved(&format!("Each side knows who the other is; keys were agreed on by {group}{post_quantum}."));
    Ok(())
}

/// Sends the card number to `url`, and looks at the wire meanwhile.
fn pay_for_it(stage: &Stage<'_>, client: &weir_tests::Pod, url: &str) -> Result<super::wire::Seen> {
    let wire = Wire::watch(stage, CARD)?;
    let answer = stage.run(client, &format!("curl -sS -m 5 -H 'card: {CARD}' {url}"))?.success()?;
    ensure!(answer.contains("receipt 7"), "{url} did not answer with the receipt");
    wire.seen(stage)
}

fn show_fields(stage: &Stage<'_>, node: usize, flow: &Flow, peer: &str) {
    let command = format!(
        "weir flows --last 1 --direction {} -o json    # these of its fields",
        flow.text("direction")
    );
    stage.screen.command(stage.node(node).name(), &command);
    let names = ["source.identity", "destination.identity", "tls.version", "tls.group", peer];
    stage.screen.fields(&names.map(|name| (name, flow.text(name))));
}

fn same_node(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("On the same node: pod to pod, at the speed of no mesh");
    let (web, cart) = (stage.pods.web.clone(), stage.pods.cart.clone());
    let answer = stage.run(&web, &format!("curl -sS -m 5 {}", url(cart.v4(PORT), "7.txt")))?.success()?;
    ensure!(answer.contains("river barge"), "the cart did not answer");
    let fields =
        [("destination.pod", "cart"), ("source.pod", "web"), ("path", "direct"), ("verdict", "forwarded")];
    for direction in ["outbound", "inbound"] {
        let fields = [&[("direction", direction)], &fields[..]].concat();
        stage.wait_flow(A, "the direct connection", &fields)?;
    }
    stage.weir(A, "flows --pod shop/cart --last 2")?;
    let log = fs::read_to_string(stage.server_log(&cart))?;
    ensure!(
        log.lines().any(|line| line.starts_with(&web.addresses()[0].to_string())),
        "another client: {log}"
    );
    stage
        .screen
        .proved("No proxy between them: the server saw the client's own address. Both ends are on record.");
    Ok(())
}

fn denial(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A denial that names its policy, on the client's node");
    let batch = stage.pods.batch.clone();
    let request = format!("curl -fsS -m 5 {}", url((PAY, 80).into(), "7.txt"));
    ensure!(stage.run(&batch, &request)?.success()?.contains("receipt"), "shop/batch was denied too early");
    let deny = json!({
        "tier": "security", "action": "deny", "selector": {"matchLabels": {"app": "pay"}},
        "rules": [{"from": [{"serviceAccounts": ["batch"]}]}],
    });
    let policy = Manifest::access_policy("shop", "no-batch", deny);
    stage.apply(&policy, "--from shop/batch --to shop/pay:80", ("no-batch", false))?;
    ensure!(stage.run(&batch, &request)?.success().is_err(), "shop/batch was not denied");
    let denied = [
        ("source.pod", "batch"),
        ("direction", "outbound"),
        ("verdict", "denied"),
        ("reason", "policy_denied"),
        ("policy.name", "no-batch"),
    ];
    stage.wait_flow(A, "the denial, on the client's node", &denied)?;
    stage.weir(A, "flows --pod shop/batch --last 1")?;
    let explained = stage.weir(B, "policy explain --from shop/batch --to shop/pay:80")?;
    ensure!(explained.code() == Some(1), "weir policy explain did not say no");
    stage.screen.proved("Refused by the server's node; the client's node knows by which rule.");
    Ok(())
}

fn audit(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("Audit: what would a policy deny, before it does?");
    let (web, cart) = (stage.pods.web.clone(), stage.pods.cart.clone());
    let deny = json!({
        "mode": "audit", "action": "deny", "selector": {"matchLabels": {"app": "cart"}},
        "rules": [{"from": [{"serviceAccounts": ["web"]}]}],
    });
    let policy = Manifest::access_policy("shop", "no-web", deny);
    stage.apply(&policy, "--from shop/web --to shop/cart:8080", ("no-web", true))?;
    let answer = stage.run(&web, &format!("curl -sS -m 5 {}", url(cart.v4(PORT), "7.txt")))?.success()?;
    ensure!(answer.contains("river barge"), "an audit policy denied");
    let audited = [
        ("destination.pod", "cart"),
        ("source.pod", "web"),
        ("verdict", "audited"),
        ("audit.name", "no-web"),
    ];
    stage.wait_flow(A, "the audit hit", &audited)?;
    stage.weir(A, "flows --verdict audited --last 1")?;
    let counted = || Ok(stage_audit(stage)?.then_some(()));
    eventually("the audit count", counted)?;
    stage.weir(A, "policy audit")?;
    stage.screen.proved("The connection went through; who would be cut off is counted by policy and source.");
    Ok(())
}

/// Whether the client's node counts a would-be denial.
fn stage_audit(stage: &Stage<'_>) -> Result<bool> {
    Ok(stage.ask(A, &["policy", "audit", "-o", "json"])?.contains("no-web"))
}

fn strict(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("Plaintext is refused by a workload that is strict");
    let (web, old) = (stage.pods.web.clone(), stage.pods.old.clone());
    let request = format!("curl -sS -m 5 {}", url(stage.pods.ledger.v4(PORT), "7.txt"));
    ensure!(stage.run(&web, &request)?.success()?.contains("balanced"), "the ledger refused mutual TLS");
    ensure!(stage.run(&old, &request)?.success().is_err(), "a strict workload took plaintext");
    let refused = [("destination.pod", "ledger"), ("verdict", "denied"), ("reason", "plaintext_refused")];
    stage.wait_flow(B, "the refusal", &refused)?;
    stage.weir(B, "flows --pod shop/ledger --last 2")?;
    stage.screen.proved("shop/ledger has the annotation weir.dev/mtls: strict. No identity, no answer.");
    Ok(())
}

fn live_connection(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A policy changes: a connection that it no longer allows is closed, in its middle");
    let web = stage.pods.web.clone();
    let url = url(stage.pods.pay.v4(TICKER), "");
    stage.screen.command(&key(&web), &format!("curl -sSN {url} &"));
    let mut curl = web.spawn(["curl", "-sSN", &url])?;
    curl.wait_line("the third tick", |line| {
        stage.screen.output(line);
        line.starts_with("tick 3").then_some(())
    })?;
    let deny = json!({
        "action": "deny", "selector": {"matchLabels": {"app": "pay"}}, "rules": [{"to": [{"ports": [TICKER]}]}],
    });
    let policy = Manifest::access_policy("shop", "no-ticks", deny);
    stage.apply(&policy, "--from shop/web --to shop/pay-0:9000", ("no-ticks", false))?;
    let ended = curl.finish()?;
    stage.screen.command(&key(&web), "wait");
    stage.screen.output(ended.stdout.lines().last().unwrap_or_default());
    stage.screen.output(&ended.stderr);
    if ended.status.success() {
        bail!("the connection ended as if all were well");
    }
    let closed = [("verdict", "denied"), ("reason", "no_longer_allowed"), ("policy.name", "no-ticks")];
    stage.wait_flow(B, "the end of the live connection", &closed)?;
    stage.weir(B, "flows --reason no_longer_allowed --last 1")?;
    stage.screen.proved("Judged again when the policy came; its flow says why it ended.");
    Ok(())
}

fn flows(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("What was said last, on one screen for each node");
    for index in [A, B] {
        ensure!(stage.weir(index, "flows --last 12")?.success(), "weir flows did not succeed");
        ensure!(stage.agent(index).flows()?.len() >= 5, "flows are missing");
    }
    Ok(())
}
