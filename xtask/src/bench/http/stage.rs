//! Two nodes with clients on one and servers on the other, the same whatever is between them.
//!
//! Entry points: [`Stage::new`], [`Stage::start_agents`]. Servers run before and through the agents' lives.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::Result;
use serde_json::Value;
use weir_tests::{Agent, Manifest, Pod, Process, Topology};

use super::{
    super::{
        cost::{self, Memory},
        figures::Congestion,
        load::{Core, Load},
        world::{nginx, use_by_default},
    },
    objects,
    samples::Protocol,
};

/// Where servers listen, in each server's pod.
pub(super) const HTTP1: u16 = 8080;
pub(super) const HTTP2: u16 = 8081;
const BODIES: u16 = 8083;

/// The Services' addresses, and the ports that stand for the servers'.
const FAR_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const fn service(last: u8, port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, last), port))
}
/// Whose requests' tokens are verified.
pub(super) const CHECKED: SocketAddr = service(11, 80);
/// What a noisy neighbour asks.
pub(super) const BUSY: SocketAddr = service(12, 80);
/// The same, with a bound on requests a second.
pub(super) const LIMITED: SocketAddr = service(13, 80);

/// Programs of whoever is noisy get what nobody else wants: what they take from others, only the mesh can take.
pub(super) const IDLE: [&str; 3] = ["chrt", "--idle", "0"];

/// Clients on node-a, servers on node-b.
pub(super) struct Stage {
    // Dropped in this order: agents and servers before what they stand on.
    agents: Vec<Agent>,
    _servers: Vec<Process>,
    pub(super) client: Pod,
    pub(super) noisy: Pod,
    pub(super) far: Pod,
    pub(super) busy: Pod,
    congestion: Congestion,
    pub(super) topology: Topology,
}

impl Stage {
    /// Pods and servers, without agents.
    pub(super) fn new(load: &Load, congestion: Congestion) -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let (client, noisy) = (a.pod("bench/client")?, a.pod("bench/noisy")?);
        let (far, checked) = (b.pod("bench/far")?, b.pod("bench/checked")?);
        let (busy, limited) = (b.pod("bench/busy")?, b.pod("bench/limited")?);
        let pods = [&client, &noisy, &far, &checked, &busy, &limited];
        topology.state().put(&Manifest::meshed("bench"))?;
        topology.state().put_all(&pods.map(Pod::manifest))?;
        pods.iter().try_for_each(|pod| use_by_default(pod, congestion))?;
        let mut servers = Vec::new();
        for (pod, core) in [(&far, Core::Server.words()), (&checked, Core::Server.words())] {
            servers.push(nginx(&topology, pod, core, HTTP1)?);
        }
        for pod in [&busy, &limited] {
            servers.push(nginx(&topology, pod, &IDLE, HTTP1)?);
        }
        for (what, port, core) in [("http2", HTTP2, Core::Server), ("http1", BODIES, Core::Any)] {
            let mut server = load.spawn(&far, core, &["serve", what, &far.v4(port).to_string()])?;
            server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
            servers.push(server);
        }
        Ok(Self { agents: Vec::new(), _servers: servers, client, noisy, far, busy, congestion, topology })
    }

    /// Gives the state its Services, routes and policies, those of others too if it is crowded, and starts an agent
    /// on each node. `keys` are the public keys of the users' issuer.
    pub(super) fn start_agents(&mut self, keys: &Value, crowded: bool) -> Result<()> {
        self.topology.state().put_all(&objects::own(keys))?;
        if crowded {
            for (name, text) in objects::of_others() {
                self.topology.state().write(&name, &text)?;
            }
        }
        let start = |node: &weir_tests::Node| {
            node.agent().args(["--congestion", self.congestion.name(), "--drain", "1"]).spawn()
        };
        let started = self.topology.nodes().iter().map(start).collect::<Result<Vec<_>>>()?;
        self.agents = started.into_iter().map(Agent::ready).collect::<Result<_>>()?;
        Ok(())
    }

    /// What a client without a mesh connects to.
    pub(super) fn pod_address(&self, protocol: Protocol) -> SocketAddr {
        self.far.v4(if protocol == Protocol::Http1 { HTTP1 } else { HTTP2 })
    }

    /// The processes of the agents.
    pub(super) fn agents(&self) -> impl Iterator<Item = u32> {
        self.agents.iter().map(Agent::id)
    }

    /// Processor time of all agents so far; none where there are none.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.agents().map(cost::cpu).sum()
    }

    /// Resident memory of each agent.
    pub(super) fn memory(&self) -> Result<Memory> {
        self.agents().map(cost::resident).collect()
    }
}

/// What a client in the mesh connects to.
pub(super) fn service_address(protocol: Protocol) -> SocketAddr {
    let port = match protocol {
        Protocol::Http1 => 80,
        Protocol::Http2 => 81,
        Protocol::Grpc => 82,
    };
    (FAR_SERVICE, port).into()
}

/// Where bodies are served, by the load program's word for the protocol.
pub(super) fn body_address(protocol: &str) -> SocketAddr {
    (FAR_SERVICE, if protocol == "http2" { 81 } else { 83 }).into()
}

/// One Service: its name and address, and of its ports the names, numbers, and the servers' ports that they stand for.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) ports: Vec<(&'static str, u16, u16)>,
}

/// Those in front of this stage's servers.
pub(super) fn services() -> Vec<Service> {
    let ports =
        vec![("http", 80, HTTP1), ("http2", 81, HTTP2), ("grpc", 82, HTTP2), ("http-bodies", 83, BODIES)];
    let mut services = vec![Service { name: "far", address: FAR_SERVICE, ports }];
    for (name, address) in [("checked", CHECKED), ("busy", BUSY), ("limited", LIMITED)] {
        if let SocketAddr::V4(address) = address {
            let ports = vec![("http", address.port(), HTTP1)];
            services.push(Service { name, address: *address.ip(), ports });
        }
    }
    services
}
