//! `weir policy explain` says what happens, and `weir policy lint` says what an agent would.

use std::fs;

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, Topology};

use crate::world::{Reach, World, for_servers, reach};

#[test]
fn explain_agrees_with_what_happens_and_names_the_rule() -> Result<()> {
    let rules = json!([{"from": [{"namespaces": ["bank"]}]}, {"from": [{"serviceAccounts": ["cart"]}], "to": [{"ports": [8080]}]}]);
    let denied = json!({"tier": "security", "action": "deny", "rules": [{"to": [{"ports": ["9000-9010"]}]}]});
    let mut world =
        World::new(&[for_servers("callers", json!({"rules": rules})), for_servers("closed", denied)])?;
    let clients = [world.cart.clone(), world.other.clone(), world.teller.clone()];
    let servers = [world.near.clone(), world.pay.clone()];
    let mut allowed = 0;
    for client in &clients {
        for server in &servers {
            for port in crate::world::PORTS {
                let open = reach(client, &[server.v4(port)])?[0] == Reach::Open;
                let from = format!("{}/{}", client.namespace(), client.name());
                let to = format!("shop/{}:{port}", server.name());
                let said = world.a().weir(["policy", "explain", "--from", &from, "--to", &to])?;
                assert_eq!(said.status.code(), Some(i32::from(!open)), "{from} to {to}: {}", said.stdout);
                let by = if port == 9005 { "shop/closed[0]" } else { "callers[" };
                let named = said.stdout.contains(by) || said.stdout.contains("application default");
                assert!(named, "{from} to {to}: {}", said.stdout);
                allowed += usize::from(open);
            }
        }
    }
    assert_eq!(allowed, 2 * (1 + 2), "cart reaches one port of each server, teller two");

    let service = Manifest::service("shop", "payments", &["10.96.0.9".parse()?]).port("tcp", 80, 8080);
    world.topology.state().put(&service)?;
    world.topology.state().put_all(&Manifest::endpoint_slices(
        "shop",
        "payments",
        ("tcp", 8080),
        &[&world.pay],
    ))?;
    let ask = ["policy", "explain", "--from", "shop/cart", "--to", "shop/payments:80", "-o", "json"];
    let said = weir_tests::eventually("the service to be known", || {
        Ok(Some(world.a().weir(ask)?).filter(|said| said.status.code() == Some(0)))
    })?;
    let answer: serde_json::Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(answer["answers"][0]["pod"], "shop/pay", "{answer}");
    assert_eq!(answer["answers"][0]["policy"]["rule"], 1, "{answer}");
    assert_eq!(answer["answers"][0]["considered"].as_array().map(Vec::len), Some(2), "{answer}");
    let unknown = world.a().weir(["policy", "explain", "--from", "shop/nobody", "--to", "shop/pay:80"])?;
    assert!(!unknown.status.success() && unknown.stderr.contains("nobody"), "{unknown:?}");
    Ok(())
}

#[test]
fn lint_names_object_field_and_value_and_its_status_is_the_answer() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let agent = topology.node("a").agent().start()?;
    let write = |name: &str, text: &str| -> Result<String> {
        let file = topology.dir().join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let policy =
        |name: &str, spec: serde_json::Value| Manifest::access_policy("shop", name, spec).to_string();
    let good =
        write("good.yaml", &policy("others", json!({"rules": [{"from": [{"serviceAccounts": ["cart"]}]}]})))?;
    let bad = write(
        "bad.yaml",
        &policy("callers", json!({"rules": [{"to": [{"ports": [8080, "9-1"]}], "form": []}]})),
    )?;
    let torn = write("torn.yaml", "spec: {rules: [")?;

    assert!(agent.weir(["policy", "lint", &good])?.success().is_ok());
    let said = agent.weir(["policy", "lint", &good, &bad, &torn])?;
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    for word in [
        "bad.yaml",
        "AccessPolicy shop/callers",
        "spec.rules[0].to[0].ports[1]",
        "9-1",
        "spec.rules[0].form",
        "torn.yaml",
    ] {
        assert!(said.stdout.contains(word), "no {word} in:\n{}", said.stdout);
    }
    assert!(!said.stdout.contains("good.yaml"), "{}", said.stdout);
    Ok(())
}
