//! An agent that reads the cluster from a real API server: what is told there is in force here, whatever the server does.
//!
//! Its pods run on another node, so that nothing has to be captured: what the agent knows, `weir policy explain` says.

use anyhow::Result;
use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::{Agent, ApiServer, Manifest, Topology, eventually};

/// A pod of `shop` on node-b with an address.
fn pod(api: &ApiServer, name: &str, address: &str) -> Result<()> {
    api.apply(
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}},
            "spec": {
                "nodeName": "node-b", "serviceAccountName": name,
                "containers": [{"name": "app", "image": "none"}],
            },
        })
        .to_string(),
    )?;
    let status = json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    api.set_status(&format!("pod/{name}"), "shop", &status)
}

/// Two pods in the mesh.
fn shop(api: &ApiServer) -> Result<()> {
    api.put(&Manifest::meshed("shop"))?;
    pod(api, "cart", "10.244.2.10")?;
    pod(api, "pay", "10.244.2.11")
}

fn agent(topology: &Topology, api: &ApiServer) -> Result<Agent> {
    let kubeconfig = api.kubeconfig().display().to_string();
    topology.node("a").agent().args(["--kube"]).env("KUBECONFIG", &kubeconfig).spawn()
}

/// What would become of a connection from cart to pay; none when the agent does not know both.
fn explained(agent: &Agent) -> Result<Option<Value>> {
    let words = ["policy", "explain", "--from", "shop/cart", "--to", "shop/pay:80", "-o", "json"];
    let finished = agent.weir(words)?;
    Ok(serde_json::from_str(&finished.stdout).ok())
}

fn wait_allowed(agent: &Agent, allowed: bool) -> Result<Value> {
    eventually(&format!("it to be allowed: {allowed}"), || {
        Ok(explained(agent)?.filter(|answer| answer["allowed"] == allowed))
    })
}

fn deny(rules: Value) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"namespace": "shop", "name": "none"},
        "spec": {"tier": "application", "action": "deny", "rules": rules},
    })
}

#[test]
fn what_is_told_is_in_force_and_what_goes_is_not() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    let agent = agent(&topology, &api)?.ready()?;
    wait_allowed(&agent, true)?;
    api.kubectl(["-n", "shop", "delete", "pod", "pay", "--grace-period=0", "--force"])?;
    eventually("pay to be gone", || Ok(explained(&agent)?.is_none().then_some(())))?;
    pod(&api, "pay", "10.244.2.12")?;
    wait_allowed(&agent, true)?;
    agent.wait_metric("weir_source_objects", &[("kind", "Pod")], 2.0)?;
    Ok(())
}

#[test]
fn a_kind_that_is_not_installed_is_waited_for_and_a_bad_object_changes_nothing() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    let agent = agent(&topology, &api)?.ready()?;
    wait_allowed(&agent, true)?;
    // Without what stands beside it, it lets pass a range that goes down.
    api.deploy("crds/accesspolicies.yaml")?;
    let from_cart = json!([{"from": [{"serviceAccounts": ["shop/cart"]}]}]);
    eventually("the kind to be there", || Ok(api.apply(&deny(from_cart.clone()).to_string()).ok()))?;
    wait_allowed(&agent, false)?;

    api.apply(&deny(json!([{"to": [{"ports": ["90-80"]}]}])).to_string())?;
    let status = agent.wait_status("a problem", |status| {
        status["problems"].as_array().is_some_and(|problems| !problems.is_empty())
    })?;
    let problem = &status["problems"][0];
    assert_eq!(problem["object"], "AccessPolicy shop/none", "{status}");
    assert_eq!(
        (&problem["field"], &problem["value"]),
        (&json!("spec.rules[0].to[0].ports[0]"), &json!("90-80"))
    );
    wait_allowed(&agent, false)?;

    api.kubectl(["-n", "shop", "delete", "accesspolicy", "none"])?;
    wait_allowed(&agent, true)?;
    Ok(())
}

/// The events on objects of `shop` with this name that say that an annotation makes no sense.
fn bad_annotations(api: &ApiServer, name: &str) -> Result<Vec<Value>> {
    let printed = api.kubectl(["-n", "shop", "get", "events", "-o=json"])?;
    let events: Value = serde_json::from_str(&printed)?;
    let on = |event: &&Value| event["reason"] == "BadAnnotation" && event["involvedObject"]["name"] == name;
    Ok(events["items"].as_array().into_iter().flatten().filter(on).cloned().collect())
}

#[test]
fn an_annotation_that_makes_no_sense_enrols_and_is_told_once_on_its_pod() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let mut api = ApiServer::start(topology.node("a"))?;
    api.put(&Manifest::namespace("shop"))?;
    let typo = |api: &ApiServer, name: &str, node: &str, annotations: Value| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
            "spec": {"nodeName": node, "containers": [{"name": "app", "image": "none"}]},
        });
        api.apply(&pod.to_string())
    };
    typo(&api, "cart", "node-a", json!({"weir.dev/mesh": "enabld", "weir.dev/skip-inbound-ports": "http"}))?;
    typo(&api, "pay", "node-b", json!({"weir.dev/mesh": "enabld"}))?;
    let agent = agent(&topology, &api)?.ready()?;
    agent.wait_status("a word that is none to enrol", |status| {
        let workloads = status["workloads"].as_array();
        workloads.is_some_and(|of| of.iter().any(|it| it["pod"] == "cart" && it["enrolled"] == true))
    })?;
    let told = eventually("the pod to be told of both", || {
        Ok(Some(bad_annotations(&api, "cart")?).filter(|told| told.len() >= 2))
    })?;
    let uid = api.kubectl(["-n", "shop", "get", "pod", "cart", "-o=jsonpath={.metadata.uid}"])?;
    assert!(told.iter().all(|event| event["type"] == "Warning" && event["involvedObject"]["uid"] == *uid));
    let notes: Vec<&str> = told.iter().filter_map(|event| event["message"].as_str()).collect();
    for words in ["\"enabld\": must be enabled or disabled; it counts as enabled", "it counts as not set"] {
        assert!(notes.iter().any(|note| note.contains(words)), "{notes:?}");
    }

    // All is listed anew, and a pod is told that came after it.
    let lists = agent.metric("weir_source_lists_total", &[("kind", "Pod")])?.unwrap_or_default();
    api.stop()?;
    api.restart()?;
    agent.wait_metric("weir_source_lists_total", &[("kind", "Pod")], lists + 1.0)?;
    typo(&api, "late", "node-a", json!({"weir.dev/mtls": "strct"}))?;
    eventually("the other pod to be told", || {
        Ok(Some(bad_annotations(&api, "late")?).filter(|told| told.len() == 1))
    })?;
    assert_eq!(bad_annotations(&api, "cart")?.len(), 2);
    // The other node's agent has the other one to tell.
    assert_eq!(bad_annotations(&api, "pay")?.len(), 0);
    let counted = |annotation| {
        agent.metric("weir_bad_annotations_total", &[("kind", "Pod"), ("annotation", annotation)])
    };
    assert_eq!(counted("weir.dev/mesh")?, Some(1.0));
    assert_eq!(counted("weir.dev/skip-inbound-ports")?, Some(1.0));
    assert_eq!(counted("weir.dev/mtls")?, Some(1.0));
    assert_eq!(agent.metric("weir_object_events_total", &[("result", "written")])?, Some(3.0));
    Ok(())
}

#[test]
fn an_api_server_that_hangs_or_is_gone_changes_nothing_and_what_was_missed_is_made_up_for() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let mut api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    let agent = agent(&topology, &api)?.ready()?;
    wait_allowed(&agent, true)?;

    api.freeze()?;
    wait_allowed(&agent, true)?;
    agent.http("/readyz")?;
    api.thaw()?;

    api.stop()?;
    eventually("watches to fail", || {
        Ok(agent.metric("weir_source_errors_total", &[])?.filter(|errors| *errors > 0.0))
    })?;
    wait_allowed(&agent, true)?;
    agent.http("/readyz")?;

    // It does not see this one go; a server that has started anew cannot tell what was before.
    agent.signal(Signal::STOP)?;
    api.restart()?;
    api.kubectl(["-n", "shop", "delete", "pod", "pay", "--grace-period=0", "--force"])?;
    agent.signal(Signal::CONT)?;
    eventually("pay to be gone", || Ok(explained(&agent)?.is_none().then_some(())))?;
    pod(&api, "pay", "10.244.2.12")?;
    wait_allowed(&agent, true)?;
    Ok(())
}

#[test]
fn without_an_api_server_an_agent_waits_and_is_not_ready() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let mut api = ApiServer::start(topology.node("a"))?;
    shop(&api)?;
    api.stop()?;
    let mut agent = agent(&topology, &api)?;
    agent.wait_log("it to say what it waits for", |line| {
        line.contains("waiting for the API server").then_some(())
    })?;
    assert!(agent.http("/readyz").is_err());
    api.restart()?;
    let agent = agent.ready()?;
    wait_allowed(&agent, true)?;
    Ok(())
}
