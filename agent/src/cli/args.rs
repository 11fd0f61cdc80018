//! What can be said on the command line, and in the environment as `WEIR_<FLAG>`.
//!
//! Entry point: [`Cli`]. A value that cannot be used is refused here, with exit status 2, before anything
//! is touched. Knows nothing of what commands do.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::SystemTime};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{flows::FlowFilter, identity::TrustDomain};

/// Where an agent's socket is unless `--socket` says otherwise.
pub const SOCKET: &str = "/run/weir/agent.sock";
/// Where an agent's pins are unless `--bpffs` says otherwise.
pub const BPFFS: &str = "/sys/fs/bpf/weir";

/// Weir: who talks to whom on this node, and who may.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node's agent
    Agent(AgentArgs),
    /// Show the workloads on this node: enrolled, captured, identity, certificate
    Status(StatusArgs),
    /// Show who talked to whom, and what became of it
    Flows(FlowsArgs),
    /// Check what the agent needs of this machine, each with a remedy; exit status 1 on a failure
    Check(CheckArgs),
    /// Ask about policy
    Policy {
        /// What to ask.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Remove every program, pin and file that an agent left
    Uninstall(UninstallArgs),
}

/// `weir policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Would this connection be allowed, and by which rule? Exit status 1 when it would not
    Explain(ExplainArgs),
    /// Show what audit policies would have denied, by policy and source
    Audit(StatusArgs),
    /// Read objects as the agent would and say what is wrong; exit status 1 on a problem
    Lint(LintArgs),
}

/// `weir agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// This node's name, as pods name it in spec.nodeName
    #[arg(long, env = "WEIR_NODE", value_name = "NAME", value_parser = node_name)]
    pub node: String,
    /// Directory of YAML with the cluster's objects
    #[arg(long, env = "WEIR_STATE", value_name = "DIR")]
    pub state: PathBuf,
    /// The certificate authority; agents that share DIR share a root
    #[arg(long, env = "WEIR_CA", value_name = "local:DIR")]
    pub ca: CaArg,
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
    /// Flow records to keep, at about 130 bytes each
    #[arg(long, env = "WEIR_FLOWS_CAPACITY", value_name = "N", default_value_t = 32_768,
          value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub flows_capacity: u32,
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
}

impl FromStr for CaArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("local:") {
            Some(directory) if !directory.is_empty() => Ok(Self::Local(directory.into())),
            _ => Err("local:DIR is needed".into()),
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

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// As the API gives it, one object a line.
    Json,
}

/// How a client finds its agent and answers; all that `weir status` and `weir policy audit` take.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The agent's socket
    #[arg(long, env = "WEIR_SOCKET", value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// The form of the answer
    #[arg(short, long, env = "WEIR_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// `weir flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Where and how.
    #[command(flatten)]
    pub at: StatusArgs,
    /// Go on with what comes next; without --last and --since, with nothing else
    #[arg(short, long, env = "WEIR_FOLLOW")]
    pub follow: bool,
    /// Only the last N that match
    #[arg(long, env = "WEIR_LAST", value_name = "N")]
    pub last: Option<usize>,
    /// Not before: 90s, 5m, 1h30m ago, or an RFC 3339 time
    #[arg(long, env = "WEIR_SINCE", value_name = "WHEN", value_parser = part("since"))]
    pub since: Option<String>,
    /// Namespace of either end
    #[arg(long, env = "WEIR_NAMESPACE", value_name = "NS", value_parser = part("namespace"))]
    pub namespace: Option<String>,
    /// Pod at either end
    #[arg(long, env = "WEIR_POD", value_name = "NS/NAME", value_parser = part("pod"))]
    pub pod: Option<String>,
    /// Service that was dialled
    #[arg(long, env = "WEIR_SERVICE", value_name = "NS/NAME", value_parser = part("service"))]
    pub service: Option<String>,
    /// forwarded, denied, audited or failed
    #[arg(long, env = "WEIR_VERDICT", value_name = "VERDICT", value_parser = part("verdict"))]
    pub verdict: Option<String>,
    /// A reason's word, such as policy_denied
    #[arg(long, env = "WEIR_REASON", value_name = "REASON", value_parser = part("reason"))]
    pub reason: Option<String>,
    /// outbound or inbound
    #[arg(long, env = "WEIR_DIRECTION", value_name = "DIRECTION", value_parser = part("direction"))]
    pub direction: Option<String>,
}

impl FlowsArgs {
    /// What the API is to be asked.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let last = self.last.map(|last| last.to_string());
        let follow = self.follow.then(|| "true".to_owned());
        let parts = [
            ("follow", &follow),
            ("last", &last),
            ("since", &self.since),
            ("namespace", &self.namespace),
            ("pod", &self.pod),
            ("service", &self.service),
            ("verdict", &self.verdict),
            ("reason", &self.reason),
            ("direction", &self.direction),
        ];
        parts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// `weir check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The cgroup2 directory that the agent would use [default: the cgroup2 root]
    #[arg(long, env = "WEIR_CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// The form of the answer
    #[arg(short, long, env = "WEIR_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// `weir policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Where and how.
    #[command(flatten)]
    pub at: StatusArgs,
    /// Who connects
    #[arg(long, env = "WEIR_FROM", value_name = "NS/POD", value_parser = pod)]
    pub from: String,
    /// To which pod or Service, and which of its ports
    #[arg(long, env = "WEIR_TO", value_name = "NS/NAME:PORT")]
    pub to: Destination,
    /// HTTP method
    #[arg(long, env = "WEIR_METHOD", value_name = "METHOD")]
    pub method: Option<String>,
    /// HTTP path
    #[arg(long, env = "WEIR_PATH", value_name = "PATH")]
    pub path: Option<String>,
    /// HTTP header; may be given more than once
    #[arg(long, env = "WEIR_HEADER", value_name = "NAME=VALUE", value_parser = header)]
    pub header: Vec<String>,
    /// File with the claims of the user's token, a JSON object
    #[arg(long, env = "WEIR_USER", value_name = "CLAIMS.json")]
    pub user: Option<PathBuf>,
}

impl ExplainArgs {
    /// What the API is to be asked.
    ///
    /// # Errors
    /// When the file of `--user` cannot be read.
    pub fn parameters(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut parameters = vec![
            ("from", self.from.clone()),
            ("to", self.to.name.clone()),
            ("port", self.to.port.to_string()),
        ];
        parameters.extend(self.method.clone().map(|method| ("method", method)));
        parameters.extend(self.path.clone().map(|path| ("path", path)));
        parameters.extend(self.header.iter().map(|header| ("header", header.clone())));
        if let Some(file) = &self.user {
            let claims =
                std::fs::read_to_string(file).with_context(|| format!("--user {}", file.display()))?;
            parameters.push(("user", claims));
        }
        Ok(parameters)
    }
}

/// A pod or Service, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `namespace/name`.
    pub name: String,
    /// The port, not 0.
    pub port: u16,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = text.rsplit_once(':').ok_or("NS/NAME:PORT is needed")?;
        match port.parse() {
            Ok(port) if port != 0 => Ok(Self { name: pod(name)?, port }),
            _ => Err(format!("{port:?} is not a port from 1 to 65535")),
        }
    }
}

/// `weir policy lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Files of YAML
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The form of the answer
    #[arg(short, long, env = "WEIR_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// `weir uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Directory on a BPF file system that holds an agent's pins
    #[arg(long, env = "WEIR_BPFFS", value_name = "DIR", default_value = BPFFS)]
    pub bpffs: PathBuf,
}

/// Text that the API would take for `field` of a flow filter.
fn part(field: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| match FlowFilter::default().set(field, text, SystemTime::now()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.message),
    }
}

fn pod(text: &str) -> Result<String, String> {
    part("pod")(text)
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("NAME=VALUE is needed".into()),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(allowed) {
        return Err("lower-case letters, digits, '-' and '.' are needed".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const AGENT: [&str; 8] =
        ["weir", "agent", "--node", "node-a", "--state", "/etc/weir", "--ca", "local:/var/lib/weir"];

    fn error(args: &[&str]) -> clap::Error {
        Cli::try_parse_from(args).expect_err("bad use")
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_can_be_set_by_the_environment_under_its_own_name() {
        fn look(command: &clap::Command, seen: &mut usize) {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else {
                    continue;
                };
                let expected = format!("WEIR_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(expected.as_str()), "--{long}");
                *seen += 1;
            }
            command.get_subcommands().for_each(|command| look(command, seen));
        }
        let mut seen = 0;
        look(&Cli::command(), &mut seen);
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn an_agent_needs_its_node_its_state_and_its_authority_and_has_defaults_for_the_rest() {
        let Command::Agent(args) = Cli::try_parse_from(AGENT).expect("an agent").command else {
            panic!("another command")
        };
        assert_eq!(args.ca, CaArg::Local("/var/lib/weir".into()));
        assert_eq!(args.socket, PathBuf::from("/run/weir/agent.sock"));
        assert_eq!(args.bpffs, PathBuf::from("/sys/fs/bpf/weir"));
        assert_eq!(args.metrics.port(), 15020);
        assert_eq!(args.trust_domain.as_str(), "cluster.local");
        assert_eq!((args.same_node, args.when_down), (SameNode::Direct, WhenDown::Closed));
        for needed in ["--node", "--state", "--ca"] {
            let at = AGENT.iter().position(|arg| *arg == needed).expect("an argument");
            let without: Vec<&str> = [&AGENT[..at], &AGENT[at + 2..]].concat();
            let error = error(&without);
            assert!(error.to_string().contains(needed), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn bad_values_name_the_flag_and_the_value() {
        for (args, flag, value) in [
            (vec!["weir", "flows", "--verdict", "refused"], "--verdict", "refused"),
            (vec!["weir", "flows", "--since", "soon"], "--since", "soon"),
            (vec!["weir", "flows", "--pod", "cart-0"], "--pod", "cart-0"),
            (vec!["weir", "flows", "--last", "-1"], "", "-1"),
            (vec!["weir", "flows", "-o", "yaml"], "--output", "yaml"),
            (vec!["weir", "policy", "explain", "--from", "a/b", "--to", "a/c"], "--to", "a/c"),
            (vec!["weir", "policy", "explain", "--from", "a/b", "--to", "a/c:0"], "--to", "a/c:0"),
            ([&AGENT[..], &["--ca", "vault"]].concat(), "--ca", ""),
            ([&AGENT[..], &["--trust-domain", "A B"]].concat(), "--trust-domain", "A B"),
            ([&AGENT[..], &["--flows-capacity", "0"]].concat(), "--flows-capacity", "0"),
            ([&AGENT[..], &["--workers", "0"]].concat(), "--workers", "0"),
        ] {
            let error = error(&args);
            let text = error.to_string();
            assert!(text.contains(flag) && text.contains(value), "{text}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn an_explain_query_has_its_destination_and_port() {
        let args = [
            "weir",
            "policy",
            "explain",
            "--from",
            "shop/cart-0",
            "--to",
            "shop/pay:8080",
            "--header",
            "a=b",
        ];
        let Command::Policy { command: PolicyCommand::Explain(args) } =
            Cli::try_parse_from(args).expect("a question").command
        else {
            panic!("another command")
        };
        let parameters = args.parameters().expect("parameters");
        let expected = [("from", "shop/cart-0"), ("to", "shop/pay"), ("port", "8080"), ("header", "a=b")];
        assert_eq!(parameters, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
