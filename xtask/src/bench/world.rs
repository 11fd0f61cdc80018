//! One topology with the same servers in the same pods, with or without agents.
//!
//! Entry points: [`World::new`], [`World::start_agents`]. Servers run before and through the agents' lives.

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result};
use weir_tests::{Agent, Manifest, Pod, Process, Topology, eventually, inside};

use super::{
    REST,
    cost::{self, Idle, Memory},
    figures::{Congestion, Place},
    load::{Core, Load},
};

/// Where servers listen, in each server's pod.
pub(super) const ECHO: u16 = 7001;
pub(super) const ANSWER: u16 = 7002;
const SINK: u16 = 7100;
const IDLE: u16 = 7003;
pub(super) const HTTP: u16 = 8080;

/// Added to a port: where the relay in front of its server listens.
const RELAY: u16 = 1000;

/// Idle connections of one process: it opens them within the harness' limit on any machine.
const IDLE_PER_PROCESS: usize = 1000;

/// A small server: one worker, one fixed answer, nothing logged.
const NGINX: &str = "\
daemon off; master_process off; worker_processes 1; pid DIR/nginx.pid; error_log DIR/nginx.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; client_body_temp_path DIR/body; proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  server { listen PORT; return 200 'sixty-four bytes of answer, as small services often give to all.'; }
}
";

/// `--same-node`.
#[derive(Clone, Copy)]
pub(super) enum SameNode {
    Direct,
    Tunnel,
}

/// A client on node-a, a server on each node.
pub(super) struct World {
    // Dropped in this order: agents and servers before what they stand on.
    agents: Vec<Agent>,
    _servers: Vec<Process>,
    client: Pod,
    near: Pod,
    far: Pod,
    congestions: Vec<Congestion>,
    topology: Topology,
}

impl World {
    pub(super) fn new(load: &Load, congestions: &[Congestion]) -> Result<Self> {
        let topology = Topology::new()?;
        let (a, b) = (topology.node("a"), topology.node("b"));
        let (client, near, far) = (a.pod("bench/client")?, a.pod("bench/near")?, b.pod("bench/far")?);
        let state = topology.state();
        state.put(&Manifest::meshed("bench"))?;
        state.put_all(&[&client, &near, &far].map(Pod::manifest))?;
        for pod in [&client, &near, &far] {
            use_by_default(pod, congestions[0])?;
        }
        let mut servers = Vec::new();
        for pod in [&near, &far] {
            servers.extend(serve(load, pod, congestions)?);
            servers.push(nginx(&topology, pod, Core::Server.words(), HTTP)?);
        }
        servers.extend(relays(load, (&client, &far), congestions)?);
        let congestions = congestions.to_vec();
        Ok(Self { agents: Vec::new(), _servers: servers, client, near, far, congestions, topology })
    }

    /// Starts an agent on each node; those that run are stopped first.
    pub(super) fn start_agents(&mut self, same_node: SameNode, congestion: Congestion) -> Result<()> {
        self.agents.drain(..).try_for_each(Agent::stop)?;
        let same_node = match same_node {
            SameNode::Direct => "direct",
            SameNode::Tunnel => "tunnel",
        };
        let words = ["--congestion", congestion.name(), "--same-node", same_node, "--drain", "1"];
        let start = |node: &weir_tests::Node| node.agent().args(words).spawn();
        let started = self.topology.nodes().iter().map(start).collect::<Result<Vec<_>>>()?;
        self.agents = started.into_iter().map(Agent::ready).collect::<Result<_>>()?;
        Ok(())
    }

    pub(super) fn client(&self) -> &Pod {
        &self.client
    }

    /// What a client connects to for what is served at `port`.
    pub(super) fn address(&self, place: Place, port: u16) -> SocketAddr {
        match place {
            Place::FarRelays => relay_address(port),
            _ if place.is_far() => self.far.v4(port),
            _ => self.near.v4(port),
        }
    }

    pub(super) fn first_congestion(&self) -> Congestion {
        self.congestions[0]
    }

    /// The port of the sink whose sockets have this congestion control.
    pub(super) fn sink(&self, congestion: Congestion) -> u16 {
        sink(congestion)
    }

    /// Processor time of all agents so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        self.agents.iter().map(|agent| cost::cpu(agent.id())).sum()
    }

    /// Resident memory of each agent.
    pub(super) fn memory(&self) -> Result<Memory> {
        self.agents.iter().map(|agent| cost::resident(agent.id())).collect()
    }

    /// What `count` idle connections to the other node cost the agents.
    pub(super) fn idle(&self, load: &Load, count: usize) -> Result<Idle> {
        let before = self.memory()?;
        let address = self.far.v4(IDLE).to_string();
        let mut clients = Vec::new();
        for _ in 0..count.div_ceil(IDLE_PER_PROCESS) {
            let mut client =
                load.spawn(&self.client, Core::Any, &["idle", &address, &IDLE_PER_PROCESS.to_string()])?;
            client.wait_line("its connections", |line| line.contains("open").then_some(()))?;
            clients.push(client);
        }
        let connections = clients.len() * IDLE_PER_PROCESS;
        let with_all = self.memory()?;
        drop(clients);
        let ended = |agent: &Agent| -> Result<bool> {
            let status = agent.status()?;
            let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
            Ok(workloads.iter().all(|workload| workload["connections"] == 0))
        };
        eventually("idle connections to end", || {
            let all = self.agents.iter().map(ended).collect::<Result<Vec<_>>>()?;
            Ok(all.into_iter().all(|ended| ended).then_some(()))
        })?;
        thread::sleep(REST);
        Ok(Idle { connections, before, with_all, after: self.memory()? })
    }
}

/// Where the relay in the client's pod takes connections to `port`.
fn relay_address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A relay in each of two pods, one behind the other, for every port that is measured; one pair for each
/// congestion control.
fn relays(load: &Load, (client, far): (&Pod, &Pod), congestions: &[Congestion]) -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    for congestion in congestions {
        let mut ports = vec![sink(*congestion)];
        if congestion == &congestions[0] {
            ports.extend([ECHO, ANSWER, HTTP]);
        }
        let behind = |port: u16| far.v4(port + RELAY);
        let in_far: Vec<String> =
            ports.iter().map(|port| format!("{}={}", behind(*port), far.v4(*port))).collect();
        let in_client: Vec<String> =
            ports.iter().map(|port| format!("{}={}", relay_address(*port), behind(*port))).collect();
        for (pod, pairs) in [(far, in_far), (client, in_client)] {
            let options = ["--congestion", congestion.name()];
            let words: Vec<&str> =
                ["relay"].into_iter().chain(pairs.iter().map(String::as_str)).chain(options).collect();
            let mut relay = load.spawn(pod, Core::Any, &words)?;
            relay.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
            processes.push(relay);
        }
    }
    Ok(processes)
}

fn sink(congestion: Congestion) -> u16 {
    SINK + congestion as u16
}

/// For programs that do not choose for themselves: new sockets of the pod have this congestion control.
pub(super) fn use_by_default(pod: &Pod, congestion: Congestion) -> Result<()> {
    inside(&pod.netns(), || fs::write("/proc/sys/net/ipv4/tcp_congestion_control", congestion.name()))?
        .with_context(|| format!("{congestion} in a pod"))
}

fn serve(load: &Load, pod: &Pod, congestions: &[Congestion]) -> Result<Vec<Process>> {
    let first = congestions[0];
    let mut servers = vec![("echo", ECHO, first), ("answer", ANSWER, first), ("idle", IDLE, first)];
    servers.extend(congestions.iter().map(|congestion| ("sink", sink(*congestion), *congestion)));
    let start = |(what, port, congestion): (&str, u16, Congestion)| {
        let address = pod.v4(port).to_string();
        // A sink has a thread for each stream.
        let core = if what == "sink" { Core::Any } else { Core::Server };
        let mut server =
            load.spawn(pod, core, &["serve", what, &address, "--congestion", congestion.name()])?;
        server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
        Ok(server)
    };
    servers.into_iter().map(start).collect()
}

/// nginx at `port` of a pod, started by `under`.
pub(super) fn nginx(topology: &Topology, pod: &Pod, under: &[&str], port: u16) -> Result<Process> {
    let dir = topology.dir().join(pod.name());
    fs::create_dir(&dir)?;
    let address = pod.v4(port);
    let text = NGINX.replace("DIR", &dir.display().to_string()).replace("PORT", &address.to_string());
    let file = dir.join("nginx.conf");
    fs::write(&file, text)?;
    // In Debian's place for it, which need not be on PATH.
    let program = crate::command::find("nginx").context("nginx")?.display().to_string();
    let server = pod.spawn(under.iter().chain(&[program.as_str(), "-c", &file.display().to_string()]))?;
    let listens = || Ok(pod.dial_with(address, &["--timeout", "50"])?.connected.then_some(()));
    eventually("nginx to listen", listens)?;
    Ok(server)
}
