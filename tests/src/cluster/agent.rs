//! An agent on a node of a cluster: it asks the API server, and finds pods where their kubelet runs them.
//!
//! Entry point: [`KubeAgent::start`].

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use super::node::{KubeNode, in_root};
use crate::{
    CLUSTER_LIMIT,
    api_server::Host,
    cgroup,
    flows::{FOLLOW, Flow, Follower, parse},
    metrics,
    process::{Finished, Process, eventually_within},
    programs,
};

/// A running agent; dropping it kills it.
pub struct KubeAgent {
    host: Host,
    dir: std::path::PathBuf,
    process: Process,
}

impl KubeAgent {
    pub(super) fn start(node: &KubeNode, flags: &[&str]) -> Result<Self> {
        // Inside the cgroup that its programs are attached to.
        let own = node.cgroup.join("agent");
        cgroup::make(&own)?;
        let host = Host { cgroup: own, ..node.host.clone() };
        let (cgroup, ca) = (node.cgroup.display().to_string(), node.shared.join("ca"));
        let mut words = vec![
            "env".to_owned(),
            "NO_COLOR=1".into(),
            format!("KUBECONFIG={}", node.shared.join("api-server/kubeconfig").display()),
            programs::weir()?.display().to_string(),
            "agent".into(),
            "--kube".into(),
            format!("--node={}", node.name),
            format!("--cgroup={cgroup}"),
            format!("--ca=local:{}", ca.display()),
        ];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut process = host.spawn(in_root(&node.dir, words)?)?;
        process.wait_any_line("it to be ready", |line| line.contains(" ready").then_some(()))?;
        Ok(Self { host, dir: node.dir.clone(), process })
    }

    /// Ends it, as its DaemonSet would, and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait().map(drop)
    }

    /// Has it do nothing, as on a machine that is busy.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Has it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Runs `weir WORDS…` on the node to its end.
    pub fn weir<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> Result<Finished> {
        let mut command = vec![programs::weir()?.display().to_string()];
        command.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.host.spawn(in_root(&self.dir, command)?)?.finish()
    }

    /// The sum of the samples of metric `name` that have these labels; `None` where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        Ok(metrics::sum(&metrics::fetch(&self.host.netns, metrics::ADDRESS, "/metrics")?, name, labels))
    }

    /// What it answers at its metrics port; an error when that is not 200.
    pub fn http(&self, path: &str) -> Result<String> {
        metrics::fetch(&self.host.netns, metrics::ADDRESS, path)
    }

    /// Its flows from now on, after those that it has kept.
    pub(crate) fn follow(&self) -> Result<Follower> {
        let weir = programs::weir()?.display().to_string();
        let words = std::iter::once(weir.as_str()).chain(FOLLOW);
        Ok(Follower::of(self.host.spawn(in_root(&self.dir, words)?)?))
    }

    /// `weir status -o json`.
    pub fn status(&self) -> Result<Value> {
        let printed = self.weir(["status", "-o", "json"])?.success()?;
        serde_json::from_str(&printed).with_context(|| format!("weir status printed {printed}"))
    }

    /// Waits until exactly these pods are captured.
    pub fn wait_captured(&self, pods: &[&str]) -> Result<()> {
        let mut wanted: Vec<&str> = pods.to_vec();
        wanted.sort_unstable();
        eventually_within(CLUSTER_LIMIT, &format!("these to be captured: {wanted:?}"), || {
            let status = self.status()?;
            let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
            let captured = workloads.iter().filter(|workload| workload["captured"] == true);
            let mut names: Vec<&str> = captured.filter_map(|workload| workload["pod"].as_str()).collect();
            names.sort_unstable();
            Ok((names == wanted).then_some(()))
        })
    }

    /// The flows that it has kept.
    pub fn flows(&self) -> Result<Vec<Flow>> {
        let printed = self.weir(["flows", "--last", "10000", "-o", "json"])?.success()?;
        printed.lines().map(parse).collect()
    }

    /// Waits for a flow for which `condition` holds; earlier ones count too.
    pub fn wait_flow(&self, what: &str, mut condition: impl FnMut(&Flow) -> bool) -> Result<Flow> {
        eventually_within(CLUSTER_LIMIT, &format!("a flow: {what}"), || {
            let printed = self.weir(["flows", "--last", "1000", "-o", "json"])?.success()?;
            let flows: Vec<Flow> = printed.lines().map(parse).collect::<Result<_>>()?;
            Ok(flows.into_iter().find(&mut condition))
        })
    }
}
