//! What can be said on the command line, and in the environment as `WEIR_<FLAG>`.
//!
//! Entry point: [`Cli`]. A value that cannot be used is refused here, with exit status 2, before anything
//! is touched. Knows nothing of what commands do.

mod agent;
mod client;
mod cni;
mod controller;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::{
    agent::{AgentArgs, CaArg, CaRoots, LogFormat, PodsArg, SameNode, WhenDown},
    client::{ClusterArgs, Destination, ExplainArgs, FlowsArgs, NodeStatusArgs, StatusArgs},
    cni::CniArgs,
    controller::{ControllerArgs, ServiceAccount},
};

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
    /// Run the cluster's certificate authority and the writer of objects' status
    Controller(ControllerArgs),
    /// Show the workloads on this node: enrolled, captured, identity, certificate
    Status(NodeStatusArgs),
    /// Is the agent of this container in charge of the node, and ready? Exit status 1 when it is not
    Ready(ReadyArgs),
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
    /// Be a CNI plugin: container runtimes run this for each pod, behind the plugin that makes its network
    Cni,
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

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// As the API gives it, one object a line.
    Json,
}

/// `weir check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The cgroup2 directory that the agent would use [default: the cgroup2 root]
    #[arg(long, env = "WEIR_CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// A whole cluster instead of this machine.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The form of the answer
    #[arg(short, long, env = "WEIR_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// `weir ready`.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    /// The agent's socket
    #[arg(long, env = "WEIR_SOCKET", value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
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
    /// Where the agent installed its CNI plugin.
    #[command(flatten)]
    pub cni: CniArgs,
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
            (vec!["weir", "flows", "--status", "9xx"], "--status", "9xx"),
            (vec!["weir", "flows", "--path-prefix", "v1"], "--path-prefix", "v1"),
            (vec!["weir", "flows", "--last", "-1"], "", "-1"),
            (vec!["weir", "flows", "-o", "yaml"], "--output", "yaml"),
            (vec!["weir", "policy", "explain", "--from", "a/b", "--to", "a/c"], "--to", "a/c"),
            (vec!["weir", "policy", "explain", "--from", "a/b", "--to", "a/c:0"], "--to", "a/c:0"),
            ([&AGENT[..], &["--ca", "vault"]].concat(), "--ca", ""),
            ([&AGENT[..], &["--trust-domain", "A B"]].concat(), "--trust-domain", "A B"),
            ([&AGENT[..], &["--flows-capacity", "0"]].concat(), "--flows-capacity", "0"),
            ([&AGENT[..], &["--flows-sample", "0"]].concat(), "--flows-sample", "0"),
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
