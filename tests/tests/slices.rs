//! WorkloadSlices between a controller and an agent: what a pod on another node is, without a watch of it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_tests::{Agent, ApiServer, Controller, Manifest, Topology, eventually};

/// A pod of `shop` on node-b with an address.
fn pod(api: &ApiServer, name: &str, address: &str) -> Result<()> {
    let spec = json!({
        "nodeName": "node-b", "serviceAccountName": name, "containers": [{"name": "app", "image": "none"}],
    });
    let metadata = json!({"namespace": "shop", "name": name, "labels": {"app": name}});
    api.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string())?;
    let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
    api.set_status(&format!("pod/{name}"), "shop", &status)
}

fn delete(api: &ApiServer, pod: &str) -> Result<()> {
    api.kubectl(["-n", "shop", "delete", "pod", pod, "--grace-period=0", "--force"]).map(drop)
}

fn agent(topology: &Topology, api: &ApiServer) -> Result<Agent> {
    let kubeconfig = api.kubeconfig().display().to_string();
    topology.node("a").agent().args(["--kube", "--pods", "slices"]).env("KUBECONFIG", &kubeconfig).spawn()
}

fn controller(api: &ApiServer, number: u16) -> Result<Controller> {
    api.controller(number, ["--slices"])?.ready()
}

/// Whether the agent knows who both are, and lets one talk to the other.
fn is_allowed(agent: &Agent, to: &str) -> Result<Option<bool>> {
    let to = format!("shop/{to}:80");
    let finished = agent.weir(["policy", "explain", "--from", "shop/cart", "--to", &to, "-o", "json"])?;
    let answer: Option<Value> = serde_json::from_str(&finished.stdout).ok();
    Ok(answer.and_then(|answer| answer["allowed"].as_bool()))
}

fn wait_known(agent: &Agent, to: &str, known: bool) -> Result<()> {
    eventually(&format!("{to} to be known: {known}"), || {
        Ok((is_allowed(agent, to)?.is_some() == known).then_some(()))
    })
}

fn slices(api: &ApiServer) -> Result<Vec<Value>> {
    let list = api.kubectl(["-n", "weir-system", "get", "workloadslices", "-o", "json"])?;
    let list: Value = serde_json::from_str(&list)?;
    Ok(list["items"].as_array().context("a list")?.clone())
}

/// The names of the pods in slices, sorted.
fn said(api: &ApiServer) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for slice in slices(api)? {
        let groups = slice["spec"]["groups"].as_array().cloned().unwrap_or_default();
        let pods = groups.iter().flat_map(|group| group["pods"].as_array().cloned().unwrap_or_default());
        names.extend(pods.filter_map(|pod| Some(pod["name"].as_str()?.to_owned())));
    }
    names.sort();
    Ok(names)
}

fn wait_said(api: &ApiServer, names: &[&str]) -> Result<()> {
    eventually(&format!("the slices to say {names:?}"), || Ok((said(api)? == names).then_some(())))
}

fn shop(api: &ApiServer) -> Result<()> {
    api.define()?;
    api.put(&Manifest::namespace("weir-system"))?;
    api.put(&Manifest::meshed("shop"))?;
    pod(api, "cart", "10.244.2.10")?;
    pod(api, "pay", "10.244.2.11")
}

#[test]
fn an_agent_knows_the_pods_of_other_nodes_from_slices_and_watches_none_of_them() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    let mut agent = agent(&topology, &api)?;
    // Nobody says that there are no others: it must not think so.
    agent.wait_log("that it waits", |line| line.contains("WorkloadSlice").then_some(()))?;
    let _controller = controller(&api, 3)?;
    let agent = agent.ready()?;
    wait_known(&agent, "pay", true)?;
    agent.wait_metric("weir_source_objects", &[("kind", "WorkloadSlice")], 2.0)?;
    agent.wait_metric("weir_source_objects", &[("kind", "Pod")], 0.0)?;

    pod(&api, "new", "10.244.2.12")?;
    wait_known(&agent, "new", true)?;
    let rules = json!([{"from": [{"serviceAccounts": ["shop/cart"]}]}]);
    let deny = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": "not-new"},
        "spec": {
            "tier": "application", "action": "deny", "rules": rules,
            "selector": {"matchLabels": {"app": "new"}},
        },
    });
    api.apply(&deny.to_string())?;
    eventually("a policy to find it by its label", || {
        Ok((is_allowed(&agent, "new")? == Some(false)).then_some(()))
    })?;
    assert_eq!(is_allowed(&agent, "pay")?, Some(true));
    delete(&api, "pay")?;
    wait_known(&agent, "pay", false)?;
    Ok(())
}

#[test]
fn slices_are_what_the_pods_are_whoever_wrote_and_whatever_happened_meanwhile() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    let first = controller(&api, 0)?;
    wait_said(&api, &["cart", "pay"])?;
    first.stop()?;
    // With nobody there to see it.
    delete(&api, "cart")?;
    pod(&api, "late", "10.244.2.13")?;
    let before = slices(&api)?;
    let second = controller(&api, 1)?;
    wait_said(&api, &["late", "pay"])?;
    let name = |slice: &Value| slice["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = before.iter().map(name).collect();
    assert_eq!(slices(&api)?.iter().map(name).collect::<Vec<_>>(), names, "pods stay where they are");

    // Somebody lies about a pod, and takes a slice away.
    let slice = names.iter().find(|name| *name != "complete").context("a slice")?;
    let lie = r#"{"spec":{"groups":[]}}"#;
    api.kubectl(["-n", "weir-system", "patch", "workloadslice", slice, "--type=merge", "-p", lie])?;
    wait_said(&api, &["late", "pay"])?;
    api.kubectl(["-n", "weir-system", "delete", "workloadslices", "--all"])?;
    wait_said(&api, &["late", "pay"])?;
    eventually("all to be said to be there", || {
        Ok(slices(&api)?.iter().any(|slice| slice["spec"]["complete"] == true).then_some(()))
    })?;
    assert_eq!(
        second.metric("weir_controller_slice_writes_total", &[("result", "failed")])?.unwrap_or(0.0),
        0.0
    );
    Ok(())
}
