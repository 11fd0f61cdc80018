//! A pod's network namespace: captured only when it is provably the pod's own, held no longer than it is there.

use anyhow::Result;
use serde_json::Value;
use weir_tests::{Agent, Manifest, Node, Pod, Serve, Topology, eventually};

use crate::mesh::{OneNode, TwoNodes, wait, wait_captured, wait_workload, workload};

const NETNS: &str = "weir.dev/netns";

/// The problem that the agent reports of `pod`.
fn problem(agent: &Agent, pod: &Pod) -> Result<Value> {
    let object = format!("Pod {}/{}", pod.namespace(), pod.name());
    let status = agent.wait_status(&format!("a problem with {object}"), |status| {
        status["problems"].as_array().is_some_and(|all| all.iter().any(|problem| problem["object"] == object))
    })?;
    let mut problems = status["problems"].as_array().into_iter().flatten();
    Ok(problems.find(|problem| problem["object"] == object).cloned().expect("it was just there"))
}

/// How many veths of pods the node's bridge has.
fn veths(node: &Node) -> Result<usize> {
    let links = node.run(["ip", "-o", "link", "show", "master", "pods"])?.success()?;
    Ok(links.lines().count())
}

#[test]
fn deleting_a_namespace_frees_its_veth_while_the_agent_and_its_connections_run() -> Result<()> {
    let mesh = TwoNodes::new()?;
    let neighbour = mesh.topology.node("a").pod("shop/neighbour")?;
    mesh.topology.state().put(&neighbour.manifest())?;
    wait_captured(&mesh.near, &neighbour)?;
    let _servers = [mesh.server.serve(Serve::Echo, 7)?, mesh.client.serve(Serve::Echo, 7)?];
    // Through the tunnel both ways, and directly.
    let mut held = [
        mesh.client.hold(mesh.server.v4(7))?,
        mesh.server.hold(mesh.client.v6(7))?,
        neighbour.hold(mesh.client.v4(7))?,
    ];
    held.iter_mut().try_for_each(|held| held.echo("hello"))?;
    let node = mesh.topology.node("a");
    assert_eq!(veths(node)?, 2);

    // As a runtime does, while the pod's object is still there.
    mesh.client.remove()?;

    eventually("the veth to go", || Ok((veths(node)? == 1).then_some(())))?;
    let reason =
        wait_workload(&mesh.near, &mesh.client, "released", |workload| workload["captured"] == false)?;
    assert!(reason["reason"].as_str().is_some_and(|words| words.contains("cannot be opened")), "{reason}");
    held[1].wait_closed()?;
    mesh.topology.state().delete(&mesh.client.manifest())?;
    mesh.near.wait_status("the pod to be forgotten", |status| {
        workload(status, &mesh.client).is_none() && status["problems"].as_array().is_some_and(Vec::is_empty)
    })?;
    Ok(())
}

#[test]
fn a_namespace_that_is_made_anew_under_its_old_name_is_captured_anew() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    let first = std::fs::metadata(mesh.client.netns())?;
    let own = mesh.client.serve(Serve::Echo, 7)?;
    // Sessions of both directions are kept, and hold the namespace while they are.
    assert_eq!(mesh.client.ask(mesh.server.v4(7), "the first")?.received, "the first");
    assert_eq!(mesh.server.ask(mesh.client.v4(7), "and back")?.received, "and back");
    drop(own);
    // The old veth lives as long as the agent holds the namespace; its name on the node is needed again.
    let node = mesh.topology.node("a");
    node.run(["ip", "link", "set", "pod-2", "name", "old"])?.success()?;
    mesh.client.remove()?;
    // Same name, same addresses, at once: the agent may never see the name unused.
    let again = node.pod_at("shop/client", 2)?;
    let second = std::fs::metadata(again.netns())?;
    assert_ne!(
        std::os::unix::fs::MetadataExt::ino(&first),
        std::os::unix::fs::MetadataExt::ino(&second),
        "the agent holds the old one, so the kernel cannot give its number away"
    );
    let text = "the second, which is longer";
    eventually("the new one to be carried", || {
        let _ = again.ask(mesh.server.v4(7), text)?;
        let flows = mesh.near.flows()?;
        let carried = flows.iter().any(|flow| {
            flow.is(&[("path", "tunnel"), ("verdict", "forwarded"), ("source.pod", "client")])
                && flow.number("bytes_sent") == Some(text.len() as u64)
        });
        Ok(carried.then_some(()))
    })?;
    let back = again.serve(Serve::Echo, 8)?;
    assert_eq!(mesh.server.ask(again.v4(8), "back")?.received, "back");
    drop(back);
    eventually("only the new veth", || Ok((veths(node)? == 1).then_some(())))
}

/// What can be wrong with the namespace that a pod names, and the words by which it is told.
fn wrong_namespaces(topology: &Topology, other: &Pod) -> Result<Vec<(String, &'static str)>> {
    let file = topology.dir().join("a-plain-file");
    std::fs::write(&file, "not a namespace")?;
    Ok(vec![
        ("/run/netns/weir-nobody-made-this".to_owned(), "cannot be opened: No such file or directory"),
        (file.display().to_string(), "is not a network namespace"),
        (topology.state().dir().display().to_string(), "is not a network namespace"),
        ("/proc/self/ns/mnt".to_owned(), "cannot be entered"),
        (other.netns().display().to_string(), "has none of its addresses, but"),
    ])
}

#[test]
fn a_pod_whose_namespace_is_wrong_is_reported_never_captured_and_captured_when_mended() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let node = mesh.topology.node("a");
    let (pod, other) = (node.pod("shop/pod")?, node.pod("other/unknown")?);
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    for (path, words) in wrong_namespaces(&mesh.topology, &other)? {
        mesh.topology.state().put(&pod.manifest().annotation(NETNS, &path))?;
        let reported = wait_workload(&mesh.agent, &pod, words, |workload| {
            workload["reason"].as_str().is_some_and(|reason| reason.contains(&path) && reason.contains(words))
        })?;
        assert_eq!((&reported["enrolled"], &reported["captured"]), (&true.into(), &false.into()), "{path}");
        let problem = problem(&mesh.agent, &pod)?;
        assert_eq!(problem["field"], "metadata.annotations[\"weir.dev/netns\"]", "{problem}");
        assert_eq!(problem["value"], *path, "{problem}");
        assert!(problem["message"].as_str().is_some_and(|message| message.contains(words)), "{problem}");
        assert_eq!(mesh.agent.metric("weir_object_problems", &[("kind", "Pod")])?, Some(1.0));
        let logged = |line: &str| line.contains("WARN") && line.contains("shop/pod") && line.contains(words);
        mesh.agent.wait_log("a warning", |line| logged(line).then_some(()))?;
        // Whose namespace it really is has nothing to do with this pod: it is not in the mesh.
        assert_eq!(other.ask(mesh.server.v4(7), "who am I?")?.received, "who am I?");
    }
    let flows = mesh.agent.flows()?;
    assert!(flows.iter().all(|flow| flow.text("source.pod") != "pod"), "{flows:?}");

    mesh.topology.state().put(&pod.manifest())?;
    wait_captured(&mesh.agent, &pod)?;
    assert_eq!(pod.ask(mesh.server.v4(7), "myself at last")?.received, "myself at last");
    wait(&mut mesh.agent, &[("direction", "inbound"), ("path", "direct"), ("source.pod", "pod")])?;
    assert_eq!(mesh.agent.metric("weir_object_problems", &[("kind", "Pod")])?.unwrap_or(0.0), 0.0);
    Ok(())
}

#[test]
fn a_namespace_that_comes_after_its_pods_object_is_captured_without_a_change_of_the_object() -> Result<()> {
    let mesh = OneNode::new()?;
    let node = mesh.topology.node("a");
    let early = node.pod_at("shop/late", 77)?;
    early.remove()?;
    mesh.topology.state().put(&early.manifest())?;
    problem(&mesh.agent, &early)?;
    let late = node.pod_at("shop/late", 77)?;
    wait_captured(&mesh.agent, &late)
}

#[test]
fn a_namespace_that_two_pods_claim_is_captured_for_neither_until_one_lets_go() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let node = mesh.topology.node("a");
    let pod = node.pod("shop/pod")?;
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    // The same addresses too, by a thief who writes what it likes.
    let thief = Manifest::pod(&pod)
        .set("/metadata/name", "thief".into())
        .set("/metadata/uid", "thief".into())
        .service_account("thief");
    mesh.topology.state().put_all(&[pod.manifest(), thief.clone()])?;
    let reported = wait_workload(&mesh.agent, &pod, "claimed twice", |workload| {
        workload["reason"].as_str().is_some_and(|reason| reason.contains("is claimed by shop/thief too"))
    })?;
    assert_eq!(reported["captured"], false);
    let problem = problem(&mesh.agent, &pod)?;
    assert!(problem["message"].as_str().is_some_and(|words| words.contains("claimed by")), "{problem}");
    let problems = mesh.agent.metric("weir_object_problems", &[("kind", "Pod")])?;
    assert!(problems.is_some_and(|problems| problems >= 2.0), "{problems:?}");

    mesh.topology.state().delete(&thief)?;
    wait_captured(&mesh.agent, &pod)?;
    assert_eq!(pod.ask(mesh.server.v4(7), "me alone")?.received, "me alone");
    let flow = wait(&mut mesh.agent, &[("direction", "inbound"), ("path", "direct")])?;
    assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/pod");
    let flows = mesh.agent.flows()?;
    assert!(flows.iter().all(|flow| !flow.text("source.identity").ends_with("/thief")), "{flows:?}");
    Ok(())
}

#[test]
fn a_later_claim_does_not_take_a_captured_pod_out_of_the_mesh() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let node = mesh.topology.node("a");
    let (pod, other) = (node.pod("shop/pod")?, node.pod("shop/other")?);
    let _echo = mesh.server.serve(Serve::Echo, 7)?;
    mesh.topology.state().put(&pod.manifest())?;
    wait_captured(&mesh.agent, &pod)?;
    let thief = Manifest::pod(&other).annotation("weir.dev/netns", &pod.netns().display().to_string());
    mesh.topology.state().put(&thief)?;
    let problem = problem(&mesh.agent, &other)?;
    assert!(problem["message"].as_str().is_some_and(|words| words.contains("shop/pod too")), "{problem}");
    assert_eq!(pod.ask(mesh.server.v4(7), "still me")?.received, "still me");
    let flow = wait(&mut mesh.agent, &[("direction", "inbound"), ("path", "direct")])?;
    assert_eq!(flow.text("source.identity"), "spiffe://cluster.local/ns/shop/sa/pod");
    Ok(())
}

#[test]
fn an_agent_is_not_ready_before_every_enrolled_pod_is_captured() -> Result<()> {
    let topology = Topology::with_nodes(1)?;
    let node = topology.node("a");
    let (pod, late) = (node.pod("shop/pod")?, node.pod_at("shop/late", 77)?);
    topology.state().put_all(&[Manifest::meshed("shop"), pod.manifest(), late.manifest()])?;
    late.remove()?;
    let mut agent = node.agent().spawn()?;
    agent.wait_log("what it waits for", |line| {
        (line.contains("not captured") && line.contains("shop/late")).then_some(())
    })?;
    let unready = eventually("an answer", || Ok(agent.http("/readyz").err()))?;
    assert!(format!("{unready:#}").contains("503"), "{unready:#}");
    // The good one is not made to wait for the bad one.
    eventually("the good pod", || Ok(agent.status().ok().filter(|_| wait_captured(&agent, &pod).is_ok())))?;
    let status = agent.status()?;
    assert_eq!(status["ready"], false);
    let waiting = status["waiting_for"].to_string();
    assert!(waiting.contains("shop/late"), "{waiting}");
    assert!(!agent.log().contains(" ready"), "{}", agent.log());

    node.pod_at("shop/late", 77)?;
    let agent = agent.ready()?;
    agent.http("/readyz")?;
    Ok(())
}
