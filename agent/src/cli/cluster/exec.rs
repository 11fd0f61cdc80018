//! One agent of a cluster, and a command that is run in its container.
//!
//! Entry points: [`agents`], [`Agent::run`]. Knows nothing of what a command says.

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, ListParams},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    sync::mpsc,
};

use crate::cli::args::ClusterArgs;

/// What pods of agents are known by.
pub(super) const LABEL: &str = "app.kubernetes.io/name=weir-agent";
/// The container of such a pod in which the agent is.
const CONTAINER: &str = "agent";
/// The longest line that is taken.
const LONGEST: u64 = 64 << 20;
/// Of what a command says of its failure, at most.
const WORDS: u64 = 4096;

/// An agent.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) pod: String,
    /// Why nothing can be asked of it.
    pub(super) down: Option<String>,
    api: Api<Pod>,
}

/// What an agent says.
#[derive(Debug)]
pub(super) enum Told {
    /// A line, without its end.
    Line(Vec<u8>),
    /// It could not be asked, or not to the end; in words that name the node.
    Failed(String),
}

/// The agents of a cluster, or of one node, in the order of the nodes' names.
///
/// # Errors
/// When pods cannot be listed.
pub(super) async fn agents(client: &Client, cluster: &ClusterArgs) -> Result<Vec<Agent>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &cluster.agents);
    let pods = api.list(&ListParams::default().labels(LABEL)).await?;
    let agent = |pod: Pod| Agent {
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        pod: pod.name_any(),
        down: is_down(&pod),
        api: api.clone(),
    };
    let wanted = |agent: &Agent| cluster.node.as_ref().is_none_or(|node| agent.node == *node);
    let mut agents: Vec<Agent> = pods.items.into_iter().map(agent).filter(wanted).collect();
    // While one takes over from another, the one that runs comes first.
    agents.sort_by(|a, b| (&a.node, a.down.is_some(), &a.pod).cmp(&(&b.node, b.down.is_some(), &b.pod)));
    agents.dedup_by(|a, b| a.node == b.node);
    Ok(agents)
}

fn is_down(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let phase = status.phase.as_deref().unwrap_or("Unknown");
    let container = status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let state = container.and_then(|container| container.state.as_ref());
    if state.is_some_and(|state| state.running.is_some()) {
        return None;
    }
    let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.clone());
    Some(format!("its pod {} does not run: {}", pod.name_any(), waiting.as_deref().unwrap_or(phase)))
}

impl Agent {
    /// Runs `command` and tells what it says, until it has ended or nobody listens.
    pub(super) async fn run(self, command: Vec<String>, index: usize, told: mpsc::Sender<(usize, Told)>) {
        let ended = match &self.down {
            Some(words) => Err(words.clone()),
            None => self.exec(&command, index, &told).await,
        };
        if let Err(words) = ended {
            let words = format!("node {}: {words}", self.node);
            // Nobody may want to know any more.
            let _ = told.send((index, Told::Failed(words))).await;
        }
    }

    async fn exec(
        &self,
        command: &[String],
        index: usize,
        told: &mpsc::Sender<(usize, Told)>,
    ) -> Result<(), String> {
        let how = AttachParams::default().container(CONTAINER).stderr(true);
        let mut process = self.api.exec(&self.pod, command, &how).await.map_err(|error| error.to_string())?;
        let status = process.take_status();
        let (Some(stdout), Some(stderr)) = (process.stdout(), process.stderr()) else {
            return Err("it gives no output".into());
        };
        let complaint = async {
            let mut words = String::new();
            let _ = stderr.take(WORDS).read_to_string(&mut words).await;
            words
        };
        let lines = async {
            let mut lines = BufReader::new(stdout);
            loop {
                let mut line = Vec::new();
                match (&mut lines).take(LONGEST).read_until(b'\n', &mut line).await {
                    Err(_) | Ok(0) => return,
                    Ok(_) => {}
                }
                while line.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
                if !line.is_empty() && told.send((index, Told::Line(line))).await.is_err() {
                    return;
                }
            }
        };
        let ((), complaint) = tokio::join!(lines, complaint);
        let status: Option<Status> = match status {
            Some(status) => status.await,
            None => None,
        };
        match status {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(()),
            // Exit status 1 with an answer is one: no.
            Some(_) if complaint.trim().is_empty() => Ok(()),
            Some(_) => Err(complaint.trim().trim_start_matches("weir: ").to_owned()),
            None => Err("it broke off".into()),
        }
    }
}
