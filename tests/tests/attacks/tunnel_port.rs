//! The tunnel's port, dialled by strangers and by the wrong people: only a certificate of the mesh opens
//! it, it says who comes, and it leads to its own pod and nowhere else.

use anyhow::Result;
use serde_json::Value;
use weir_tests::{Pod, python};

use crate::{
    certificates::Forger,
    mesh::{Mesh, PORT, SECRET, TLS_ALERT, answer, ask, greets, only_cart},
};

pub(crate) const HBONE: &str = include_str!("hbone.py");
const TUNNEL: &str = "15008";

/// Dials `to`'s tunnel port from `from`; `more` are options of hbone.py.
pub(crate) fn hbone(from: &Pod, to: &Pod, more: &[&str]) -> Result<Value> {
    let address = to.v4(0).ip().to_string();
    ask(from, HBONE, &[&[&*address, TUNNEL], more].concat())
}

#[test]
fn who_has_no_certificate_of_the_mesh_is_refused_and_counted_with_the_reason() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let mallory = mesh.outsider(mesh.a.node())?;
    let forger = Forger::new(&mesh.topology);
    let good = forger.of_the_mesh("cart")?;
    let authority = mesh.pay.v4(PORT).to_string();
    let to = mesh.pay.v4(0).ip().to_string();
    // Says nothing at all; the bound on the handshake ends it while the others are at work.
    let silent =
        "import socket, sys; made = socket.create_connection((sys.argv[1], 15008)); print(made.recv(1))";
    let mut silent = mallory.spawn(python(silent, [&to]))?;

    let other = forger.of_another_root("cart")?;
    let nameless = forger.with_names("nameless", "DNS:pay.shop")?;
    let doubled = forger.with_names(
        "doubled",
        "URI:spiffe://cluster.local/ns/shop/sa/cart,URI:spiffe://cluster.local/ns/shop/sa/pay",
    )?;
    let foreign = forger.with_names("foreign", "URI:spiffe://elsewhere.example/ns/shop/sa/cart")?;
    let attacks: [(&str, &[&str]); 7] = [
        ("no_peer_certificate", &[]),
        ("tls_failed", &["--tls12", "--cert", &good]),
        ("untrusted", &["--cert", &other]),
        ("no_identity", &["--cert", &nameless]),
        ("no_identity", &["--cert", &doubled]),
        ("no_identity", &["--cert", &foreign]),
        ("not_http2", &["--cert", &good, "--alpn", "http/1.1"]),
    ];
    for (reason, options) in attacks {
        let labels = [("role", "server"), ("reason", reason)];
        let before = mesh.b.metric("weir_tunnel_sessions_ended_total", &labels)?.unwrap_or(0.0);
        let options = [options, &["--authority", &authority]].concat();
        let came = hbone(&mallory, &mesh.pay, &options)?;
        assert!(came["status"].is_null() && came["error"].is_string(), "{options:?}: {came}");
        mesh.b.wait_metric("weir_tunnel_sessions_ended_total", &labels, before + 1.0)?;
    }
    let garbage = "import os, socket, sys
made = socket.create_connection((sys.argv[1], 15008))
made.settimeout(10)
try:
    made.sendall(os.urandom(1 << 20))
    while made.recv(65536): pass
except OSError: pass";
    let labels = [("role", "server"), ("reason", "tls_failed")];
    let before = mesh.b.metric("weir_tunnel_sessions_ended_total", &labels)?.unwrap_or(0.0);
    mallory.run(python(garbage, [&to]))?.success()?;
    mesh.b.wait_metric("weir_tunnel_sessions_ended_total", &labels, before + 1.0)?;

    let flow = mesh.b.wait_flow("a stranger's session", |flow| {
        flow.is(&[("direction", "inbound"), ("verdict", "failed"), ("reason", "tls_failed")])
    })?;
    assert_eq!((flow.text("destination.pod"), flow.text("source.identity")), ("pay", ""));
    assert!(flow.text("source.address").starts_with(&format!("{}:", mallory.v4(0).ip())), "{flow:?}");
    silent.wait_line("the end of its connection", |line| line.starts_with("b''").then_some(()))?;
    let labels = [("role", "server"), ("reason", "handshake_timeout")];
    mesh.b.wait_metric("weir_tunnel_sessions_ended_total", &labels, 1.0)?;
    // The same words with a good certificate are let in: what was refused above was refused for its reason.
    let came = hbone(&mallory, &mesh.pay, &["--cert", &good, "--authority", &authority])?;
    assert!(came["data"].as_str().is_some_and(|text| text.starts_with(SECRET)), "{came}");
    Ok(())
}

#[test]
fn a_huge_header_or_a_request_that_is_no_good_connect_is_refused_and_the_tunnel_goes_on() -> Result<()> {
    let mesh = Mesh::new("permissive", &[])?;
    let mallory = mesh.outsider(mesh.a.node())?;
    let cart = Forger::new(&mesh.topology).of_the_mesh("cart")?;
    let authority = mesh.pay.v4(PORT).to_string();
    let call = |more: &[&str]| hbone(&mallory, &mesh.pay, &[&["--cert", &*cart], more].concat());

    // Well beyond what one argument of a command may be long: the program makes it.
    let huge = format!("sys.argv += ['--header', 'x-filling=' + 'a' * 1_000_000]\n{HBONE}");
    let to = mesh.pay.v4(0).ip().to_string();
    let huge = mallory.run(python(
        &format!("import sys\n{huge}"),
        [&*to, TUNNEL, "--cert", &cart, "--authority", &authority],
    ))?;
    let came = answer(huge.success()?)?;
    assert!(came["status"] != 200 && came["data"].as_str().unwrap_or_default().is_empty(), "{came}");

    for authority in ["pay.shop:8080", "localhost:8080", "8080", "10.244.2.2", "[::1", "10.244.2.2:0"] {
        let came = call(&["--authority", authority])?;
        assert!(came["status"] == 400 || came["reset"].is_u64(), "{authority}: {came}");
        assert_eq!(came["data"], "", "{authority}");
    }
    let came = call(&["--authority", &authority, "--method", "GET"])?;
    assert!(came["status"] == 400 || came["reset"].is_u64(), "{came}");
    let came = call(&["--authority", &authority, "--header", "baggage=not baggage"])?;
    assert_eq!(came["status"], 400, "{came}");

    let came = call(&["--authority", &authority])?;
    assert_eq!(came["status"], 200, "{came}");
    Ok(())
}

#[test]
fn a_tunnel_is_no_relay_to_a_third_address_nor_to_itself() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let mallory = mesh.outsider(mesh.a.node())?;
    let third = mesh.b.node().pod("outside/third")?;
    let _greets = greets(&third)?;
    let cart = Forger::new(&mesh.topology).of_the_mesh("cart")?;
    // It is there and would answer.
    assert!(mesh.pay.dial(third.v4(PORT))?.received.starts_with(SECRET));

    let node = mesh.b.node().addresses();
    let elsewhere = [
        third.v4(PORT).to_string(),
        third.v6(PORT).to_string(),
        third.v4_mapped(PORT).to_string(),
        mesh.cart.v4(PORT).to_string(),
        format!("{}:15020", node[0]),
        "127.0.0.1:8080".into(),
        "[::1]:8080".into(),
        "0.0.0.0:8080".into(),
        "[::]:8080".into(),
        mesh.pay.v4(15008).to_string(),
        mesh.pay.v6(15008).to_string(),
    ];
    for authority in &elsewhere {
        let came = hbone(&mallory, &mesh.pay, &["--cert", &cart, "--authority", authority])?;
        assert_eq!((&came["status"], &came["data"]), (&400.into(), &"".into()), "{authority}: {came}");
    }
    let mut refused = 0;
    let flow = mesh.b.wait_flow("one refusal for each", |flow| {
        refused += usize::from(flow.is(&[("verdict", "denied"), ("reason", "relay_refused")]));
        refused == elsewhere.len()
    })?;
    assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/cart");
    Ok(())
}

#[test]
fn a_certificate_says_who_comes_and_an_address_says_nothing() -> Result<()> {
    let mut mesh = Mesh::new("strict", &[only_cart()])?;
    let mallory = mesh.outsider(mesh.a.node())?;
    let forger = Forger::new(&mesh.topology);
    let (cart, other) = (forger.of_the_mesh("cart")?, forger.of_the_mesh("other")?);
    let authority = mesh.pay.v4(PORT).to_string();
    let own = "spiffe://cluster.local/ns/shop/sa/";

    // Whoever holds cart's key is cart, also at another address; the record does not make it cart's pod.
    let came = hbone(&mallory, &mesh.pay, &["--cert", &cart, "--authority", &authority])?;
    assert_eq!(came["status"], 200, "{came}");
    let flow = mesh.b.wait_flow("cart by its certificate", |flow| flow.is(&[("verdict", "forwarded")]))?;
    assert_eq!(flow.text("source.identity"), format!("{own}cart"));
    assert_eq!(flow.text("source.pod"), "");

    // Who has cart's address and another's certificate is that other.
    mesh.topology.state().delete(&mesh.cart.manifest())?;
    let out = mesh.cart.manifest().annotation("weir.dev/mesh", "disabled");
    mesh.topology.state().put(&out)?;
    mesh.a.wait_status("cart to leave the mesh", |status| {
        status["workloads"].as_array().is_some_and(|all| all.iter().all(|one| one["captured"] == false))
    })?;
    let came = hbone(&mesh.cart, &mesh.pay, &["--cert", &other, "--authority", &authority])?;
    assert_eq!((&came["status"], &came["data"]), (&401.into(), &"".into()), "{came}");
    let flow = mesh.b.wait_flow("the other, refused", |flow| flow.is(&[("reason", "policy_denied")]))?;
    assert_eq!(flow.text("source.identity"), format!("{own}other"));
    assert_ne!(flow.text("source.pod"), "cart");
    assert_eq!(flow.text("policy.tier"), "application");
    Ok(())
}

#[test]
fn an_enrolled_pod_that_dials_a_tunnel_port_itself_gets_no_further_than_anyone() -> Result<()> {
    let mut mesh = Mesh::new("permissive", &[])?;
    let beside = mesh.b.node().pod("shop/beside")?;
    mesh.topology.state().put(&beside.manifest())?;
    mesh.b.wait_status("it to be captured", |status| {
        status["workloads"]
            .as_array()
            .is_some_and(|all| all.iter().filter(|one| one["captured"] == true).count() == 2)
    })?;
    let authority = mesh.pay.v4(PORT).to_string();
    // From the same node it goes to the port itself, from another one it is a connection like any other.
    for from in [&beside, &mesh.cart] {
        let came = hbone(from, &mesh.pay, &["--authority", &authority])?;
        assert!(came["status"].is_null(), "{came}");
        let dialled = from.ask(mesh.pay.v4(15008), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        assert!(dialled.received.is_empty() || dialled.received.starts_with(TLS_ALERT), "{dialled:?}");
    }
    mesh.a.wait_flow("a refusal at the other end", |flow| {
        flow.is(&[("source.pod", "cart"), ("reason", "relay_refused")])
    })?;
    mesh.b.wait_metric(
        "weir_tunnel_sessions_ended_total",
        &[("role", "server"), ("reason", "no_peer_certificate")],
        1.0,
    )?;
    Ok(())
}
