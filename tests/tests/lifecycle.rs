//! An agent comes, goes, dies and comes back: what pods notice of it.

mod stage;

use anyhow::Result;
use rustix::{io::Errno, process::Signal};
use serde_json::json;
use stage::{Stage, connects, refuses, virtual_ports};
use weir_tests::{Manifest, Serve, eventually};

#[test]
fn a_stopped_agent_finishes_what_it_has_refuses_what_is_new_and_exits_with_0() -> Result<()> {
    let stage = Stage::new()?;
    let (mut here, _there) = stage.agents()?;
    let mut held = stage.client.hold(stage.far.v4(7))?;
    held.echo("before")?;

    here.signal(Signal::TERM)?;

    here.wait_log("that it drains", |line| line.contains("draining").then_some(()))?;
    eventually("a new connection to be refused", || refuses(&stage.client, stage.far.v4(7)))?;
    held.echo("while it drains")?;
    assert!(stage.node("a").weir(["status"])?.status.code() == Some(1), "nobody is to answer any more");
    held.half_close();
    assert_eq!(held.wait_closed()?, None);
    assert_eq!(here.wait()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_connection_that_outlives_the_drain_is_ended() -> Result<()> {
    let stage = Stage::new()?;
    let (mut here, _there) = stage.agents_with(&["--drain", "1"])?;
    let mut held = stage.client.hold(stage.far.v6(7))?;
    held.echo("before")?;

    here.signal(Signal::TERM)?;

    assert!(held.wait_closed()?.is_some(), "the application must not take it for an orderly end");
    assert_eq!(here.wait()?.code(), Some(0));
    assert!(here.log().contains("connections had to be ended"), "it says so");
    Ok(())
}

#[test]
fn a_second_signal_ends_a_draining_agent_at_once() -> Result<()> {
    let stage = Stage::new()?;
    let (mut here, _there) = stage.agents_with(&["--drain", "3600"])?;
    let mut held = stage.client.hold(stage.far.v4(7))?;
    held.echo("before")?;

    here.signal(Signal::TERM)?;
    here.wait_log("that it drains", |line| line.contains("draining").then_some(()))?;
    held.echo("it drains")?;
    here.signal(Signal::TERM)?;

    assert_eq!(here.wait()?.code(), Some(1));
    held.wait_closed()?;
    Ok(())
}

#[test]
fn without_an_agent_the_mesh_refuses_at_once_and_the_rest_goes_on() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.node("a").agent().start()?;
    let mut direct = stage.client.hold(stage.near.v4(7))?;
    direct.echo("before")?;

    agent.stop()?;

    for to in [stage.far.v4(7), stage.far.v6(7), stage.far.v4_mapped(7)] {
        assert!(stage.client.dial(to)?.refused_with(Errno::CONNREFUSED), "{to}");
    }
    // What the kernel's cache of verdicts allows is no exception.
    for to in [stage.near.v4(7), stage.near.v6(7)] {
        assert!(stage.client.dial(to)?.refused_with(Errno::CONNREFUSED), "{to}");
    }
    assert_eq!(stage.client.ask(stage.plain.v4(7), "outside the mesh")?.received, "outside the mesh");
    direct.echo("without an agent")?;

    let mut next = stage.node("a").agent().start()?;
    let refused = next.wait_flow("of what was refused in between", |flow| {
        flow.is(&[("reason", "agent_unavailable"), ("source.pod", "client"), ("destination.pod", "far")])
    })?;
    assert_eq!(refused.text("verdict"), "failed");
    assert_eq!(refused.text("destination.address"), stage.far.v4(7).to_string());
    direct.echo("with the next one")?;
    Ok(())
}

#[test]
fn when_down_open_lets_pods_through_from_the_moment_the_agent_stops() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--when-down", "open"])?;
    let mut first = stage.captured(here, "while it runs")?;

    first.signal(Signal::TERM)?;
    assert_eq!(first.wait()?.code(), Some(0));

    assert_eq!(stage.client.ask(stage.far.v4(7), "open")?.received, "open");
    assert_eq!(stage.plain.ask(stage.near.v6(7), "open")?.received, "open");
    let next = stage.node("a").agent().args(["--when-down", "open"]).start()?;
    stage.captured(next, "when it is back")?;
    Ok(())
}

#[test]
fn when_down_open_lets_pods_through_soon_after_the_agent_was_killed() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents_with(&["--when-down", "open"])?;
    let first = stage.captured(here, "while it runs")?;

    first.kill()?;

    // Its last sign of life is still fresh.
    assert!(stage.client.dial(stage.far.v4(7))?.refused_with(Errno::CONNREFUSED));
    let began = std::time::Instant::now();
    eventually("pods to be let through", || connects(&stage.client, stage.far.v4(7)))?;
    println!("let through {:?} after the kill", began.elapsed());
    let next = stage.node("a").agent().args(["--when-down", "open"]).start()?;
    stage.captured(next, "when it is back")?;
    Ok(())
}

#[test]
fn a_restarted_agent_adopts_what_is_attached_and_pods_keep_their_ports() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents()?;
    let here = stage.captured(here, "the first agent")?;
    // Captured last, and first in any order of names: ports given anew would be others.
    let another = stage.node("a").pod("shop/another")?;
    stage.topology.state().put(&another.manifest())?;
    here.wait_metric("weir_workloads", &[("state", "captured")], 3.0)?;
    let (links, ports) = (stage.link_inodes("a")?, virtual_ports(stage.node("a"))?);
    assert_eq!((links.len(), ports.len()), (7, 3));
    let ids = stage::program_ids(&here.status()?);
    here.stop()?;

    let next = stage.node("a").agent().start()?;

    // The very first connection after `ready`.
    let next = stage.captured(next, "the second agent")?;
    assert_eq!(stage.link_inodes("a")?, links, "the links are the same");
    assert_eq!(virtual_ports(stage.node("a"))?, ports);
    let new = stage::program_ids(&next.status()?);
    assert!(new.len() == 7 && new.iter().all(|id| !ids.contains(id)), "its own programs are behind them");
    Ok(())
}

#[test]
fn a_killed_agent_is_followed_by_another_one_that_works() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents()?;
    let mut held = stage.client.hold(stage.far.v4(7))?;
    held.echo("through the first")?;

    here.kill()?;

    held.wait_closed()?;
    let next = stage.node("a").agent().start()?;
    stage.captured(next, "after the crash")?;
    Ok(())
}

#[test]
fn the_verdicts_of_an_earlier_agent_are_void() -> Result<()> {
    let stage = Stage::new()?;
    let policy = Manifest::access_policy(
        "shop",
        "not-the-client",
        json!({
            "selector": {"matchLabels": {"app": "near"}}, "action": "deny",
            "rules": [{"from": [{"serviceAccounts": ["shop/client"]}]}],
        }),
    );
    let first = stage.node("a").agent().start()?;
    let mut held = stage.client.hold(stage.near.v4(7))?;
    held.echo("allowed")?;
    let generation = stage::config(stage.node("a"))?.generation;
    first.stop()?;

    stage.topology.state().put(&policy)?;
    let mut second = stage.node("a").agent().start()?;

    // A verdict counts under the generation in force only: from its first write on, none of the first agent's.
    assert_ne!(stage::config(stage.node("a"))?.generation, generation);
    let dialled = stage.client.dial(stage.near.v4(7))?;
    assert!(dialled.refused_with(Errno::CONNREFUSED), "{dialled:?}");
    second.wait_flow("of the refusal", |flow| {
        flow.is(&[("reason", "policy_denied"), ("policy.name", "not-the-client"), ("source.pod", "client")])
    })?;
    // What the first one allowed is judged again, too.
    assert!(held.wait_closed()?.is_some());
    second.stop()?;

    stage.topology.state().delete(&policy)?;
    let _third = stage.node("a").agent().start()?;
    assert_eq!(stage.client.ask(stage.near.v4(7), "again")?.received, "again");
    Ok(())
}

#[test]
fn a_pod_that_went_while_no_agent_ran_is_let_go_of_at_the_next_start() -> Result<()> {
    let stage = Stage::new()?;
    stage.node("a").agent().start()?.stop()?;
    assert_eq!(stage.pod_pins("a")?.len(), 2);

    stage.topology.state().delete(&stage.near.manifest())?;
    stage.near.remove()?;
    let _next = stage.node("a").agent().start()?;

    assert_eq!(stage.pod_pins("a")?.len(), 1);
    assert_eq!(virtual_ports(stage.node("a"))?.len(), 1);
    Ok(())
}

#[test]
fn a_pod_that_cannot_be_read_about_at_a_restart_stays_closed() -> Result<()> {
    let stage = Stage::new()?;
    let (here, _there) = stage.agents()?;
    let (state, near) = (stage.topology.state(), stage.near.manifest());
    assert_eq!(stage.plain.ask(stage.near.v4(7), "before")?.received, "before");
    here.stop()?;

    state.write(&near.file_name(), "kind: Pod\nmetadata: {name: [")?;
    let _next = stage.node("a").agent().start()?;

    for from in [&stage.plain, &stage.client] {
        assert!(from.dial(stage.near.v4(7))?.refused_with(Errno::CONNREFUSED), "to it");
    }
    assert!(stage.near.dial(stage.far.v4(7))?.refused_with(Errno::CONNREFUSED), "from it");
    assert_eq!(stage.near.ask(stage.plain.v4(7), "outside")?.received, "outside");

    state.put(&near)?;
    eventually("the pod to be captured again", || connects(&stage.near, stage.far.v4(7)))?;
    assert_eq!(stage.plain.ask(stage.near.v4(7), "after")?.received, "after");
    Ok(())
}

#[test]
fn what_was_closed_for_a_file_that_cannot_be_read_opens_when_the_file_is_gone() -> Result<()> {
    let stage = Stage::new()?;
    stage.node("a").agent().start()?.stop()?;
    let (state, near) = (stage.topology.state(), stage.near.manifest());

    state.write(&near.file_name(), "kind: Pod\nmetadata: {name: [")?;
    let _next = stage.node("a").agent().start()?;
    assert_eq!(stage.pod_pins("a")?.len(), 2);

    state.delete(&near)?;
    eventually("it to be let go", || Ok((stage.pod_pins("a")?.len() == 1).then_some(())))?;
    assert_eq!(stage.plain.ask(stage.near.v4(7), "no mesh")?.received, "no mesh");
    assert_eq!(virtual_ports(stage.node("a"))?.len(), 1);
    Ok(())
}

#[test]
fn a_pod_that_can_no_longer_be_captured_stays_closed() -> Result<()> {
    let stage = Stage::new()?;
    let (mut here, _there) = stage.agents()?;
    let (state, near) = (stage.topology.state(), stage.near.manifest());
    assert_eq!(stage.plain.ask(stage.near.v4(7), "before")?.received, "before");

    // Its namespace has no such address.
    state.put(&near.clone().set("/status/podIPs", json!([{"ip": "10.99.0.1"}])))?;
    here.wait_log("why not", |line| line.contains("has none of its addresses").then_some(()))?;

    assert!(stage.plain.dial(stage.near.v4(7))?.refused_with(Errno::CONNREFUSED));
    assert!(stage.near.dial(stage.far.v4(7))?.refused_with(Errno::CONNREFUSED));

    state.put(&near)?;
    eventually("the pod to be captured again", || connects(&stage.near, stage.far.v4(7)))?;
    Ok(())
}

#[test]
fn an_agent_told_of_another_cgroup_attaches_there() -> Result<()> {
    let stage = Stage::new()?;
    let node = stage.node("a");
    let narrow = node.cgroup().join("agent").display().to_string();
    let before = node.agent().args(["--cgroup", &narrow]).start()?;
    // Its processes are in another part of the hierarchy.
    assert_eq!(stage.client.ask(stage.far.v4(7), "not looked at")?.received, "not looked at");
    before.stop()?;
    let links = stage.link_inodes("a")?;

    let (here, _there) = stage.agents()?;

    stage.captured(here, "in the wider one")?;
    let wider = stage.link_inodes("a")?;
    assert!(wider.len() == 7 && wider.iter().all(|link| !links.contains(link)), "they are new links");
    Ok(())
}

#[test]
fn uninstalling_leaves_nothing_and_pods_talk() -> Result<()> {
    let stage = Stage::new()?;
    let node = stage.node("a");
    node.agent().start()?.stop()?;
    assert!(stage.client.dial(stage.far.v4(7))?.refused_with(Errno::CONNREFUSED));

    let said = node.weir(["uninstall", "--bpffs", &node.bpffs().display().to_string()])?.success()?;

    assert!(said.starts_with("removed "), "{said}");
    assert!(!node.bpffs().exists());
    for to in [stage.far.v4(7), stage.far.v6(7), stage.near.v4(7)] {
        assert_eq!(stage.client.ask(to, "plain")?.received, "plain", "{to}");
    }
    let again = node.weir(["uninstall", "--bpffs", &node.bpffs().display().to_string()])?.success()?;
    assert!(again.starts_with("removed 0 "), "{again}");
    Ok(())
}

#[test]
fn many_pods_that_come_at_once_are_all_captured() -> Result<()> {
    const PODS: usize = 24;
    let stage = Stage::new()?;
    let agent = stage.node("a").agent().start()?;
    let pods = (0..PODS).map(|number| stage.node("a").pod(&format!("shop/p{number}")));
    let pods = pods.collect::<Result<Vec<_>>>()?;

    let manifests: Vec<Manifest> = pods.iter().map(weir_tests::Pod::manifest).collect();
    stage.topology.state().put_all(&manifests)?;

    agent.wait_metric("weir_workloads", &[("state", "captured")], (PODS + 2) as f64)?;
    let ports = virtual_ports(stage.node("a"))?;
    let distinct: std::collections::HashSet<u16> = ports.values().copied().collect();
    assert_eq!((ports.len(), distinct.len()), (PODS + 2, PODS + 2), "each has a port of its own");
    let _echo = pods[PODS - 1].serve(Serve::Echo, 7)?;
    assert_eq!(pods[0].ask(pods[PODS - 1].v4(7), "through")?.received, "through");
    Ok(())
}
