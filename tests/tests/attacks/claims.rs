//! What an app or a peer claims about itself (`forwarded`, `baggage`) is never taken for what is so.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, Serve};

use crate::{
    certificates::Forger,
    mesh::{Mesh, PORT},
    tunnel_port::hbone,
};

const FORGED: &str = "baggage: k8s.namespace.name=bank,k8s.pod.name=teller,service.name=teller\r\n\
    forwarded: for=10.244.9.9\r\nx-forwarded-for: 10.244.9.9\r\n\
    x-forwarded-client-cert: URI=spiffe://cluster.local/ns/bank/sa/teller\r\n";

#[test]
fn headers_that_an_app_forges_do_not_change_what_either_end_records() -> Result<()> {
    let mut mesh = Mesh::new("strict", &[])?;
    let _echo = mesh.pay.serve(Serve::Echo, 80)?;
    let request = format!("GET / HTTP/1.1\r\nHost: pay\r\n{FORGED}\r\n");
    // To the app they are bytes like others.
    assert_eq!(mesh.cart.ask(mesh.pay.v4(80), &request)?.received, request);

    for (agent, direction) in [(&mut mesh.a, "outbound"), (&mut mesh.b, "inbound")] {
        let flow = agent.wait_flow("the request's connection", |flow| flow.text("direction") == direction)?;
        let wanted = [
            ("source.namespace", "shop"),
            ("source.pod", "cart"),
            ("source.workload", "cart"),
            ("source.identity", "spiffe://cluster.local/ns/shop/sa/cart"),
        ];
        assert!(flow.is(&wanted), "{direction}: {flow:?}");
        assert!(!flow.0.to_string().contains("teller") && !flow.0.to_string().contains("10.244.9.9"));
    }
    Ok(())
}

#[test]
fn a_peer_that_claims_another_address_or_workload_is_judged_and_recorded_by_what_it_proves() -> Result<()> {
    // Only cart's own address may come in, whoever shows it.
    let cidr = |address: String| {
        Manifest::access_policy("shop", "by-address", json!({"rules": [{"from": [{"cidrs": [address]}]}]}))
    };
    let mut mesh = Mesh::new("strict", &[cidr("10.244.1.2/32".into())])?;
    assert_eq!(mesh.cart.v4(0).ip().to_string(), "10.244.1.2");
    let mallory = mesh.outsider(mesh.a.node())?;
    let certificate = Forger::new(&mesh.topology).of_the_mesh("other")?;
    let authority = mesh.pay.v4(PORT).to_string();
    let claims = [
        "forwarded=for=10.244.1.2",
        "x-forwarded-for=10.244.1.2",
        "baggage=k8s.namespace.name=shop,k8s.pod.name=cart,service.name=cart",
    ];
    let claims: Vec<&str> = claims.iter().flat_map(|claim| ["--header", claim]).collect();
    let options = [&["--cert", &*certificate, "--authority", &authority], &claims[..]].concat();

    let came = hbone(&mallory, &mesh.pay, &options)?;

    assert_eq!((&came["status"], &came["data"]), (&401.into(), &"".into()), "{came}");
    let flow = mesh.b.wait_flow("the refusal", |flow| flow.is(&[("reason", "policy_denied")]))?;
    assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/other");
    assert!(flow.text("source.address").starts_with(&format!("{}:", mallory.v4(0).ip())), "{flow:?}");
    assert_ne!(flow.text("source.pod"), "cart");
    Ok(())
}
