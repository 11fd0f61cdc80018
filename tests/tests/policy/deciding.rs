//! What policies allow and deny, on the same node and between nodes, over IPv4 and IPv6.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, eventually};

use crate::world::{PORTS, Reach, World, for_servers, reach};

const ALL: &[u16] = &PORTS;
const NONE: &[u16] = &[];

#[test]
fn sources_are_told_apart_by_account_namespace_identity_and_network() -> Result<()> {
    let mut world = World::new(&[])?;
    for client in [&world.cart, &world.other, &world.teller] {
        world.expect(client, ALL, ALL)?;
    }
    let [cart4, cart6] = world.cart.addresses();
    let from = |what: serde_json::Value| for_servers("callers", json!({"rules": [{"from": [what]}]}));
    // Who is let in: cart, other, teller.
    for (policy, who) in [
        (from(json!({"serviceAccounts": ["shop/cart"]})), [true, false, false]),
        (from(json!({"serviceAccounts": ["other"]})), [false, true, false]),
        (from(json!({"namespaces": ["bank"]})), [false, false, true]),
        (from(json!({"identities": ["spiffe://cluster.local/ns/shop/*"]})), [true, true, false]),
        (from(json!({"identities": ["spiffe://cluster.local/ns/bank/sa/teller"]})), [false, false, true]),
        (from(json!({"cidrs": [cart4, format!("{cart6}/128")]})), [true, false, false]),
        (from(json!({"namespaces": ["shop"], "cidrs": ["10.244.0.0/16", "fd10::/16"]})), [true, true, false]),
    ] {
        world.enforce(std::slice::from_ref(&policy))?;
        for (client, open) in [&world.cart, &world.other, &world.teller].into_iter().zip(who) {
            let ports = if open { ALL } else { NONE };
            world.expect(client, ports, ports).map_err(|error| error.context(policy.to_string()))?;
        }
    }
    Ok(())
}

#[test]
fn ports_ranges_and_services_say_what_a_policy_is_about() -> Result<()> {
    let mut world = World::new(&[])?;
    let cart = world.cart.clone();
    let to = |action: &str, ports: serde_json::Value| {
        for_servers("ports", json!({"action": action, "rules": [{"to": [{"ports": ports}]}]}))
    };
    world.enforce(&[to("allow", json!([8080, "9000-9010"]))])?;
    world.expect(&cart, &[8080, 9005], &[8080, 9005])?;
    world.enforce(&[to("deny", json!(["8081-8090", 9005]))])?;
    world.expect(&cart, &[8080], &[8080])?;
    // More ports than have a verdict of their own in the kernel: then the agent is asked.
    world.enforce(&[to("deny", json!(["8081-40000"]))])?;
    eventually("what policy says", || {
        let targets = [world.near.v4(8080), world.near.v4(8081), world.pay.v4(8080), world.pay.v4(8081)];
        let reached = reach(&cart, &targets)?.iter().map(|reach| *reach == Reach::Open).collect::<Vec<_>>();
        Ok((reached == [true, false, true, false]).then_some(()))
    })?;

    let service = Manifest::service("shop", "pay", &["10.96.0.9".parse()?]).port("tcp", 80, 8080);
    world.topology.state().put(&service)?;
    world.topology.state().put_all(&Manifest::endpoint_slices(
        "shop",
        "pay",
        ("tcp", 8080),
        &[&world.pay],
    ))?;
    let targets = json!({"targetRefs": [{"kind": "Service", "name": "pay"}], "rules": [{"from": [{"namespaces": ["bank"]}]}]});
    world.enforce(&[Manifest::access_policy("shop", "of-pay", targets)])?;
    world.expect(&cart, ALL, NONE)?;
    world.expect(&world.teller, ALL, ALL)
}

#[test]
fn every_tier_narrows_and_any_denial_denies() -> Result<()> {
    let mut world = World::new(&[])?;
    let policy = |name: &str, tier: &str, action: &str, from: serde_json::Value| {
        for_servers(name, json!({"tier": tier, "action": action, "rules": [{"from": [from]}]}))
    };
    let shop = policy("shop-only", "platform", "allow", json!({"namespaces": ["shop"]}));
    let two = policy("two", "application", "allow", json!({"serviceAccounts": ["shop/cart", "bank/teller"]}));
    world.enforce(&[shop.clone(), two.clone()])?;
    world.expect(&world.cart, ALL, ALL)?;
    world.expect(&world.other, NONE, NONE)?;
    world.expect(&world.teller, NONE, NONE)?;
    // An allow more in one tier opens nothing that another tier has shut.
    let all = policy("all", "application", "allow", json!({"identities": ["spiffe://*"]}));
    world.enforce(&[shop.clone(), two.clone(), all])?;
    world.expect(&world.other, ALL, ALL)?;
    world.expect(&world.teller, NONE, NONE)?;
    let denied = policy("not-cart", "security", "deny", json!({"serviceAccounts": ["shop/cart"]}));
    world.enforce(&[shop, two, denied])?;
    world.expect(&world.cart, NONE, NONE)?;

    // A policy of the root namespace is for the whole mesh; one that only watches changes nothing.
    let everywhere = json!({"action": "deny", "rules": [{"from": [{"namespaces": ["bank"]}]}]});
    let watching = for_servers("watching", json!({"mode": "audit", "rules": []}));
    world.enforce(&[Manifest::access_policy("weir-system", "no-bank", everywhere), watching])?;
    world.expect(&world.teller, NONE, NONE)?;
    world.expect(&world.cart, ALL, ALL)?;
    // Another namespace's policy reaches nobody here.
    let elsewhere = json!({"action": "deny", "rules": [{}]});
    world.enforce(&[Manifest::access_policy("bank", "nobody", elsewhere)])?;
    world.expect(&world.cart, ALL, ALL)
}

#[test]
fn what_is_not_http_gets_by_no_rule_about_requests() -> Result<()> {
    let mut world = World::new(&[])?;
    let cart = world.cart.clone();
    let rules = |action: &str, to: serde_json::Value| {
        let from = json!([{"serviceAccounts": ["shop/cart"]}]);
        for_servers("layer-7", json!({"action": action, "rules": [{"from": from, "to": [to]}]}))
    };
    world.enforce(&[rules("deny", json!({"methods": ["DELETE"]}))])?;
    world.expect_asked(&cart, NONE, NONE)?;
    world.expect(&world.other, ALL, ALL)?;
    world.enforce(&[rules("deny", json!({"ports": [8080], "paths": ["/admin/*"]}))])?;
    world.expect_asked(&cart, &[8081, 9005], &[8081, 9005])?;
    world.enforce(&[rules("allow", json!({"paths": ["/v1/*"]}))])?;
    world.expect_asked(&cart, NONE, NONE)?;
    let user = json!({"rules": [{"when": {"user": {"issuers": ["https://issuer.example"]}}}]});
    world.enforce(&[for_servers("layer-7", user)])?;
    world.expect_asked(&cart, NONE, NONE)
}
