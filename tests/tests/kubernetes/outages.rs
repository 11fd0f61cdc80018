//! The API server away for two minutes, and a node that is switched off and on again.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{CLUSTER_LIMIT, KubeAgent, eventually_within};

use crate::shop::Shop;

/// Longer than any request to it may take: kubelets, agents and `kubectl` have given up by then, and tried anew.
const OUTAGE: Duration = Duration::from_secs(120);

/// Of the application tier, to far: from nobody but near.
fn only_near() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": "only-near"},
        "spec": {
            "selector": {"matchLabels": {"app": "far"}}, "action": "allow",
            "rules": [{"from": [{"serviceAccounts": ["shop/near"]}]}],
        },
    })
}

/// How often an agent was let down by the API server.
fn errors(agent: &KubeAgent) -> Result<f64> {
    Ok(agent.metric("weir_source_errors_total", &[])?.unwrap_or_default())
}

#[test]
fn two_minutes_without_an_api_server_change_nothing_for_who_talks_and_then_changes_are_followed_again()
-> Result<()> {
    let mut shop = Shop::meshed()?;
    shop.cluster.api().define()?;
    let near_only = only_near();
    shop.apply(&[near_only])?;
    shop.wait_answer("far", false)?;
    let url = format!("http://{}:8080/", shop.address("far")?);
    let asks = |shop: &Shop, pod: &str| shop.cluster.nodes()[0].exec(pod, ["wget", "-qO-", &url]);
    assert_eq!(asks(&shop, "near")?.success()?, "far\n");

    // First it hangs, with every connection to it open; then it is gone, and each is refused.
    let before: Vec<f64> = shop.agents.iter().map(errors).collect::<Result<_>>()?;
    let began = Instant::now();
    shop.cluster.api().freeze()?;
    let mut is_gone = false;
    eventually_within(OUTAGE + CLUSTER_LIMIT, "the outage to be over", || {
        if !is_gone && began.elapsed() > OUTAGE / 2 {
            shop.cluster.api_mut().stop()?;
            is_gone = true;
        }
        for (pod, allowed) in [("near", true), ("cart", false)] {
            let asked = asks(&shop, pod)?;
            anyhow::ensure!(asked.status.success() == allowed, "after {:?}: {asked:?}", began.elapsed());
        }
        for agent in &shop.agents {
            agent.http("/readyz")?;
        }
        Ok((began.elapsed() > OUTAGE).then_some(()))
    })?;
    for (agent, before) in shop.agents.iter().zip(before) {
        assert!(errors(agent)? > before, "it has not noticed");
        assert!(
            agent.metric("weir_source_age_seconds", &[])?.is_some_and(|age| age > OUTAGE.as_secs_f64() / 2.0)
        );
    }

    shop.cluster.api_mut().restart()?;
    // Both at once: each agent may be waiting half a minute before it asks for a kind again.
    shop.kubectl(["delete", "accesspolicy", "only-near"])?;
    shop.annotate("pod/near", "weir.dev/mesh=disabled")?;
    shop.agents[0].wait_captured(&["cart"])?;
    shop.wait_answer("far", true)
}

#[test]
fn a_node_that_was_switched_off_has_its_pods_captured_anew_and_nothing_of_those_before() -> Result<()> {
    let mut shop = Shop::meshed()?;
    assert_eq!(shop.ask("far")?, "far\n");
    let (address, pins) = (shop.address("far")?, pins(&shop)?);
    assert_eq!(pins.len(), 1, "{pins:?}");
    shop.wait_met(&address)?;

    shop.cluster.nodes_mut()[1].crash()?;
    assert_eq!(self::pins(&shop)?, pins, "what the node has left is gone already");
    shop.wait_answer("far", false)?;
    shop.agents.pop();
    shop.cluster.nodes_mut()[1].boot()?;
    let agent = shop.cluster.nodes()[1].agent()?;
    shop.agents.push(agent);

    let now = eventually_within(CLUSTER_LIMIT, "far to have another address", || {
        Ok(Some(shop.address("far")?).filter(|now| !now.is_empty() && *now != address))
    })?;
    shop.cluster.wait_ready("shop")?;
    shop.agents[1].wait_captured(&["far"])?;
    shop.wait_answer("far", true)?;
    shop.wait_met(&now)?;

    eventually_within(CLUSTER_LIMIT, "what was of the old pod to be gone", || {
        let now = self::pins(&shop)?;
        let workloads = shop.agents[1].metric("weir_map_entries", &[("map", "WORKLOADS")])?;
        Ok((now.len() == 1 && now != pins && workloads == Some(1.0)).then_some(()))
    })?;
    let status = shop.agents[1].weir(["status", "--verify", "-o", "json"])?.success()?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(status["workloads"].as_array().map(Vec::len), Some(1), "{status}");
    for agent in &shop.agents {
        let endpoints = agent.metric("weir_map_entries", &[("map", "ENDPOINTS")])?;
        assert_eq!(endpoints, Some(3.0), "cart, near and far");
    }
    Ok(())
}

/// The programs that are in pods' namespaces on node-2.
fn pins(shop: &Shop) -> Result<Vec<String>> {
    let listed = shop.cluster.nodes()[1].run(["sh", "-c", "ls /sys/fs/bpf/weir/v*/pods"])?.success()?;
    Ok(listed.lines().map(str::to_owned).collect())
}
