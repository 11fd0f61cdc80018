//! Live connections judged again: what is no longer allowed ends and says so, the rest lives on.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Flow, Held, Pod};

use crate::world::{World, for_servers};

fn hold(from: &Pod, to: std::net::SocketAddr) -> Result<Held> {
    let mut held = from.hold(to)?;
    held.echo("before")?;
    Ok(held)
}

fn no_longer_allowed(flow: &Flow, direction: &str, source: &str) -> bool {
    flow.is(&[
        ("direction", direction),
        ("source.pod", source),
        ("verdict", "denied"),
        ("reason", "no_longer_allowed"),
        ("policy.name", "not-other"),
    ])
}

#[test]
fn a_policy_that_is_added_ends_the_connections_that_it_denies_and_no_others() -> Result<()> {
    let mut world = World::new(&[])?;
    let (near, pay) = (world.near.clone(), world.pay.clone());
    let mut kept = vec![hold(&world.cart, pay.v4(8080))?, hold(&world.cart, near.v4(8080))?];
    kept.push(hold(&world.cart, near.v6(8080))?);
    kept.push(hold(&world.other, pay.v4(8081))?);
    let mut doomed = vec![hold(&world.other, pay.v4(8080))?, hold(&world.other, near.v4(8080))?];
    doomed.push(hold(&world.other, near.v6(8080))?);
    doomed.push(hold(&world.other, pay.v6(8080))?);

    let rules = json!([{"from": [{"serviceAccounts": ["shop/other"]}], "to": [{"ports": [8080]}]}]);
    world.enforce(&[for_servers("not-other", json!({"action": "deny", "rules": rules}))])?;

    for held in &mut doomed {
        let dialled = held.dialled.clone();
        assert!(held.wait_closed()?.is_some(), "ended without a reset: {dialled:?}");
    }
    // At both ends of the direct connection, and of the tunnel's, where the client's node is told so.
    world.a().wait_flow("the tunnel's end at the client's node", |flow| {
        flow.is(&[
            ("direction", "outbound"),
            ("path", "tunnel"),
            ("source.pod", "other"),
            ("verdict", "denied"),
            ("reason", "no_longer_allowed"),
        ])
    })?;
    world.b().wait_flow("the end at pay's node", |flow| no_longer_allowed(flow, "inbound", "other"))?;
    for direction in ["outbound", "inbound"] {
        let flow = world.a().wait_flow("the end of the direct one", |flow| {
            no_longer_allowed(flow, direction, "other")
                && flow.is(&[("path", "direct"), ("destination.pod", "near")])
        })?;
        assert!(flow.number("bytes_sent") == Some(6) && flow.number("bytes_received") == Some(6), "{flow:?}");
    }
    for held in &mut kept {
        held.echo("after")?;
    }
    Ok(())
}

#[test]
fn plaintext_that_no_proxy_carries_is_ended_too_when_its_network_is_denied() -> Result<()> {
    let mut world = World::new(&[])?;
    let near = world.near.clone();
    let (mallory, trudy) =
        (world.topology.node("b").pod("outside/mallory")?, world.topology.node("a").pod("outside/trudy")?);
    let mut doomed = vec![hold(&mallory, near.v4(8080))?, hold(&mallory, near.v6(8080))?];
    let mut kept = hold(&trudy, near.v4(8080))?;

    let rules = json!([{"from": [{"cidrs": mallory.addresses()}]}]);
    world.enforce(&[for_servers("not-other", json!({"action": "deny", "rules": rules}))])?;

    for held in &mut doomed {
        held.wait_closed()?;
    }
    for address in mallory.addresses() {
        let from = std::net::SocketAddr::new(address, 0).to_string();
        let from = from.trim_end_matches('0');
        let flow = world.a().wait_flow("its end", |flow| flow.text("source.address").starts_with(from))?;
        let wanted = [("path", "passthrough"), ("reason", "no_longer_allowed"), ("policy.name", "not-other")];
        assert!(flow.is(&wanted), "{flow:?}");
    }
    kept.echo("after")
}

#[test]
fn a_workload_that_becomes_strict_ends_the_plaintext_it_has() -> Result<()> {
    let mut world = World::new(&[])?;
    let mallory = world.topology.node("b").pod("outside/mallory")?;
    let (near, pay) = (world.near.clone(), world.pay.clone());
    let mut doomed = vec![hold(&mallory, near.v4(8080))?, hold(&mallory, pay.v4(8080))?];
    let mut kept = vec![hold(&world.cart, near.v4(8080))?, hold(&world.cart, pay.v4(8080))?];

    for pod in [&near, &pay] {
        let manifest = pod.manifest().label("role", "server").annotation("weir.dev/mtls", "strict");
        world.topology.state().put(&manifest)?;
    }

    for held in &mut doomed {
        held.wait_closed()?;
    }
    for agent in &mut world.agents {
        agent.wait_flow("the end of plaintext", |flow| {
            flow.is(&[("path", "passthrough"), ("verdict", "denied"), ("reason", "no_longer_allowed")])
        })?;
    }
    for held in &mut kept {
        held.echo("after")?;
    }
    Ok(())
}

/// Its certificate said who it was when the connection began.
#[test]
fn a_pod_that_gets_another_service_account_loses_the_connections_of_the_old_one() -> Result<()> {
    let mut world = World::new(&[])?;
    let mut doomed = hold(&world.other, world.pay.v4(8080))?;
    let mut kept = hold(&world.cart, world.pay.v4(8080))?;

    world.topology.state().put(&world.other.manifest().service_account("renamed"))?;

    doomed.wait_closed()?;
    kept.echo("after")?;
    world.a().wait_status("the new identity", |status| {
        status["workloads"].as_array().is_some_and(|all| {
            all.iter().any(|one| {
                one["captured"] == true && one["identity"] == "spiffe://cluster.local/ns/shop/sa/renamed"
            })
        })
    })?;
    drop(hold(&world.other, world.pay.v4(8080))?);
    world.b().wait_flow("the next one, as who it is now", |flow| {
        flow.is(&[("direction", "inbound"), ("source.service_account", "renamed")])
    })?;
    Ok(())
}
