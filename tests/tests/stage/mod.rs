//! Two nodes with the same few pods for every test of the agent's life, and looks at what it leaves behind.
//!
//! Entry point: [`Stage::new`].
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::MetadataExt, path::PathBuf};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use rustix::io::Errno;
use serde_json::Value;
use weir_common::{Config, Workload};
use weir_tests::{Agent, Listener, Manifest, Node, Pod, Serve, Topology};

/// The pods, each with an echo server on port 7; no agents.
pub(crate) struct Stage {
    pub(crate) topology: Topology,
    /// In the mesh, on node a.
    pub(crate) client: Pod,
    /// In the mesh, beside the client.
    pub(crate) near: Pod,
    /// In the mesh, on node b.
    pub(crate) far: Pod,
    /// Outside the mesh, on node b.
    pub(crate) plain: Pod,
    servers: Vec<Listener>,
}

impl Stage {
    /// Everything but the agents.
    pub(crate) fn new() -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let (client, near) = (a.pod("shop/client")?, a.pod("shop/near")?);
        let (far, plain) = (b.pod("shop/far")?, b.pod("street/plain")?);
        topology.state().put_all(&[Manifest::meshed("shop"), Manifest::namespace("street")])?;
        let pods = [&client, &near, &far, &plain];
        pods.iter().try_for_each(|pod| topology.state().put(&pod.manifest()))?;
        let servers = pods.iter().map(|pod| pod.serve(Serve::Echo, 7)).collect::<Result<_>>()?;
        Ok(Self { topology, client, near, far, plain, servers })
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.topology.node(name)
    }

    /// An agent on each node, ready.
    pub(crate) fn agents(&self) -> Result<(Agent, Agent)> {
        self.agents_with(&[])
    }

    /// [`Stage::agents`], node a's with more words on its command line.
    pub(crate) fn agents_with(&self, words: &[&str]) -> Result<(Agent, Agent)> {
        let here = self.node("a").agent().args(words.iter().copied()).spawn()?;
        let there = self.node("b").agent().spawn()?;
        Ok((here.ready()?, there.ready()?))
    }

    /// Makes sure that a connection goes through the tunnel, by an agent's own word.
    pub(crate) fn captured(&self, mut agent: Agent, text: &str) -> Result<Agent> {
        let asked = self.client.ask(self.far.v4(7), text)?;
        assert_eq!(asked.received, text, "{asked:?}");
        let own = asked.local.context("a local address")?;
        agent.wait_flow("through the tunnel", |flow| {
            flow.is(&[("path", "tunnel"), ("direction", "outbound"), ("destination.pod", "far")])
                && flow.text("source.address").ends_with(&format!(":{}", own.port()))
        })?;
        Ok(agent)
    }

    /// The pins of a node's links to its cgroup, each by its inode number.
    pub(crate) fn link_inodes(&self, node: &str) -> Result<Vec<u64>> {
        let pins = entries(&version(self.node(node)).join("links"))?;
        pins.iter().map(|pin| Ok(fs::metadata(pin)?.ino())).collect()
    }

    /// The pins of a node's links to its pods.
    pub(crate) fn pod_pins(&self, node: &str) -> Result<Vec<PathBuf>> {
        entries(&version(self.node(node)).join("pods"))
    }
}

/// Where a node's agent pins.
pub(crate) fn version(node: &Node) -> PathBuf {
    node.bpffs().join(format!("v{}", weir_common::ABI))
}

fn entries(directory: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// A map of a node's agent, whatever it is.
pub(crate) fn pinned(node: &Node, name: &str) -> Result<MapData> {
    let pin = version(node).join("maps").join(name);
    MapData::from_pin(&pin).with_context(|| pin.display().to_string())
}

/// A hash map of a node's agent.
pub(crate) fn table<K: aya::Pod, V: aya::Pod>(node: &Node, name: &str) -> Result<HashMap<MapData, K, V>> {
    Ok(HashMap::try_from(Map::HashMap(pinned(node, name)?))?)
}

/// The configuration of a node's programs.
pub(crate) fn config(node: &Node) -> Result<Config> {
    Ok(Array::try_from(Map::Array(pinned(node, "CONFIG")?))?.get(&0, 0)?)
}

/// The virtual port of each captured pod of a node, by cookie.
pub(crate) fn virtual_ports(node: &Node) -> Result<BTreeMap<u64, u16>> {
    let table = table::<u64, Workload>(node, "WORKLOADS")?;
    table.iter().map(|entry| Ok(entry.map(|(cookie, workload)| (cookie, workload.virtual_port))?)).collect()
}

/// The ids of the programs that a status shows as attached.
pub(crate) fn program_ids(status: &Value) -> Vec<u64> {
    let programs = status["programs"].as_array().cloned().unwrap_or_default();
    let attached = programs.iter().filter(|program| program["attached"] == true);
    attached.filter_map(|program| program["id"].as_u64()).collect()
}

/// `Some` when connecting is refused as by a closed port.
pub(crate) fn refuses(pod: &Pod, to: SocketAddr) -> Result<Option<()>> {
    Ok(pod.dial(to)?.refused_with(Errno::CONNREFUSED).then_some(()))
}

/// `Some` when connecting works.
pub(crate) fn connects(pod: &Pod, to: SocketAddr) -> Result<Option<()>> {
    Ok(pod.dial(to)?.connected.then_some(()))
}
