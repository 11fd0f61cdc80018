//! The fixtures: a node or two, each with an agent, and pods of the namespace `shop`, which is in the mesh.
//!
//! Entry points: [`OneNode`], [`TwoNodes`], [`wait`], [`wait_captured`].

use anyhow::Result;
use serde_json::Value;
use weir_tests::{Agent, Flow, Manifest, Pod, Topology};

/// One node with two pods in the mesh.
pub(crate) struct OneNode {
    pub(crate) agent: Agent,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    /// Last, so that the agent goes first.
    pub(crate) topology: Topology,
}

impl OneNode {
    pub(crate) fn new() -> Result<Self> {
        Self::with(&[], |_| Ok(vec![]))
    }

    /// With words for the agent's command line, and objects beside those of the two pods, or in their place.
    pub(crate) fn with(
        words: &[&str],
        objects: impl FnOnce([&Pod; 2]) -> Result<Vec<Manifest>>,
    ) -> Result<Self> {
        let topology = Topology::with_nodes(1)?;
        let node = topology.node("a");
        let (client, server) = (node.pod("shop/client")?, node.pod("shop/server")?);
        topology.state().put_all(&[Manifest::meshed("shop"), client.manifest(), server.manifest()])?;
        topology.state().put_all(&objects([&client, &server])?)?;
        let agent = node.agent().args(words.iter().copied()).start()?;
        Ok(Self { agent, client, server, topology })
    }
}

/// Two nodes; the client is on the first, the server on the second.
pub(crate) struct TwoNodes {
    pub(crate) near: Agent,
    pub(crate) far: Agent,
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    /// Last, so that the agents go first.
    pub(crate) topology: Topology,
}

impl TwoNodes {
    pub(crate) fn new() -> Result<Self> {
        Self::with(|_, _| Ok(vec![]))
    }

    /// With objects beside those of the two pods, or in their place.
    pub(crate) fn with(objects: impl FnOnce(&Topology, [&Pod; 2]) -> Result<Vec<Manifest>>) -> Result<Self> {
        let topology = Topology::new()?;
        let client = topology.node("a").pod("shop/client")?;
        let server = topology.node("b").pod("shop/server")?;
        topology.state().put_all(&[Manifest::meshed("shop"), client.manifest(), server.manifest()])?;
        topology.state().put_all(&objects(&topology, [&client, &server])?)?;
        let mut agents = topology.agents()?.into_iter();
        let (near, far) = (agents.next().expect("two nodes"), agents.next().expect("two nodes"));
        Ok(Self { near, far, client, server, topology })
    }
}

/// Waits for a flow with all these fields.
pub(crate) fn wait(agent: &mut Agent, fields: &[(&str, &str)]) -> Result<Flow> {
    agent.wait_flow(&format!("{fields:?}"), |flow| flow.is(fields))
}

/// The bytes of a flow: sent, received.
pub(crate) fn bytes(flow: &Flow) -> (u64, u64) {
    let number = |path| flow.number(path).expect("every flow counts bytes");
    (number("bytes_sent"), number("bytes_received"))
}

/// Waits until the agent has captured `pod`.
pub(crate) fn wait_captured(agent: &Agent, pod: &Pod) -> Result<()> {
    wait_workload(agent, pod, "captured", |workload| workload["captured"] == true).map(drop)
}

/// Waits until `condition` holds for what `weir status` says of `pod`.
pub(crate) fn wait_workload(
    agent: &Agent,
    pod: &Pod,
    what: &str,
    mut condition: impl FnMut(&Value) -> bool,
) -> Result<Value> {
    let what = format!("{}/{} to be {what}", pod.namespace(), pod.name());
    weir_tests::eventually(&what, || Ok(workload(&agent.status()?, pod).filter(&mut condition)))
}

/// What `weir status` says of `pod`.
pub(crate) fn workload(status: &Value, pod: &Pod) -> Option<Value> {
    let mut workloads = status["workloads"].as_array().into_iter().flatten();
    let found =
        workloads.find(|workload| workload["namespace"] == pod.namespace() && workload["pod"] == pod.name());
    found.cloned()
}

/// How many connections the kernel has pointed at the agent, once it has counted `direct` direct ones: what
/// `weir status` shows may be a moment old.
pub(crate) fn redirected(agent: &Agent, direct: u64) -> Result<u64> {
    let what = format!("{direct} direct connections to be counted");
    let status = agent.wait_status(&what, |status| status["counters"]["direct"] == direct)?;
    Ok(status["counters"]["redirected"].as_u64().expect("a counter"))
}
