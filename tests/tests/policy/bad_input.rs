//! Bad YAML while traffic goes on: said where and what, the last good version in force, the rest applied.

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{Agent, Manifest};

use crate::world::{Reach, World, for_servers, reach};

const FILE: &str = "accesspolicy-shop-not-other.yaml";

fn policy() -> Manifest {
    let rules = json!([{"from": [{"serviceAccounts": ["shop/other"]}]}]);
    for_servers("not-other", json!({"action": "deny", "rules": rules}))
}

fn problem(agent: &Agent, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let status = agent.wait_status("the problem", |status| {
        status["problems"].as_array().is_some_and(|all| all.iter().any(&wanted))
    })?;
    let found = status["problems"].as_array().into_iter().flatten().find(|problem| wanted(problem));
    Ok(found.cloned().unwrap_or_default())
}

#[test]
fn a_file_that_cannot_be_used_is_reported_and_its_last_good_version_stays_in_force() -> Result<()> {
    let world = World::new(&[policy()])?;
    let good = policy().to_string();
    let mut held = world.cart.hold(world.pay.v4(8080))?;
    let other = "AccessPolicy shop/not-other";
    // Text, and what is reported: object, field, value, metric's kind.
    let cases: [(&str, String, [&str; 3], &str); 6] = [
        ("half written", good[..good.len() / 2].to_owned() + "\n  rules: [", ["", "", ""], "file"),
        ("not YAML", "\t{]".into(), ["", "", ""], "file"),
        ("unknown kind", good.replace("AccessPolicy", "AccessPolice"), ["", "kind", "AccessPolice"], "file"),
        (
            "unknown field",
            good.replace("serviceAccounts", "serviceAccount"),
            [other, "spec.rules[0].from[0].serviceAccount", ""],
            "AccessPolicy",
        ),
        ("wrong value", good.replace("deny", "forbid"), [other, "spec.action", "\"forbid\""], "AccessPolicy"),
        ("wrong type", good.replace("shop/other", "[1]"), [other, "", ""], "AccessPolicy"),
    ];
    for (what, text, [object, field, value], kind) in &cases {
        world.topology.state().write_in_place(FILE, text)?;
        for agent in &world.agents {
            let found = problem(agent, |problem| {
                problem["file"].as_str().is_some_and(|file| file.contains(FILE))
                    && problem["object"].as_str().unwrap_or_default() == *object
                    && (field.is_empty() || problem["field"] == *field)
                    && (value.is_empty() || problem["value"] == *value)
            });
            let found = found.map_err(|error| error.context(format!("{what}: {:?}", agent.status())))?;
            assert!(found["message"].as_str().is_some_and(|words| !words.is_empty()), "{what}: {found}");
            agent.wait_metric("weir_object_problems", &[("kind", kind)], 1.0)?;
            assert!(agent.log().contains(FILE), "{what}: the log does not say it");
        }
        assert_eq!(
            reach(&world.other, &[world.near.v4(8080), world.pay.v4(8080)])?,
            [Reach::Refused, Reach::Reset],
            "{what}"
        );
        assert_eq!(
            reach(&world.cart, &[world.near.v4(8080), world.pay.v4(8080)])?,
            [Reach::Open; 2],
            "{what}"
        );
        held.echo(what)?;
        // Mended, and nothing is left of it.
        world.topology.state().write_in_place(FILE, &good)?;
        for agent in &world.agents {
            agent.wait_status("no problem", |status| status["problems"] == json!([]))?;
        }
    }
    Ok(())
}

#[test]
fn beside_a_bad_file_the_rest_is_applied() -> Result<()> {
    let mut world = World::new(&[policy()])?;
    world.topology.state().write("broken.yaml", "{")?;
    problem(world.a(), |problem| problem["file"].as_str().is_some_and(|file| file.contains("broken")))?;
    let fresh = json!({"action": "deny", "rules": [{"from": [{"namespaces": ["bank"]}]}]});
    world.enforce(&[policy(), for_servers("not-bank", fresh)])?;
    world.expect(&world.teller, &[], &[])?;
    world.expect(&world.other, &[], &[])
}

#[test]
fn of_two_objects_with_one_name_one_stays_in_force_and_both_files_are_named() -> Result<()> {
    let mut world = World::new(&[policy()])?;
    // Were it in force, everyone would be let in.
    let twin = for_servers("not-other", json!({"rules": [{}]}));
    world.topology.state().write("twin.yaml", &twin.to_string())?;
    let found = problem(world.a(), |problem| problem["object"] == "AccessPolicy shop/not-other")?;
    let words = found.to_string();
    assert!(words.contains("twin.yaml") && words.contains(FILE), "{words}");
    problem(world.b(), |problem| problem["object"] == "AccessPolicy shop/not-other")?;
    assert_eq!(
        reach(&world.other, &[world.near.v4(8080), world.pay.v4(8080)])?,
        [Reach::Refused, Reach::Reset]
    );
    Ok(())
}
