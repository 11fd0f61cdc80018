//! What the commands that ask a running agent take, and what they ask the API for.
//!
//! Entry points: [`StatusArgs`], [`FlowsArgs`], [`ExplainArgs`].

use std::{path::PathBuf, str::FromStr, time::SystemTime};

use anyhow::Context;
use clap::Args;

use super::{Output, SOCKET};
use crate::flows::FlowFilter;

/// How a client finds its agent and answers; all that `weir policy audit` takes.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The agent's socket
    #[arg(long, env = "WEIR_SOCKET", value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// The form of the answer
    #[arg(short, long, env = "WEIR_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// Which agents of a cluster are asked, instead of the one at `--socket`.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Ask every agent of a cluster, with the rights of KUBECONFIG: to list pods, and to run commands in them
    #[arg(long, env = "WEIR_KUBE")]
    pub kube: bool,
    /// With --kube: the namespace of the agents
    #[arg(long, env = "WEIR_AGENTS", value_name = "NS", default_value = "weir-system")]
    pub agents: String,
    /// With --kube: only the agent of this node
    #[arg(long, env = "WEIR_NODE", value_name = "NAME")]
    pub node: Option<String>,
}

/// `weir status`.
#[derive(Debug, Args)]
pub struct NodeStatusArgs {
    /// Where and how.
    #[command(flatten)]
    pub at: StatusArgs,
    /// A whole cluster instead of this node: a row for each, the worst first.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// First look whether every enrolled pod is captured in full, and mend what is not; exit status 1 if one still is not
    #[arg(long, env = "WEIR_VERIFY", conflicts_with = "kube")]
    pub verify: bool,
}

/// `weir flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Where and how.
    #[command(flatten)]
    pub at: StatusArgs,
    /// A whole cluster instead of this node: records of all, by their time.
    #[command(flatten)]
    pub cluster: ClusterArgs,
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
    /// Status of the answer to a request: 404, or 5xx for all of them
    #[arg(long, env = "WEIR_STATUS", value_name = "STATUS", value_parser = part("status"))]
    pub status: Option<String>,
    /// How the path of a request begins
    #[arg(long, env = "WEIR_PATH_PREFIX", value_name = "PATH", value_parser = part("path_prefix"))]
    pub path_prefix: Option<String>,
    /// On whose behalf a request was made: the subject of its token
    #[arg(long, env = "WEIR_USER", value_name = "SUBJECT", value_parser = part("user"))]
    pub user: Option<String>,
    /// Route by which a request went
    #[arg(long, env = "WEIR_ROUTE", value_name = "NS/NAME", value_parser = part("route"))]
    pub route: Option<String>,
    /// Trace that a request is of
    #[arg(long, env = "WEIR_TRACE", value_name = "ID", value_parser = part("trace"))]
    pub trace: Option<String>,
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
            ("status", &self.status),
            ("path_prefix", &self.path_prefix),
            ("user", &self.user),
            ("route", &self.route),
            ("trace", &self.trace),
        ];
        parts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
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
