//! What the pages of the documentation show is put into a mesh as it stands there, and does what they say.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Issuer, Manifest, Pod, Process, eventually, example};

use super::{Answer, Shop, TARGET, address, ask, serve, stage::Stage};

#[test]
fn the_documented_canary_gets_those_who_ask_for_it_and_what_fails_is_tried_again() -> Result<()> {
    let mut shop = Shop::new(&[example("gateway-api.md", "pay-canary")?])?;
    for _ in 0..5 {
        assert_eq!(shop.ask("/beta", &["-H", "x-beta: yes"])?.name(), "far");
    }
    let answer = shop.ask("/others?id=one&fail=1", &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for (path, rule) in [("/beta", "beta-testers"), ("/others", "canary")] {
        let route = format!("shop/pay-canary/{rule}");
        shop.here.wait_flow(&route, |flow| {
            flow.is(&[("direction", "outbound"), ("http.path", path), ("http.route", &route)])
                && (path == "/beta" || flow.number("http.retries") >= Some(1))
        })?;
    }
    Ok(())
}

#[test]
fn the_documented_guest_waits_two_seconds_and_whoever_else_longer() -> Result<()> {
    let shop = Shop::new(&[Manifest::meshed("cafe"), example("gateway-api.md", "hasty")?])?;
    let guest = shop.stage.node("a").pod("cafe/guest")?;
    shop.put(&guest.manifest())?;
    eventually("the guest to be in the mesh", || {
        Ok((ask(&guest, address("pay"), "/?wait=2.5", &[])?.status == 504).then_some(()))
    })?;
    assert_eq!(shop.ask("/?wait=2.5", &[])?.status, 200);
    Ok(())
}

#[test]
fn the_documented_traffic_policy_tries_again() -> Result<()> {
    let mut shop = Shop::new(&[example("traffic.md", "pay")?])?;
    let answer = shop.ask("/once?id=one&fail=1", &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    shop.here.wait_flow("of retries", |flow| {
        flow.is(&[("direction", "outbound"), ("http.path", "/once")])
            && flow.number("http.retries") >= Some(1)
    })?;
    Ok(())
}

/// A pod with a server in it, and one that asks, both in `namespace`, on two nodes.
fn two(stage: &Stage, namespace: &str, server: &str, client: &str) -> Result<(Pod, Process, Pod)> {
    let server = stage.node("b").pod(&format!("{namespace}/{server}"))?;
    let client = stage.node("a").pod(&format!("{namespace}/{client}"))?;
    let state = stage.topology.state();
    state.put_all(&[Manifest::meshed(namespace), server.manifest(), client.manifest()])?;
    let process = serve(&server)?;
    Ok((server, process, client))
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn the_documented_policies_allow_and_deny_requests_by_what_they_ask_for() -> Result<()> {
    let stage = Stage::new()?;
    let (orders, _server, cart) = two(&stage, "shop", "orders", "cart")?;
    for name in ["read-orders", "only-admins-administrate", "no-deletes"] {
        stage.topology.state().put(&example("policy.md", name)?)?;
    }
    let (_here, mut there) = stage.agents()?;
    let ask_for = |host: &str, path: &str, more: &[&str]| {
        ask(&cart, orders.v4(TARGET), path, &[&["-H", host], more].concat())
    };
    let ask = |path: &str, more: &[&str]| ask_for("host: shop.example", path, more);
    let answers = [
        ask("/v1/orders", &[])?,
        ask("/v1//orders/./%37", &[])?,
        ask("/v1/orders", &["-X", "POST", "-H", "x-env: prod"])?,
        ask("/v1/orders", &["-X", "POST"])?,
        ask("/v1/orders/7", &["-X", "DELETE"])?,
        ask_for("host: elsewhere.example", "/v1/orders", &[])?,
        ask("/admin", &[])?,
        ask("/v1/orders/../../admin/", &[])?,
    ];
    assert_eq!(statuses(&answers), [200, 200, 200, 403, 403, 403, 403, 403], "{answers:?}");
    // The security tier does not let it in either, and is named first where both deny.
    for (answer, tier) in
        [(&answers[3], "application"), (&answers[4], "application"), (&answers[6], "security")]
    {
        assert!(answer.text.contains(&format!("weir-denied-by: {tier}")), "{}", answer.text);
    }
    there.wait_flow("audited", |flow| {
        flow.is(&[("http.method", "DELETE"), ("direction", "inbound"), ("audit.name", "no-deletes")])
    })?;
    Ok(())
}

#[test]
fn the_documented_office_lets_admins_administrate() -> Result<()> {
    const NAME: &str = "https://staff.example.com";
    let stage = Stage::new()?;
    let (rooms, _server, guest) = two(&stage, "office", "rooms", "guest")?;
    for name in ["staff", "admins"] {
        stage.topology.state().put(&example("authentication.md", name)?)?;
    }
    let (_here, mut there) = stage.agents()?;
    let issuer = Issuer::of_the_examples(NAME, "2026-01")?;
    let token = |subject: &str, group: &str| -> Result<String> {
        Ok(format!("authorization: Bearer {}", issuer.token("office", subject, json!({"groups": [group]}))?))
    };
    let ask = |path: &str, more: &[&str]| ask(&guest, rooms.v4(TARGET), path, more);
    let answers = [
        ask("/rooms/7", &[])?,
        ask("/admin/keys", &[])?,
        ask("/admin/keys", &["-H", &token("bob", "cleaners")?])?,
        ask("/admin/keys", &["-H", &token("ann", "admins")?])?,
        ask("/rooms/7", &["-H", "authorization: Bearer x.y.z"])?,
    ];
    assert_eq!(statuses(&answers), [200, 403, 403, 200, 401], "{answers:?}");
    for (subject, verdict) in [("bob", "denied"), ("ann", "forwarded")] {
        there.wait_flow(subject, |flow| {
            flow.is(&[("direction", "inbound"), ("user.subject", subject), ("verdict", verdict)])
        })?;
    }
    Ok(())
}
