//! Nodes: a network namespace each, with a bridge for pods, and a direct link to every other node.
//!
//! Entry point: [`Topology::new`]. Node number N has 10.244.N.0/24 and fd10:244:N::/64 for pods, routed
//! between nodes as a plain CNI does, and 172.18.0.N and fd18::N for itself. No name of it shows in the
//! machine's own network namespace.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context, Result};

use crate::{
    agent::{Agent, AgentBuilder},
    api_server::Host,
    cgroup,
    manifest::Manifest,
    netns, pod,
    pod::Pod,
    process::{Finished, Process},
    programs,
    scope::Scope,
    state::State,
};

/// Nodes on this machine; dropping it removes them with all that is on them.
pub struct Topology {
    nodes: Vec<Node>,
    state: State,
    scope: Arc<Scope>,
}

impl Topology {
    /// Two nodes, `node-a` and `node-b`, with no agents and no pods.
    pub fn new() -> Result<Self> {
        Self::build(Scope::new()?, 2)
    }

    /// As many nodes as `count`: `node-a`, `node-b`, `node-c`, …
    pub fn with_nodes(count: u8) -> Result<Self> {
        Self::build(Scope::new()?, count)
    }

    /// Two nodes that keep their names from run to run, and survive this process after [`Topology::keep`].
    pub fn named(name: &str) -> Result<Self> {
        Self::build(Scope::named(name)?, 2)
    }

    fn build(scope: Scope, count: u8) -> Result<Self> {
        let scope = Arc::new(scope);
        let state = State::new(scope.dir.join("state"))?;
        let nodes: Vec<Node> = (1..=count).map(|number| Node::new(&scope, number)).collect::<Result<_>>()?;
        for (index, left) in nodes.iter().enumerate() {
            for right in &nodes[index + 1..] {
                left.link(right)?;
            }
        }
        for node in &nodes {
            state.put(&node.manifest())?;
        }
        Ok(Self { nodes, state, scope })
    }

    /// The node called `node-NAME`.
    ///
    /// # Panics
    /// When there is no such node: a mistake in the test itself.
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.0.name == format!("node-{name}"));
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The directory of YAML that agents read the cluster from.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A folder for files, gone with the topology.
    pub fn dir(&self) -> PathBuf {
        self.scope.dir.clone()
    }

    /// Starts an agent on every node and waits until all are ready.
    pub fn agents(&self) -> Result<Vec<Agent>> {
        let started: Vec<Agent> =
            self.nodes.iter().map(|node| node.agent().spawn()).collect::<Result<_>>()?;
        started.into_iter().map(Agent::ready).collect()
    }

    /// Leaves everything up when this is dropped.
    pub fn keep(&self) {
        self.scope.keep();
    }

    /// Removes everything now.
    pub fn remove(self) {}
}

/// One node. Clones are the same node.
#[derive(Clone)]
pub struct Node(Arc<NodeParts>);

struct NodeParts {
    name: String,
    number: u8,
    netns: String,
    cgroup: PathBuf,
    bpffs: PathBuf,
    dir: PathBuf,
    /// Shared by all nodes: the cluster's YAML, and the CA.
    shared: PathBuf,
    next_host: AtomicU8,
}

impl Node {
    fn new(scope: &Scope, number: u8) -> Result<Self> {
        let name = format!("node-{}", char::from(b'a' + number - 1));
        let node = Self(Arc::new(NodeParts {
            netns: scope.netns(&name),
            cgroup: scope.cgroup.join(&name),
            bpffs: scope.bpffs.join(&name),
            dir: scope.dir.join(&name),
            shared: scope.dir.clone(),
            next_host: AtomicU8::new(2),
            number,
            name,
        }));
        std::fs::create_dir(&node.0.dir)?;
        std::fs::create_dir(&node.0.bpffs)?;
        cgroup::make(&node.0.cgroup.join("agent"))?;
        cgroup::make(&node.0.cgroup.join("pods"))?;
        netns::add(&node.0.netns)?;
        let sysctls = [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/default/accept_dad", "0"),
        ];
        // With an address of its own: a bridge that has none takes its lowest port's, a new one when a pod comes, and
        // what pods send to the old one is lost until they ask again.
        let bridge = format!(
            "link set lo up\n\
             link add pods address 02:00:00:00:00:01 type bridge forward_delay 0 mcast_snooping 0\n\
             addr add 10.244.{number}.1/24 dev pods\n\
             addr add fd10:244:{number}::1/64 dev pods nodad\n\
             link set pods up\n"
        );
        netns::configure(&node.0.netns, &sysctls, &bridge)?;
        Ok(node)
    }

    /// A veth between two nodes, and on each the route to the other's pods.
    fn link(&self, other: &Self) -> Result<()> {
        let (to_other, to_self) = (format!("to-{}", other.0.name), format!("to-{}", self.0.name));
        let peer = &other.0.netns;
        let link = format!("link add {to_other} type veth peer name {to_self} netns {peer}\n");
        netns::configure(&self.0.netns, &[], &link)?;
        for (node, far, device) in [(self, other, to_other), (other, self, to_self)] {
            let (own, far) = (node.0.number, far.0.number);
            // On link whatever the link's state: the other end is still down when the first one is set up.
            // Bringing a link up loses the kernel's own route to an IPv6 address's peer.
            let routes = format!(
                "addr add 172.18.0.{own} peer 172.18.0.{far} dev {device}\n\
                 addr add fd18::{own} peer fd18::{far} dev {device} nodad\n\
                 link set {device} up\n\
                 route replace fd18::{far} dev {device}\n\
                 route add 10.244.{far}.0/24 via 172.18.0.{far} dev {device} onlink\n\
                 route add fd10:244:{far}::/64 via fd18::{far} dev {device} onlink\n"
            );
            netns::configure(&node.0.netns, &[], &routes)?;
        }
        Ok(())
    }

    /// `node-a`, `node-b`, …
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The node's own addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        let number = self.0.number;
        [
            Ipv4Addr::new(172, 18, 0, number).into(),
            Ipv6Addr::new(0xfd18, 0, 0, 0, 0, 0, 0, number.into()).into(),
        ]
    }

    /// The file of its network namespace.
    pub fn netns(&self) -> PathBuf {
        netns::path(&self.0.netns)
    }

    /// The cgroup that everything on this node is in: what its agent attaches to.
    pub fn cgroup(&self) -> PathBuf {
        self.0.cgroup.clone()
    }

    /// Where its own processes run.
    pub(crate) fn host(&self) -> Host {
        let cgroup = self.0.cgroup.join("agent");
        // Its pods' gateway: a node that is alone has no other.
        let address = Ipv4Addr::new(10, 244, self.0.number, 1).into();
        Host { name: self.0.name.clone(), cgroup, netns: self.netns(), address }
    }

    /// The folder for its files.
    pub(crate) fn dir(&self) -> PathBuf {
        self.0.dir.clone()
    }

    /// The folder on bpffs for its agent's pins.
    pub fn bpffs(&self) -> PathBuf {
        self.0.bpffs.clone()
    }

    /// The Unix socket of its agent.
    pub fn socket(&self) -> PathBuf {
        self.0.dir.join("agent.sock")
    }

    /// The directory of YAML that its agent reads, the same on every node.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.0.shared.join("state")
    }

    /// The folder of the CA, the same on every node.
    pub fn ca_dir(&self) -> PathBuf {
        self.0.shared.join("ca")
    }

    /// A new pod, `NAMESPACE/NAME`, with the node's next addresses. It is not yet in the state.
    pub fn pod(&self, key: &str) -> Result<Pod> {
        let host = self.0.next_host.fetch_add(1, Ordering::Relaxed);
        self.pod_at(key, host)
    }

    /// A new pod with the addresses 10.244.N.`host` and fd10:244:N::`host`.
    pub fn pod_at(&self, key: &str, host: u8) -> Result<Pod> {
        let (namespace, name) =
            key.split_once('/').with_context(|| format!("{key} is not NAMESPACE/NAME"))?;
        let number = self.0.number;
        let plan = pod::Plan {
            namespace,
            name,
            node: &self.0.name,
            node_netns: &self.0.netns,
            cgroup: self.0.cgroup.join("pods").join(format!("{namespace}-{name}")),
            device: format!("pod-{host}"),
            ipv4: Ipv4Addr::new(10, 244, number, host),
            ipv6: Ipv6Addr::new(0xfd10, 0x244, number.into(), 0, 0, 0, 0, host.into()),
            gateways: [format!("10.244.{number}.1"), format!("fd10:244:{number}::1")],
        };
        Pod::new(plan)
    }

    /// An agent for this node, to be started.
    pub fn agent(&self) -> AgentBuilder {
        AgentBuilder::new(self.clone())
    }

    /// Starts `command` in the node's network namespace, as the node's own processes run: in no pod.
    pub fn spawn<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Process> {
        self.host().spawn(command)
    }

    /// Runs `command` in the node's network namespace to its end.
    pub fn run<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.spawn(command)?.finish()
    }

    /// Runs `weir WORDS…` to its end, with the node's socket unless the words name one.
    pub fn weir<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Finished> {
        let mut command = Command::new(programs::weir()?);
        command.args(words.into_iter().map(|word| word.as_ref().to_owned()));
        command.env("WEIR_SOCKET", self.socket()).env("NO_COLOR", "1");
        Process::spawn("weir", &mut command)?.finish()
    }

    /// Its Node object.
    pub fn manifest(&self) -> Manifest {
        Manifest::node(&self.0.name, &self.addresses())
    }
}
