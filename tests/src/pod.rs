//! A pod without a kubelet: a network namespace on its node's bridge, and a cgroup for its processes.
//!
//! Entry points: [`Pod`], made by a node. Pods know no mesh: what the mesh is to make of one stands in its
//! [`Manifest`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::Result;

use crate::{
    cgroup,
    manifest::Manifest,
    netns,
    peer::{Dialled, Held, Listener, Redialler, Serve},
    process::{Finished, Process, eventually},
    programs,
};

/// Enters the cgroup, then the network namespace, then becomes the command: `sh -c … sh CGROUP NETNS COMMAND…`.
/// Not by `ip netns exec`, which also hides /sys/fs/bpf and /sys/fs/cgroup behind a /sys of its own.
const ENTER: &str =
    r#"echo $$ > "$1/cgroup.procs" && netns=$2 && shift 2 && exec nsenter --net="$netns" -- "$@""#;

/// One pod. Clones are the same pod.
#[derive(Clone)]
pub struct Pod(Arc<Parts>);

struct Parts {
    namespace: String,
    name: String,
    node: String,
    netns: String,
    cgroup: PathBuf,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

/// What a node has decided of a new pod.
pub(crate) struct Plan<'n> {
    pub(crate) namespace: &'n str,
    pub(crate) name: &'n str,
    pub(crate) node: &'n str,
    pub(crate) node_netns: &'n str,
    pub(crate) cgroup: PathBuf,
    /// The veth's end on the node's bridge.
    pub(crate) device: String,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
    pub(crate) gateways: [String; 2],
}

impl Pod {
    pub(crate) fn new(plan: Plan<'_>) -> Result<Self> {
        let Plan { node_netns, device, ipv4, ipv6, gateways, .. } = &plan;
        let netns = format!("{node_netns}-{}-{}", plan.namespace, plan.name);
        cgroup::make(&plan.cgroup)?;
        netns::add(&netns)?;
        // The kernel takes an earlier pod's veth away some time after its namespace.
        let names = format!("/proc/sys/net/ipv4/conf/{device}");
        eventually("an earlier pod's veth to go", || {
            let there = netns::inside(&netns::path(node_netns), || Path::new(&names).exists())?;
            Ok((!there).then_some(()))
        })?;
        let on_bridge = format!(
            "link add {device} type veth peer name eth0 netns {netns}\nlink set {device} master pods up\n"
        );
        netns::configure(node_netns, &[], &on_bridge)?;
        let inside = format!(
            "link set lo up\n\
             addr add {ipv4}/24 dev eth0\n\
             addr add {ipv6}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {}\n\
             route add default via {}\n",
            gateways[0], gateways[1]
        );
        netns::configure(&netns, &[("net/ipv6/conf/default/accept_dad", "0")], &inside)?;
        Ok(Self(Arc::new(Parts {
            namespace: plan.namespace.to_owned(),
            name: plan.name.to_owned(),
            node: plan.node.to_owned(),
            netns,
            cgroup: plan.cgroup,
            ipv4: plan.ipv4,
            ipv6: plan.ipv6,
        })))
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The node that it is on.
    pub fn node_name(&self) -> &str {
        &self.0.node
    }

    /// Its IPv4 and its IPv6 address.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.0.ipv4.into(), self.0.ipv6.into()]
    }

    /// Its IPv4 address with `port`.
    pub fn v4(&self, port: u16) -> SocketAddr {
        (self.0.ipv4, port).into()
    }

    /// Its IPv6 address with `port`.
    pub fn v6(&self, port: u16) -> SocketAddr {
        (self.0.ipv6, port).into()
    }

    /// Its IPv4 address as an IPv6 socket writes it, with `port`.
    pub fn v4_mapped(&self, port: u16) -> SocketAddr {
        (self.0.ipv4.to_ipv6_mapped(), port).into()
    }

    /// The file of its network namespace.
    pub fn netns(&self) -> PathBuf {
        netns::path(&self.0.netns)
    }

    /// The cgroup of its processes.
    pub fn cgroup(&self) -> PathBuf {
        self.0.cgroup.clone()
    }

    /// Its Pod object: running and ready, service account and label `app` named like the pod.
    pub fn manifest(&self) -> Manifest {
        Manifest::pod(self)
    }

    /// Starts `command` in the pod.
    pub fn spawn<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Process> {
        let name = format!("{}/{}", self.0.namespace, self.0.name);
        enter(&self.0.cgroup, &self.netns(), &name, command)
    }

    /// Runs `command` in the pod to its end.
    pub fn run<S: AsRef<str>>(&self, command: impl IntoIterator<Item = S>) -> Result<Finished> {
        self.spawn(command)?.finish()
    }

    /// Starts a server on `port` of every address, IPv4 and IPv6, and waits until it listens.
    pub fn serve(&self, what: Serve, port: u16) -> Result<Listener> {
        self.serve_at(what, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// Starts a server at `address` and waits until it listens.
    pub fn serve_at(&self, what: Serve, address: SocketAddr) -> Result<Listener> {
        Listener::new(self.peer(&what.words(address))?)
    }

    /// Connects to `to`, half-closes, reads to the end.
    pub fn dial(&self, to: SocketAddr) -> Result<Dialled> {
        self.dial_with(to, &[])
    }

    /// Connects to `to`, sends `text`, half-closes, reads to the end.
    pub fn ask(&self, to: SocketAddr, text: &str) -> Result<Dialled> {
        self.dial_with(to, &["--send", text])
    }

    /// [`Pod::dial`] with options of the peer: `--send TEXT`, `--bind ADDRESS`, `--device NAME`,
    /// `--way poll|block|epoll|mptcp`, `--timeout MS`.
    pub fn dial_with(&self, to: SocketAddr, options: &[&str]) -> Result<Dialled> {
        let words: Vec<String> =
            ["dial", &to.to_string()].iter().chain(options).map(|word| (*word).to_owned()).collect();
        let printed = self.peer(&words)?.finish()?.success()?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Sends `text` to `to` as a datagram, and gives the answer.
    pub fn ask_udp(&self, to: SocketAddr, text: &str) -> Result<String> {
        let words = ["ask-udp".to_owned(), to.to_string(), text.to_owned()];
        Ok(self.peer(&words)?.finish()?.success()?.trim_end().to_owned())
    }

    /// Connects to `to` and keeps the connection.
    pub fn hold(&self, to: SocketAddr) -> Result<Held> {
        Held::new(self.peer(&["hold".to_owned(), to.to_string()])?)
    }

    /// Starts one process that dials `to` anew whenever it is told.
    pub fn redialler(&self, to: SocketAddr) -> Result<Redialler> {
        Ok(Redialler::new(self.peer(&["redial".to_owned(), to.to_string()])?))
    }

    /// Removes its processes and its network namespace, as a runtime does when a pod goes.
    pub fn remove(&self) -> Result<()> {
        cgroup::remove(&self.0.cgroup)?;
        netns::remove(&self.0.netns)
    }

    fn peer(&self, words: &[String]) -> Result<Process> {
        let program = programs::peer()?.display().to_string();
        self.spawn(std::iter::once(&program).chain(words))
    }
}

/// Starts `command` in a cgroup and a network namespace.
pub(crate) fn enter<S: AsRef<str>>(
    cgroup: &Path,
    netns: &Path,
    name: &str,
    command: impl IntoIterator<Item = S>,
) -> Result<Process> {
    let words: Vec<String> = command.into_iter().map(|word| word.as_ref().to_owned()).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", ENTER, "sh"]).arg(cgroup).arg(netns).args(&words);
    Process::spawn(format!("`{}` in {name}", words.join(" ")), &mut shell)
}
