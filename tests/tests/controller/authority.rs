//! Who gets which certificate, and what becomes of the authority's key.

use anyhow::{Context, Result};
use rcgen::SanType;
use serde_json::json;
use weir_agent::{
    ca::{CaError, CertificateRequest, Issued},
    identity::{Identity, TrustDomain},
};
use weir_tests::eventually;

use crate::mesh::{Mesh, denied, identity, pod, request, request_with, start, uri};

#[test]
fn a_node_gets_certificates_for_its_own_pods_and_nothing_else() -> Result<()> {
    let mesh = Mesh::new()?;
    let controller = start(&mesh)?;
    let (one, two) = (mesh.agent(1)?, mesh.agent(2)?);
    let issued = mesh.ask(&one, "cart")??;
    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain[0])?;
    let names = leaf.subject_alternative_name()?.context("no name")?.value.general_names.clone();
    assert_eq!(names.len(), 1);
    assert!(names[0].to_string().contains("spiffe://cluster.local/ns/shop/sa/cart"), "{names:?}");
    assert_eq!(issued.roots.len(), 1);
    mesh.ask(&two, "pay")??;

    // A node's token that was stolen is good for that node's pods only.
    assert!(denied(mesh.ask(&one, "pay")?).contains("sa/pay has no pod on node-1"));
    assert!(denied(mesh.ask(&two, "cart")?).contains("sa/cart has no pod on node-2"));
    assert!(denied(mesh.ask(&one, "none")?).contains("has no pod on node-1"));

    // One that comes is known at once, and one that went is not for long.
    mesh.api.apply(&pod("shop", "pay-1", "pay", "node-1").to_string())?;
    mesh.ask(&one, "pay")??;
    mesh.api.kubectl(["-n", "shop", "delete", "pod", "pay-1", "--grace-period=0", "--force"])?;
    eventually("it to be refused", || Ok(mesh.ask(&one, "pay")?.is_err().then_some(())))?;
    assert!(controller.metric("weir_ca_requests_total", &[("result", "denied")])? >= Some(4.0));
    assert!(controller.metric("weir_ca_requests_total", &[("result", "issued")])? >= Some(3.0));
    controller.stop()
}

#[test]
fn a_token_of_anybody_else_or_for_anything_else_buys_nothing() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = start(&mesh)?;
    let of_workload = mesh.api.token("shop/cart", "cart", "weir.dev")?;
    assert!(denied(mesh.ask(&of_workload, "cart")?).contains("is of system:serviceaccount:shop:cart"));
    let elsewhere = mesh.api.token("weir-system/weir-agent", "agent-1", "https://kubernetes.default.svc")?;
    assert!(denied(mesh.ask(&elsewhere, "cart")?).contains("not accepted"));
    let words = ["-n", "weir-system", "create", "token", "weir-agent", "--audience=weir.dev"];
    let of_no_pod = mesh.api.kubectl(words)?;
    assert!(denied(mesh.ask(of_no_pod.trim(), "cart")?).contains("bound to no pod"));
    let own = mesh.agent(1)?;
    let mut forged = own.clone().into_bytes();
    let last = forged.len() - 3;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    assert!(denied(mesh.ask(&String::from_utf8(forged)?, "cart")?).contains("not accepted"));
    assert!(denied(mesh.ask("the-token-of-admin", "cart")?).contains("not accepted"));
    // What is bound to a pod ends with it.
    mesh.ask(&own, "cart")??;
    let second = mesh.agent(1)?;
    mesh.api.kubectl(["-n", "weir-system", "delete", "pod", "agent-1", "--grace-period=0", "--force"])?;
    eventually("the token to be refused", || {
        let answer = mesh.ask(&format!("{second} "), "cart")?;
        Ok(matches!(answer, Err(CaError::Denied(_))).then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_request_that_asks_for_another_name_or_a_second_one_is_refused() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = start(&mesh)?;
    let token = mesh.agent(1)?;
    let own = identity("cart").to_string();
    let dns = SanType::DnsName("bank.example".try_into()?);
    for names in [
        vec![uri(&identity("pay").to_string())],
        vec![uri(&own), uri(&identity("pay").to_string())],
        vec![uri(&own), dns],
        vec![],
    ] {
        let answer = mesh.ask_at(0, &token, request_with("cart", names))?;
        assert!(matches!(answer, Err(CaError::Invalid(_))), "{answer:?}");
    }
    let trust_domain: TrustDomain = "other.example".parse()?;
    let elsewhere = Identity::new(&trust_domain, "shop", "cart")?;
    let request = CertificateRequest { identity: elsewhere, ..request("cart") };
    assert!(denied(mesh.ask_at(0, &token, request)?).contains("not of the trust domain"));
    Ok(())
}

#[test]
fn a_rotation_publishes_the_next_root_before_it_signs_under_it() -> Result<()> {
    let mesh = Mesh::new()?;
    let _controller = mesh.api.controller(0, ["--rotation-spread=3"])?.ready()?;
    let token = mesh.agent(1)?;
    let before = mesh.ask(&token, "cart")??;
    let words = ["-n", "weir-system", "annotate", "secret", "weir-ca", "weir.dev/rotate=now"];
    mesh.api.kubectl(words)?;
    eventually("two roots", || Ok((mesh.root_count()? == 2).then_some(())))?;
    // Whoever signs now, both are trusted by whoever asks now.
    let meanwhile = mesh.ask(&token, "cart")??;
    assert_eq!(meanwhile.roots.len(), 2);
    assert_eq!(meanwhile.roots[0], before.roots[0]);
    let issuer = |issued: &Issued| -> Result<String> {
        Ok(x509_parser::parse_x509_certificate(&issued.chain[0])?.1.issuer().to_string())
    };
    let first = issuer(&before)?;
    let after = eventually("the next root to sign", || {
        let issued = mesh.ask(&token, "cart")??;
        Ok((issuer(&issued)? != first).then_some(issued))
    })?;
    // What was signed before is good until it expires.
    assert_eq!(after.roots, meanwhile.roots);
    Ok(())
}

#[test]
fn two_controllers_have_one_key_and_when_the_writer_goes_the_other_writes() -> Result<()> {
    let mesh = Mesh::new()?;
    let first = start(&mesh)?;
    let second = mesh.api.controller(1, ["--rotation-spread=1"])?.ready()?;
    let token = mesh.agent(1)?;
    let (one, other) = (mesh.ask_at(0, &token, request("cart"))??, mesh.ask_at(1, &token, request("cart"))??);
    assert_eq!(one.roots, other.roots);
    assert_eq!(first.metric("weir_controller_leads", &[])?, Some(1.0));
    assert_eq!(second.metric("weir_controller_leads", &[])?, Some(0.0));
    first.stop()?;
    eventually("the other one to write", || {
        Ok(second.metric("weir_controller_leads", &[])?.filter(|leads| *leads == 1.0))
    })?;
    mesh.ask_at(1, &token, request("cart"))??;
    mesh.api.kubectl(["-n", "weir-system", "annotate", "secret", "weir-ca", "weir.dev/rotate=now"])?;
    eventually("two roots", || Ok((mesh.root_count()? == 2).then_some(())))?;
    Ok(())
}

#[test]
fn a_secret_that_is_not_fit_is_left_alone_and_said() -> Result<()> {
    let mesh = Mesh::new()?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "weir-system", "name": "weir-ca"},
        "stringData": {"tls.crt": "mine", "tls.key": "mine"},
    });
    mesh.api.apply(&secret.to_string())?;
    let mut controller = mesh.api.controller(0, [])?;
    controller.wait_log("the fault", "Secret weir-system/weir-ca: tls.crt: holds no certificate")?;
    let error = controller.http("/readyz").expect_err("not ready").to_string();
    assert!(error.contains("503"), "{error}");
    let words = ["-n", "weir-system", "get", "secret", "weir-ca", r"-o=jsonpath={.data.tls\.crt}"];
    assert_eq!(mesh.api.kubectl(words)?, "bWluZQ==");
    mesh.api.kubectl(["-n", "weir-system", "delete", "secret", "weir-ca"])?;
    let controller = controller.ready()?;
    mesh.ask(&mesh.agent(1)?, "cart")??;
    controller.stop()
}
