//! Pods that enter the mesh and leave it while they run: the next connection follows, processes notice
//! nothing.

use anyhow::Result;
use weir_tests::{Agent, Manifest, Pod, Serve, eventually};

use crate::mesh::{OneNode, TwoNodes, wait, wait_captured, wait_workload, workload};

fn enrol(mesh: &TwoNodes, pod: &Pod, word: &str) -> Result<()> {
    mesh.topology.state().put(&pod.manifest().annotation("weir.dev/mesh", word))
}

/// Waits until neither agent thinks that `pod` is, or is not, in the mesh.
fn wait_enrolled(agent: &Agent, pod: &Pod, enrolled: bool) -> Result<()> {
    let what = if enrolled { "captured" } else { "left alone" };
    wait_workload(agent, pod, what, |workload| {
        workload["enrolled"] == enrolled && workload["captured"] == enrolled
    })
    .map(drop)
}

#[test]
fn a_running_client_is_enrolled_released_and_enrolled_again_by_an_annotation() -> Result<()> {
    let mut mesh =
        TwoNodes::with(|_, [client, _]| Ok(vec![client.manifest().annotation("weir.dev/mesh", "disabled")]))?;
    let mut echo = mesh.server.serve(Serve::Echo, 7)?;
    let to = mesh.server.v4(7);
    // One process dials in every phase, another keeps its one connection through all of them.
    let mut process = mesh.client.redialler(to)?;
    let mut held = mesh.client.hold(to)?;
    held.echo("before")?;

    for (phase, enrolled) in [(1, false), (2, true), (3, false), (4, true)] {
        enrol(&mesh, &mesh.client, if enrolled { "enabled" } else { "disabled" })?;
        wait_enrolled(&mesh.near, &mesh.client, enrolled)?;
        let text = "x".repeat(1000 + phase);
        let dialled = process.ask(&text)?;
        assert_eq!((dialled.received, dialled.peer), (text.clone(), Some(to)), "phase {phase}");
        let arrived = mesh.far.wait_flow(&format!("phase {phase}"), |flow| {
            flow.text("direction") == "inbound" && flow.number("bytes_sent") == Some(text.len() as u64)
        })?;
        let identity = if enrolled { "spiffe://cluster.local/ns/shop/sa/client" } else { "" };
        assert_eq!(arrived.text("source.identity"), identity, "phase {phase}: {arrived:?}");
        assert_eq!(arrived.text("source.pod"), "client");
        held.echo(&format!("in phase {phase}"))?;
    }
    // The server's pod is the other node's; the client was captured twice.
    assert_eq!(mesh.near.metric("weir_capture_duration_milliseconds_count", &[])?, Some(2.0));
    // The client's own agent saw what was captured, and nothing of the rest.
    mesh.near.wait_flow("phase 4", |flow| flow.number("bytes_sent") == Some(1004))?;
    let flows = mesh.near.flows()?;
    let seen: Vec<_> = flows.iter().map(|flow| (flow.text("path"), flow.number("bytes_sent"))).collect();
    assert_eq!(seen, [("tunnel", Some(1002)), ("tunnel", Some(1004))]);
    assert!(held.is_open()? && echo.process.is_running()?);
    Ok(())
}

#[test]
fn a_running_server_is_enrolled_released_and_enrolled_again_by_an_annotation() -> Result<()> {
    let mut mesh = TwoNodes::new()?;
    let mut echo = mesh.server.serve(Serve::Echo, 7)?;
    for to in [mesh.server.v4(7), mesh.server.v6(7)] {
        for (word, path) in [("disabled", "passthrough"), ("enabled", "tunnel"), ("disabled", "passthrough")]
        {
            enrol(&mesh, &mesh.server, word)?;
            wait_enrolled(&mesh.far, &mesh.server, word == "enabled")?;
            let before = mesh.near.flows()?.len();
            // The client's node learns it by itself, a moment earlier or later.
            eventually(&format!("a connection by the path {path}"), || {
                let answered = mesh.client.ask(to, "hello")?.received == "hello";
                let flows = mesh.near.flows()?;
                let carried = flows[before..].iter().any(|flow| {
                    flow.is(&[("path", path), ("verdict", "forwarded"), ("destination.pod", "server")])
                });
                Ok((answered && carried).then_some(()))
            })?;
        }
    }
    assert!(echo.process.is_running()?);
    Ok(())
}

#[test]
fn a_namespace_enrols_its_pods_but_for_those_that_say_otherwise() -> Result<()> {
    let mesh = OneNode::with(&[], |[_, server]| {
        Ok(vec![Manifest::namespace("shop"), server.manifest().annotation("weir.dev/mesh", "disabled")])
    })?;
    let status = mesh.agent.status()?;
    let enrolled = |status: &serde_json::Value| {
        [&mesh.client, &mesh.server].map(|pod| workload(status, pod).expect("a workload")["captured"] == true)
    };
    assert_eq!(enrolled(&status), [false, false]);
    mesh.topology.state().put(&Manifest::meshed("shop"))?;
    wait_captured(&mesh.agent, &mesh.client)?;
    assert_eq!(enrolled(&mesh.agent.status()?), [true, false]);
    mesh.topology.state().put(&Manifest::namespace("shop"))?;
    wait_workload(&mesh.agent, &mesh.client, "left alone", |workload| workload["captured"] == false)?;
    Ok(())
}

#[test]
fn a_pod_that_leaves_the_state_is_left_alone_and_its_processes_run_on() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let mut echo = mesh.server.serve(Serve::Echo, 7)?;
    let mut process = mesh.client.redialler(mesh.server.v4(7))?;
    let mut held = mesh.client.hold(mesh.server.v4(7))?;
    assert_eq!(process.ask("one")?.received, "one");
    wait(&mut mesh.agent, &[("path", "direct"), ("direction", "outbound")])?;

    mesh.topology.state().delete(&mesh.server.manifest())?;
    mesh.agent.wait_status("the server to be forgotten", |status| {
        workload(status, &mesh.server).is_none() && workload(status, &mesh.client).is_some()
    })?;
    assert_eq!(process.ask("two")?.received, "two");
    let flow = wait(&mut mesh.agent, &[("path", "passthrough"), ("direction", "outbound")])?;
    assert_eq!((flow.text("destination.pod"), flow.text("destination.identity")), ("", ""));
    // Its direct connection never was the agent's, and goes on.
    held.echo("still here")?;
    assert!(echo.process.is_running()?);

    mesh.topology.state().delete(&mesh.client.manifest())?;
    mesh.agent
        .wait_status("the client to be forgotten", |status| workload(status, &mesh.client).is_none())?;
    assert_eq!(process.ask("three")?.received, "three");
    for map in ["WORKLOADS", "ENDPOINTS", "VERDICTS"] {
        let entries = mesh.agent.metric("weir_map_entries", &[("map", map)])?;
        assert_eq!(entries, Some(0.0), "{map}");
    }

    // Back again, as if nothing had been.
    mesh.topology.state().put_all(&[mesh.client.manifest(), mesh.server.manifest()])?;
    wait_captured(&mesh.agent, &mesh.client)?;
    wait_captured(&mesh.agent, &mesh.server)?;
    assert_eq!(process.ask("number four")?.received, "number four");
    mesh.agent.wait_flow("a direct connection again", |flow| {
        flow.is(&[("path", "direct"), ("direction", "outbound")]) && flow.number("bytes_sent") == Some(11)
    })?;
    Ok(())
}

#[test]
fn twenty_pods_that_come_at_once_are_all_captured_and_talk_and_go_at_once() -> Result<()> {
    let mut mesh = OneNode::new()?;
    let node = mesh.topology.node("a");
    let pods: Vec<Pod> = (0..20).map(|n| node.pod(&format!("shop/pod-{n}"))).collect::<Result<_>>()?;
    let manifests: Vec<Manifest> = pods.iter().map(Pod::manifest).collect();
    mesh.topology.state().put_all(&manifests)?;
    mesh.agent.wait_metric("weir_workloads", &[("state", "captured")], 22.0)?;
    // Each to the next, in a ring, the last to the first.
    let _servers: Vec<_> = pods.iter().map(|pod| pod.serve(Serve::Echo, 7)).collect::<Result<_>>()?;
    for (pod, next) in pods.iter().zip(pods.iter().cycle().skip(1)) {
        assert_eq!(pod.ask(next.v4(7), pod.name())?.received, pod.name());
        let identity = format!("spiffe://cluster.local/ns/shop/sa/{}", pod.name());
        let fields = [
            ("direction", "inbound"),
            ("path", "direct"),
            ("source.identity", identity.as_str()),
            ("destination.pod", next.name()),
        ];
        wait(&mut mesh.agent, &fields)?;
    }
    manifests.iter().try_for_each(|manifest| mesh.topology.state().delete(manifest))?;
    mesh.agent.wait_status("them all to be forgotten", |status| {
        status["workloads"].as_array().is_some_and(|workloads| workloads.len() == 2)
    })?;
    assert_eq!(mesh.agent.metric("weir_workloads", &[("state", "captured")])?, Some(2.0));
    assert_eq!(mesh.agent.metric("weir_map_entries", &[("map", "WORKLOADS")])?, Some(2.0));
    Ok(())
}
