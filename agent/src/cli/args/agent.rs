//! What `weir agent` takes.
//!
//! Entry point: [`AgentArgs`].

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
};

use clap::{Args, ValueEnum};

use super::{BPFFS, CniArgs, SOCKET};
use crate::identity::TrustDomain;

/// `weir agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// This node's name, as pods name it in spec.nodeName
    #[arg(long, env = "WEIR_NODE", value_name = "NAME", value_parser = node_name)]
    pub node: String,
    /// Directory of YAML with the cluster's objects
    #[arg(
        long,
        env = "WEIR_STATE",
        value_name = "DIR",
        required_unless_present = "kube",
        conflicts_with = "kube"
    )]
    pub state: Option<PathBuf>,
    /// Ask the Kubernetes API for the cluster's objects, as this pod's service account or as KUBECONFIG says
    #[arg(long, env = "WEIR_KUBE")]
    pub kube: bool,
    /// How pods are known that are on other nodes: each is watched, or what the controller says of them in WorkloadSlices
    #[arg(long, env = "WEIR_PODS", value_name = "HOW", default_value = "all", requires = "kube")]
    pub pods: PodsArg,
    /// The DaemonSet that runs this agent: what the agent has put on the node goes when that is gone, and an agent that
    /// was taken over from waits to be stopped, so that nobody starts it anew
    #[arg(long, env = "WEIR_DAEMONSET", value_name = "NAMESPACE/NAME", requires = "kube",
          value_parser = namespaced_name)]
    pub daemonset: Option<(String, String)>,
    /// The certificate authority; agents that share DIR share a root
    #[arg(long, env = "WEIR_CA", value_name = "local:DIR|https://HOST:PORT")]
    pub ca: CaArg,
    /// The roots by which an authority at https:// is known, PEM; they are looked at again and again
    #[arg(
        long,
        env = "WEIR_CA_ROOTS",
        value_name = "FILE|configmap:NS/NAME",
        default_value = "configmap:weir-system/weir-ca-roots"
    )]
    pub ca_roots: CaRoots,
    /// The token that is shown to an authority at https://; read for each request
    #[arg(
        long,
        env = "WEIR_CA_TOKEN",
        value_name = "FILE",
        default_value = "/var/run/secrets/weir.dev/token"
    )]
    pub ca_token: PathBuf,
    /// The name of this cluster, as an istiod knows it
    #[arg(long, env = "WEIR_CLUSTER", value_name = "NAME", default_value = "Kubernetes")]
    pub cluster: String,
    /// The trust domain of this mesh's identities
    #[arg(long, env = "WEIR_TRUST_DOMAIN", value_name = "NAME", default_value = "cluster.local")]
    pub trust_domain: TrustDomain,
    /// The cgroup2 directory whose sockets are looked at [default: the cgroup2 root]
    #[arg(long, env = "WEIR_CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Directory on a BPF file system for pins
    #[arg(long, env = "WEIR_BPFFS", value_name = "DIR", default_value = BPFFS)]
    pub bpffs: PathBuf,
    /// The admin API's socket
    #[arg(long, env = "WEIR_SOCKET", value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Address for /metrics, /readyz and /livez
    #[arg(long, env = "WEIR_METRICS", value_name = "ADDR:PORT", default_value = "127.0.0.1:15020")]
    pub metrics: SocketAddr,
    /// How pods on this node reach each other
    #[arg(long, env = "WEIR_SAME_NODE", value_name = "HOW", default_value = "direct")]
    pub same_node: SameNode,
    /// What enrolled pods may do while no agent is there: nothing, or everything
    #[arg(long, env = "WEIR_WHEN_DOWN", value_name = "HOW", default_value = "closed")]
    pub when_down: WhenDown,
    /// Seconds that live connections have to end when the agent stops
    #[arg(long, env = "WEIR_DRAIN", value_name = "SECONDS", default_value_t = 30)]
    pub drain: u32,
    /// Seconds between two looks at the kernel, in which programs and maps are mended
    #[arg(long, env = "WEIR_REPAIR_INTERVAL", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub repair_interval: u32,
    /// Congestion control of the agent's own connections, such as bbr [default: the system's]
    #[arg(long, env = "WEIR_CONGESTION", value_name = "NAME")]
    pub congestion: Option<String>,
    /// Worker threads [default: one per processor]
    #[arg(long, env = "WEIR_WORKERS", value_name = "N")]
    pub workers: Option<NonZeroUsize>,
    /// Connections that one pod may have through the agent, both ways together
    #[arg(long, env = "WEIR_MAX_CONNECTIONS", value_name = "N", default_value_t = 32_768,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Requests that one pod may have under way through the agent, both ways together
    #[arg(long, env = "WEIR_MAX_REQUESTS", value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_requests: u32,
    /// Flow records to keep, in 288 bytes each; fewer where most of them have nothing in common
    #[arg(long, env = "WEIR_FLOWS_CAPACITY", value_name = "N", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub flows_capacity: u32,
    /// Keep the records of 1 in N requests that were forwarded as usual; all are counted, and those that were denied, that
    /// failed or that audit would deny are all kept
    #[arg(long, env = "WEIR_FLOWS_SAMPLE", value_name = "N", default_value = "1")]
    pub flows_sample: NonZeroU32,
    /// Where the CNI plugin goes; needs --kube.
    #[command(flatten)]
    pub cni: CniArgs,
    /// How the log is written
    #[arg(long, env = "WEIR_LOG_FORMAT", value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged: a level, or targets with levels
    #[arg(long, env = "WEIR_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Log what the kernel programs do (slow)
    #[arg(long, env = "WEIR_EBPF_LOG")]
    pub ebpf_log: bool,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaArg {
    /// An authority in the agent's process, its key and certificate in this directory.
    Local(PathBuf),
    /// One that speaks Istio's certificate service: its host and port.
    Remote(String, u16),
}

impl FromStr for CaArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const NEEDED: &str = "local:DIR or https://HOST:PORT is needed";
        if let Some(directory) = text.strip_prefix("local:").filter(|directory| !directory.is_empty()) {
            return Ok(Self::Local(directory.into()));
        }
        let address = text.strip_prefix("https://").ok_or(NEEDED)?;
        let address: http::uri::Authority = address.trim_end_matches('/').parse().map_err(|_| NEEDED)?;
        let host = address.host().trim_start_matches('[').trim_end_matches(']');
        match address.port_u16() {
            Some(port) if port != 0 && !host.is_empty() && !address.as_str().contains('@') => {
                Ok(Self::Remote(host.to_owned(), port))
            }
            _ => Err(NEEDED.into()),
        }
    }
}

/// Where the roots of an authority are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaRoots {
    /// In a file.
    File(PathBuf),
    /// In the field `roots.pem` of a ConfigMap: its namespace and name.
    ConfigMap(String, String),
}

impl FromStr for CaRoots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("configmap:").map(|name| name.split_once('/')) {
            None if !text.is_empty() => Ok(Self::File(text.into())),
            Some(Some((namespace, name))) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::ConfigMap(namespace.into(), name.into()))
            }
            _ => Err("FILE or configmap:NS/NAME is needed".into()),
        }
    }
}

/// `--same-node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SameNode {
    /// Pod to pod, vouched for by the kernel.
    Direct,
    /// Over mutual TLS, as between nodes.
    Tunnel,
}

/// `--pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PodsArg {
    /// Every Pod of the cluster is watched.
    All,
    /// Those of this node are; for the others there are WorkloadSlices, which a controller writes.
    Slices,
}

/// `--when-down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenDown {
    /// Meshed connections are refused.
    Closed,
    /// Connections go as if there were no mesh.
    Open,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

fn namespaced_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) => Ok((node_name(namespace)?, node_name(name)?)),
        None => Err("NAMESPACE/NAME is needed".into()),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(allowed) {
        return Err("lower-case letters, digits, '-' and '.' are needed".into());
    }
    Ok(text.to_owned())
}
